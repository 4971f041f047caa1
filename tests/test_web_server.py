"""What the reading room lets in and what it does not: hosts, origins, tokens, blind readings, sizes, uploads."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytest.importorskip("fastapi", reason="the reading room is not installed: pip install '.[review]'")
from data.web_room import Client
from sqlalchemy import select

from leukoscope.web.store import tables as t


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
