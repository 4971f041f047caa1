"""What the pages' script gets of a reading: its cells as a table, and single cells as they stand."""

from __future__ import annotations

from sqlalchemy import Connection

from leukoscope.report.words import class_short, class_words
from leukoscope.web.cells import added_cells, expected_costs
from leukoscope.web.pictures import A_SHEET, ACROSS, TILE_PX
from leukoscope.web.room import Room
from leukoscope.web.store.closing import undecided
from leukoscope.web.store.projection import CellState, states
from leukoscope.web.store.readings import NOT_A_CELL, UNIDENTIFIED

COLUMNS = ("id", "field", "model", "prob", "place", "call", "seen", "seq", "cost", "size", "box", "added")
_EXTRA = {UNIDENTIFIED: ("unidentified", "?"), NOT_A_CELL: ("not a cell", "—")}


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
    stood = states(connection, reading.id)
    costs = expected_costs(cells, room.settings().cost_matrix(cells.taxonomy))
    longest = (cells.boxes[:, 2:] - cells.boxes[:, :2]).max(1) if len(cells.ids) else ()
    hidden, rows, untouched = bool(reading.hidden), [], CellState()
    for row, cell in enumerate(cells.ids.tolist()):
        s, called = stood.get(cell, untouched), int(cells.called[row])
        said = called if cells.identified[row] else len(cells.taxonomy.names)  # "unidentified" comes after the classes
        model = [-1, 0] if hidden else [said, round(100 * float(cells.probs[row, called]))]
        box = list(s.box) if s.box else [round(v, 1) for v in cells.boxes[row].tolist()]
        cost = 0 if hidden else round(float(costs[row]), 3)
        place, size = int(cells.place[row]), round(float(longest[row]))
        rows.append([cell, int(cells.field[row]), *model, place, s.call, int(s.seen), s.seq, cost, size, box, 0])
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
    }
