"""What the reading room is asked to do: keys and waiting, big patients, long worklists, many readers, and the API under
fire. `reading_room_loss.py` kills it.

    python -m benchmarks.pages.reading_room keys|large|worklist|readers|fuzz [--data ../shared/data] [--quick]

keys      200 cells of `jtsc` (real photographs) as one patient, analysed with the bundled model; a scripted reader
          who knows the truth points at each wrong cell in headless Chromium and presses the class's key. A call is
          wrong where it is not the truth's class or one below it.
large     a drawn patient of 5,000 cells in headless Chromium: first paint, relabel round trips, memory of the page
worklist  2,000 patients with 500 cells each, half of them signed: server time of every page
readers   20 scripted readers, each at its own patient, a correction a second, 60 s, over HTTP; SQLite and PostgreSQL
fuzz      schemathesis against the API with an admin's token, and the lists of hostile hosts, origins and paths
          (needs: pip install schemathesis)

The server runs in a process of its own; both share the machine's cores with whatever else runs, whose load is written
down: a load far above the number of cores means that the waiting is for others' work. So a peer stands beside each
time: a static file over the same connection, a bare transaction on the same disk; and the server's processor time.
Writes benchmarks/results/reading_room_PART.csv.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import func, select

from benchmarks.harness import DATA, QUICK, Args, Rows, benchmark, option
from benchmarks.pages.reading_room_data import make_patient, multiply, postgresql_cluster, row, sign_all
from benchmarks.pages.reading_room_fuzz import fuzz
from benchmarks.provenance import ROOT
from benchmarks.public_sets import import_public
from leukoscope.pipeline import AnalyzeOptions, analyze
from leukoscope.taxonomy import PARENTS
from leukoscope.web.store import accounts, open_store
from leukoscope.web.store import tables as t
from leukoscope.web.store.events import verify
from leukoscope.web.store.opening import open_run

CHROMIUM = next((p for p in map(shutil.which, ("/usr/bin/chromium", "chromium", "google-chrome")) if p), None)
SERVER = """
import sys
sys.path.insert(0, {tests!r})
from data import make_room
from leukoscope.web.store import open_store
store = open_store({db!r})
with make_room.served(store, accounts={accounts}, default_reader={reader}) as origin:
    print(origin, flush=True)
    sys.stdin.read()
"""
CPU_OF: dict[str, int] = {}  # address -> the server's process
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"


@contextmanager
def server(db: str, *, with_accounts: bool = False, reader: int | None = None):
    """The address of a server in a process of its own."""
    code = SERVER.format(tests=str(ROOT / "tests"), db=db, accounts=with_accounts, reader=reader)
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        origin = process.stdout.readline().strip()
        CPU_OF[origin] = process.pid
        yield origin
    finally:
        process.stdin.close()
        process.wait(20)


@contextmanager
def page_of(origin: str):
    """A page of headless Chromium at 1440 px."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--enable-precise-memory-info"]
        )
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(origin + "/")
        yield page
        browser.close()


def keys(args: Args) -> list[dict]:
    """Keys for each corrected cell, and the time that the page made the reader wait."""
    n = 60 if args.quick else 200
    with tempfile.TemporaryDirectory() as work:
        dataset = import_public("jtsc", args.data, work)
        fields = sorted(dataset.fields, key=lambda f: f.file)
        random.Random(0).shuffle(fields)
        folder = Path(work) / "patient"
        folder.mkdir()
        truth = {}
        for field in fields[:n]:
            target = folder / Path(field.file).name
            shutil.copy(dataset.path(field), target)
            truth[str(target)] = field.cells[0]
        record = analyze([folder], Path(work) / "run", model="blood", options=AnalyzeOptions())
        store = open_store(Path(work) / "r.db")
        open_run(store, record)
        reader = accounts.reader_named(store, "script")
        wanted = _wanted(store, truth)
        store.close()
        with server(str(Path(work) / "r.db"), reader=reader) as origin, page_of(origin) as page:
            found = _read(page, origin, wanted)
        store = open_store(Path(work) / "r.db")
        right = _right_now(store, wanted)
        store.close()
    corrected = len(found["corrected"])
    return [
        row("keys a corrected cell", found["keys"] / max(1, corrected), "<= 1.3", n=len(wanted), corrected=corrected),
        row(
            "keys a right cell",
            found["other_keys"] / max(1, len(wanted) - corrected),
            "<= 0",
            n=len(wanted) - corrected,
        ),
        row("keys to confirm the blasts, for signing", found["confirm_keys"], ""),
        row("seconds of waiting in all", found["waiting"], "<= 20", n=len(wanted)),
        row("cells that are right afterwards", right, f">= {len(wanted)}"),
    ]


