"""What the reading room lets in and what it does not: hosts, origins, tokens, roles, blind readings, sizes, uploads."""

from __future__ import annotations

import http.client
import io
import json
import re
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import numpy as np
import pytest
from data import make_room
from PIL import Image

pytest.importorskip("fastapi", reason="the reading room is not installed: pip install '.[review]'")
from sqlalchemy import select  # noqa: E402

from leukoscope.errors import InputError  # noqa: E402
from leukoscope.taxonomy import BLOOD_12  # noqa: E402
from leukoscope.web.serve import Place, open_room  # noqa: E402
from leukoscope.web.settings import default_settings, read_settings, stored_settings  # noqa: E402
from leukoscope.web.store import accounts, open_store  # noqa: E402
from leukoscope.web.store import tables as t  # noqa: E402
from leukoscope.web.store.opening import open_run  # noqa: E402
from leukoscope.web.store.photographs import Photographs  # noqa: E402

PASSWORD = "a long enough password"


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """A server with accounts: Anna the admin, Ben and Cleo, readers; its origin and store."""
    folder = tmp_path_factory.mktemp("room")
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


def test_only_our_own_host_is_answered(room):
    port = urlsplit(room.origin).port
    for host in (
        "evil.example",
        f"evil.example:{port}",
        "127.0.0.1",
        "127.0.0.1:1",
        f"127.0.0.1:{port}.evil.example",
        "",
    ):
        assert room.ask("GET", "/sign-in", host=host)[0] in (400, 421), host
    assert room.ask("GET", "/sign-in")[0] == 200


def test_another_page_can_change_nothing(room):
    ben = room.client("Ben")
    path = f"/patients/{room.patients[0]}/readings"
    assert ben.api(path, {"kind": "first"})[0] == 200
    refused = (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "none"},
        {"x_form_token": ""},
        {"x_form_token": room.client("Anna").token},
    )
    for headers in refused:
        assert ben.api(path, {"kind": "first"}, **headers)[0] == 403, headers
    body = b'{"kind": "first"}'
    bare = {"content_type": "application/json", "x_form_token": ben.token, "cookie": ben.cookie}
    assert room.ask("POST", "/api/v1" + path, body, **bare)[0] == 403  # a cookie, and no word of where it comes from
    assert ben.post("/sign-out", {"form_token": "wrong"})[0] == 403


def test_pages_carry_a_strict_policy_and_no_names_in_addresses(room):
    ben = room.client("Ben")
    for path in ("/", f"/p/{room.patients[0]}", "/nowhere", "/static/room.css", "/api/v1/signed"):
        headers = {k.lower(): v for k, v in ben.get(path)[1].items()}
        policy = headers["content-security-policy"]
        assert "unsafe" not in policy and "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
    text = ben.get("/?state=all")[2]
    for label in room.labels:
        assert not any(label in address for address in re.findall(r'(?:href|action|src)="([^"]*)"', text))
    found = ben.post("/", {"search": room.labels[0][:3].lower(), "state": "all"})
    assert found[0] == 200 and found[2].count('class="open"') == 1
    assert ben.post("/", {"search": "%", "state": "all"})[2].count('class="open"') == 0  # a sign, not a wild card


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


def test_a_blind_reading_is_blind_by_every_way(room):
    ben, cleo = room.client("Ben"), room.client("Cleo")
    patient = room.patients[1]
    first = ben.api(f"/patients/{patient}/readings", {"kind": "first"})[1]["reading"]
    cells = json.loads(ben.get(f"/api/v1/readings/{first}/cells")[2])
    cell = cells["cells"][0][0]
    call = {"kind": "call", "op": "a", "cells": [cell], "call": "basophil", "expect": {str(cell): 0}}
    assert ben.api(f"/readings/{first}/events", call)[0] == 200
    second = cleo.api(f"/patients/{patient}/readings", {"kind": "second"})[1]["reading"]
    assert "basophil" not in json.dumps(json.loads(cleo.get(f"/api/v1/readings/{second}/cells")[2])["cells"])
    for path in (
        f"/r/{first}",
        f"/r/{first}/f/0",
        f"/r/{first}/c/{cell}",
        f"/r/{first}/sign",
        f"/api/v1/readings/{first}/cells",
    ):
        assert cleo.get(path)[0] == 403, path
        assert ben.get(path.replace(first, second))[0] == 403, path
    assert cleo.get(f"/p/{patient}/audit")[0] == 404
    assert "kappa" not in cleo.get(f"/p/{patient}/compare")[2]
    # Notes are of the reading that they were made in, and of what starts from it.
    note = {"kind": "note", "op": "n", "text": " Auer rods? ", "cell": cell}
    assert ben.api(f"/readings/{first}/notes", note)[0] == 200
    (noted,) = json.loads(ben.get(f"/api/v1/readings/{first}/notes")[2])["notes"]
    assert (noted["text"], noted["cell"], noted["reader"]) == ("Auer rods?", cell, "Ben")
    assert "Auer rods?" in ben.get(f"/r/{first}/c/{cell}")[2] and "Auer rods?" in ben.get(f"/r/{first}/notes")[2]
    assert json.loads(cleo.get(f"/api/v1/readings/{second}/notes")[2]) == {"notes": []}
    for path in (f"/api/v1/readings/{first}/notes", f"/r/{first}/notes"):
        assert cleo.get(path)[0] == 403, path
    for wrong in ({"text": " "}, {"cell": 10**9}, {"text": "x" * 2001}):
        assert ben.api(f"/readings/{first}/notes", note | {"op": "o"} | wrong)[0] == 422
    status, answer = cleo.api(f"/readings/{first}/events", call | {"op": "b"})
    assert status == 403


