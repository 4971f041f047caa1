"""Readings and what a reader does in one: each function is one transaction, durable when it returns.

A patient is read first (readers may share that reading), perhaps a second time by a reader who sees nothing of the
first, then adjudicated where the two differ, and signed. A signed record never changes: re-opening makes a new reading
that starts from it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache

from sqlalchemy import Connection, case, func, insert, select, update

from leukoscope.errors import InputError
from leukoscope.taxonomy import Taxonomy
from leukoscope.web.store import tables as t
from leukoscope.web.store.engine import Store
from leukoscope.web.store.events import EDITS, Closed, Conflict, Event, append, event_of_op, lock_reading
from leukoscope.web.store.opening import new_key, now_ms
from leukoscope.web.store.projection import CellState, apply, next_redo, next_undo, states

UNIDENTIFIED = "unidentified"
NOT_A_CELL = "not_a_cell"
LEAST_BOX_PX = 2.0
LONGEST_MS = 600_000  # active reading that one message may claim


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


@dataclass(frozen=True, slots=True)
class Outcome:
    """The event that was logged (None: nothing to undo) and what stands of its cells now."""

    event: Event | None
    cells: dict[int, CellState]


def find_reading(store: Store, key: str):
    """A reading's row by its key, or None."""
    with store.reading() as connection:
        return connection.execute(select(t.reading).where(t.reading.c.key == key)).one_or_none()


def readings_of(connection: Connection, patient_id: int) -> list:
    """All readings of a patient, oldest first."""
    query = select(t.reading).where(t.reading.c.patient_id == patient_id).order_by(t.reading.c.id)
    return list(connection.execute(query))


def current_reading(connection: Connection, patient_id: int):
    """The reading that stands for the patient: the newest that is no second one; None before the first."""
    query = select(t.reading).where(t.reading.c.patient_id == patient_id, t.reading.c.kind != "second")
    return connection.execute(query.order_by(t.reading.c.id.desc()).limit(1)).one_or_none()


def begin_reading(store: Store, patient_id: int, reader_id: int, *, kind: str = "first") -> str:
    """The key of the reading to work in: the one that is open, or a new one.

    kind  "first" (shared by all readers), or "second" (by a reader who had no hand in the first)
    """
    if kind not in ("first", "second"):
        raise InputError(f"a reading is first or second, got {kind!r}")
    with store.writing() as connection:
        lock_patient(connection, patient_id)
        of_patient = readings_of(connection, patient_id)
        version = max((r.version for r in of_patient), default=1)
        newest = [r for r in of_patient if r.version == version]
        mine = [r for r in newest if r.kind == kind and r.state == "open"]
        if kind == "second":
            mine = [r for r in mine if r.reader_id == reader_id]
        if mine:
            return mine[-1].key
        if kind == "first":
            standing = next((r for r in reversed(newest) if r.kind != "second"), None)
            if standing is not None:
                return standing.key
        else:
            _may_read_second(connection, newest, reader_id)
        reading_id, key = new_reading(connection, patient_id, reader_id, kind=kind, version=version)
        _start(connection, reading_id, {}, [], reader_id)
        update_patient(connection, patient_id)
        return key


def _may_read_second(connection: Connection, newest: list, reader_id: int) -> None:
    if any(r.kind == "adjudication" or r.state == "signed" for r in newest):
        raise InputError("this patient is adjudicated or signed: re-open before another reading")
    if any(r.kind == "second" for r in newest):
        raise InputError("this patient has a second reading already")
    first = [r.id for r in newest if r.kind == "first"]
    if not first:
        raise InputError("a second reading needs a first one")
    own = (
        select(func.count())
        .select_from(t.event)
        .where(t.event.c.reading_id.in_(first), t.event.c.reader_id == reader_id)
    )
    if connection.execute(own).scalar():
        raise InputError("you had a hand in the first reading: the second is by a reader who did not see it")


