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

import statistics
import tempfile
from pathlib import Path

from sqlalchemy import func, select

from benchmarks.harness import DATA, QUICK, Args, Rows, benchmark, option
from benchmarks.pages.reading_room_data import make_patient, multiply, row, sign_all
from benchmarks.pages.reading_room_fuzz import fuzz
from benchmarks.pages.reading_room_keys import keys, large
from benchmarks.pages.reading_room_readers import many_readers
from benchmarks.pages.reading_room_server import PEER, page_times, server
from leukoscope.web.store import accounts, open_store
from leukoscope.web.store import tables as t
from leukoscope.web.store.opening import open_run


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
            found = page_times(origin, [tuple(p) for p in patients], repeats)
    rows, (peer, _) = [], found.pop(PEER)
    for name, (times, spent) in found.items():
        times.sort()
        p95, more = times[int(0.95 * len(times))], {"n": len(times), "cells": n_cells}
        more |= {"median": round(statistics.median(times), 1), "cpu_ms": round(spent / len(times), 1)}
        more["peer_median"] = round(statistics.median(peer), 1)
        rows.append(row(f"{name}: server time, 95th percentile ms", p95, "<= 150", **more))
    return rows


# Each part: what measures it, and what it runs on, whole and --quick.
PARTS = {
    "keys": (keys, "200 cells of jtsc by a script", "60 cells of jtsc by a script"),
    "large": (large, "drawn patient of 5,000 cells", "drawn patient of 1,000 cells"),
    "worklist": (long_worklist, "2,000 patients, 1,000,000 cells", "200 patients, 100,000 cells"),
    "readers": (many_readers, "20 readers, 60 s", "20 readers, 10 s"),
    "fuzz": (fuzz, "API, 700 examples an operation", "API, 60 examples an operation"),
}


def main(args: Args) -> Rows:
    measure, *sets = PARTS[args.part]
    for one in measure(args):
        yield f"reading_room_{args.part}", {"set": sets[args.quick]} | one
    return {"size": "quick" if args.quick else "whole"}


if __name__ == "__main__":
    benchmark(main, option("part", choices=PARTS), DATA, QUICK)