def test_a_conflict_says_what_stands(room):
    ben, anna = room.client("Ben"), room.client("Anna")
    reading = ben.api(f"/patients/{room.patients[0]}/readings", {})[1]["reading"]
    cell = json.loads(ben.get(f"/api/v1/readings/{reading}/cells")[2])["cells"][0][0]
    call = {"kind": "call", "op": "first", "cells": [cell], "call": "basophil", "expect": {str(cell): 0}}
    assert ben.api(f"/readings/{reading}/events", call)[0] == 200
    status, answer = anna.api(f"/readings/{reading}/events", call | {"op": "second", "call": "monocyte"})
    assert (
        status == 409
        and answer["cells"][str(cell)]["call"] == "basophil"
        and answer["cells"][str(cell)]["reader"] == "Ben"
    )


def test_what_was_signed_is_handed_over(room):
    """A laboratory system's way: what it has not got yet, as FHIR, then the mark; the page can mark too."""
    anna, patient = room.client("Anna"), room.patients[0]
    key = anna.api(f"/patients/{patient}/readings", {})[1]["reading"]
    cells = json.loads(anna.get(f"/api/v1/readings/{key}/cells")[2])["cells"]
    for number, cell in enumerate(cells):
        call = {"kind": "call", "op": f"hand-{number}", "cells": [cell[0]], "call": "monocyte"}
        assert anna.api(f"/readings/{key}/events", call)[0] == 200
    anna.api(f"/readings/{key}/notes", {"kind": "note", "op": "hand-n", "text": "clotted"})
    status, answer = anna.api(f"/readings/{key}/sign", {"op": "hand-sign"})
    assert status == 200, answer
    (waiting,) = json.loads(anna.get("/api/v1/signed?not_sent_to=LIS")[2])["signed"]
    path = f"/patients/{waiting['patient']}/signed/{waiting['version']}"
    status, headers, text = anna.get(f"/api/v1{path}.fhir")
    assert status == 200 and headers["content-type"] == "application/fhir+json"
    report = next(
        e["resource"] for e in json.loads(text)["entry"] if e["resource"]["resourceType"] == "DiagnosticReport"
    )
    assert report["status"] == "final"
    assert json.loads(anna.get(f"/api/v1{path}.json")[2])["notes"][0]["text"] == "clotted"
    page = path.replace("/patients/", "/p/")
    assert anna.post(page + "/sent", {"system": "LIS"})[0] == 303
    assert "LIS" in anna.get(page)[2] and "clotted" in anna.get(page)[2]
    assert json.loads(anna.get("/api/v1/signed?not_sent_to=LIS")[2])["signed"] == []
    assert anna.api(f"{path}/sent", {"system": "LIS"}) == (200, {"new": False})
    assert anna.get(f"/api/v1/patients/{patient}/signed/7.fhir")[0] == 404
    assert anna.post(f"/p/{patient}/signed/7/sent", {"system": "LIS"})[0] == 404


