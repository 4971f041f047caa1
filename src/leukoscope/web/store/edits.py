"""What a reader may ask for, and the checks that it must pass before it is logged."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from sqlalchemy import Connection, bindparam, func, insert, select

from leukoscope.errors import InputError
from leukoscope.taxonomy import Taxonomy
from leukoscope.web.store import tables as t
from leukoscope.web.store.events import Conflict
from leukoscope.web.store.projection import CHUNK, CellState, state_of

UNIDENTIFIED = "unidentified"
NOT_A_CELL = "not_a_cell"
LEAST_BOX_PX = 2.0


@dataclass(frozen=True, slots=True)
class Edit:
    """What a reader asks for.

    kind    call, add, move or delete
    cells   ids; for add the id of the field, alone
    call    a class of the taxonomy, "unidentified" or "not_a_cell" (call, add)
    box     px, xyxy (add, move)
    expect  cell id -> the event that the page last saw of it; cells that are not named are not checked
    op      the page's own name of this operation: sent again, it is done once
    ms      active reading since the last message
    """

    kind: str
    cells: tuple[int, ...]
    op: str
    call: str | None = None
    box: tuple[float, float, float, float] | None = None
    expect: dict[int, int] = field(default_factory=dict)
    ms: int = 0


_OF_RUN = select(t.run.c.provenance).join_from(t.patient, t.run).where(t.patient.c.id == bindparam("patient"))
_NOW = (t.now.c.cell_id == t.cell.c.id) & (t.now.c.reading_id == bindparam("reading"))
_STANDING = (
    select(t.cell.c.id, t.cell.c.called, t.cell.c.reading_id.label("of"), t.now)
    .outerjoin(t.now, _NOW)
    .where(
        t.cell.c.id.in_(bindparam("cells", expanding=True)),
        t.cell.c.patient_id == bindparam("patient"),
        t.cell.c.reading_id.is_(None) | t.now.c.cell_id.is_not(None),
    )
)


@dataclass(frozen=True, slots=True)
class Standing:
    """A cell before an edit.

    state  as this reading has it, None: nobody touched it here
    model  the class that the model gave it, None: a reader added it
    """

    state: CellState | None
    model: str | None


def taxonomy_of(connection: Connection, patient_id: int) -> Taxonomy:
    """The taxonomy that a patient's run speaks; asked for once a connection, for it never changes."""
    known = connection.info.setdefault("taxonomies", {})
    if patient_id not in known:
        known[patient_id] = _taxonomy(connection.execute(_OF_RUN, {"patient": patient_id}).scalar_one())
    return known[patient_id]


@lru_cache(16)  # a run's provenance never changes
def _taxonomy(provenance: str) -> Taxonomy:
    return Taxonomy.from_dict(json.loads(provenance)["taxonomy"])


def check_call(connection: Connection, reading, change: Edit) -> None:
    """InputError where a call or an added cell names no class."""
    if change.kind not in ("call", "add"):
        return
    names = taxonomy_of(connection, reading.patient_id).names
    if change.call not in (*names, UNIDENTIFIED, NOT_A_CELL):
        raise InputError(f"no class {change.call!r}: expected one of {', '.join(names)}, {UNIDENTIFIED}, {NOT_A_CELL}")


def standing_of(connection: Connection, reading, cells: Sequence[int]) -> dict[int, Standing]:
    """Cells as they stand; InputError where one is not of the reading's patient: the record's own, or one that this
    reading has."""
    if not cells:
        raise InputError("expected at least one cell")
    names, standing = taxonomy_of(connection, reading.patient_id).names, {}
    of = {"reading": reading.id, "patient": reading.patient_id}
    for start in range(0, len(cells), CHUNK):
        for row in connection.execute(_STANDING, of | {"cells": list(cells[start : start + CHUNK])}):
            state = None if row.cell_id is None else state_of(row)
            standing[row.id] = Standing(state, names[row.called] if row.of is None else None)
    if len(standing) < len(set(cells)):
        unknown = len(set(cells)) - len(standing)
        raise InputError(f"{unknown} of {len(set(cells))} cells are not of this patient's reading")
    return standing


def check_unchanged(connection: Connection, had: dict[int, CellState | None], expect: dict[int, int]) -> None:
    """Conflict where a cell's last event is not the one that the page saw."""
    now = {c: had.get(c) or CellState() for c in expect}
    changed = {c: s for c, s in now.items() if s.seq != expect[c]}
    if not changed:
        return
    ids = {s.reader_id for s in changed.values()}
    names = dict(connection.execute(select(t.reader.c.id, t.reader.c.name).where(t.reader.c.id.in_(ids))).all())
    raise Conflict({c: {"call": s.call, "seq": s.seq, "reader": names.get(s.reader_id)} for c, s in changed.items()})


def add_cell(connection: Connection, reading, change: Edit) -> int:
    """A cell that the model missed gets a row of its own, in the same transaction as its event."""
    if len(change.cells) != 1:
        raise InputError("adding a cell needs the one field that it is in")
    field = connection.execute(
        select(t.field).where(t.field.c.id == change.cells[0], t.field.c.patient_id == reading.patient_id)
    ).one_or_none()
    if field is None:
        raise InputError("that field is not of this patient")
    x0, y0, x1, y1 = _inside(change.box, field)
    of_field = (t.cell.c.patient_id == reading.patient_id, t.cell.c.field_id == field.id)
    number = select(func.coalesce(func.max(t.cell.c.number), -1)).where(*of_field)
    row = {
        "patient_id": reading.patient_id,
        "field_id": field.id,
        "number": connection.execute(number).scalar() + 1,
        "reading_id": reading.id,
        "called": None,
        "score": 1.0,
        **{"x0": x0, "y0": y0, "x1": x1, "y1": y1},
    }
    return connection.execute(insert(t.cell).values(row)).inserted_primary_key[0]


def checked_box(connection: Connection, cells: tuple[int, ...], box) -> list[float]:
    """The box that one cell is moved to, cut to its field."""
    if len(cells) != 1:
        raise InputError("one cell is moved at a time")
    field = connection.execute(select(t.field).join_from(t.cell, t.field).where(t.cell.c.id == cells[0])).one()
    return _inside(box, field)


def _inside(box, field) -> list[float]:
    """The box cut to the field; InputError where nothing is left."""
    if box is None or field.width is None:
        raise InputError("expected a box in a field that could be read")
    x0, x1 = sorted((float(box[0]), float(box[2])))
    y0, y1 = sorted((float(box[1]), float(box[3])))
    x0, y0, x1, y1 = max(0.0, x0), max(0.0, y0), min(float(field.width), x1), min(float(field.height), y1)
    if not (x1 - x0 >= LEAST_BOX_PX and y1 - y0 >= LEAST_BOX_PX):
        raise InputError(f"a box must lie in the field and be {LEAST_BOX_PX:.0f} px or wider, got {list(box)}")
    return [round(v, 2) for v in (x0, y0, x1, y1)]
