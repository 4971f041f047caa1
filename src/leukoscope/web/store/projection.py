"""From the log to what stands: one row a touched cell, and the steps that undo and redo walk along.

`apply` is the only writer of these tables, while a reader works and when `rebuild` makes them anew.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace

from sqlalchemy import Connection, Integer, bindparam, cast, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from leukoscope.web.store import tables as t
from leukoscope.web.store.events import EDITS, Event, events

CHUNK = 400  # cell ids a statement
_DIALECTS = {"sqlite": sqlite, "postgresql": postgresql}
_CHANGED = ("call", "seen", "box", "gone", "hidden", "seq", "reader_id")
# Statements of every edit are built once: building one costs as much as running it.
_OF_READING = select(t.now).where(t.now.c.reading_id == bindparam("reading"))
_SOME = _OF_READING.where(t.now.c.cell_id.in_(bindparam("cells", expanding=True)))
_PLAIN = select(t.now.c.cell_id, t.now.c.call, cast(t.now.c.seen, Integer), t.now.c.seq, t.now.c.box).where(
    t.now.c.reading_id == bindparam("reading")
)
_CALLS = select(t.now.c.cell_id, t.now.c.call).where(
    t.now.c.reading_id == bindparam("reading"), t.now.c.call.is_not(None), t.now.c.gone.is_(False)
)
_STEP = (t.step.c.reading_id == bindparam("reading")) & (t.step.c.seq == bindparam("of"))
_FORGET_UNDONE = delete(t.step).where(t.step.c.reading_id == bindparam("reading"), t.step.c.done.is_(False))
_NEXT_UNDO = select(func.max(t.step.c.seq)).where(t.step.c.reading_id == bindparam("reading"), t.step.c.done.is_(True))
_NEXT_REDO = select(func.min(t.step.c.seq)).where(t.step.c.reading_id == bindparam("reading"), t.step.c.done.is_(False))
_ADD_STEP, _SET_STEP = insert(t.step), update(t.step).where(_STEP).values(done=bindparam("is_done"))


def _put(dialect):
    statement = dialect.insert(t.now)
    changed = {name: statement.excluded[name] for name in _CHANGED}
    return statement.on_conflict_do_update(index_elements=["reading_id", "cell_id"], set_=changed)


_PUT = {name: _put(dialect) for name, dialect in _DIALECTS.items()}
_TOUCH = {name: dialect.insert(t.touched).on_conflict_do_nothing() for name, dialect in _DIALECTS.items()}


@dataclass(frozen=True, slots=True)
class CellState:
    """What stands of one cell in one reading.

    call  a class of the taxonomy, "unidentified", "not_a_cell", or None: as the model called it
    seen  whether a reader had it on the screen, or called it
    box   moved to, or None; gone: added and taken away again
    seq   of the event that last changed it, 0: none; reader_id of that event
    """

    call: str | None = None
    seen: bool = False
    box: tuple[float, float, float, float] | None = None
    gone: bool = False
    hidden: bool = False
    seq: int = 0
    reader_id: int = 0

    def edited(self) -> tuple:
        """What undo brings back."""
        return (self.call, self.seen, self.box, self.gone)


def states(connection: Connection, reading_id: int, cells: Iterable[int] | None = None) -> dict[int, CellState]:
    """Touched cells of a reading, or those among `cells`."""
    if cells is None:
        return {row.cell_id: state_of(row) for row in connection.execute(_OF_READING, {"reading": reading_id}).all()}
    cells, projected = list(cells), {}
    for start in range(0, len(cells), CHUNK):
        rows = connection.execute(_SOME, {"reading": reading_id, "cells": cells[start : start + CHUNK]})
        projected |= {row.cell_id: state_of(row) for row in rows}
    return projected


def touched(connection: Connection, reading_id: int) -> list:
    """(cell id, call, seen, seq, box as JSON) of touched cells: for a page of thousands, plain rows."""
    return connection.execute(_PLAIN, {"reading": reading_id}).all()


def calls_of(connection: Connection, reading_id: int) -> dict[int, str]:
    """Cell id -> call of the cells that readers called; what is counted needs no more, and thousands are quick."""
    return dict(connection.execute(_CALLS, {"reading": reading_id}).all())


def apply(
    connection: Connection, reading_id: int, event: Event, had: dict[int, CellState] | None = None
) -> dict[int, CellState]:
    """Bring the projection up to an event that was just appended; its cells as they stand now.

    had  the event's cells as they stood, where that is known; None: they are read
    """
    payload, new = event.payload, {}
    cells = payload["edit"]["cells"] if event.kind == "redo" else payload.get("cells", ())
    if had is None and event.kind in (*EDITS, "seen", "redo"):
        had = states(connection, reading_id, cells)
    if event.kind == "start":
        new = {int(c): _from_start(v) for c, v in cells.items()}
    elif event.kind == "seen":
        new = {c: had.get(c, CellState()) for c in cells}
        new = {c: replace(s, seen=True, reader_id=s.reader_id or event.reader_id) for c, s in new.items()}
    elif event.kind in EDITS:
        connection.execute(_FORGET_UNDONE, {"reading": reading_id})
        connection.execute(_ADD_STEP, {"reading_id": reading_id, "seq": event.seq, "done": True})
        new = _edited(event, payload, had)
    elif event.kind in ("undo", "redo"):
        step = {"reading": reading_id, "of": payload["of"], "is_done": event.kind == "redo"}
        connection.execute(_SET_STEP, step)
        new = _restored(event) if event.kind == "undo" else _edited(event, payload["edit"], had)
    elif event.kind == "mode":
        connection.execute(update(t.reading).where(t.reading.c.id == reading_id).values(hidden=payload["hidden"]))
    _write(connection, reading_id, new)
    about = [] if event.kind in ("start", "seen") else list(new)
    if event.kind == "note" and payload.get("cell") is not None:
        about = [payload["cell"]]
    if about:  # which events a cell's history holds: an index only, written once
        rows = [{"cell_id": cell, "event_id": event.id} for cell in about]
        connection.execute(_TOUCH[connection.dialect.name], rows)
    return new


def next_undo(connection: Connection, reading_id: int) -> int | None:
    """The edit that undo would take back."""
    return connection.execute(_NEXT_UNDO, {"reading": reading_id}).scalar()


def next_redo(connection: Connection, reading_id: int) -> int | None:
    """The edit that redo would bring back: the one taken back last."""
    return connection.execute(_NEXT_REDO, {"reading": reading_id}).scalar()


def rebuild(connection: Connection, reading_id: int) -> None:
    """Make a reading's projection anew from its log alone."""
    log = events(connection, reading_id)
    connection.execute(delete(t.now).where(t.now.c.reading_id == reading_id))
    connection.execute(delete(t.step).where(t.step.c.reading_id == reading_id))
    connection.execute(update(t.reading).where(t.reading.c.id == reading_id).values(hidden=False))
    for event in log:
        apply(connection, reading_id, event)


