"""Who may do what in the reading room: signing in, roles and tokens, the admin's page, where it does not start."""

from __future__ import annotations

import re
from urllib.parse import urlencode

import pytest

pytest.importorskip("fastapi", reason="the reading room is not installed: pip install '.[review]'")
from data.web_room import PASSWORD, Client
from sqlalchemy import select

from leukoscope.errors import InputError
from leukoscope.taxonomy import BLOOD_12
from leukoscope.web.serve import Place, open_room
from leukoscope.web.settings import default_settings, stored_settings
from leukoscope.web.store import accounts, open_store
from leukoscope.web.store import tables as t


def test_who_is_not_signed_in_sees_nothing(room):
    for path in ("/", f"/p/{room.patients[0]}", "/learn", "/admin", f"/p/{room.patients[0]}/audit"):
        status, headers, _ = room.ask("GET", path)
        assert (status, headers["location"]) == (303, "/sign-in")
    for path in ("/api/v1/patients", "/api/v1/signed"):
        assert room.ask("GET", path)[0] == 401
        assert room.ask("GET", path, authorization="Bearer wrong")[0] == 401
    assert "password" not in room.ask("GET", "/openapi.json")[2]


def test_signing_in_takes_a_new_session_and_guessing_is_slowed(room):
    status, headers, text = room.ask("GET", "/sign-in")
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie and "samesite=lax" in cookie.lower()
    before = Client(room, re.match("leukoscope=([^;]+)", cookie).group(1))
    status, headers, _ = before.post("/sign-in", {"name": "Cleo", "password": PASSWORD})
    assert status == 303
    after = Client(room, re.match("leukoscope=([^;]+)", headers["set-cookie"]).group(1))
    assert after.get("/")[0] == 200 and before.get("/")[0] == 303
    assert after.post("/sign-out", {})[0] == 303 and after.get("/")[0] == 303
    guesser = Client(room, accounts.begin_session(room.store, None))
    for _ in range(accounts.TRIES):
        assert guesser.post("/sign-in", {"name": "Cleo", "password": "wrong wrong wrong"})[0] == 403
    assert guesser.post("/sign-in", {"name": "Cleo", "password": PASSWORD})[0] == 403  # right, and too late
    with room.store.reading() as connection:
        hashed = connection.execute(select(t.reader.c.password).where(t.reader.c.name == "Cleo")).scalar()
    assert hashed.startswith("$argon2id$")


def test_roles_and_tokens(room):
    anna, ben = room.client("Anna"), room.client("Ben")
    assert ben.get("/admin")[0] == 403 and ben.post("/admin", {"what": "token"})[0] == 403
    page = anna.post("/admin", {"what": "token"})[2]
    token = re.search('class="token">([^<]+)<', page).group(1)
    assert room.ask("GET", "/api/v1/patients", authorization=f"Bearer {token}")[0] == 200
    revoke = re.search(r'name="id" value="(\d+)"><button name="what" value="revoke"', anna.get("/admin")[2]).group(1)
    anna.post("/admin", {"what": "revoke", "id": revoke})
    assert room.ask("GET", "/api/v1/patients", authorization=f"Bearer {token}")[0] == 401
    anna_id = accounts.reader_named(room.store, "Anna")
    assert "one admin left" in anna.post("/admin", {"what": "role", "id": str(anna_id), "role": "reader"})[2]
    assert anna.get("/admin")[0] == 200


def test_it_does_not_start_where_it_would_not_be_safe(tmp_path):
    db = str(tmp_path / "r.db")
    with pytest.raises(InputError, match="--add-reader"):
        open_room(db, [], Place("0.0.0.0"), reader="x")
    store = open_store(db)
    accounts.add_reader(store, "Anna", role="admin", password=PASSWORD)
    store.close()
    with pytest.raises(InputError, match="plain HTTP"):
        open_room(db, [], Place("0.0.0.0"), reader="x")
    opened = open_room(db, [], Place("127.0.0.1", origins=("https://lab.example",)), reader="x")
    assert opened.accounts and opened.default_reader is None
    opened.store.close()
    with pytest.raises(InputError, match="record"):
        open_room(str(tmp_path / "other.db"), [str(tmp_path)], Place(), reader="x")


def test_keys_are_changed_on_the_admin_page(room):
    anna, before = room.client("Anna"), room.client("Anna").get("/admin")[2]
    assert 'name="calls" value="lymphocyte"' in before

    def ask(**keys: str):
        pairs = [("form_token", anna.token), ("what", "keys")]
        pairs += [pair for name, key in keys.items() for pair in (("calls", name), ("keys", key))]
        head = {"content_type": "application/x-www-form-urlencoded", "origin": room.origin, "cookie": anna.cookie}
        return room.ask("POST", "/admin", urlencode(pairs).encode(), **head)

    assert ask(lymphocyte="é", monocyte="", artefact="5", nothing_known="7")[0] == 200
    settings = stored_settings(room.store)
    assert (settings.keys["lymphocyte"], settings.keys["artefact"]) == ("é", "5") and "monocyte" not in settings.keys
    assert "nothing_known" not in settings.keys and settings.keys["eosinophil"] == "e"
    assert settings.sign == default_settings().sign and settings.costs == default_settings().costs
    assert "# What must hold before a patient is signed." in settings.text
    assert settings.keys_of(BLOOD_12)["monocyte"] not in ("", *settings.keys.values())
    for wrong in ({"lymphocyte": "e"}, {"lymphocyte": "z"}, {"lymphocyte": "AB"}):
        status, _, text = ask(**wrong)
        assert status == 422 and ("both have the key" in text or "one small letter" in text)
    assert stored_settings(room.store).keys == settings.keys
    assert ask(lymphocyte="l", monocyte="m", artefact="j")[0] == 200
    assert stored_settings(room.store).keys == default_settings().keys
