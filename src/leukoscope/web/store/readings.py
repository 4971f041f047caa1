"""Readings and what a reader does in one: each function is one transaction, durable when it returns.

A patient is read first (readers may share that reading), perhaps a second time by a reader who sees nothing of the
first, then adjudicated where the two differ, and signed. A signed record never changes: re-opening makes a new reading
that starts from it.
"""

import json
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, func, insert, select

from leukoscope.errors import InputError
from leukoscope.web.store import tables as t
from leukoscope.web.store.edits import (
    NOT_A_CELL,
    UNIDENTIFIED,
    Edit,
    Standing,
    add_cell,
    check_call,
    check_unchanged,
    checked_box,
    standing_of,
    taxonomy_of,
)
from leukoscope.web.store.engine import Store
from leukoscope.web.store.events import EDITS, Closed, Event, append, event_of_op, lock_reading
from leukoscope.web.store.opening import new_key, now_ms
from leukoscope.web.store.patients import count_on, lock_patient, readings_of, update_patient
from leukoscope.web.store.projection import CellState, apply, next_redo, next_undo, states

__all__ = ["NOT_A_CELL", "UNIDENTIFIED", "Edit", "taxonomy_of"]
LONGEST_MS = 600_000  # active reading that one message may claim
LONGEST_NOTE = 2000
_NOTES = (
    select(t.event.c.id, t.event.c.at, t.event.c.payload, t.reader.c.name)
    .join_from(t.event, t.reader)
    .where(t.event.c.reading_id == bindparam("reading"), t.event.c.kind == "note")
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The event that was logged (None: nothing to undo) and what stands of its cells now."""

    event: Event | None
    cells: dict[int, CellState]


def find_reading(store: Store, key: str):
    """A reading's row by its key, or None."""
    with store.reading() as connection:
        return connection.execute(select(t.reading).where(t.reading.c.key == key)).one_or_none()


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
    begun = (
        select(func.count())
        .select_from(t.event)
        .where(t.event.c.reading_id.in_(first), t.event.c.reader_id == reader_id)
    )
    if connection.execute(begun).scalar():
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
        check_call(connection, reading, change)
        if change.kind == "add":
            had = {add_cell(connection, reading, change): Standing(CellState(gone=True), None)}  # undo takes it away
        else:
            had = standing_of(connection, reading, tuple(dict.fromkeys(change.cells)))
            check_unchanged(connection, {c: s.state for c, s in had.items()}, change.expect)
        payload = {
            "cells": list(had),
            "before": {str(c): list((s.state or CellState()).edited()) for c, s in had.items()},
            "hidden": bool(reading.hidden),
            "ms": _active(change.ms),
        }
        if change.kind in ("call", "add"):
            payload["call"] = change.call
        if change.kind == "move":
            payload["box"] = checked_box(connection, tuple(had), change.box)
        if change.kind in ("add", "delete"):
            payload["gone"] = change.kind == "delete"
        if change.kind == "delete" and any(s.model is not None for s in had.values()):
            raise InputError("a cell that the model found is not deleted: call it not_a_cell")
        return _log(connection, reading, (change.kind, payload, change.op), reader_id=reader_id, had=had)


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
        had = standing_of(connection, reading, old["cells"])
        return _log(connection, reading, ("redo" if forward else "undo", payload, op), reader_id=reader_id, had=had)


def note(store: Store, reading_id: int, kind: str, payload: dict, *, reader_id: int, op: str) -> Outcome:
    """Log what is no edit: seen {cells}, mode {hidden}, note {text, cell}, read {ms}."""
    if kind not in ("seen", "mode", "note", "read"):
        raise InputError(f"expected seen, mode, note or read, got {kind!r}")
    with store.writing() as connection:
        reading, again = _open(connection, reading_id, op)
        if again is not None:
            return Outcome(again, {})
        had = {}
        if kind == "seen":
            had = standing_of(connection, reading, sorted(dict.fromkeys(payload["cells"])))
            payload = payload | {"cells": sorted(had)}
        if kind == "note":
            payload = payload | {"text": _worth_noting(payload["text"])}
            if payload.get("cell") is not None:
                standing_of(connection, reading, [payload["cell"]])
        payload = payload | {"ms": _active(payload.get("ms", 0))}
        return _log(connection, reading, (kind, payload, op), reader_id=reader_id, had=had)


def notes_of(connection: Connection, reading) -> list[dict]:
    """What readers noted in a reading and in those that it started from, oldest first: at, reader (name), text, cell
    (None: of the patient)."""
    wanted, rows_found = [reading.id], []
    while wanted:
        number = wanted.pop()
        rows = connection.execute(_NOTES, {"reading": number})
        rows_found += [(row.id, row.at, row.name, json.loads(row.payload)) for row in rows]
        parents = select(t.reading.c.parents).where(t.reading.c.id == number)
        wanted += json.loads(connection.execute(parents).scalar_one())
    rows_found.sort(key=lambda row: row[0])
    return [
        {"at": time_ms, "reader": name, "text": said["text"], "cell": said.get("cell")}
        for _, time_ms, name, said in rows_found
    ]


def _worth_noting(text: str) -> str:
    text = text.strip()
    if not text or len(text) > LONGEST_NOTE:
        raise InputError(f"a note has 1 to {LONGEST_NOTE} characters, got {len(text)}")
    return text


def _log(
    connection: Connection, reading, said: tuple[str, dict, str], *, reader_id: int, had: dict[int, Standing]
) -> Outcome:
    """Append what was said (kind, payload, operation) to a locked reading, project it, and count it for the worklist.

    had  the cells that it is about, as they stood
    """
    kind, payload, op = said
    event = append(connection, reading, kind, payload, reader_id=reader_id, op=op)
    stood = {c: s.state for c, s in had.items() if s.state is not None}
    now = apply(connection, reading.id, event, stood)
    if now:
        count_on(connection, reading, had, now, time_ms=event.time_ms)
    return Outcome(event, now)


def _open(connection: Connection, reading_id: int, op: str):
    """(reading, the event that `op` made before or None); Closed where nothing more can be logged."""
    if not op or len(op) > 64:
        raise InputError("an operation needs a name of 1 to 64 characters")
    reading = lock_reading(connection, reading_id)
    again = event_of_op(connection, reading_id, op)
    if again is None and reading.state != "open":
        raise Closed(f"this reading is {reading.state}: it can't be changed; re-open the patient to go on")
    return reading, again


def _active(ms: int) -> int:
    return max(0, min(int(ms), LONGEST_MS))


def _cells_of(event: Event) -> list[int]:
    return list(event.payload.get("cells", ()))
