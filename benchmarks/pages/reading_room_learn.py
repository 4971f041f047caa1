"""What a hundred reviewed cells teach: `jtsc` analysed, corrected by a simulated reader, signed, adapted with `--from`.

    python -m benchmarks.pages.reading_room_learn [--data ../shared/data] [--model blood] [--reviewed 100]

`jtsc` states no patients: twenty photographs, drawn by a seed, stand for one. The reader calls the cell of each
photograph that the truth's box holds: its class, or where the truth is coarser ("neutrophil") the model's own finer
class if it fits, else the segmented one. All other cells stay unseen. All photographs are in the database, and those of
patients that nobody signed too: adapting looks at their cells without a label, as it would in a laboratory. The rest of
the set is judged at the truth's boxes, before and after; a call is right where it is the truth's class or one below it.
Minutes are of `adapt_from`, folds included, beside whatever else ran; processor minutes do not depend on that.

Writes benchmarks/results/reading_room_learn.csv.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from sqlalchemy import select

from benchmarks.harness import DATA, MODEL, Args, Rows, benchmark, option
from benchmarks.public_sets import import_public
from leukoscope.classify import classify
from leukoscope.dataset.manifest import Dataset, TruthField
from leukoscope.errors import InputError
from leukoscope.evaluate.patients import clustered_limits
from leukoscope.images import read_field
from leukoscope.models.bundle import find_model, part_of_model
from leukoscope.models.runtime import Session
from leukoscope.pipeline import analyze
from leukoscope.taxonomy import PARENTS
from leukoscope.train.adapt.site import allowed_classes
from leukoscope.types import Cells
from leukoscope.web.adapting import adapt_from
from leukoscope.web.cells import CellCache
from leukoscope.web.signing import signed_record
from leukoscope.web.store import accounts, closing, open_store, readings
from leukoscope.web.store import tables as t
from leukoscope.web.store.opening import open_run
from leukoscope.web.store.readings import Edit

A_PATIENT = 20


def main(args: Args) -> Rows:
    with tempfile.TemporaryDirectory() as work:
        dataset = import_public("jtsc", args.data, work)
        fields = [f for f in dataset.fields if f.cells]
        random.Random(0).shuffle(fields)
        reviewed, rest = fields[: args.reviewed], tuple(fields[args.reviewed :])
        db = review(dataset, fields, Path(work), args.model, n_reviewed=len(reviewed))
        start, spent = time.perf_counter(), time.process_time()
        try:
            found, kept = adapt_from(args.model, str(db), Path(work) / "ours"), True
        except InputError as error:
            print(error)
            found, kept = None, False
        minutes, spent = (time.perf_counter() - start) / 60, (time.process_time() - spent) / 60
        rows = judge(args.model, Path(work) / "ours" if kept else None, rest, dataset)
    if found is not None:
        for name, values in (("before", found.before), ("after", found.after), ("gain", found.gain)):
            named = dict(zip(("value", "low", "high"), (round(v, 4) for v in values), strict=True))
            rows.append({"measure": f"accuracy on patients left out, {name}", **named, "n": found.n_cells})
    load = {"n": args.reviewed, "load": round(os.getloadavg()[0], 1)}
    rows.append({"measure": "minutes", "value": round(minutes, 2), "threshold": "< 5", **load})
    rows.append({"measure": "processor minutes of all cores", "value": round(spent, 2), "threshold": "", **load})
    yield from [{"set": "jtsc"} | r for r in rows]
    return {"data_sha256": dataset.sha256()}


def review(dataset, fields: list, work: Path, model: str, *, n_reviewed: int) -> Path:
    """The database after a simulated reader signed the patients of the first `n_reviewed` photographs."""
    truth = {}
    for number, field in enumerate(fields):
        place = work / "pictures" / f"patient{number // A_PATIENT:02}"
        place.mkdir(parents=True, exist_ok=True)
        target = place / Path(field.file).name
        shutil.copy(dataset.path(field), target)
        truth[str(target)] = field.cells[0]
    record = analyze([work / "pictures"], work / "run", model=model)
    db, cache = work / "readings.db", CellCache()
    store = open_store(db)
    open_run(store, record)
    reader = accounts.reader_named(store, "simulated")
    with store.reading() as connection:
        patients = connection.execute(select(t.patient.c.id).order_by(t.patient.c.label)).scalars().all()
    for patient in patients[: -(-n_reviewed // A_PATIENT)]:
        reading = readings.find_reading(store, readings.begin_reading(store, patient, reader))
        with store.reading() as connection:
            cells = cache.get(connection, patient)
        for row, cell in enumerate(cells.ids.tolist()):
            known = truth[cells.fields[int(cells.field[row])].file]
            x, y = (known.box[0] + known.box[2]) / 2, (known.box[1] + known.box[3]) / 2
            x0, y0, x1, y1 = cells.boxes[row]
            if x0 <= x <= x1 and y0 <= y <= y1:
                call = as_called(cells.taxonomy.names, cells.taxonomy.names[int(cells.called[row])], known.class_name)
                readings.edit(store, reading.id, Edit("call", (cell,), f"op-{cell}", call=call), reader_id=reader)

        def make(connection, locked, cells=cells) -> dict:
            return signed_record(connection, cells, locked)

        closing.sign(store, reading.id, make, reader_id=reader, op="sign")
    store.close()
    return db


def as_called(names: tuple[str, ...], model: str, truth: str) -> str:
    """What the reader calls a cell of a truth that may be coarser than the model's classes."""
    if truth in names or fits(model, truth):
        return truth if truth in names else model
    return next(name for name in ("segmented_neutrophil", *names) if name in names and fits(name, truth))


def fits(called: str, truth: str) -> bool:
    while called != truth and called in PARENTS:
        called = PARENTS[called]
    return called == truth


def judge(model: str, adapted: Path | None, rest: tuple, dataset) -> list[dict]:
    """Accuracy on the photographs that nobody reviewed, before and after (the old model where none was kept)."""
    rows = []
    for name, which in (("before", model), ("after", adapted or model)):
        right = called_right(which, rest, replace(dataset, fields=rest))
        values = np.array([r for _, r in right], np.float64)
        clusters = np.array([photograph for (_, photograph), _ in right])
        low, high = clustered_limits(lambda r, v=values: float(v[r].mean()), clusters)
        limits = {"value": round(float(values.mean()), 4), "low": round(low, 4), "high": round(high, 4)}
        threshold = {"threshold": ">= 0.94"} if name == "after" else {}
        rows.append({"measure": f"accuracy on the rest, {name}", **limits, **threshold, "n": len(values)})
    return rows


def called_right(
    model: str | Path, fields: tuple[TruthField, ...], dataset: Dataset
) -> list[tuple[tuple[str, str], bool]]:
    """((patient, photograph), whether called right) of every cell, at the reviewed boxes."""
    session = Session(part_of_model(find_model(model), "classify"))
    shares = []
    for truth in fields:
        boxes = np.array([c.box for c in truth.cells], np.float32)
        field = read_field(dataset.path(truth), truth.key, um_per_px=truth.um_per_px)
        calls = classify(field, Cells(truth.key, boxes, np.ones(len(boxes))), session)
        allowed = allowed_classes(np.array([c.class_name for c in truth.cells]), calls.taxonomy)
        right = allowed[np.arange(len(boxes)), calls.class_ids()]
        shares += [
            ((truth.key.patient_id, truth.sha256), bool(r))
            for r, known in zip(right, allowed.any(1), strict=True)
            if known
        ]
    return shares


if __name__ == "__main__":
    benchmark(main, DATA, MODEL, option("--reviewed", type=int, default=100))
