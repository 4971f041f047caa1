"""The log: events of a reading, append only, each chained to the one before by a digest.

    hash = SHA-256(previous hash, then the canonical JSON of [reading key, seq, at, reader, kind, payload, op])

A row that was changed, left out, put in or put elsewhere breaks the chain, which `verify` says. The chain's last hash
stands in the signed record, so that a cut tail shows there.
"""

import hashlib
import json
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, insert, select, update

from leukoscope.errors import InputError, LeukoscopeError
from leukoscope.web.store import tables as t
from leukoscope.web.store.opening import now_ms

EDITS = ("call", "add", "move", "delete")  # what undo takes back
KINDS = (*EDITS, "start", "seen", "note", "mode", "undo", "redo", "done", "sign", "reopen", "read")
START = "0" * 64
# Statements of every edit are built once: building one costs as much as running it.
_READING = select(t.reading).where(t.reading.c.id == bindparam("reading"))
_LOCKED = _READING.with_for_update()
_HASH_OF = select(t.event.c.hash).where(t.event.c.reading_id == bindparam("reading"), t.event.c.seq == bindparam("seq"))
_OF_OP = select(t.event).where(t.event.c.reading_id == bindparam("reading"), t.event.c.op == bindparam("op"))
_ADD = insert(t.event)
_COUNT_ON = (
    update(t.reading)
    .where(t.reading.c.id == bindparam("reading"))
    .values(n_events=bindparam("n"), active_ms=t.reading.c.active_ms + bindparam("ms"))
)


class Conflict(LeukoscopeError):
    """Another event came first; `cells` holds what stands now: {cell id: {"call", "reader", "seq"}}."""

    def __init__(self, cells: dict[int, dict]) -> None:
        super().__init__("another reader changed this cell first")
        self.cells = cells


class Closed(LeukoscopeError):
    """The reading is not open any more."""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the log; payload as plain types."""

    id: int
    seq: int
    time_ms: int
    reader_id: int
    kind: str
    payload: dict


def lock_reading(connection: Connection, reading_id: int):
    """The reading's row, held until the transaction ends (SQLite holds the whole database already)."""
    query = _READING if connection.dialect.name == "sqlite" else _LOCKED
    row = connection.execute(query, {"reading": reading_id}).one_or_none()
    if row is None:
        raise InputError("no such reading")
    return row


def append(connection: Connection, reading, kind: str, payload: dict, *, reader_id: int, op: str) -> Event:
    """Add an event to a locked reading, and its time to the reading's; its projection is the caller's."""
    assert kind in KINDS, kind
    seq, now = reading.n_events + 1, now_ms()
    before = START
    if reading.n_events:
        before = connection.execute(_HASH_OF, {"reading": reading.id, "seq": reading.n_events}).scalar_one()
    text = canonical(payload)
    row = {"seq": seq, "at": now, "reader_id": reader_id, "kind": kind, "payload": text, "op": op}
    digest = _hash(before, reading.key, row)
    event_id = connection.execute(_ADD, {"reading_id": reading.id, "hash": digest, **row}).inserted_primary_key[0]
    connection.execute(_COUNT_ON, {"reading": reading.id, "n": seq, "ms": payload.get("ms", 0)})
    return Event(event_id, seq, now, reader_id, kind, payload)


def events(connection: Connection, reading_id: int) -> list[Event]:
    """A reading's log from its beginning."""
    rows = connection.execute(select(t.event).where(t.event.c.reading_id == reading_id).order_by(t.event.c.seq))
    return [Event(r.id, r.seq, r.at, r.reader_id, r.kind, json.loads(r.payload)) for r in rows]


def event_of_op(connection: Connection, reading_id: int, op: str) -> Event | None:
    """The event that an operation made, where it was sent before: a page that got no answer sends it again."""
    row = connection.execute(_OF_OP, {"reading": reading_id, "op": op}).one_or_none()
    return None if row is None else Event(row.id, row.seq, row.at, row.reader_id, row.kind, json.loads(row.payload))


def verify(connection: Connection, reading_id: int) -> str | None:
    """None where the chain is whole, else what is wrong with it."""
    reading = connection.execute(select(t.reading).where(t.reading.c.id == reading_id)).one()
    before, expected = START, 1
    rows = connection.execute(select(t.event).where(t.event.c.reading_id == reading_id).order_by(t.event.c.seq))
    for row in rows:
        if row.seq != expected:
            return f"event {expected} is missing"
        if row.hash != _hash(before, reading.key, row._mapping):
            return f"event {row.seq} was changed"
        before, expected = row.hash, expected + 1
    if expected - 1 != reading.n_events:
        return f"event {expected} is missing"
    return None


def last_hash(connection: Connection, reading_id: int) -> str:
    """The hash that stands for the whole log of a reading."""
    query = select(t.event.c.hash).where(t.event.c.reading_id == reading_id).order_by(t.event.c.seq.desc()).limit(1)
    return connection.execute(query).scalar() or START


def canonical(value: object) -> str:
    """JSON with sorted keys and no spaces: one text for one value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _hash(before: str, reading_key: str, row) -> str:
    said = [reading_key, *(row[name] for name in ("seq", "at", "reader_id", "kind", "payload", "op"))]
    return hashlib.sha256(f"{before}\n{canonical(said)}".encode()).hexdigest()