def new_reading(
    connection: Connection, patient_id: int, reader_id: int, *, kind: str, version: int, parents: tuple[int, ...] = ()
) -> tuple[int, str]:
    """(id, key) of a reading that was added; its start event is the caller's."""
    key = new_key()
    row = {
        "key": key,
        "patient_id": patient_id,
        "reader_id": reader_id,
        "kind": kind,
        "state": "open",
        "version": version,
        "parents": json.dumps(parents),
        "hidden": False,
        "opened_at": now_ms(),
        "active_ms": 0,
        "n_events": 0,
    }
    return connection.execute(insert(t.reading).values(row)).inserted_primary_key[0], key


def _start(connection: Connection, reading_id: int, cells: dict, differ: list, reader_id: int) -> None:
    payload = {"cells": {str(c): v for c, v in cells.items()}, "differ": differ}
    event = append(
        connection,
        lock_reading(connection, reading_id),
        "start",
        payload,
        reader_id=reader_id,
        op=f"start-{reading_id}",
    )
    apply(connection, reading_id, event)


def start_from(
    connection: Connection, reading_id: int, stood: dict[int, CellState], differ: list[int], *, reader_id: int
) -> None:
    """A reading's first event: what it takes over from readings before it, and the cells that are to be decided."""
    cells = {c: [*s.edited(), s.hidden, s.reader_id or reader_id] for c, s in stood.items()}
    _start(connection, reading_id, cells, differ, reader_id)


def edit(store: Store, reading_id: int, change: Edit, *, reader_id: int) -> Outcome:
    """Log a reader's edit. Conflict where a cell is not as the page saw it; Closed where it is no more open."""
    if change.kind not in EDITS:
        raise InputError(f"an edit is one of {', '.join(EDITS)}, got {change.kind!r}")
    with store.writing() as connection:
        reading, again = _open(connection, reading_id, change.op)
        if again is not None:
            return Outcome(again, states(connection, reading_id, _cells_of(again)))
        _check_call(connection, reading, change)
        if change.kind == "add":
            cells = (_add_cell(connection, reading, change),)
            had = {cells[0]: CellState(gone=True)}  # undo takes it away again
        else:
            cells = tuple(dict.fromkeys(change.cells))
            _check_cells(connection, reading, cells)
            had = states(connection, reading_id, cells)
            _check_unchanged(connection, had, change.expect)
        payload = {
            "cells": list(cells),
            "before": {str(c): list(had.get(c, CellState()).edited()) for c in cells},
            "hidden": bool(reading.hidden),
            "ms": _active(change.ms),
        }
        if change.kind in ("call", "add"):
            payload["call"] = change.call
        if change.kind == "move":
            payload["box"] = _checked_box(connection, cells, change.box)
        if change.kind in ("add", "delete"):
            payload["gone"] = change.kind == "delete"
        if change.kind == "delete" and any(c not in _added(connection, cells) for c in cells):
            raise InputError("a cell that the model found is not deleted: call it not_a_cell")
        return _log(connection, reading, change.kind, payload, reader_id=reader_id, op=change.op)


def undo(store: Store, reading_id: int, *, reader_id: int, op: str, forward: bool = False) -> Outcome:
    """Take the last edit back, or (forward) bring back the one that was taken back last. An event like any other."""
    with store.writing() as connection:
        reading, again = _open(connection, reading_id, op)
        if again is not None:
            return Outcome(again, states(connection, reading_id, _cells_of(again)))
        of = (next_redo if forward else next_undo)(connection, reading_id)
        if of is None:
            return Outcome(None, {})
        row = connection.execute(select(t.event).where(t.event.c.reading_id == reading_id, t.event.c.seq == of)).one()
        old = json.loads(row.payload)
        payload = {"of": of, "cells": old["cells"]}
        payload |= (
            {"edit": {k: v for k, v in old.items() if k not in ("before", "ms")}}
            if forward
            else {"before": old["before"]}
        )
        return _log(connection, reading, "redo" if forward else "undo", payload, reader_id=reader_id, op=op)


