"""`cells.csv`: every cell of a record, one a line."""

from __future__ import annotations

import csv
from pathlib import Path

from leukoscope.report.record import read_record

COLUMNS = ("file", "patient_id", "smear_id", "center", "cell", "x0", "y0", "x1", "y1", "score", "class", "suspicion")
OUTLINE_COLUMNS = ("cell_area_px", "nucleus_area_px", "nc_ratio")  # only of a run with an outliner


def write_cells_csv(record_path: str | Path, out_csv: str | Path) -> None:
    """Write every cell of the record: COLUMNS, `identified` (from version 2 on: 1, or 0 for a cell that counts as no
    class), prob_CLASS for each class of the taxonomy, attr_NAME for each attribute,
    and OUTLINE_COLUMNS where the record has outlines.

    UTF-8, one header line, "\\n" line ends; numbers exactly as the record holds them. `cell` counts from 0 within
    its field. Memory stays that of one field. The file appears whole or not at all.
    """
    record = read_record(record_path)
    names = record.taxonomy.names
    attributes = record.attributes
    told = ("identified",) if record.version > 1 else ()
    measures = OUTLINE_COLUMNS if record.has_outlines else ()
    out = Path(out_csv)
    partial = out.with_name(out.name + ".part")
    # A file name that is not UTF-8 keeps its odd bytes as \udc.. rather than stopping the run.
    with open(partial, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        further = [*(f"prob_{name}" for name in names), *(f"attr_{a['name']}" for a in attributes)]
        table.writerow([*COLUMNS, *told, *further, *measures])
        for field in record.fields():
            origin = [field["file"], field["patient_id"], field["smear_id"], field["center"]]
            for number, cell in enumerate(field["cells"]):
                probs, said = cell["probs"], cell.get("attributes", {})
                table.writerow(
                    [*origin, number, *cell["box"], cell["score"], cell["class"], cell["suspicion"]]
                    + [int(cell["identified"])] * len(told)
                    + [probs.get(name, 0) for name in names]
                    + [said.get(a["name"], "") for a in attributes]
                    + [cell.get(name) for name in measures]
                )
    partial.replace(out)
