"""Tables as CSV: those of the report for a run, the reading room's for a signed record. No cell is a formula."""

from collections.abc import Iterator
from pathlib import Path

from leukoscope.exchange.file_names import FileNames
from leukoscope.exchange.formats import Wishes, Written
from leukoscope.exchange.source import Source
from leukoscope.exchange.workbook import CELL_COLUMNS, signed_cell
from leukoscope.files import table_bytes, write_bytes
from leukoscope.report import write_cells_csv, write_patients_csv


def write_csv(source: Source, out: Path, wishes: Wishes, names: FileNames) -> Iterator[Written]:
    """Write patients.csv and cells.csv of a run, the cells of a signed record; each whole or not at all."""
    if source.signed is not None:
        name = names.of(source.signed["patient_id"], "patient") + ".csv"
        write_bytes(out / name, signed_csv(source.signed))
        yield Written(name, (source.signed["patient_id"],), n_cells=len(source.signed["cells"]))
        return
    patients = tuple(p["patient_id"] for p in source.record.patients)
    for stem, write in (("patients", write_patients_csv), ("cells", write_cells_csv)):
        name = names.of(stem, stem) + ".csv"
        write(source.record.path, out / name)
        yield Written(name, patients)


def signed_csv(signed: dict) -> bytes:
    """A signed record's cells as CSV, one a line: UTF-8 with a byte order mark, as `files.write_table` writes."""
    return table_bytes([CELL_COLUMNS, *map(signed_cell, signed["cells"])])