def _edited(event: Event, edit: dict, had: dict[int, CellState]) -> dict[int, CellState]:
    new = {}
    for cell in edit["cells"]:
        s = had.get(cell, CellState())
        box = tuple(edit["box"]) if edit.get("box") else s.box
        gone = edit.get("gone", s.gone)
        call = edit.get("call") or s.call
        new[cell] = CellState(call, True, box, gone, edit.get("hidden", False), event.seq, event.reader_id)
    return new


def _restored(event: Event) -> dict[int, CellState]:
    """An undone edit: what it had found stands again."""
    new = {}
    for cell, (call, seen, box, gone) in event.payload["before"].items():
        box = tuple(box) if box else None
        new[int(cell)] = CellState(call, seen, box, gone, False, event.seq, event.reader_id)
    return new


def _from_start(value: list) -> CellState:
    call, seen, box, gone, hidden, reader_id = value
    return CellState(call, seen, tuple(box) if box else None, gone, hidden, 0, reader_id)


def state_of(row) -> CellState:
    """A row of `now` as a state."""
    box = tuple(json.loads(row.box)) if row.box else None
    return CellState(row.call, bool(row.seen), box, bool(row.gone), bool(row.hidden), row.seq, row.reader_id)


def _write(connection: Connection, reading_id: int, new: dict[int, CellState]) -> None:
    rows = [
        {
            "reading_id": reading_id,
            "cell_id": cell,
            "call": s.call,
            "seen": s.seen,
            "box": json.dumps(s.box) if s.box else None,
            "gone": s.gone,
            "hidden": s.hidden,
            "seq": s.seq,
            "reader_id": s.reader_id,
        }
        for cell, s in new.items()
    ]
    if rows:
        connection.execute(_PUT[connection.dialect.name], rows)
