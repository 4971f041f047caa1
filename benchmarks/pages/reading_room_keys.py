"""Readers at the keyboard: the differential of real cells, and single keys on a large patient."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

from sqlalchemy import select

from benchmarks.harness import Args
from benchmarks.pages.reading_room_data import make_patient, row
from benchmarks.pages.reading_room_server import PAINT, cpu_ms, page_of, server
from benchmarks.public_sets import import_public
from leukoscope.pipeline import AnalyzeOptions, analyze
from leukoscope.taxonomy import PARENTS
from leukoscope.web.store import accounts, open_store
from leukoscope.web.store import tables as t
from leukoscope.web.store.opening import open_run


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