def test_odd_input_is_answered_with_a_line(room):
    ben = room.client("Ben")
    reading = ben.api(f"/patients/{room.patients[0]}/readings", {})[1]["reading"]
    good = {"kind": "call", "op": "x", "cells": [1], "call": "monocyte"}
    odd = (
        {"call": "mono\0cyte"},
        {"call": "\ud800"},
        {"cells": [2**70]},
        {"cells": list(range(1, 6000))},
        {"op": "a b"},
        {"box": [0, 0, float("nan"), 1], "kind": "move"},
        {"more": 1},
    )
    for change in odd:
        status, answer = ben.api(f"/readings/{reading}/events", good | change)
        assert status == 422, (change, answer)
    paths = (
        "/r/../../etc/passwd",
        "/p/%00",
        "/r/%0d%0aset-cookie:a=b",
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        f"/r/{reading}/sheet/-1.jpg",
        f"/r/{reading}/f/99",
        f"/r/{reading}/f/0/tile/3/0_0.jpg",
        f"/r/{reading}/cell/999999.jpg",
    )
    for path in paths:
        status, headers, _ = ben.get(path)
        assert status in (400, 404, 422), (path, status)
        assert "a=b" not in headers.get("set-cookie", "")
    assert room.ask("POST", "/api/v1/signed", b"", content_length="99999999999", origin=room.origin)[0] == 413


def _upload(reader: Client, reading: str, name: str, data: bytes) -> int:
    parts = [("form_token", None, reader.token.encode()), ("files", name, data)]
    body = b"".join(
        f'--b\r\ncontent-disposition: form-data; name="{field}"'.encode()
        + (f'; filename="{file}"\r\ncontent-type: image/png'.encode() if file else b"")
        + b"\r\n\r\n" + value + b"\r\n"
        for field, file, value in parts
    ) + b"--b--\r\n"  # fmt: skip
    room = reader.room
    kind = {"content_type": "multipart/form-data; boundary=b", "origin": room.origin, "cookie": reader.cookie}
    return room.ask("POST", f"/r/{reading}/photographs", body, **kind)[0]


def test_a_photograph_that_moved_comes_back_by_upload_and_nothing_else_does(room):
    ben = room.client("Ben")
    reading = ben.api(f"/patients/{room.patients[0]}/readings", {})[1]["reading"]
    with room.store.reading() as connection:
        fields = connection.execute(select(t.field).where(t.field.c.width.is_not(None)).order_by(t.field.c.id)).all()
    number = fields[-1].number if fields[-1].patient_id == fields[0].patient_id else 0
    field = fields[number]
    data = Path(field.file).read_bytes()
    assert "not where" not in ben.get(f"/r/{reading}")[2]
    Path(field.file).unlink()
    assert "not where" in ben.get(f"/r/{reading}")[2]
    assert ben.get(f"/r/{reading}/f/{number}/tile/1/0_0.jpg")[0] in (200, 404)  # perhaps still in memory
    assert _upload(ben, reading, "../../evil.png", b"not asked for") == 303
    assert _upload(ben, reading, "other.jpg", Path(fields[number + 1].file).read_bytes()) == 303
    assert not list(room.store.folder.glob("*"))
    assert _upload(ben, reading, "../renamed.jpg", data) == 303
    assert [p.name for p in room.store.folder.glob("*")] == [field.sha256 + ".jpg"]
    assert "not where" not in ben.get(f"/r/{reading}")[2]
    assert ben.get(f"/r/{reading}/f/{number}/tile/1/0_0.jpg")[0] == 200


def test_like_cells_come_with_their_pictures_and_no_open_reading(tmp_path):
    store = open_store(tmp_path / "readings.db")
    run = make_room.make_run(tmp_path / "run", n_patients=2, n_fields=6, n_cells=6)
    make_room.with_features(run)
    open_run(store, run)
    with make_room.served(store, default_reader=accounts.reader_named(store, "Anna")) as origin:
        room = Room(origin, store)
        anna, (mine, theirs) = room.client("Anna"), room.patients
        reading, other = (anna.api(f"/patients/{p}/readings", {})[1]["reading"] for p in (mine, theirs))
        cell = cells_of(anna, reading)["cells"][0][0]
        page = anna.get(f"/r/{reading}/c/{cell}?like=true")[2]
        assert len(re.search('data-like="([^"]*)"', page).group(1).split()) == 12
        found = [int(n) for n in re.findall(r'src="/like/(\d+)\.jpg"', page)]
        assert len(found) == 12 and set(found) <= {row[0] for row in cells_of(anna, other)["cells"]}
        assert f'href="/p/{theirs}#c{found[0]}"' in page and "as the model called" in page
        assert picture_of(anna, f"/like/{found[0]}.jpg").shape == (96, 96, 3)
        for wrong in (0, 10**6, 2**60):
            assert anna.get(f"/like/{wrong}.jpg")[0] == 404
        call = {"kind": "call", "op": "a", "cells": found, "call": "basophil"}
        assert anna.api(f"/readings/{other}/events", call)[0] == 200
        assert "basophil" not in anna.get(f"/r/{reading}/c/{cell}?like=true")[2]
        anna.api(f"/readings/{reading}/notes", {"kind": "mode", "op": "h", "hidden": True})
        hidden = anna.get(f"/r/{reading}/c/{cell}?like=true")[2]
        assert "not read yet" in hidden and "as the model called" not in hidden
    store.close()


