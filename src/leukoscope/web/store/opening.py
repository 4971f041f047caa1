"""Open what `analyze` wrote: the record by its digest, the places of its thumbnails, its features where it has any."""

import base64
import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sqlalchemy import Connection, func, insert, select, update

from leukoscope.errors import UNREADABLE, DataError, InputError, said_damaged
from leukoscope.files import file_digest
from leukoscope.progress import Progress, no_progress
from leukoscope.report.choose import blast_ratio, urgency
from leukoscope.report.record import Record, counted_cells, read_record
from leukoscope.report.words import bands_covered
from leukoscope.web.store import tables as t
from leukoscope.web.store.engine import Store
from leukoscope.web.store.sketches import sketch

RECORD = "record.json"
THUMBS = Path(".work") / "thumbs.jsonl"
BATCH = 5000  # rows a statement


@dataclass(frozen=True, slots=True)
class Opened:
    """A run in the database: its id, how many patients and cells, and whether it was there already."""

    run_id: int
    n_patients: int
    n_cells: int
    was_there: bool


def open_run(store: Store, path: str | Path, *, progress: Progress = no_progress) -> Opened:
    """Put the record at `path` (a run's folder, or its record.json) into the database, all of it or nothing.

    progress  called with (cells done, cells in all)
    The same digest is the same run: it is not read twice, only its folder is noted anew.
    """
    file = record_file(path)
    record = read_record(file)
    digest = file_digest(file)
    with said_damaged(file, "is no whole record"), store.writing() as connection:
        had = connection.execute(select(t.run.c.id).where(t.run.c.digest == digest)).scalar()
        if had is not None:
            connection.execute(update(t.run).where(t.run.c.id == had).values(folder=str(file.parent.resolve())))
            return _counted(connection, had)
        run_id = connection.execute(
            insert(t.run).values(
                digest=digest,
                folder=str(file.parent.resolve()),
                provenance=json.dumps(record.provenance),
                opened_at=now_ms(),
            )
        ).inserted_primary_key[0]
        ids = _add_patients(connection, run_id, record)
        n_cells = _add_cells(connection, record, ids, file.parent, progress)
        if n_cells != sum(p["n_cells"] for p in record.patients):
            raise DataError(f"{file}: its patients have other numbers of cells than its fields; analyse again")
    return Opened(run_id, len(record.patients), n_cells, False)


def record_file(path: str | Path) -> Path:
    """The record of a run's folder, or the file itself; InputError where there is none."""
    path = Path(path)
    file = path / RECORD if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"no record at {file}: expected a folder that `leukoscope analyze` wrote, or its {RECORD}")
    return file


def now_ms() -> int:
    """Milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


def new_key() -> str:
    """A random text for addresses and logs, which says nothing of what it stands for."""
    return secrets.token_urlsafe(9)


def _counted(connection: Connection, run_id: int) -> Opened:
    of_run = select(func.count(), func.sum(t.patient.c.n_cells)).where(t.patient.c.run_id == run_id)
    n_patients, n_cells = connection.execute(of_run).one()
    return Opened(run_id, n_patients, n_cells or 0, True)


def _add_patients(connection: Connection, run_id: int, record: Record) -> dict[str, int]:
    """Patient ids of the record -> row ids."""
    now, ids = now_ms(), {}
    for patient in record.patients:
        ratio = blast_ratio(patient)
        ids[patient["patient_id"]] = connection.execute(
            insert(t.patient).values(
                key=new_key(),
                run_id=run_id,
                label=patient["patient_id"],
                specimen=patient["specimen"],
                center=", ".join(patient["center"]),
                entry=json.dumps(patient),
                n_cells=patient["n_cells"],
                urgency=_rank(patient),
                marks=json.dumps(_marks(patient)),
                ratio=None if ratio is None else json.dumps(ratio),
                state="new",
                share=None if ratio is None else ratio["low"],  # as `urgency` sorts: 1 of 5 is below 18 of 100
                n_seen=0,
                n_corrected=0,
                readers="",
                changed_at=now,
            )
        ).inserted_primary_key[0]
    return ids


def _rank(patient: dict) -> int:
    """Urgency as the report sorts it: suspected APL, then findings that a blast ratio hides, then the others."""
    first, second, *_ = urgency(patient)
    return 2 * first + second


def _marks(patient: dict) -> list[str]:
    """Codes of what the worklist says of a patient: the record's flags, and an interval that crosses a line."""
    ratio = blast_ratio(patient)
    known = ratio is not None and ratio["value"] is not None
    crosses = known and bool(ratio.get("lines", True)) and len(bands_covered(ratio["low"], ratio["high"])) > 1
    codes = [flag["code"] for flag in patient["flags"]] + (["crosses_a_line"] if crosses else [])
    return sorted(codes, key=lambda code: code != "suspected_apl")


