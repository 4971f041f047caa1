"""Runs for the reading room's measurements: drawn cells, any number of them, and a database of very many patients."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

from sqlalchemy import func, insert, literal, select

from leukoscope.web.store import Store
from leukoscope.web.store import tables as t
from leukoscope.web.store.opening import new_key

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from data import make_record, make_room  # noqa: E402
from data.postgresql import cluster  # noqa: E402

__all__ = ["make_patient", "make_room", "multiply", "postgresql_cluster"]
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


def multiply(store: Store, n_patients: int) -> None:
    """Copy the patients of a database, with fields and cells, until there are `n_patients`: rows as `open_run` writes
    them, without reading a record of a million cells."""
    with store.writing() as connection:
        have = connection.execute(select(t.patient).order_by(t.patient.c.id)).all()
        for number in range(len(have), n_patients):
            source = have[number % len(have)]
            row = dict(source._mapping) | {"key": new_key(), "label": f"M-{number:05}", "share": random.random()}
            del row["id"]
            patient = connection.execute(insert(t.patient).values(row)).inserted_primary_key[0]
            first = connection.execute(select(func.max(t.field.c.id))).scalar() + 1
            lowest = connection.execute(
                select(func.min(t.field.c.id)).where(t.field.c.patient_id == source.id)
            ).scalar()
            _copy(connection, t.field, source.id, patient, {"id": t.field.c.id - lowest + first})
            cell = connection.execute(select(func.max(t.cell.c.id))).scalar() + 1
            low = connection.execute(select(func.min(t.cell.c.id)).where(t.cell.c.patient_id == source.id)).scalar()
            moved = {"id": t.cell.c.id - low + cell, "field_id": t.cell.c.field_id - lowest + first}
            _copy(connection, t.cell, source.id, patient, moved)


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
