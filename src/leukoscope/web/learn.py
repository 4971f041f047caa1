"""What readers corrected, as a data set: the cells that were seen in signed readings, with the class that stands."""

import hashlib
import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image
from sqlalchemy import Connection, select

from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField, write_dataset
from leukoscope.errors import DataError
from leukoscope.files import write_bytes
from leukoscope.types import FieldKey
from leukoscope.web.pictures import read_pixels
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
    """Reviewed cells of the newest signed version of each patient: in all, corrected and added ones, by class."""
    newest = dict(
        connection.execute(select(t.taught.c.patient_id, t.taught.c.counts).order_by(t.taught.c.version)).all()
    )
    classes, corrected = Counter(), Counter()
    for text in newest.values():
        for name, (n, n_corrected) in json.loads(text).items():
            classes[name] += n
            corrected[name] += n_corrected
    rows = [{"class": name, "n": n, "corrected": corrected[name]} for name, n in classes.most_common()]
    return {"n_patients": len(newest), "n_cells": sum(classes.values()), "rows": rows}


def export_reviewed(
    store: Store,
    out: str | Path,
    *,
    signed: bool = True,
    looked_through: bool = False,
    most: int | None = None,
    seed: int = 0,
) -> dict:
    """Write a manifest data set (docs/format.md) of the signed patients into folder `out`.

    Cells that no reader saw are of unstated type, and so are those that a field shows and another counts.
    signed          False: the patients that are not signed instead, as the model found them, no type stated
    looked_through  only fields that a reader opened and all of whose cells were seen: there the boxes are known to be
                    all that there are
    most            about so many cells, of whole patients drawn by `seed`; None: all
    A field that is a page or a region of a file is written as a picture of its own, below `out`. Fields whose
    photograph is not at hand are left out, and counted in the answer: n_fields, n_cells, n_typed, n_missing. Patients
    keep their ids, so that a split or a hold-out goes by patient. DataError where nothing is left.
    """
    photographs, fields, missing, n_cells = Photographs(store), [], 0, 0
    with store.reading() as connection:
        patients = newest_signed(connection) if signed else _unsigned(connection)
        if most is not None:
            patients = [patients[i] for i in np.random.default_rng(seed).permutation(len(patients))]
        for patient, record in patients:
            if most is not None and n_cells >= most:
                break
            rows = _fields_of(connection, patient.id)
            if looked_through:
                whole = _looked_through(connection, patient.id, record)
                rows = [field for field in rows if field.number in whole]
            cells_of = _found_cells(connection, patient.id) if record is None else _by_field(record)
            for field in rows:
                place = photographs.find(field, field.folder)
                if place is None:
                    missing += 1
                    continue
                fields.append(_truth_field(patient, field, place, cells_of.get(field.number, []), Path(out)))
                n_cells += len(fields[-1].cells)
    if not fields and looked_through:
        raise DataError(
            "no field of a signed patient was looked through: open each field once (w), add what was missed, see all of"
            " its cells, and sign"
        )
    if not fields:
        which = "signed patient" if signed else "patient that is not signed"
        raise DataError(f"no {which} with a photograph at hand: sign some, or say where the photographs are")
    dataset = Dataset(NAME, Path("/"), tuple(fields), "the laboratory's own", "", "reading room")
    write_dataset(dataset, out)
    typed = sum(c.class_name is not None for f in fields for c in f.cells)
    return {"n_fields": len(fields), "n_cells": n_cells, "n_typed": typed, "n_missing": missing}


def _truth_field(patient, field, place: Path, cells: list[TruthCell], out: Path) -> TruthField:
    name = f"{patient.key}-{field.number}"
    key = FieldKey(name, field.smear, patient.label, patient.center, patient.specimen)
    digest = field.sha256
    if field.region is not None or field.pages is not None:
        place, digest = _write_part(place, field, out / "parts" / f"{name}.png")
    elsewhere = [TruthCell(tuple(box), None, "") for box in json.loads(field.elsewhere or "[]")]
    # The path is absolute: `write_dataset` then refers to it from the root.
    file, sizes = str(place.resolve()).lstrip("/"), (field.width, field.height)
    return TruthField(key, file, digest, *sizes, (*cells, *elsewhere), um_per_px=field.um_per_px)


def _write_part(file: Path, field, target: Path) -> tuple[Path, str]:
    """The pixels that a field was analysed from as a picture of its own, and its digest."""
    picture = io.BytesIO()
    Image.fromarray(read_pixels(file, field)).save(picture, "PNG")
    target.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(target, picture.getvalue())
    return target, hashlib.sha256(picture.getvalue()).hexdigest()


def _fields_of(connection: Connection, patient_id: int) -> list:
    query = (
        select(t.field, t.run.c.folder)
        .join_from(t.field, t.patient)
        .join(t.run)
        .where(t.field.c.patient_id == patient_id, t.field.c.width.is_not(None))
    )
    return list(connection.execute(query.order_by(t.field.c.number)))


def _looked_through(connection: Connection, patient_id: int, record: dict) -> set[int]:
    """Numbers of the fields that a reader opened and all of whose cells were seen."""
    numbers = select(t.field.c.number).where(t.field.c.patient_id == patient_id).order_by(t.field.c.number)
    shown = select(t.access.c.what).where(t.access.c.patient_id == patient_id, t.access.c.what.startswith("field "))
    opened = {int(what.split()[1]) - 1 for what in connection.execute(shown).scalars()}
    unseen = {cell["field"] for cell in record["cells"] if not cell["seen"]}
    rows = enumerate(connection.execute(numbers).scalars())
    return {number for row, number in rows if row in opened and number not in unseen}


def _by_field(record: dict) -> dict[int, list[TruthCell]]:
    """A signed record's cells by the field's number; what a reader called no cell is left out."""
    cells_of: dict[int, list[TruthCell]] = {}
    for cell in record["cells"]:
        if cell["call"] != "not_a_cell":
            name = cell["class"] if cell["seen"] or cell["call"] is not None else None
            cells_of.setdefault(cell["field"], []).append(TruthCell(tuple(cell["box"]), name, name or ""))
    return cells_of


def _unsigned(connection: Connection) -> list[tuple[object, None]]:
    """The patients that are not signed."""
    return [(row, None) for row in connection.execute(select(t.patient).where(t.patient.c.state != "signed"))]


def _found_cells(connection: Connection, patient_id: int) -> dict[int, list[TruthCell]]:
    """A patient's cells as the model found them, by the field's number, no type stated."""
    cells = connection.execute(
        select(t.cell, t.field.c.number.label("field_number"))
        .join_from(t.cell, t.field)
        .where(t.cell.c.patient_id == patient_id, t.cell.c.reading_id.is_(None))
    )
    cells_of: dict[int, list[TruthCell]] = {}
    for c in cells:
        cells_of.setdefault(c.field_number, []).append(TruthCell((c.x0, c.y0, c.x1, c.y1), None, ""))
    return cells_of
