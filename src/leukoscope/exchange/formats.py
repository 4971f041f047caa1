"""The one table of export formats: the command line, the help and docs/exchange.md are told from here.

To add a format: one function `write_x(source, out, wishes, names)` that yields what it wrote, and a row here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from leukoscope.errors import InputError


@dataclass(frozen=True, slots=True)
class Wishes:
    """How to export.

    gzip            GeoJSON is written zipped
    patient_system  FHIR: the address of the name space that the patient ids are of
    photographs     folder to look for photographs in, where they are not where the record has them
    deidentify      names of patients, smears, centres, photographs and readers become pseudonyms, dates go
    key             file of the pseudonyms' key; None: nobody keeps it
    """

    gzip: bool = False
    patient_system: str | None = None
    photographs: Path | None = None
    deidentify: bool = False
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """A file, relative to the format's folder; of these patients, of one photograph ("": of several)."""

    file: str
    patients: tuple[str, ...]
    photograph: str = ""
    n_cells: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Format:
    """One format.

    writes  what is written, for the docs and the help
    writer  "module:function" below `leukoscope.exchange`
    per     "patient", "photograph" or "record": what it writes a file for
    extra   the extra that its package comes with, and the package; "": none is needed
    """

    name: str
    writes: str
    writer: str
    per: str
    extra: str = ""
    package: str = ""

    def write(self) -> Callable:
        """The function that writes it; InputError where its package is not installed."""
        if self.package and find_spec(self.package) is None:
            raise InputError(
                f"writing {self.name} needs {self.package}, which is not installed: "
                f"pip install 'leukoscope[{self.extra}]'"
            )
        module, name = self.writer.split(":")
        return getattr(import_module(f"leukoscope.exchange.{module}"), name)


FORMATS = (
    Format("fhir", "a FHIR R4 Bundle (JSON) for each patient", "fhir_files:write_fhir", "patient"),
    Format("dicom", "DICOM: photographs, their cells as bulk annotations, a structured report for each patient",
           "dicom_files:write_dicom", "photograph", "dicom", "highdicom"),
    Format("geojson", "GeoJSON for QuPath: a file for each photograph, a detection for each cell",
           "geojson:write_geojson", "photograph"),
    Format("xlsx", "a workbook: patients, differential, ratios, flags", "workbook:write_xlsx", "record", "xlsx",
           "openpyxl"),
    Format("record", "record.json as it is: for handing on with --deidentify", "record_files:write_record_file",
           "record"),
    Format("report", "the report's pages anew: for handing on with --deidentify", "record_files:write_report_files",
           "record"),
    Format("csv", "patients.csv and cells.csv, for spreadsheets", "csv_files:write_csv", "record"),
)  # fmt: skip


def format_names() -> tuple[str, ...]:
    """Names of the formats, in the order of the table."""
    return tuple(f.name for f in FORMATS)


def format_named(name: str) -> Format:
    """A format by its name; InputError where there is none."""
    if name not in format_names():
        raise InputError(f"no export format {name!r}: expected one of {', '.join(format_names())}")
    return next(f for f in FORMATS if f.name == name)