def _wanted(store, truth: dict) -> dict[int, str]:
    """Cell id -> the class to be called, for the cell of each photograph that its truth's box holds."""
    wanted = {}
    with store.reading() as connection:
        cells = connection.execute(select(t.cell, t.field.c.file).join_from(t.cell, t.field)).all()
    for file, cell in truth.items():
        x, y = (cell.box[0] + cell.box[2]) / 2, (cell.box[1] + cell.box[3]) / 2
        near = [c for c in cells if c.file == file and c.x0 <= x <= c.x1 and c.y0 <= y <= c.y1]
        if near:
            wanted[near[0].id] = cell.class_name
    return wanted


def _fits(called: str, truth: str) -> bool:
    while called != truth and called in PARENTS:
        called = PARENTS[called]
    return called == truth


def _read(page, origin: str, wanted: dict[int, str]) -> dict:
    """Point at wrong cells and press keys; nothing is pressed for right ones."""
    start = time.perf_counter()
    page.goto(origin + page.locator("a.open").first.get_attribute("href"))
    page.wait_for_selector(".tile")
    waiting = time.perf_counter() - start
    data = json.loads(page.locator("#data").text_content())
    names = [c["name"] for c in data["classes"]]
    key_of = {c["name"]: c["key"] for c in data["classes"]}
    said = {cell[0]: names[cell[2]] for cell in data["cells"]}
    corrected, pressed, other = [], 0, 0
    for cell, truth in wanted.items():
        if _fits(said[cell], truth):
            continue
        call = truth if truth in key_of else next(name for name in names if _fits(name, truth))
        tile = page.locator(f"#c{cell}")
        tile.scroll_into_view_if_needed()
        tile.hover()
        start = time.perf_counter()
        page.keyboard.press(key_of[call])
        pressed += 1
        page.wait_for_selector(f"#c{cell}.read", state="attached")
        waiting += time.perf_counter() - start
        corrected.append(cell)
    start = time.perf_counter()
    page.wait_for_selector("#saved:text-is('saved')")
    waiting += time.perf_counter() - start
    confirm = 0
    blasts = page.locator("#gallery > section:has([id$=blast]) .tile:not(.read)")
    if blasts.count():
        blasts.first.hover()
        page.keyboard.press("Shift+Space")
        confirm = 1
        start = time.perf_counter()
        page.wait_for_selector("#saved:text-is('saved')")
        waiting += time.perf_counter() - start
    return {"corrected": corrected, "keys": pressed, "other_keys": other, "confirm_keys": confirm, "waiting": waiting}


def _right_now(store, wanted: dict[int, str]) -> int:
    with store.reading() as connection:
        calls = dict(connection.execute(select(t.now.c.cell_id, t.now.c.call)).all())
        called = dict(connection.execute(select(t.cell.c.id, t.cell.c.called)).all())
        provenance = json.loads(connection.execute(select(t.run.c.provenance)).scalars().first())
    names = provenance["taxonomy"]["names"]
    return sum(_fits(calls.get(cell) or names[called[cell]], truth) for cell, truth in wanted.items())