def note(store: Store, reading_id: int, kind: str, payload: dict, *, reader_id: int, op: str) -> Outcome:
    """Log what is no edit: seen {cells}, mode {hidden}, note {text, cell}, read {ms}."""
    if kind not in ("seen", "mode", "note", "read"):
        raise InputError(f"expected seen, mode, note or read, got {kind!r}")
    with store.writing() as connection:
        reading, again = _open(connection, reading_id, op)
        if again is not None:
            return Outcome(again, {})
        if kind == "seen":
            cells = sorted(dict.fromkeys(payload["cells"]))
            _check_cells(connection, reading, cells)
            payload = {"cells": cells}
        payload = payload | {"ms": _active(payload.get("ms", 0))}
        return _log(connection, reading, kind, payload, reader_id=reader_id, op=op)


def _log(connection: Connection, reading, kind: str, payload: dict, *, reader_id: int, op: str) -> Outcome:
    event = append(connection, reading, kind, payload, reader_id=reader_id, op=op)
    apply(connection, reading.id, event)
    active = t.reading.c.active_ms + payload.get("ms", 0)
    connection.execute(update(t.reading).where(t.reading.c.id == reading.id).values(active_ms=active))
    if kind not in ("mode", "note", "read"):
        update_patient(connection, reading.patient_id)
    return Outcome(event, states(connection, reading.id, payload.get("cells", ())))


def _open(connection: Connection, reading_id: int, op: str):
    """(reading, the event that `op` made before or None); Closed where nothing more can be logged."""
    if not op or len(op) > 64:
        raise InputError("an operation needs a name of 1 to 64 characters")
    reading = lock_reading(connection, reading_id)
    again = event_of_op(connection, reading_id, op)
    if again is None and reading.state != "open":
        raise Closed(f"this reading is {reading.state}: it can't be changed; re-open the patient to go on")
    return reading, again


def lock_patient(connection: Connection, patient_id: int):
    """The patient's row, held until the transaction ends."""
    query = select(t.patient).where(t.patient.c.id == patient_id)
    if connection.dialect.name != "sqlite":
        query = query.with_for_update()
    row = connection.execute(query).one_or_none()
    if row is None:
        raise InputError("no such patient")
    return row


def update_patient(connection: Connection, patient_id: int) -> None:
    """Bring the worklist's columns up to what the readings say."""
    of_patient = readings_of(connection, patient_id)
    reading = current_reading(connection, patient_id)
    values = {"state": _patient_state(of_patient), "changed_at": now_ms()}
    if reading is not None:
        rows = t.now.c.reading_id == reading.id
        seen = select(func.count()).where(rows, t.now.c.seen.is_(True), t.now.c.gone.is_(False))
        values["n_seen"] = connection.execute(seen).scalar()
        values["n_corrected"] = _n_corrected(connection, reading)
        ids = {r.reader_id for r in of_patient if r.version == reading.version}
        names = connection.execute(select(t.reader.c.name).where(t.reader.c.id.in_(ids)).order_by(t.reader.c.name))
        values["readers"] = ", ".join(names.scalars())
    connection.execute(update(t.patient).where(t.patient.c.id == patient_id).values(**values))


def taxonomy_of(connection: Connection, patient_id: int) -> Taxonomy:
    """The taxonomy that a patient's run speaks."""
    query = select(t.run.c.provenance).join_from(t.patient, t.run).where(t.patient.c.id == patient_id)
    return _taxonomy(connection.execute(query).scalar_one())


@lru_cache(16)  # a run's provenance never changes
def _taxonomy(provenance: str) -> Taxonomy:
    return Taxonomy.from_dict(json.loads(provenance)["taxonomy"])


