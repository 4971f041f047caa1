"""What readers corrected, as a data set: the cells that were seen in signed readings, with the class that stands."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from sqlalchemy import Connection, select

from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField, write_dataset
from leukoscope.errors import DataError
from leukoscope.types import FieldKey
from leukoscope.web.store import Store
from leukoscope.web.store import tables as t
from leukoscope.web.store.photographs import Photographs

NAME = "reading-room"


def newest_signed(connection: Connection) -> list[tuple[object, dict]]:
    """(patient, signed record) of the newest signed version of each patient."""
    rows = connection.execute(
        select(t.signed.c.record, t.patient).join_from(t.signed, t.patient).order_by(t.signed.c.version)
    )
    newest = {row.id: row for row in rows}
    return [(row, json.loads(row.record)) for row in newest.values()]


def reviewed_summary(connection: Connection) -> dict:
    """Reviewed cells of signed patients: in all, corrected and added ones, by class, by patient."""
    classes, corrected, n_patients = Counter(), Counter(), 0
    for _, record in newest_signed(connection):
        n_patients += 1
        for cell in record["cells"]:
            if cell["seen"] and cell["class"] is not None:
                classes[cell["class"]] += 1
                corrected[cell["class"]] += cell["class"] != cell["model"]
    rows = [{"class": name, "n": n, "corrected": corrected[name]} for name, n in classes.most_common()]
    return {"n_patients": n_patients, "n_cells": sum(classes.values()), "rows": rows}


def export_reviewed(store: Store, out: str | Path, *, every_cell: bool = False) -> dict:
    """Write a manifest data set (docs/format.md) of the signed patients into folder `out`.

    every_cell  also cells that no reader saw, as the model called them; else those are cells of unstated type
    Fields whose photograph is not at hand are left out, and counted in the answer: n_fields, n_cells, n_typed,
    n_missing. Patients keep their ids, so that a split or a hold-out goes by patient. DataError where nothing is left.
    """
    photographs, fields, missing = Photographs(store), [], 0
    with store.reading() as connection:
        signed = newest_signed(connection)
        rows = {
            patient.id: connection.execute(
                select(t.field, t.run.c.folder)
                .join_from(t.field, t.patient)
                .join(t.run)
                .where(t.field.c.patient_id == patient.id, t.field.c.width.is_not(None))
                .order_by(t.field.c.number)
            ).all()
            for patient, _ in signed
        }
    for patient, record in signed:
        by_file: dict[str, list[dict]] = {}
        for cell in record["cells"]:
            by_file.setdefault(cell["file"], []).append(cell)
        for field in rows[patient.id]:
            place = photographs.find(field, field.folder)
            if place is None:
                missing += 1
                continue
            cells = tuple(_truth(c, every_cell=every_cell) for c in by_file.get(field.file, ()) if _is_cell(c))
            key = FieldKey(
                f"{patient.key}-{field.number}", field.smear, patient.label, patient.center, patient.specimen
            )
            # The path is absolute: `write_dataset` then refers to it from the root.
            file = str(place.resolve()).lstrip("/")
            fields.append(
                TruthField(key, file, field.sha256, field.width, field.height, cells, um_per_px=field.um_per_px)
            )
    if not fields:
        raise DataError(
            "no signed patient with a photograph at hand: sign some first, or say where the photographs are"
        )
    dataset = Dataset(NAME, Path("/"), tuple(fields), "the laboratory's own", "", "reading room")
    write_dataset(dataset, out)
    cells = [c for f in fields for c in f.cells]
    typed = sum(c.class_name is not None for c in cells)
    return {"n_fields": len(fields), "n_cells": len(cells), "n_typed": typed, "n_missing": missing}


def _is_cell(cell: dict) -> bool:
    """What stands as a cell: not what a reader called no cell."""
    return cell["call"] != "not_a_cell"


def _truth(cell: dict, *, every_cell: bool) -> TruthCell:
    known = cell["seen"] or cell["call"] is not None or every_cell
    name = cell["class"] if known else None
    return TruthCell(tuple(cell["box"]), name, name or "")
