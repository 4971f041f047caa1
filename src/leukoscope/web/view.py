"""What the pages' script gets of a reading: its cells as a table, and single cells as they stand."""

import json

import numpy as np
from sqlalchemy import Connection

from leukoscope.report.words import class_short, class_words
from leukoscope.web.cells import PatientCells, added_cells, expected_costs
from leukoscope.web.pictures import A_SHEET, ACROSS, TILE_PX
from leukoscope.web.room import Room
from leukoscope.web.store.closing import undecided
from leukoscope.web.store.projection import CellState, states, touched
from leukoscope.web.store.readings import NOT_A_CELL, UNIDENTIFIED

COLUMNS = ("id", "field", "model", "prob", "place", "call", "seen", "seq", "cost", "size", "box", "added")
_EXTRA = {UNIDENTIFIED: ("unidentified", "?"), NOT_A_CELL: ("not a cell", "—")}


def short_of(call: str) -> str:
    """A call in a few letters."""
    return _EXTRA[call][1] if call in _EXTRA else class_short(call)


def classes_of(room: Room, taxonomy) -> list[dict]:
    """Every call there is: name, words, short form, key, number of its colour, whether a blast, whether counted."""
    keys = room.settings().keys_of(taxonomy)
    rows = [(name, class_words(name), class_short(name)) for name in taxonomy.names]
    rows += [(name, *_EXTRA[name]) for name in (UNIDENTIFIED, NOT_A_CELL)]
    return [
        {
            "name": name,
            "words": words,
            "short": short,
            "key": keys.get(name, ""),
            "k": number,
            "blast": name in taxonomy.blasts,
            "counted": name in taxonomy.counted,
        }
        for number, (name, words, short) in enumerate(rows)
    ]


def cell_table(connection: Connection, room: Room, reading) -> dict:
    """All cells of a reading, one row of COLUMNS each.

    model  place of the model's call in `classes`, -1 where it is hidden or a reader added the cell; prob in percent
    place  in the contact sheets, -1: none; cost: of leaving the cell as called; size: px of the longer side
    """
    cells = room.cells.get(connection, reading.patient_id)
    hidden = bool(reading.hidden)
    rows = _untouched(cells, expected_costs(cells, room.settings().cost_matrix(cells.taxonomy)), hidden=hidden)
    call, seen, seq, box_at = (COLUMNS.index(name) for name in ("call", "seen", "seq", "box"))
    row_of, added_here = {row[0]: row for row in rows}, []
    for cell, *now, box in touched(connection, reading.id):
        row = row_of.get(cell)
        if row is None:
            added_here.append(cell)
            continue
        row[call], row[seen], row[seq] = now
        if box:
            row[box_at] = json.loads(box)
    stood = states(connection, reading.id, added_here)
    for added in added_cells(connection, cells, stood):
        s, box = stood[added.id], list(added.box)
        size = round(max(box[2] - box[0], box[3] - box[1]))
        rows.append([added.id, added.field, -1, 0, -1, s.call, int(s.seen), s.seq, 0, size, box, 1])
    return {
        "reading": reading.key,
        "kind": reading.kind,
        "state": reading.state,
        "hidden": hidden,
        "columns": COLUMNS,
        "cells": rows,
        "differ": sorted(undecided(connection, reading.id)) if reading.kind == "adjudication" else [],
        "sheet": {"cells": A_SHEET, "across": ACROSS, "px": TILE_PX, "n": len(cells.ids)},
        "fields": [_field(f) for f in cells.fields],
        "classes": classes_of(room, cells.taxonomy),
    }


def _untouched(cells: PatientCells, costs: np.ndarray, *, hidden: bool) -> list[list]:
    """A row of COLUMNS for each of the record's cells, as the model left it; by columns, for there are thousands."""
    n = len(cells.ids)
    said = np.where(cells.identified, cells.called, len(cells.taxonomy.names))  # "unidentified" comes after the classes
    prob = np.rint(100 * cells.probs[np.arange(n), cells.called]).astype(int)
    longest = (cells.boxes[:, 2:] - cells.boxes[:, :2]).max(1) if n else np.zeros(0)
    shown = {"model": said, "prob": prob, "cost": np.round(costs, 3)}
    if hidden:
        shown = {"model": np.full(n, -1), "prob": np.zeros(n, int), "cost": np.zeros(n, int)}
    known = {"id": cells.ids, "field": cells.field, "place": cells.place, "size": np.rint(longest).astype(int)}
    columns = {name: values.tolist() for name, values in (known | shown | {"box": np.round(cells.boxes, 1)}).items()}
    columns |= {"call": [None] * n, "seen": [0] * n, "seq": [0] * n, "added": [0] * n}
    return [list(row) for row in zip(*(columns[name] for name in COLUMNS), strict=True)]


def cell_states(connection: Connection, room: Room, reading, changed: dict[int, CellState]) -> list[dict]:
    """Cells of an edit as they stand now; one that was added comes with its place and box."""
    cells = room.cells.get(connection, reading.patient_id)
    added = {a.id: a for a in added_cells(connection, cells, changed)}
    out = []
    for cell, s in changed.items():
        entry = {"id": cell, "call": s.call, "seen": int(s.seen), "seq": s.seq, "gone": int(s.gone)}
        if cell in added:
            entry |= {"field": added[cell].field, "box": list(added[cell].box), "added": 1}
        elif (row := cells.row_of(cell)) is not None:
            entry["box"] = list(s.box) if s.box else [round(v, 1) for v in cells.boxes[row].tolist()]
        out.append(entry)
    return out


def _field(field) -> dict:
    return {
        "id": field.id,
        "number": field.number,
        "width": field.width,
        "height": field.height,
        "um_per_px": field.um_per_px,
        "measured": field.scale_from == "red_cells",
        "status": field.status,
        "smear": field.smear,
        "elsewhere": json.loads(field.elsewhere) if field.elsewhere else [],
    }