def large(args: Args) -> list[dict]:
    """A patient of 5,000 cells."""
    n, presses = (1000, 40) if args.quick else (5000, 100)
    with tempfile.TemporaryDirectory() as work:
        store = open_store(Path(work) / "r.db")
        open_run(store, make_patient(Path(work) / "run", n_cells=n))
        reader = accounts.reader_named(store, "script")
        store.close()
        with server(str(Path(work) / "r.db"), reader=reader) as origin, page_of(origin) as page:
            href = page.locator("a.open").first.get_attribute("href")
            page.goto(origin + href)
            page.wait_for_selector(".tile")
            paints = []
            for _ in range(5):
                page.reload()
                page.wait_for_selector(".tile")
                page.wait_for_timeout(300)
                paints.append(page.evaluate(PAINT))
            spent = cpu_ms(origin)
            times = _round_trips(page, presses)
            spent = (cpu_ms(origin) - spent) / presses
            peers = {"empty page": _static_trips(page, presses), "bare transaction": _bare_commits(Path(work), presses)}
            session = page.context.new_cdp_session(page)
            session.send("HeapProfiler.collectGarbage")
            heap = session.send("Runtime.getHeapUsage")
            whole = _renderer_mb()
    times.sort()
    return [
        row("gallery first paint, ms", statistics.median(paints), "<= 1000", n=n),
        row("relabel round trip, median ms", statistics.median(times), "<= 30", n=presses),
        row("relabel round trip, 95th percentile ms", times[int(0.95 * len(times))], "<= 80", n=presses),
        *(
            row(f"{name} beside it, {what} ms", value, "", n=presses)
            for name, some in peers.items()
            for what, value in (("median", statistics.median(some)), ("95th percentile", some[int(0.95 * presses)]))
        ),
        row("server's processor time for a relabel, pages' other requests included, ms", spent, "", n=presses),
        row("memory of the page's process, MB", whole, "<= 300", n=n, js_heap_mb=round(heap["usedSize"] / 1e6, 1)),
    ]


def _round_trips(page, presses: int) -> list[float]:
    """From a key to the server's answer, as the page's own network entries have it, in ms."""
    page.locator(".tile").first.hover()
    for number in range(presses):
        page.keyboard.press("ml"[number % 2])
        page.wait_for_selector("#saved:text-is('saved')")
    return page.evaluate(
        "performance.getEntriesByType('resource').filter((e) => e.name.endsWith('/events')).map((e) => e.duration)"
    )


def _static_trips(page, n: int) -> list[float]:
    """What the same page waits for a static file: the least that a request costs here and now; sorted, in ms."""
    found = page.evaluate(
        """async (n) => {
          const times = [];
          for (let i = 0; i < n; i += 1) {
            const start = performance.now();
            await (await fetch("/static/icon.svg", { cache: "no-store" })).text();
            times.push(performance.now() - start);
            await new Promise((go) => setTimeout(go, 20));
          }
          return times;
        }""",
        n,
    )
    return sorted(found)


def _bare_commits(folder: Path, n: int) -> list[float]:
    """One row inserted and synced, and nothing else: the least that a durable answer costs; sorted, in ms."""
    connection = sqlite3.connect(folder / "bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE line (text TEXT)")
    times = []
    for _ in range(n):
        start = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO line VALUES (?)", ("x" * 300,))
        connection.execute("COMMIT")
        times.append(1000 * (time.perf_counter() - start))
        time.sleep(0.02)
    connection.close()
    return sorted(times)


def cpu_ms(origin: str) -> float:
    """Processor time that a server has used: it does not grow while others have the processor."""
    fields = Path(f"/proc/{CPU_OF[origin]}/stat").read_text().rsplit(")", 1)[1].split()
    return 1000 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _renderer_mb() -> float:
    """Proportional memory of the largest renderer process."""
    most = 0.0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"--type=renderer" in (folder / "cmdline").read_bytes():
                text = (folder / "smaps_rollup").read_text()
                most = max(most, next(int(x.split()[1]) for x in text.splitlines() if x.startswith("Pss:")) / 1000)
        except (OSError, StopIteration):
            continue
    return most


