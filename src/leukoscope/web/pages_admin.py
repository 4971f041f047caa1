"""Signing in and out, and the admin page: readers, tokens, and the laboratory's settings."""

import json
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy import Connection, select

from leukoscope.errors import InputError
from leukoscope.taxonomy import Taxonomy
from leukoscope.web.pages import render, room_of, visit
from leukoscope.web.sessions import Forbidden, become, check_form_token, need_role, page_reader, visitor
from leukoscope.web.settings import store_settings, with_keys
from leukoscope.web.store import accounts
from leukoscope.web.store import tables as t
from leukoscope.web.store.edits import NOT_A_CELL, UNIDENTIFIED
from leukoscope.web.view import classes_of

router = APIRouter(include_in_schema=False)


@router.get("/sign-in")
def show_sign_in(request: Request) -> HTMLResponse:
    who = visitor(request)
    if who.reader_id is not None:
        return RedirectResponse("/", 303)
    return render(request, "sign_in.html", who, wrong=False)


@router.post("/sign-in")
def sign_in(
    request: Request,
    name: str = Form("", max_length=200),
    password: str = Form("", max_length=1000),
    form_token: str = Form(""),
) -> HTMLResponse:
    """A session of its own for who signs in: the one from before is not used on."""
    who, room = visitor(request), room_of(request)
    check_form_token(who, form_token)
    address = request.client.host if request.client else ""
    reader_id = accounts.check_password(room.store, name.replace("\0", ""), password, address=address)
    if reader_id is None:
        return render(request, "sign_in.html", who, status=403, wrong=True)
    accounts.revoke(room.store, who.login_id)
    request.state.new_session = accounts.begin_session(room.store, reader_id)
    return RedirectResponse("/", 303)


@router.post("/sign-out")
def sign_out(request: Request, form_token: str = Form("")) -> RedirectResponse:
    who = page_reader(request)
    check_form_token(who, form_token)
    accounts.revoke(room_of(request).store, who.login_id)
    return RedirectResponse("/sign-in", 303)


@router.post("/reader")
def change_reader(request: Request, name: str = Form(..., max_length=60), form_token: str = Form("")):
    """Without accounts: another person sits down."""
    who, room = visit(request, form_token)
    if room.site.accounts:
        raise Forbidden("readers sign in here")
    become(request, who, accounts.reader_named(room.store, name.replace("\0", "")))
    return RedirectResponse("/", 303)


@router.get("/admin")
def show_admin(request: Request) -> HTMLResponse:
    return _admin(request)


def _admin(request: Request, *, status: int = 200, said: str = "", token: str = "", text: str | None = None):
    who, room = visit(request)
    need_role(who, "admin")
    settings = room.settings()
    with room.store.reading() as connection:
        calls = dict.fromkeys(c["name"] for taxonomy in _taxonomies(connection) for c in classes_of(room, taxonomy))
        readers = connection.execute(select(t.reader).order_by(t.reader.c.name)).all()
        tokens = connection.execute(
            select(t.login.c.id, t.login.c.created_at, t.reader.c.name)
            .join_from(t.login, t.reader)
            .where(t.login.c.kind == "token", t.login.c.revoked.is_(False))
        ).all()
    return render(
        request, "admin.html", who, status=status, readers=readers, roles=accounts.ROLES, settings=settings,
        tokens=tokens, calls=calls, said=said, token=token, text=settings.text if text is None else text,
    )  # fmt: skip


def _taxonomies(connection: Connection) -> list[Taxonomy]:
    """Those that the runs speak, the newest of each name."""
    said = (json.loads(text)["taxonomy"] for text in connection.execute(select(t.run.c.provenance)).scalars())
    return [Taxonomy.from_dict(one) for one in {one["name"]: one for one in said}.values()]


@router.post("/admin")
def change(
    request: Request,
    what: str = Form(...),
    form_token: str = Form(""),
    name: str = Form("", max_length=60),
    role: str = Form("reader"),
    password: str = Form("", max_length=1000),
    toml: str = Form("", max_length=200_000),
    id: int = Form(0, ge=0, le=2**53),
    calls: Annotated[list[str] | None, Form(max_length=500)] = None,
    keys: Annotated[list[str] | None, Form(max_length=500)] = None,
) -> HTMLResponse:
    """One change: add (a reader), role, disable, enable, password, token, revoke, settings, keys (of calls)."""
    who, room = visit(request, form_token)
    need_role(who, "admin")
    store, token = room.store, ""
    try:
        if what == "settings":
            store_settings(store, toml.replace("\r\n", "\n").replace("\0", ""), reader_id=who.reader_id)
        elif what == "keys":
            with store.reading() as connection:
                taxonomies = _taxonomies(connection)
            known = {name for taxonomy in taxonomies for name in (*taxonomy.names, UNIDENTIFIED, NOT_A_CELL)}
            asked = {name: key for name, key in zip(calls or (), keys or (), strict=False) if name in known}
            store_settings(store, with_keys(room.settings(), asked, taxonomies), reader_id=who.reader_id)
        elif what == "add":
            accounts.add_reader(store, name.replace("\0", ""), role=role, password=password or None)
        elif what == "role":
            accounts.change_reader(store, id, role=role)
        elif what in ("disable", "enable"):
            accounts.change_reader(store, id, disabled=what == "disable")
        elif what == "password":
            accounts.set_password(store, id, password)
        elif what == "token":
            token = accounts.begin_session(store, who.reader_id, kind="token")
        elif what == "revoke":
            accounts.revoke(store, id)
        else:
            raise InputError(f"no such change: {what!r}")
    except InputError as error:
        return _admin(request, status=422, said=str(error), text=toml if what == "settings" else None)
    return _admin(request, said="" if token else "Done.", token=token)
