"""Twenty readers at once: what they wait for, and whether everything acknowledged is kept."""

from __future__ import annotations

import http.client
import json
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import select

from benchmarks.harness import Args
from benchmarks.pages.reading_room_data import make_patient, postgresql_cluster, row
from benchmarks.pages.reading_room_server import cpu_ms, server
from leukoscope.web.store import accounts, open_store
from leukoscope.web.store import tables as t
from leukoscope.web.store.events import verify
from leukoscope.web.store.opening import open_run


def many_readers(args: Args) -> list[dict]:
    """20 scripted readers at once, on each database."""
    seconds, rows = 10 if args.quick else 60, []
    with tempfile.TemporaryDirectory() as work:
        run = make_patient(Path(work) / "run", n_cells=200, n_patients=20)
        rows += _storm(str(Path(work) / "r.db"), run, seconds, "SQLite")
        with postgresql_cluster() as url:
            rows += _storm(url, run, seconds, "PostgreSQL")
    return rows


def _storm(db: str, run: Path, seconds: float, name: str) -> list[dict]:
    store = open_store(db)
    open_run(store, run)
    people = [
        accounts.add_reader(store, f"reader {n}", role="admin", password="a long enough password") for n in range(20)
    ]
    tokens = [accounts.begin_session(store, person, kind="token") for person in people]
    with store.reading() as connection:
        patients = connection.execute(select(t.patient.c.key).order_by(t.patient.c.id)).scalars().all()
    out = Storm([], [], [], [])
    with server(db, with_accounts=True) as origin:
        stop = time.perf_counter() + seconds
        threads = [
            threading.Thread(target=_reader, args=(origin, token, patient, stop, out))
            for token, patient in zip(tokens, patients, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        spent = cpu_ms(origin)
    with store.reading() as connection:
        logged = connection.execute(
            select(t.reading.c.key, t.event.c.op).join_from(t.event, t.reading).where(t.event.c.kind == "call")
        ).all()
        broken = sum(verify(connection, r) is not None for r in connection.execute(select(t.reading.c.id)).scalars())
    store.close()
    logged = [tuple(x) for x in logged]
    lost, twice = len(set(out.acknowledged) - set(logged)), len(logged) - len(set(logged))
    n, some = len(out.acknowledged), {"seconds": seconds}
    rows = [
        row(f"{name}: corrections lost", lost, "<= 0", n=n, **some),
        row(f"{name}: corrections twice, or chains broken", twice + broken, "<= 0", n=len(logged), **some),
        row(f"{name}: server errors", len(out.errors), "<= 0", n=n, **some),
    ]
    some |= {"cpu_ms": round(spent / max(1, n), 1)}
    for measure, times in (("correction", out.times), ("static file between", out.peers)):
        times.sort()
        more = some | {"median": round(statistics.median(times), 1), "n": len(times)}
        threshold = "<= 250" if measure == "correction" else ""
        rows.append(row(f"{name}: {measure}, 95th percentile ms", times[int(0.95 * len(times))], threshold, **more))
    return rows


@dataclass(frozen=True, slots=True)
class Storm:
    """What readers saw: operations that were acknowledged, ms of them and of a static file, and errors."""

    acknowledged: list[tuple[str, str]]
    times: list[float]
    peers: list[float]
    errors: list[str]


def _reader(origin: str, token: str, patient: str, stop: float, out: Storm) -> None:
    """One reader who corrects a cell, thinks for a second, and corrects the next; a static file between the two."""

    connection = http.client.HTTPConnection(urlsplit(origin).netloc, timeout=60)  # kept, as a browser keeps it

    def ask(path: str, body: dict | None = None) -> dict:
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        connection.request("GET" if body is None else "POST", path, data, headers)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {text[:200]!r}")
        return json.loads(text) if path.startswith("/api") else {}

    try:
        reading = ask(f"/api/v1/patients/{patient}/readings", {})["reading"]
        cells = [cell[0] for cell in ask(f"/api/v1/readings/{reading}/cells")["cells"]]
        seen, number = {}, 0
        while time.perf_counter() < stop:
            cell, op = cells[number % len(cells)], f"op-{number}"
            call = ("monocyte", "lymphocyte", "eosinophil")[(number // len(cells)) % 3]
            body = {"kind": "call", "op": op, "cells": [cell], "call": call, "expect": {cell: seen.get(cell, 0)}}
            start = time.perf_counter()
            seen[cell] = ask(f"/api/v1/readings/{reading}/events", body)["cells"][0]["seq"]
            out.times.append(1000 * (time.perf_counter() - start))
            out.acknowledged.append((reading, op))
            number += 1
            time.sleep(0.5)
            start = time.perf_counter()
            ask("/static/icon.svg")
            out.peers.append(1000 * (time.perf_counter() - start))
            time.sleep(0.5)
    except Exception as error:
        out.errors.append(repr(error))
