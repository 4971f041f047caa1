"""Runs for the reading room's measurements: drawn cells, any number of them, and a database of very many patients."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

from data import make_record, make_room
from data.postgresql import cluster
from sqlalchemy import func, insert, literal, select

from leukoscope.web.cells import CellCache
from leukoscope.web.signing import signed_record
from leukoscope.web.store import Store, accounts, closing, readings
from leukoscope.web.store import tables as t
from leukoscope.web.store.opening import new_key
from leukoscope.web.store.readings import Edit

__all__ = ["make_patient", "make_room", "multiply", "postgresql_cluster", "row", "sign_all"]
POOL = 60  # drawn cells that all thumbnails are taken from


def make_patient(folder: Path, *, n_cells: int, a_field: int = 20, n_patients: int = 1, seed: int = 1) -> Path:
    """A run of patients with `n_cells` cells each: its pictures and thumbnails are a small pool, used again."""
    pool = make_room.make_run(folder / "pool", n_patients=1, n_fields=6, n_cells=POOL // 6, seed=seed)
    record = json.loads((pool / "record.json").read_text("utf-8"))
    fields = [f for f in record["fields"] if f["status"] != "failed"]
    thumbs = [json.loads(line) for line in open(pool / ".work" / "thumbs.jsonl", encoding="utf-8")]
    jpegs = {(x["field"], x["cell"]): x["jpeg"] for x in thumbs}
    rng = random.Random(seed)
    work = folder / ".work"
    work.mkdir(parents=True, exist_ok=True)
    out_fields, patients = [], []
    with open(work / "thumbs.jsonl", "w", encoding="ascii") as out:
        for patient in range(n_patients):
            who = {"patient_id": f"N-{patient:05}", "smear_id": "S1", "center": "drawn"}
            patients.append(who)
            for _ in range(-(-n_cells // a_field)):
                base = rng.choice(fields)
                source = record["fields"].index(base)
                picks = [rng.randrange(len(base["cells"])) for _ in range(a_field)]
                number = len(out_fields)
                for cell, pick in enumerate(picks):
                    line = {"field": number, "cell": cell, "jpeg": jpegs[source, pick]}
                    out.write(json.dumps(line, separators=(",", ":")) + "\n")
                out_fields.append(base | who | {"cells": [base["cells"][p] for p in picks]})
    whole = make_record.record_of(patients, out_fields, make_record.BLOOD_13)
    (folder / "record.json").write_text(json.dumps(whole), "utf-8")
    return folder


def sign_all(store: Store, labels: Callable[[int], bool]) -> None:
    """A reader reads every cell of the patients whose place in the list `labels` chooses, and signs."""
    reader, cache = accounts.reader_named(store, "signer"), CellCache()
    with store.reading() as connection:
        patients = connection.execute(select(t.patient.c.id).order_by(t.patient.c.id)).scalars().all()
    for place, patient in enumerate(patients):
        if not labels(place):
            continue
        reading = readings.find_reading(store, readings.begin_reading(store, patient, reader))
        with store.reading() as connection:
            cells = cache.get(connection, patient)
        for start in range(0, len(cells.ids), 5):
            some = tuple(cells.ids[start : start + 5].tolist())
            readings.edit(store, reading.id, Edit("call", some, f"op-{start}", call="monocyte"), reader_id=reader)

        def make(connection, locked, cells=cells) -> dict:
            return signed_record(connection, cells, locked)

        closing.sign(store, reading.id, make, reader_id=reader, op="sign")


def multiply(store: Store, n_patients: int) -> None:
    """Copy the patients of a database, with fields, cells, readings and what was signed, until there are `n_patients`:
    rows as the store writes them, without reading a record of a million cells."""
    with store.writing() as connection:
        have = connection.execute(select(t.patient).order_by(t.patient.c.id)).all()
        for number in range(len(have), n_patients):
            source = have[number % len(have)]
            row = dict(source._mapping) | {"key": new_key(), "label": f"M-{number:05}", "share": random.random()}
            del row["id"]
            patient = connection.execute(insert(t.patient).values(row)).inserted_primary_key[0]
            moves = {name: _shift(connection, getattr(t, name), source.id) for name in ("field", "cell", "reading")}
            _copy(connection, t.field, source.id, patient, {"id": moves["field"](t.field.c.id)})
            moved = {"id": moves["cell"](t.cell.c.id), "field_id": moves["field"](t.cell.c.field_id)}
            _copy(connection, t.cell, source.id, patient, moved)
            key = literal(new_key())
            _copy(connection, t.reading, source.id, patient, {"id": moves["reading"](t.reading.c.id), "key": key})
            for table in (t.event, t.now, t.step):
                _copy_of_reading(connection, table, source.id, moves)
            signed = {"id": _shift(connection, t.signed, source.id)(t.signed.c.id)}
            signed["reading_id"] = moves["reading"](t.signed.c.reading_id)
            taught = {"signed_id": _shift(connection, t.signed, source.id)(t.taught.c.signed_id)}
            _copy(connection, t.signed, source.id, patient, signed)
            _copy(connection, t.taught, source.id, patient, taught)


def _shift(connection, table, source: int) -> Callable:
    """What an id of one patient's rows becomes in the copy: as far above all that are there."""
    lowest = connection.execute(select(func.min(table.c.id)).where(table.c.patient_id == source)).scalar() or 0
    first = (connection.execute(select(func.max(table.c.id))).scalar() or 0) + 1
    return lambda column: column - lowest + first


def _copy_of_reading(connection, table, source: int, moves: dict) -> None:
    changed = {"reading_id": moves["reading"](table.c.reading_id)}
    if "cell_id" in table.c:
        changed["cell_id"] = moves["cell"](table.c.cell_id)
    columns = [c.name for c in table.columns if c.name != "id"]
    of = select(t.reading.c.id).where(t.reading.c.patient_id == source)
    values = select(*(changed.get(name, table.c[name]).label(name) for name in columns))
    connection.execute(insert(table).from_select(columns, values.where(table.c.reading_id.in_(of))))


def _copy(connection, table, source: int, patient: int, changed: dict) -> None:
    changed = changed | {"patient_id": literal(patient)}
    columns = [c.name for c in table.columns]
    values = select(*(changed.get(name, table.c[name]).label(name) for name in columns)).where(
        table.c.patient_id == source
    )
    connection.execute(insert(table).from_select(columns, values))


def postgresql_cluster():
    """A throw-away PostgreSQL that keeps what it acknowledged (fsync on)."""
    return cluster("")


def row(measure: str, value: float, threshold: str, **more: object) -> dict:
    """One row of the results, with the machine's load and, on a shared one, this run's priority (0: none)."""
    group = Path("/proc/self/autogroup")
    return {
        "measure": measure,
        "value": round(value, 4),
        "threshold": threshold,
        "load": round(os.getloadavg()[0], 1),
        "priority": int(group.read_text().split()[-1]) if group.is_file() else 0,
        **more,
    }
