"""Two readers' cells side by side, their adjudication, signing, re-opening, and what was handed over."""

import hashlib
import json
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection, insert, select, update

from leukoscope.errors import InputError
from leukoscope.geometry import box_iou
from leukoscope.web.store import tables as t
from leukoscope.web.store.engine import Store
from leukoscope.web.store.events import Closed, append, canonical, last_hash, lock_reading
from leukoscope.web.store.opening import now_ms
from leukoscope.web.store.patients import current_reading, lock_patient, readings_of, update_patient
from leukoscope.web.store.projection import CellState, states
from leukoscope.web.store.readings import new_reading, start_from, taxonomy_of

SAME_CELL_IOU = 0.5


@dataclass(frozen=True, slots=True)
class Pair:
    """One cell as two readers called it; None: that reader has no such cell. `other` is the second's own cell id.

    seen  whether both had it before them: a call that neither looked at is the model's, and no agreement
    """

    cell: int
    other: int | None
    first: str | None
    second: str | None
    seen: bool = True


def finish(store: Store, reading_id: int, *, reader_id: int, op: str) -> None:
    """A reader is done: the reading takes no more edits until it is adjudicated, signed or re-opened."""
    with store.writing() as connection:
        reading = lock_reading(connection, reading_id)
        if reading.state != "open":
            raise Closed(f"this reading is {reading.state} already")
        append(connection, reading, "done", {}, reader_id=reader_id, op=op)
        close(connection, reading.id, "done")
        update_patient(connection, reading.patient_id)


def close(connection: Connection, reading_id: int, state: str) -> None:
    """Set a reading's state, and when it ended."""
    connection.execute(update(t.reading).where(t.reading.c.id == reading_id).values(state=state, closed_at=now_ms()))


def two_readings(connection: Connection, patient_id: int):
    """(first, second) of the newest version; None for what there is not."""
    of_patient = readings_of(connection, patient_id)
    version = max((r.version for r in of_patient), default=1)
    newest = {r.kind: r for r in of_patient if r.version == version}
    return newest.get("first"), newest.get("second")


def pairs(connection: Connection, patient_id: int) -> list[Pair]:
    """Every cell of two readings, each with both calls. Cells that both added are one where their boxes overlap."""
    first, second = two_readings(connection, patient_id)
    if first is None or second is None:
        raise InputError("two readings are compared, and this patient has one")
    names = taxonomy_of(connection, patient_id).names
    stood = [states(connection, r.id) for r in (first, second)]
    cells = connection.execute(select(t.cell).where(t.cell.c.patient_id == patient_id).order_by(t.cell.c.id)).all()
    pairs_of = [
        Pair(c.id, c.id, *(_call(names[c.called], s.get(c.id)) for s in stood), all(_seen(s.get(c.id)) for s in stood))
        for c in cells
        if c.reading_id is None
    ]
    added = [[c for c in cells if c.id in s and c.reading_id is not None and not s[c.id].gone] for s in stood]
    return pairs_of + _match(added, stood)


def _match(added: list[list], stood: list[dict[int, CellState]]) -> list[Pair]:
    """Added cells of the two readers: pairs of one field that overlap, the rest alone. A cell that both took over from
    an earlier version is itself."""
    a, b = added
    boxes = [[s[c.id].box or (c.x0, c.y0, c.x1, c.y1) for c in cells] for cells, s in zip(added, stood, strict=True)]
    overlap = box_iou(np.array(boxes[0], float), np.array(boxes[1], float)) if a and b else None
    taken, out = set(), []
    for i, cell in enumerate(a):
        same = [j for j in range(len(b)) if j not in taken and b[j].field_id == cell.field_id]
        best = max(same, key=lambda j: (b[j].id == cell.id, overlap[i, j]), default=None)
        if best is not None and (b[best].id == cell.id or overlap[i, best] >= SAME_CELL_IOU):
            taken.add(best)
            out.append(Pair(cell.id, b[best].id, stood[0][cell.id].call, stood[1][b[best].id].call))
        else:
            out.append(Pair(cell.id, None, stood[0][cell.id].call, None))
    alone = [Pair(c.id, c.id, None, stood[1][c.id].call) for j, c in enumerate(b) if j not in taken]
    return out + alone


def _call(model: str, state: CellState | None) -> str:
    return model if state is None or state.call is None else state.call


def _seen(state: CellState | None) -> bool:
    return state is not None and state.seen


def begin_adjudication(store: Store, patient_id: int, *, reader_id: int) -> str:
    """A reading that takes what both readers agree on; the cells that differ are to be decided. Its key."""
    with store.writing() as connection:
        lock_patient(connection, patient_id)
        standing = current_reading(connection, patient_id)
        if standing is not None and standing.kind == "adjudication":
            return standing.key
        first, second = two_readings(connection, patient_id)
        if first is None or second is None or "done" != second.state or first.state != "done":
            raise InputError("adjudication needs two readings that are both done")
        stood = [states(connection, r.id) for r in (first, second)]
        taken, differ = {}, []
        for pair in pairs(connection, patient_id):
            mine, theirs = stood[0].get(pair.cell, CellState()), stood[1].get(pair.other, CellState())
            if pair.first == pair.second:
                seen = mine.seen and theirs.seen
                taken[pair.cell] = CellState(
                    pair.first if mine.call or theirs.call else None,
                    seen,
                    mine.box,
                    False,
                    mine.hidden,
                    0,
                    mine.reader_id,
                )
            else:
                differ.append(pair.cell)
                is_added = pair.first is None or pair.second is None or pair.cell != pair.other
                if is_added:
                    box = mine.box if pair.first is not None else theirs.box
                    taken[pair.cell] = CellState(None, False, box, False, False, 0, reader_id)
        reading_id, key = new_reading(
            connection, patient_id, reader_id, kind="adjudication", version=first.version, parents=(first.id, second.id)
        )
        start_from(connection, reading_id, taken, differ, reader_id=reader_id)
        update_patient(connection, patient_id)
        return key


