"""What stands in the way of signing, by the laboratory's rules, and the record that is signed."""

import json
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection

from leukoscope.report.words import percent, plural
from leukoscope.web.cells import PatientCells, added_cells
from leukoscope.web.differential import agreement_with_model, numbers
from leukoscope.web.room import Room, reading_by_key
from leukoscope.web.sessions import Who, need_role
from leukoscope.web.settings import SignRules
from leukoscope.web.store import closing
from leukoscope.web.store.accounts import reader_names
from leukoscope.web.store.closing import undecided
from leukoscope.web.store.events import Closed
from leukoscope.web.store.patients import readings_of
from leukoscope.web.store.projection import CellState, calls_of, states
from leukoscope.web.store.readings import NOT_A_CELL, UNIDENTIFIED, notes_of

SIGNED_VERSION = 1
SHOWN = 500  # cell ids listed of one obstacle


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One thing that stands in the way; `cells` are those to look at."""

    text: str
    cells: tuple[int, ...] = ()


def obstacles(connection: Connection, cells: PatientCells, reading, rules: SignRules) -> list[Obstacle]:
    """What must be done before this reading can be signed; [] when nothing."""
    stood = states(connection, reading.id)
    reasons = []
    if reading.kind == "second":
        reasons.append(Obstacle("A second reading is not signed: compare it with the first, and sign that."))
    others = [r for r in readings_of(connection, reading.patient_id) if r.version == reading.version]
    if reading.kind == "first" and any(r.kind == "second" for r in others):
        reasons.append(Obstacle("There is a second reading: adjudicate the two, and sign that."))
    if reading.kind == "adjudication" and (open_ := sorted(undecided(connection, reading.id))):
        text = f"{plural(len(open_), 'cell')} on which the readers differ must be decided."
        reasons.append(Obstacle(text, tuple(open_[:SHOWN])))
    unidentified = [cell for cell, s in stood.items() if s.call == UNIDENTIFIED and not s.gone]
    unnamed = cells.ids[~cells.identified].tolist()
    unidentified += [cell for cell in unnamed if stood.get(cell, CellState()).call is None]
    if len(unidentified) > rules.unidentified:
        allowed = f"; {rules.unidentified} are allowed" if rules.unidentified else ""
        reasons.append(
            Obstacle(f"{plural(len(unidentified), 'cell')} unidentified{allowed}.", tuple(unidentified[:SHOWN]))
        )
    open_blasts = _open_blasts(cells, stood, rules)
    if open_blasts:
        verb = "called or confirmed by a reader" if rules.blasts == "called" else "seen"
        text = f"{plural(len(open_blasts), 'blast')} not yet {verb}."
        reasons.append(Obstacle(text, tuple(open_blasts[:SHOWN])))
    unseen = [int(cell) for cell in cells.ids if not stood.get(int(cell), CellState()).seen]
    share = 1 - len(unseen) / len(cells.ids) if len(cells.ids) else 1.0
    if share < rules.seen:
        text = f"{percent(share, 0)} of the cells were seen; {percent(rules.seen, 0)} are asked for."
        reasons.append(Obstacle(text, tuple(unseen[:SHOWN])))
    n_counted = numbers(cells, calls_of(connection, reading.id))["n_counted"]
    if n_counted < rules.counted:
        reasons.append(Obstacle(f"{plural(n_counted, 'cell')} counted; {rules.counted} are asked for."))
    return reasons


def _open_blasts(cells: PatientCells, stood: dict[int, CellState], rules: SignRules) -> list[int]:
    """Cells that stand as a blast and that nobody has called (or seen, as the rule says)."""
    if rules.blasts == "any":
        return []
    blasts = np.isin(cells.called, cells.taxonomy.columns(cells.taxonomy.blasts)) & cells.identified
    out = []
    for cell in cells.ids[blasts].tolist():
        state = stood.get(cell, CellState())
        if state.call is None and not (rules.blasts == "seen" and state.seen):
            out.append(cell)
    return out


def signed_record(connection: Connection, cells: PatientCells, reading) -> dict:
    """What is signed: whose it is, where it comes from, the numbers, and every cell with both calls.

    Numbers are rounded as the record's are; times are milliseconds since 1970 UTC.
    """
    stood = states(connection, reading.id)
    names = reader_names(connection)
    others = [r for r in readings_of(connection, reading.patient_id) if r.version == reading.version]
    patient, provenance = cells.patient, json.loads(cells.run.provenance)
    return {
        "signed_version": SIGNED_VERSION,
        "patient_id": patient.label,
        "specimen": patient.specimen,
        "center": patient.center,
        "smear_ids": json.loads(patient.entry)["smear_ids"],
        "record_sha256": cells.run.digest,
        "provenance": {k: provenance[k] for k in ("leukoscope", "models", "taxonomy", "use") if k in provenance},
        "readings": [
            {"kind": r.kind, "reader": names[r.reader_id], "active_ms": r.active_ms, "state": r.state} for r in others
        ],
        "numbers": numbers(cells, calls_of(connection, reading.id)),
        "agreement_with_model": agreement_with_model(cells, stood),
        "notes": notes_of(connection, reading),
        "cells": list(_cell_rows(connection, cells, stood, names)),
    }


def _cell_rows(connection: Connection, cells: PatientCells, stood: dict[int, CellState], names: dict[int, str]):
    for row, cell in enumerate(cells.ids.tolist()):
        state, called = stood.get(cell, CellState()), cells.model_call(row)
        box = list(state.box) if state.box else cells.boxes[row].tolist()
        yield _cell_row(cell, cells.fields[int(cells.field[row])], box, called, state, names)
    for added in added_cells(connection, cells, stood):
        yield _cell_row(added.id, cells.fields[added.field], list(added.box), None, stood[added.id], names)


def _cell_row(cell: int, field, box: list, called: str | None, state: CellState, names: dict[int, str]) -> dict:
    final = called if state.call is None else state.call
    return {
        "cell": cell,
        "field": field.number,
        "file": field.file,
        "box": [round(v, 2) for v in box],
        "model": called,
        "class": None if final in (UNIDENTIFIED, NOT_A_CELL) else final,
        "call": state.call,
        "reader": names.get(state.reader_id) if state.call is not None else None,
        "seen": state.seen,
        "hidden": state.hidden,
    }


def sign_reading(room: Room, key: str, who: Who, *, op: str) -> int:
    """Sign a reading by the laboratory's rules; the version that was signed. Closed says what stands in the way."""
    rules = room.settings().sign
    need_role(who, *rules.roles)
    with room.store.reading() as connection:
        reading = reading_by_key(connection, key, who)

    def record(connection, locked) -> dict:
        cells = room.cells.get(connection, locked.patient_id)
        reasons = obstacles(connection, cells, locked, rules)
        if reasons:
            raise Closed("can't be signed yet: " + " ".join(o.text for o in reasons))
        return signed_record(connection, cells, locked)

    closing.sign(room.store, reading.id, record, reader_id=who.reader_id, op=op)
    return reading.version