def test_a_slide_is_shown_whole_and_by_region_and_each_cell_is_read_once(tmp_path):
    pytest.importorskip("openslide", reason="slides are not installed: pip install '.[slides]'")
    store = open_store(tmp_path / "readings.db")
    run = make_room.make_slide_run(tmp_path / "run", n_fields=5, n_cells=6)
    n_fields = len([f for f in json.loads((run / "record.json").read_text())["fields"] if f["status"] != "failed"])
    opened = open_run(store, run)
    assert opened.n_cells == 6 * n_fields - (n_fields - 1)
    with make_room.served(store, default_reader=accounts.reader_named(store, "Anna")) as origin:
        room = Room(origin, store)
        anna = room.client("Anna")
        reading = anna.api(f"/patients/{room.patients[0]}/readings", {})[1]["reading"]
        shown = [n for n, f in enumerate(cells_of(anna, reading)["fields"]) if f["status"] != "failed"]
        first, second = shown[:2]
        assert [len(f["elsewhere"]) for f in cells_of(anna, reading)["fields"] if f["status"] != "failed"] == [0] + [
            1
        ] * (n_fields - 1)
        page = anna.get(f"/r/{reading}/s/{first}")[2]
        slide = json.loads(re.search('id="slide">(.*?)</script>', page).group(1))
        assert slide["width"] == 1280 and len(slide["regions"]) == n_fields
        assert slide["regions"][str(second)][0] == [640, 0, 1280, 480]
        # The region's tile and the slide's show the same pixels.
        region = picture_of(anna, f"/r/{reading}/f/{second}/tile/1/0_0.jpg")
        whole = np.concatenate([picture_of(anna, f"/r/{reading}/s/{first}/tile/1/{x}_0.jpg") for x in (1, 2)], axis=1)
        assert np.abs(region[:480, :512].astype(int) - whole[:480, 128 : 128 + 512]).mean() < 4
        assert picture_of(anna, f"/r/{reading}/s/{first}/tile/4/0_0.jpg").shape[1] == 320
        for path in ("s/99", f"s/{first}/tile/1/9_9.jpg", f"s/{first}/tile/3/0_0.jpg", "s/99/tile/1/0_0.jpg"):
            assert anna.get(f"/r/{reading}/{path}")[0] == 404, path
        (run / "slide.tif").rename(tmp_path / "moved.tif")
        assert anna.get(f"/r/{reading}/s/{first}/tile/1/0_0.jpg")[0] == 404
        assert Photographs(store).take_folder(tmp_path) == n_fields
        assert anna.get(f"/r/{reading}/s/{first}/tile/1/0_0.jpg")[0] == 200
    store.close()


def cells_of(client: Client, reading: str) -> dict:
    return json.loads(client.get(f"/api/v1/readings/{reading}/cells")[2])


def picture_of(client: Client, path: str) -> np.ndarray:
    status, _, body = client.room.ask("GET", path, raw=True, cookie=client.cookie)
    assert status == 200, path
    return np.asarray(Image.open(io.BytesIO(body)).convert("RGB"))


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


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[sign]\nblasts = 'never'", "sign.blasts"),
        ("[sign]\nseen = 2", "sign.seen"),
        ("[sign]\nroles = ['chief']", "sign.roles"),
        ("[keys]\nmonocyte = 'mo'", "keys.monocyte"),
        ("[keys]\nmonocyte = 'z'", "keys.monocyte"),
        ("[costs]\nrows = [{truth = 'blasts', called = ['*'], cost = 1}]", "row 1"),
        ("[colours]\n", "colours"),
        ("x = ", "TOML"),
    ],
)
def test_wrong_settings_are_refused(text, words):
    with pytest.raises(InputError, match=words):
        read_settings(text)


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


def test_settings_give_every_class_a_key_and_missed_blasts_cost_most():
    settings = default_settings()
    keys = settings.keys_of(BLOOD_12)
    assert len(set(keys.values())) == len(keys) == len(BLOOD_12.names) + 2
    costs = settings.cost_matrix(BLOOD_12)
    blast, normal = BLOOD_12.index("lymphoblast"), BLOOD_12.index("lymphocyte")
    assert costs[blast, normal] == costs.max() > costs[normal, blast] > costs[normal, BLOOD_12.index("monocyte")]
    assert (costs.diagonal() == 0).all()