def undecided(connection: Connection, reading_id: int) -> set[int]:
    """Cells of an adjudication on which the readers differ and nobody has decided yet."""
    row = connection.execute(
        select(t.event.c.payload).where(t.event.c.reading_id == reading_id, t.event.c.kind == "start")
    ).scalar()
    differ = json.loads(row)["differ"] if row else []
    stood = states(connection, reading_id, differ)
    return {c for c in differ if stood.get(c, CellState()).call is None and not stood.get(c, CellState()).gone}


def sign(store: Store, reading_id: int, make_record, *, reader_id: int, op: str) -> int:
    """Sign a reading: `make_record(connection, reading, version)` gives the record; raises what stands in the way.

    The record is kept as canonical JSON with its digest, the reading closes. Returns the signed record's id.
    """
    with store.writing() as connection:
        reading = lock_reading(connection, reading_id)
        if reading.state not in ("open", "done") or reading.kind == "second":
            raise Closed(f"a {reading.kind} reading that is {reading.state} can't be signed")
        record = make_record(connection, reading)
        signer = connection.execute(select(t.reader.c.name).where(t.reader.c.id == reader_id)).scalar_one()
        now = now_ms()
        record |= {
            "version": reading.version,
            "signed": {"by": signer, "at": now},
            "log": {"events": reading.n_events, "hash": last_hash(connection, reading_id)},
        }
        text = canonical(record)
        digest = hashlib.sha256(text.encode()).hexdigest()
        row = {"patient_id": reading.patient_id, "reading_id": reading.id, "version": reading.version}
        row |= {"reader_id": reader_id, "at": now, "record": text, "digest": digest}
        signed_id = connection.execute(insert(t.signed).values(row)).inserted_primary_key[0]
        signed = {"signed_id": signed_id, "patient_id": reading.patient_id, "version": reading.version}
        connection.execute(insert(t.taught).values(signed | {"counts": canonical(reviewed_counts(record))}))
        append(connection, reading, "sign", {"digest": digest}, reader_id=reader_id, op=op)
        close(connection, reading.id, "signed")
        ratio = next((r for r in record.get("numbers", {}).get("ratios", ()) if r["name"] == "blasts"), None)
        if ratio is not None:
            read = {"share": ratio["low"], "read_ratio": canonical(ratio)}
            connection.execute(update(t.patient).where(t.patient.c.id == reading.patient_id).values(**read))
        update_patient(connection, reading.patient_id)
        return signed_id


def reviewed_counts(record: dict) -> dict[str, list[int]]:
    """Class -> [cells of it that a reader saw, those of them that the model called otherwise or missed]."""
    counts_of: dict[str, list[int]] = {}
    for cell in record.get("cells", ()):
        if cell["seen"] and cell["class"] is not None:
            counts = counts_of.setdefault(cell["class"], [0, 0])
            counts[0] += 1
            counts[1] += cell["class"] != cell["model"]
    return counts_of


def reopen(store: Store, patient_id: int, reason: str, *, reader_id: int) -> str:
    """A new version's reading that starts from what was signed; the signed record stays. The new reading's key."""
    reason = _one_line(reason, 500, "re-opening a signed patient needs a reason")
    with store.writing() as connection:
        lock_patient(connection, patient_id)
        standing = current_reading(connection, patient_id)
        if standing is None or standing.state != "signed":
            raise InputError("only a signed patient is re-opened")
        stood = states(connection, standing.id)
        reading_id, key = new_reading(
            connection, patient_id, reader_id, kind="first", version=standing.version + 1, parents=(standing.id,)
        )
        start_from(connection, reading_id, stood, [], reader_id=reader_id)
        reading = lock_reading(connection, reading_id)
        append(connection, reading, "reopen", {"reason": reason}, reader_id=reader_id, op=f"reopen-{reading_id}")
        update_patient(connection, patient_id)
        return key


def _one_line(text: str, most: int, needed: str) -> str:
    """The text on one line of `most` characters; InputError that says what is needed where it is empty."""
    text = " ".join(text.split())[:most]
    if not text:
        raise InputError(needed)
    return text


def mark_sent(store: Store, signed_id: int, system: str, *, reader_id: int) -> bool:
    """Note that a signed record went to another system; False where that was noted before."""
    system = _one_line(system, 100, "name the system that the record was sent to")
    with store.writing() as connection:
        mine = (t.sent.c.signed_id == signed_id) & (t.sent.c.system == system)
        if connection.execute(select(t.sent.c.id).where(mine)).first() is not None:
            return False
        row = {"signed_id": signed_id, "reader_id": reader_id, "system": system, "at": now_ms()}
        connection.execute(insert(t.sent).values(row))
        return True


def note_access(store: Store, patient_id: int, reader_id: int, what: str) -> None:
    """Who saw what of a patient, and when: part of the audit trail."""
    with store.writing() as connection:
        row = {"patient_id": patient_id, "reader_id": reader_id, "what": what, "at": now_ms()}
        connection.execute(insert(t.access).values(row))