def _patient_state(of_patient: list) -> str:
    if not of_patient:
        return "new"
    version = max(r.version for r in of_patient)
    newest = [r for r in of_patient if r.version == version]
    if any(r.state == "signed" for r in newest):
        return "signed"
    if any(r.kind in ("second", "adjudication") for r in newest):
        return "second reading"
    return "re-opened" if version > 1 else "in review"


def _n_corrected(connection: Connection, reading) -> int:
    """Cells that now have another class than the model gave, and added ones."""
    names = taxonomy_of(connection, reading.patient_id).names
    model = case(dict(enumerate(names)), value=t.cell.c.called, else_="")
    query = (
        select(func.count())
        .select_from(t.now.join(t.cell, t.now.c.cell_id == t.cell.c.id))
        .where(t.now.c.reading_id == reading.id, t.now.c.gone.is_(False), t.now.c.call != model)
    )
    return connection.execute(query).scalar()


def _check_call(connection: Connection, reading, change: Edit) -> None:
    if change.kind not in ("call", "add"):
        return
    names = taxonomy_of(connection, reading.patient_id).names
    if change.call not in (*names, UNIDENTIFIED, NOT_A_CELL):
        raise InputError(f"no class {change.call!r}: expected one of {', '.join(names)}, {UNIDENTIFIED}, {NOT_A_CELL}")


def _check_cells(connection: Connection, reading, cells) -> None:
    """Every cell is of the reading's patient: the record's own, or one that this reading has."""
    if not cells:
        raise InputError("expected at least one cell")
    known = set()
    for start in range(0, len(cells), 400):
        some = list(cells)[start : start + 400]
        query = (
            select(t.cell.c.id)
            .outerjoin(t.now, (t.now.c.cell_id == t.cell.c.id) & (t.now.c.reading_id == reading.id))
            .where(
                t.cell.c.id.in_(some),
                t.cell.c.patient_id == reading.patient_id,
                t.cell.c.reading_id.is_(None) | t.now.c.cell_id.is_not(None),
            )
        )
        known |= set(connection.execute(query).scalars())
    if set(cells) - known:
        raise InputError(f"{len(set(cells) - known)} of {len(set(cells))} cells are not of this patient's reading")


def _check_unchanged(connection: Connection, had: dict[int, CellState], expect: dict[int, int]) -> None:
    changed = {c: had.get(c, CellState()) for c, seq in expect.items() if had.get(c, CellState()).seq != seq}
    if not changed:
        return
    ids = {s.reader_id for s in changed.values()}
    names = dict(connection.execute(select(t.reader.c.id, t.reader.c.name).where(t.reader.c.id.in_(ids))).all())
    raise Conflict({c: {"call": s.call, "seq": s.seq, "reader": names.get(s.reader_id)} for c, s in changed.items()})


def _added(connection: Connection, cells) -> set[int]:
    query = select(t.cell.c.id).where(t.cell.c.id.in_(cells), t.cell.c.reading_id.is_not(None))
    return set(connection.execute(query).scalars())


def _add_cell(connection: Connection, reading, change: Edit) -> int:
    """A cell that the model missed gets a row of its own, in the same transaction as its event."""
    if len(change.cells) != 1:
        raise InputError("adding a cell needs the one field that it is in")
    field = connection.execute(
        select(t.field).where(t.field.c.id == change.cells[0], t.field.c.patient_id == reading.patient_id)
    ).one_or_none()
    if field is None:
        raise InputError("that field is not of this patient")
    x0, y0, x1, y1 = _inside(change.box, field)
    number = select(func.coalesce(func.max(t.cell.c.number), -1)).where(t.cell.c.field_id == field.id)
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


def _checked_box(connection: Connection, cells: tuple[int, ...], box) -> list[float]:
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


def _active(ms: int) -> int:
    return max(0, min(int(ms), LONGEST_MS))


def _cells_of(event: Event) -> list[int]:
    return list(event.payload.get("cells", ()))
