"""`cells.csv`: every cell of a record, one a line."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from leukoscope.entries import CellEntry, FieldEntry
from leukoscope.files import write_table
from leukoscope.report.record import counted_cells, read_record

# heading → (field, number of the cell in it, cell) → what stands there
COLUMNS: dict[str, Callable[[FieldEntry, int, CellEntry], object]] = {
    **{name: partial(lambda name, field, number, cell: field[name], name)
       for name in ("file", "patient_id", "smear_id", "center")},
    "cell": lambda field, number, cell: number,
    **{name: partial(lambda side, field, number, cell: cell["box"][side], side)
       for side, name in enumerate(("x0", "y0", "x1", "y1"))},
    **{name: partial(lambda name, field, number, cell: cell[name], name) for name in ("score", "class", "suspicion")},
}  # fmt: skip
REGION_COLUMNS = ("region_x", "region_y")  # only of a run with slides: where on its slide a field begins, px
OUTLINE_COLUMNS = ("cell_area_px", "nucleus_area_px", "nc_ratio")  # only of a run with an outliner


def write_cells_csv(record_path: str | Path, out_csv: str | Path) -> None:
    """Write every cell of the record: COLUMNS, `identified` (from version 2 on: 1, or 0 for a cell that counts as no
    class), prob_CLASS for each class of the taxonomy, attr_NAME for each attribute,
    and OUTLINE_COLUMNS where the record has outlines; last, where something was seen twice, `counts` (1 or 0), and of
    slides REGION_COLUMNS.

    For spreadsheets (`leukoscope.files.write_table`); numbers exactly as the record holds them. `cell` counts from 0
    within its field. Memory stays that of one cell. The file appears whole or not at all.
    """
    record = read_record(record_path)
    names = record.taxonomy.names
    attributes = record.attributes
    optional = ("identified",) if record.version > 1 else ()
    twice = ("counts",) if record.slides or any("n_repeated" in p for p in record.patients) else ()
    places = REGION_COLUMNS if record.slides else ()
    measures = OUTLINE_COLUMNS if record.has_outlines else ()
    with write_table(out_csv) as table:
        further = [*(f"prob_{name}" for name in names), *(f"attr_{a['name']}" for a in attributes)]
        table.writerow([*COLUMNS, *optional, *further, *measures, *twice, *places])
        for field, cells in record.streamed():
            for number, cell in enumerate(cells):
                counts = bool(counted_cells(field | {"cells": [cell]}))
                probs, said = cell["probs"], cell.get("attributes", {})
                table.writerow(
                    [of(field, number, cell) for of in COLUMNS.values()]
                    + [int(cell.get("identified", True))] * len(optional)
                    + [probs.get(name, 0) for name in names]
                    + [said.get(a["name"], "") for a in attributes]
                    + [cell.get(name) for name in measures]
                    + [int(counts)] * len(twice)
                    + list(field["region"]["box"][:2] if "region" in field else [""] * len(places))
                )
