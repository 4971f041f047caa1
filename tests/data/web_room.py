"""A reading room on a socket with readers who are signed in: what the tests of its pages and interface ask through."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the reading room is not installed: pip install '.[review]'")
from data import make_room
from sqlalchemy import select

from leukoscope.web.store import accounts, open_store
from leukoscope.web.store import tables as t
from leukoscope.web.store.opening import open_run

PASSWORD = "a long enough password"


@contextlib.contextmanager
def room_with_accounts(folder: Path) -> Iterator[Room]:
    """A server with accounts over a small run: Anna the admin, Ben and Cleo, readers."""
    store = open_store(folder / "readings.db")
    open_run(store, make_room.make_run(folder / "run", n_patients=2, n_fields=8, n_cells=6))
    for name, role in (("Anna", "admin"), ("Ben", "reader"), ("Cleo", "reader")):
        accounts.add_reader(store, name, role=role, password=PASSWORD)
    with make_room.served(store, accounts=True) as origin:
        yield Room(origin, store)
    store.close()


class Room:
    def __init__(self, origin: str, store) -> None:
        self.origin, self.store = origin, store
        with store.reading() as connection:
            self.patients = connection.execute(select(t.patient.c.key).order_by(t.patient.c.id)).scalars().all()
            self.labels = connection.execute(select(t.patient.c.label)).scalars().all()

    def ask(self, method: str, path: str, body: bytes | None = None, *, raw: bool = False, **headers: str):
        """(status, headers, text) of one request, raw: its bytes; header names with _ for -."""
        connection = http.client.HTTPConnection(urlsplit(self.origin).netloc, timeout=30)
        connection.putrequest(method, path, skip_host="host" in headers, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        if body is not None and "content_length" not in headers:
            connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        answer = response.read()
        text = answer if raw else answer.decode("utf-8", "replace")
        found = response.status, dict(response.getheaders()), text
        connection.close()
        return found

    def client(self, name: str) -> Client:
        return Client(self, accounts.begin_session(self.store, accounts.reader_named(self.store, name)))


class Client:
    """A signed-in reader's browser."""

    def __init__(self, room: Room, secret: str) -> None:
        self.room, self.cookie = room, f"leukoscope={secret}"
        self.token = accounts.find_session(room.store, secret).form_token

    def get(self, path: str):
        return self.room.ask("GET", path, cookie=self.cookie)

    def post(self, path: str, values: dict, **headers: str):
        body = urlencode({"form_token": self.token, **values}).encode()
        kind = {"content_type": "application/x-www-form-urlencoded", "origin": self.room.origin}
        return self.room.ask("POST", path, body, cookie=self.cookie, **(kind | headers))

    def api(self, path: str, values: dict, **headers: str):
        more = {"content_type": "application/json", "origin": self.room.origin, "x_form_token": self.token}
        found = self.room.ask(
            "POST", "/api/v1" + path, json.dumps(values).encode(), cookie=self.cookie, **(more | headers)
        )
        return found[0], json.loads(found[2]) if found[2].startswith("{") else found[2]


def cells_of(client: Client, reading: str) -> dict:
    return json.loads(client.get(f"/api/v1/readings/{reading}/cells")[2])


def picture_of(client: Client, path: str) -> np.ndarray:
    status, _, body = client.room.ask("GET", path, raw=True, cookie=client.cookie)
    assert status == 200, path
    return np.asarray(Image.open(io.BytesIO(body)).convert("RGB"))
