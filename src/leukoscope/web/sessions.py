"""Who asks: a session's cookie with the token in its forms, or a script's bearer token."""

import hmac
from dataclasses import dataclass

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool

from leukoscope.web.guard import SAFE
from leukoscope.web.store.accounts import begin_session, find_session, set_session_reader

FORM_TOKEN = "x-form-token"


@dataclass(frozen=True, slots=True)
class Who:
    """The reader behind a request; reader_id is None before signing in."""

    login_id: int
    reader_id: int | None
    name: str
    role: str
    form_token: str


class NotSignedIn(Exception):
    """The page or the operation needs a reader."""


class Forbidden(Exception):
    """The reader may not do this."""


def cookie_name(secure: bool) -> str:
    """`__Host-` binds the cookie to this host over HTTPS; plain loopback has no HTTPS."""
    return "__Host-leukoscope" if secure else "leukoscope"


def session_cookie(secret: str, *, secure: bool) -> str:
    """The Set-Cookie of a session: never seen by scripts, never sent with other sites' forms."""
    response = Response()
    response.set_cookie(cookie_name(secure), secret, httponly=True, secure=secure, samesite="lax", path="/")
    return response.headers["set-cookie"]


def session_of(request: Request) -> Who | None:
    """The session of the request's cookie; None without one, or when it is over."""
    room = request.app.state.room
    secret = request.cookies.get(cookie_name(room.site.secure))
    row = find_session(room.store, secret) if secret else None
    return None if row is None else Who(row.id, row.reader_id, row.name or "", row.role or "", row.form_token)


def visitor(request: Request) -> Who:
    """The session, or a new one: without accounts for the default reader, else for nobody yet.

    A new one's secret is left in `request.state.new_session`, which the answer's cookie takes.
    """
    room = request.app.state.room
    who = session_of(request)
    if who is not None:
        return who
    secret = begin_session(room.store, None if room.site.accounts else room.default_reader)
    request.state.new_session = secret
    row = find_session(room.store, secret)
    return Who(row.id, row.reader_id, row.name or "", row.role or "", row.form_token)


def page_reader(request: Request) -> Who:
    """The reader of a page; NotSignedIn sends to the sign-in page."""
    who = visitor(request)
    if who.reader_id is None:
        raise NotSignedIn
    return who


async def api_reader(request: Request) -> Who:
    """The reader of an API call: by bearer token, or by the session's cookie, then with the form token too where the
    call changes something.

    SQLite answers this at once (readers wait for nobody there), so that a key goes to a worker thread once, not twice.
    """
    if request.app.state.room.store.engine.dialect.name == "sqlite":
        return _api_reader(request)
    return await run_in_threadpool(_api_reader, request)


def _api_reader(request: Request) -> Who:
    room = request.app.state.room
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and token:
        row = find_session(room.store, token.strip(), kind="token")
        if row is None:
            raise NotSignedIn
        return Who(row.id, row.reader_id, row.name, row.role, row.form_token)
    who = session_of(request)
    if who is None or who.reader_id is None:
        raise NotSignedIn
    if request.method not in SAFE:
        check_form_token(who, request.headers.get(FORM_TOKEN, ""))
    return who


def check_form_token(who: Who, given: object) -> None:
    """Forbidden where a form does not carry its session's token."""
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), who.form_token.encode()):
        raise Forbidden("the form is too old, or not ours: load the page again")


def need_role(who: Who, *roles: str) -> None:
    """Forbidden where the reader's role is none of these."""
    if who.role not in roles:
        raise Forbidden(f"this needs the role {' or '.join(roles)}; you have {who.role}")


def become(request: Request, who: Who, reader_id: int) -> None:
    """Another reader in this session; only where there are no accounts."""
    if request.app.state.room.site.accounts:
        raise Forbidden("readers sign in here")
    set_session_reader(request.app.state.room.store, who.login_id, reader_id)