def long_worklist(args: Args) -> list[dict]:
    """2,000 patients, 1 million cells, every other patient read and signed."""
    n_patients, repeats = (200, 10) if args.quick else (2000, 40)
    with tempfile.TemporaryDirectory() as work:
        store = open_store(Path(work) / "r.db")
        open_run(store, make_patient(Path(work) / "run", n_cells=500, n_patients=20))
        sign_all(store, lambda place: place % 2 == 1)
        multiply(store, n_patients)
        reader = accounts.reader_named(store, "script")
        with store.reading() as connection:
            n_cells = connection.execute(select(func.count()).select_from(t.cell)).scalar()
            patients = connection.execute(select(t.patient.c.key, t.patient.c.state)).all()
        store.close()
        with server(str(Path(work) / "r.db"), reader=reader) as origin:
            found = _page_times(origin, [tuple(p) for p in patients], repeats)
    rows, (peer, _) = [], found.pop(PEER)
    for name, (times, spent) in found.items():
        times.sort()
        p95, more = times[int(0.95 * len(times))], {"n": len(times), "cells": n_cells}
        more |= {"median": round(statistics.median(times), 1), "cpu_ms": round(spent / len(times), 1)}
        more["peer_median"] = round(statistics.median(peer), 1)
        rows.append(row(f"{name}: server time, 95th percentile ms", p95, "<= 150", **more))
    return rows


PEER = "a static file"


def _page_times(origin: str, patients: list[tuple[str, str]], repeats: int) -> dict[str, tuple[list[float], float]]:
    """Server time of each kind of page, another patient each time, and the processor time of all of them."""
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    text = opener.open(origin + "/").read().decode()
    token = text.split('data-token="')[1].split('"')[0]
    rng = random.Random(0)
    found: dict[str, tuple[list[float], float]] = {}

    def timed(name: str, path: str, body: bytes | None = None) -> str:
        request = urllib.request.Request(origin + path, body, {"origin": origin} if body else {})
        before = cpu_ms(origin)
        with opener.open(request) as answer:
            answer.read()
            times, spent = found.get(name, ([], 0.0))
            times.append(float(answer.headers["server-timing"].split("dur=")[1]))
            found[name] = (times, spent + cpu_ms(origin) - before)
            return answer.geturl()

    new, signed = ([key for key, state in patients if (state == "signed") == wanted] for wanted in (False, True))
    for _ in range(repeats):
        page, done = rng.randrange(1, max(2, len(patients) // 100)), rng.choice(signed)
        url = timed("cells, opened first", f"/p/{rng.choice(new)}")
        reading = url.removeprefix(origin)
        search = f"form_token={token}&state=all&search={rng.randrange(100)}".encode()
        pages = {
            PEER: ("/static/icon.svg", None),
            "worklist": ("/", None),
            "worklist by blasts": (f"/?state=all&sort=blasts&page={page}", None),
            "worklist by change": (f"/?state=all&sort=changed&page={page}", None),
            "search": ("/", search),
            "cells": (reading, None),
            "field": (reading + "/f/1", None),
            "sign": (reading + "/sign", None),
            "signed record": (f"/p/{done}/signed/1", None),
            "audit trail": (f"/p/{done}/audit", None),
            "learn": ("/learn", None),
            "admin": ("/admin", None),
            "contact sheet, made anew": (reading + "/sheet/0.jpg", None),
        }
        for name, (path, body) in pages.items():
            timed(name, path, body)
    return found


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


# What each part ran on, whole and --quick.
SETS = {
    "keys": ("200 cells of jtsc by a script", "60 cells of jtsc by a script"),
    "large": ("drawn patient of 5,000 cells", "drawn patient of 1,000 cells"),
    "worklist": ("2,000 patients, 1,000,000 cells", "200 patients, 100,000 cells"),
    "readers": ("20 readers, 60 s", "20 readers, 10 s"),
    "fuzz": ("API, 700 examples an operation", "API, 60 examples an operation"),
}
PARTS = {"keys": keys, "large": large, "worklist": long_worklist, "readers": many_readers, "fuzz": fuzz}


def main(args: Args) -> Rows:
    rows = [{"set": SETS[args.part][args.quick]} | one for one in PARTS[args.part](args)]
    yield from ((f"reading_room_{args.part}", row) for row in rows)
    return {"size": "quick" if args.quick else "whole"}


if __name__ == "__main__":
    benchmark(main, option("part", choices=PARTS), DATA, QUICK)
