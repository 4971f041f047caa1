"""Views of one record: `record.json` is the truth; `cells.csv`, `patients.csv` and `report.html` are made from it."""

from leukoscope.report.cells_csv import write_cells_csv
from leukoscope.report.known import Known
from leukoscope.report.page import write_report
from leukoscope.report.patients_csv import write_patients_csv
from leukoscope.report.record import RECORD_VERSION, Record, counted_cells, read_record

__all__ = [
    "RECORD_VERSION",
    "Known",
    "Record",
    "counted_cells",
    "read_record",
    "write_cells_csv",
    "write_patients_csv",
    "write_report",
]
