"""From the log to what stands: one row a touched cell, and the steps that undo and redo walk along.

`apply` is the only writer of these tables, while a reader works and when `rebuild` makes them anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from leukoscope.web.store import tables as t
from leukoscope.web.store.events import EDITS, Event, events

UNTOUCHED = (None, False, None, False)
CHUNK = 400  # cell ids a statement


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
        return _read(connection, reading_id, t.now.c.cell_id.is_not(None))
    cells, found = list(cells), {}
    for start in range(0, len(cells), CHUNK):
        found |= _read(connection, reading_id, t.now.c.cell_id.in_(cells[start : start + CHUNK]))
    return found


def calls_of(connection: Connection, reading_id: int) -> dict[int, str]:
    """Cell id -> call of the cells that readers called; what is counted needs no more, and thousands are quick."""
    query = select(t.now.c.cell_id, t.now.c.call).where(
        t.now.c.reading_id == reading_id, t.now.c.call.is_not(None), t.now.c.gone.is_(False)
    )
    return {row.cell_id: row.call for row in connection.execute(query)}


def apply(connection: Connection, reading_id: int, event: Event) -> None:
    """Bring the projection up to an event that was just appended."""
    payload = event.payload
    if event.kind == "start":
        _write(connection, reading_id, {int(c): _from_start(v) for c, v in payload["cells"].items()})
    elif event.kind == "seen":
        had = states(connection, reading_id, payload["cells"])
        new = {c: had.get(c, CellState()) for c in payload["cells"]}
        seen = {
            c: CellState(s.call, True, s.box, s.gone, s.hidden, s.seq, s.reader_id or event.reader_id)
            for c, s in new.items()
        }
        _write(connection, reading_id, seen)
    elif event.kind in EDITS:
        steps = delete(t.step).where(t.step.c.reading_id == reading_id, t.step.c.done.is_(False))
        connection.execute(steps)
        connection.execute(insert(t.step).values(reading_id=reading_id, seq=event.seq, done=True))
        _edit(connection, reading_id, event, payload)
    elif event.kind in ("undo", "redo"):
        of = (t.step.c.reading_id == reading_id) & (t.step.c.seq == payload["of"])
        connection.execute(update(t.step).where(of).values(done=event.kind == "redo"))
        if event.kind == "undo":
            _restore(connection, reading_id, event)
        else:
            _edit(connection, reading_id, event, payload["edit"])
    elif event.kind == "mode":
        connection.execute(update(t.reading).where(t.reading.c.id == reading_id).values(hidden=payload["hidden"]))


def next_undo(connection: Connection, reading_id: int) -> int | None:
    """The edit that undo would take back."""
    steps = select(func.max(t.step.c.seq)).where(t.step.c.reading_id == reading_id, t.step.c.done.is_(True))
    return connection.execute(steps).scalar()


def next_redo(connection: Connection, reading_id: int) -> int | None:
    """The edit that redo would bring back: the one taken back last."""
    steps = select(func.min(t.step.c.seq)).where(t.step.c.reading_id == reading_id, t.step.c.done.is_(False))
    return connection.execute(steps).scalar()


def rebuild(connection: Connection, reading_id: int) -> None:
    """Make a reading's projection anew from its log alone."""
    log = events(connection, reading_id)
    connection.execute(delete(t.now).where(t.now.c.reading_id == reading_id))
    connection.execute(delete(t.step).where(t.step.c.reading_id == reading_id))
    connection.execute(update(t.reading).where(t.reading.c.id == reading_id).values(hidden=False))
    for event in log:
        apply(connection, reading_id, event)


def _edit(connection: Connection, reading_id: int, event: Event, edit: dict) -> None:
    had = states(connection, reading_id, edit["cells"])
    new = {}
    for cell in edit["cells"]:
        s = had.get(cell, CellState())
        box = tuple(edit["box"]) if edit.get("box") else s.box
        gone = edit.get("gone", s.gone)
        call = edit.get("call") or s.call
        new[cell] = CellState(call, True, box, gone, edit.get("hidden", False), event.seq, event.reader_id)
    _write(connection, reading_id, new)
    _touch(connection, event, edit["cells"])


def _restore(connection: Connection, reading_id: int, event: Event) -> None:
    """An undone edit: what it had found stands again."""
    new = {}
    for cell, (call, seen, box, gone) in event.payload["before"].items():
        box = tuple(box) if box else None
        new[int(cell)] = CellState(call, seen, box, gone, False, event.seq, event.reader_id)
    _write(connection, reading_id, new)
    _touch(connection, event, new)


def _from_start(value: list) -> CellState:
    call, seen, box, gone, hidden, reader_id = value
    return CellState(call, seen, tuple(box) if box else None, gone, hidden, 0, reader_id)


def _touch(connection: Connection, event: Event, cells: Iterable[int]) -> None:
    """Which events a cell's history holds; an index only, written once."""
    rows = [{"cell_id": cell, "event_id": event.id} for cell in cells]
    if rows:
        connection.execute(_dialect(connection).insert(t.touched).on_conflict_do_nothing(), rows)


def _read(connection: Connection, reading_id: int, which) -> dict[int, CellState]:
    rows = connection.execute(select(t.now).where(t.now.c.reading_id == reading_id, which))
    return {
        r.cell_id: CellState(
            r.call, bool(r.seen), tuple(json.loads(r.box)) if r.box else None, bool(r.gone), bool(r.hidden), r.seq,
            r.reader_id,
        )
        for r in rows
    }  # fmt: skip


def _write(connection: Connection, reading_id: int, new: dict[int, CellState]) -> None:
    if not new:
        return
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
    statement = _dialect(connection).insert(t.now)
    changed = {name: statement.excluded[name] for name in ("call", "seen", "box", "gone", "hidden", "seq", "reader_id")}
    connection.execute(statement.on_conflict_do_update(index_elements=["reading_id", "cell_id"], set_=changed), rows)


def _dialect(connection: Connection):
    return sqlite if connection.dialect.name == "sqlite" else postgresql