def _add_cells(connection: Connection, record: Record, ids: dict[str, int], folder: Path, progress: Progress) -> int:
    columns = {name: column for column, name in enumerate(record.taxonomy.names)}
    total = sum(p["n_cells"] for p in record.patients)
    thumbs = thumb_lines(folder / THUMBS)
    first = connection.execute(select(func.coalesce(func.max(t.cell.c.id), 0))).scalar() + 1
    cells, vectors, done = [], [], 0
    for number, field in enumerate(record.fields()):
        if field["patient_id"] not in ids:
            raise DataError(f"{record.path}: fields[{number}] is of a patient who is not in patients")
        field_id = connection.execute(insert(t.field).values(_field_row(field, number, ids))).inserted_primary_key[0]
        counts = {id(cell) for cell in counted_cells(field)}  # what is seen twice is a cell of one field
        for place, cell in enumerate(field["cells"]):
            if id(cell) not in counts:
                continue
            row = _cell_row(cell, place, columns)
            row |= {"id": first + done, "patient_id": ids[field["patient_id"]], "field_id": field_id}
            offset, vector = thumbs.get((number, place), (None, None))
            cells.append(row | {"thumb_at": offset})
            if vector is not None:
                vectors.append({"cell_id": first + done, "vector": vector})
            done += 1
            if len(cells) == BATCH:
                _flush(connection, cells, vectors)
                progress(done, total)
    _flush(connection, cells, vectors)
    if total:
        progress(done, total)
    if connection.dialect.name == "postgresql":  # ids were given here: the next ones must come after them
        connection.execute(select(func.setval(func.pg_get_serial_sequence("cell", "id"), max(1, first + done - 1))))
    return done


def _flush(connection: Connection, cells: list[dict], vectors: list[dict]) -> None:
    if cells:
        connection.execute(insert(t.cell), cells)
    if vectors:
        short = sketch(np.stack([np.frombuffer(row["vector"], np.float16) for row in vectors]))
        rows = [row | {"sketch": line.tobytes()} for row, line in zip(vectors, short, strict=True)]
        connection.execute(insert(t.feature), rows)
    cells.clear()
    vectors.clear()


def _field_row(field: dict, number: int, ids: dict[str, int]) -> dict:
    row = {"patient_id": ids[field["patient_id"]], "number": number, "smear": field["smear_id"], "place": None}
    same = ("file", "sha256", "width", "height", "um_per_px", "status", "reason")
    pages = json.dumps(field["pages"]) if field.get("pages") else None
    region = json.dumps(field["region"]) if field.get("region") else None
    counts = {id(cell) for cell in counted_cells(field)}
    elsewhere = [cell["box"] for cell in field["cells"] if id(cell) not in counts]
    row |= {"pages": pages, "region": region, "elsewhere": json.dumps(elsewhere) if elsewhere else None}
    return row | {key: field[key] for key in same} | {"scale_from": field.get("scale_from")}


def _cell_row(cell: dict, number: int, columns: dict[str, int]) -> dict:
    if cell["class"] not in columns:
        raise DataError(f"the record has a cell of class {cell['class']!r}, which is not in its taxonomy")
    x0, y0, x1, y1 = cell["box"]
    probs = np.array([cell["probs"].get(name, 0.0) for name in columns], np.float32)
    contour = cell.get("contour")
    return {
        "number": number,
        "reading_id": None,
        "called": columns[cell["class"]],
        "probs": probs.tobytes(),
        "score": cell["score"],
        "x0": x0,
        "y0": y0,
        "x1": x1,
        "y1": y1,
        "contour": json.dumps(contour) if contour else None,
    }


def thumb_lines(path: Path) -> dict[tuple[int, int], tuple[int, bytes | None]]:
    """(field, cell) -> where its line begins in the thumbnail file, and the cell's features (float16 as bytes, None
    where the model gave none); nothing where there is no such file."""
    lines: dict[tuple[int, int], tuple[int, bytes | None]] = {}
    offset = 0
    for line in _lines(path):
        try:
            entry = json.loads(line)
            features = entry.get("features")
            lines[entry["field"], entry["cell"]] = (offset, base64.b64decode(features) if features else None)
        except UNREADABLE:
            break  # a torn last line
        offset += len(line)
    return lines


def _lines(path: Path) -> Iterator[bytes]:
    if path.is_file():
        with open(path, "rb") as file:
            yield from file
