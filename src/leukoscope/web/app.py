"""The server: routes, static files, and what an error looks like to a page and to a script."""

import time
from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

import leukoscope
from leukoscope.errors import LeukoscopeError
from leukoscope.web import api, api_handover, media, pages, pages_admin, pages_closing, pages_field
from leukoscope.web.guard import Guard, Site
from leukoscope.web.pages import render
from leukoscope.web.room import NotFound, make_room
from leukoscope.web.sessions import Forbidden, NotSignedIn, session_cookie, session_of
from leukoscope.web.store import Store
from leukoscope.web.store.engine import StoreFailed
from leukoscope.web.store.events import Closed, Conflict

STATIC = Path(str(files("leukoscope.web") / "static"))


def create_app(store: Store, site: Site, *, default_reader: int | None = None) -> FastAPI:
    """The reading room over an open store; default_reader: who reads where there are no accounts."""
    app = FastAPI(
        title="Leukoscope reading room",
        version=leukoscope.__version__,
        description="Review, correct and sign smears. Send a token: `Authorization: Bearer ...`.",
        docs_url=None,  # those pages load scripts from elsewhere
        redoc_url=None,
    )
    app.state.room = make_room(store, site, default_reader=default_reader)
    for part in (api, api_handover, media, pages, pages_field, pages_closing, pages_admin):
        app.include_router(part.router)
    app.mount("/static", _Static(directory=STATIC))

    @app.get("/base.css", include_in_schema=False)
    def base_style() -> Response:
        """The report's own style: one family of pages."""
        return Response((files("leukoscope.report") / "base.css").read_text("utf-8"), media_type="text/css")

    _answer_errors(app)

    app.add_middleware(_Finish, secure=site.secure)
    app.add_middleware(Guard, site=site)
    return app


class _Finish:
    """ASGI middleware: a new session's cookie goes with the answer, and how long the server took."""

    def __init__(self, app, *, secure: bool) -> None:
        self._app, self._secure = app, secure

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()

        async def finish(message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["server-timing"] = f"app;dur={1000 * (time.perf_counter() - started):.1f}"
                secret = scope.get("state", {}).get("new_session")
                if secret is not None:
                    headers.append("set-cookie", session_cookie(secret, secure=self._secure))
            await send(message)

        await self._app(scope, receive, finish)


class _Static(StaticFiles):
    """Static files that a browser may keep for an hour; they hold nothing of a patient."""

    def file_response(self, *args, **kwargs) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "private, max-age=3600"
        return response


def _answer_errors(app: FastAPI) -> None:
    """One place that turns errors into answers; a page gets a page, a script gets JSON, neither gets a traceback."""

    @app.exception_handler(NotSignedIn)
    def not_signed_in(request: Request, error: NotSignedIn) -> Response:
        if _is_api(request):
            return JSONResponse({"error": "sign in, or send a token that is valid"}, 401)
        return RedirectResponse("/sign-in", 303)

    @app.exception_handler(Conflict)
    def conflict(request: Request, error: Conflict) -> Response:
        return JSONResponse({"error": str(error), "cells": {str(c): v for c, v in error.cells.items()}}, 409)

    @app.exception_handler(RequestValidationError)
    def malformed(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0] if error.errors() else {"loc": (), "msg": "malformed"}
        where = ".".join(str(part) for part in first["loc"][1:])
        return _said(request, 422, f"{where}: {first['msg']}" if where else str(first["msg"]))

    for kind, status in (
        (Forbidden, 403),
        (NotFound, 404),
        (Closed, 409),
        (media.Missing, 404),
        (StoreFailed, 503),
        (LeukoscopeError, 422),
    ):
        app.add_exception_handler(kind, lambda request, error, status=status: _said(request, status, str(error)))

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> Response:
        return _said(request, error.status_code, str(error.detail))


def _said(request: Request, status: int, text: str) -> Response:
    if _is_api(request):
        return JSONResponse({"error": text}, status)
    return render(request, "error.html", session_of(request), status=status, code=status, text=text)


def _is_api(request: Request) -> bool:
    return request.url.path.startswith("/api/")
