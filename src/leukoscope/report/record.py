"""Reading `record.json` (docs/record.md is the contract) without holding its fields in memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from leukoscope.count import roles_of
from leukoscope.entries import CellEntry, FieldEntry, PatientEntry
from leukoscope.errors import DataError, said_damaged
from leukoscope.report.json_stream import JsonStream
from leukoscope.report.record_v1 import upgraded, upgraded_cell, upgraded_cells
from leukoscope.taxonomy import Taxonomy

RECORD_VERSION = 2
VERSIONS = (1, 2)
STATUSES = ("ok", "poor", "failed")
FIELD_KEYS, CELL_KEYS = FieldEntry.__required_keys__, CellEntry.__required_keys__
PATIENT_KEYS = PatientEntry.__required_keys__
NEW_IN_2 = frozenset("denominator count_tier n_nucleated_red nucleated_red_per_100 n_unidentified".split())


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """A record's head; `fields()` reads the fields from the file again each time, one at a time.

    A record of version 1 is given in the shape of version 2, with the numbers that it holds (record_v1.py).

    version     of the file
    provenance  dict, keys as in docs/record.md
    patients    tuple of dicts, in the record's order
    taxonomy    the taxonomy of the run, from the provenance
    slides      tuple of dicts, what is said of each slide; () of a run of photographs
    """

    path: Path
    provenance: dict
    patients: tuple[PatientEntry, ...]
    taxonomy: Taxonomy
    version: int = RECORD_VERSION
    slides: tuple[dict, ...] = ()

    @property
    def has_outlines(self) -> bool:
        """Whether the run had an outliner or a segmenter: its cells then have contours, with the first an N:C ratio."""
        return bool({"outliner", "segmenter"} & set(self.provenance["models"]))

    @property
    def roles(self) -> dict[str, str]:
        """Class -> "counted", "beside", "artefact" or "not_counted" in this record's ratios."""
        return roles_of(self.taxonomy, "marrow" if self.version == 1 else self.provenance.get("specimen", "marrow"))

    @property
    def attributes(self) -> tuple[dict, ...]:
        """The attributes that cells may have beside their class: name, part, words (value -> words); () without any."""
        return tuple((self.provenance.get("attributes") or {}).get("shown", ()))

    def fields(self) -> Iterator[FieldEntry]:
        """The field dicts in the record's order. DataError names the field that lacks something."""
        with _open(self.path) as file:
            try:
                stream = JsonStream(file)
                for key in stream.members():
                    if key == "fields":
                        for index, field in enumerate(stream.items()):
                            _check_field(self.path, index, field)
                            yield self.as_read(field)
            except ValueError as error:
                raise _not_a_record(self.path, error) from None

    def as_read(self, field: FieldEntry) -> FieldEntry:
        """A field of the file in the shape that `fields` gives."""
        return field if self.version > 1 else upgraded_cells(field)

    def streamed(self) -> Iterator[tuple[FieldEntry, Iterator[CellEntry]]]:
        """Each field without its cells (its `cells` are empty), and its cells one at a time.

        For what must hold no large field whole: one of a slide may have a million cells. Of such a field the file is
        read twice at once, for what stands behind its cells says whether they count. Errors as of `fields`.
        """
        with _open(self.path) as first, _open(self.path) as second:
            try:
                large = _cells(JsonStream(second))
                for index, (head, cells) in enumerate(_heads(JsonStream(first))):
                    _check_field(self.path, index, head)
                    yield head, self._checked(index, _of_field(large, index) if cells is None else iter(cells))
            except ValueError as error:
                raise _not_a_record(self.path, error) from None

    def _checked(self, index: int, cells: Iterator[CellEntry]) -> Iterator[CellEntry]:
        for cell in cells:
            _check_keys(self.path, f"a cell of fields[{index}]", cell, CELL_KEYS)
            yield cell if self.version > 1 else upgraded_cell(cell)


def _heads(stream: JsonStream) -> Iterator[tuple[FieldEntry, list[CellEntry] | None]]:
    """The fields, each without its cells, and these; None where they are too many to be held."""
    for key in stream.members():
        if key == "fields":
            for _ in stream.places():
                field = stream.whole()
                if field is None:
                    yield {name: [] if name == "cells" else stream.value() for name in stream.members()}, None
                    continue
                cells = field.get("cells", []) if isinstance(field, dict) else None
                if not isinstance(cells, list):
                    raise ValueError(f"expected a field with a list of cells before character {stream.position()}")
                yield field | ({"cells": []} if "cells" in field else {}), cells


def _cells(stream: JsonStream) -> Iterator[tuple[int, Iterator[CellEntry]]]:
    """The number of each field and its cells; what is left of them is stepped over before the next."""
    for key in stream.members():
        if key == "fields":
            for number, _ in enumerate(stream.places()):
                for name in stream.members():
                    if name == "cells":
                        cells = stream.items()
                        yield number, cells
                        for _ in cells:
                            pass


def _of_field(large: Iterator[tuple[int, Iterator[CellEntry]]], number: int) -> Iterator[CellEntry]:
    """The cells of a field, those of the fields before it stepped over."""
    return next((cells for at, cells in large if at == number), iter(()))


def counted_cells(field: FieldEntry) -> list[CellEntry]:
    """The cells of a record's field that its patient's numbers are made of: those not seen twice."""
    return [] if "repeats" in field else [c for c in field["cells"] if "same_as" not in c]


def read_record(path: str | Path) -> Record:
    """Open a record of version 1 or 2; DataError where it is another version, damaged or lacks a part."""
    path = Path(path)
    head: dict = {}
    with _open(path) as file:
        try:
            stream = JsonStream(file)
            for key in stream.members():
                if key == "record_version":
                    head[key] = stream.value()
                    _check_version(path, head[key])
                elif key == "provenance":
                    head[key] = stream.value()
                elif key in ("patients", "slides"):
                    head[key] = tuple(stream.items())
                elif key == "fields":
                    head[key] = True
                    if len(head) >= 4:  # the usual order: the fields come last and need not be read now
                        break
        except ValueError as error:
            raise _not_a_record(path, error) from None
    missing = [k for k in ("record_version", "provenance", "patients", "fields") if k not in head]
    if missing:
        raise DataError(f"{path} is not a record: it lacks {', '.join(missing)}; see docs/record.md")
    version = head["record_version"]
    for patient in head["patients"]:
        _check_keys(path, "a patient", patient, PATIENT_KEYS - NEW_IN_2 if version == 1 else PATIENT_KEYS)
    _check_keys(path, "provenance", head["provenance"], frozenset(("taxonomy", "models", "min_cells")))
    taxonomy = Taxonomy.from_dict(head["provenance"]["taxonomy"])
    patients = head["patients"]
    if version == 1:
        with said_damaged(path, "is no whole record"):
            patients = tuple(upgraded(p, taxonomy, head["provenance"]["min_cells"]) for p in patients)
    return Record(path, head["provenance"], patients, taxonomy, version, head.get("slides", ()))


def _open(path: Path):
    try:
        return open(path, encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"can't read the record {path}: {error.strerror}; it is written by `leukoscope analyze`"
        ) from None


def _not_a_record(path: Path, error: ValueError) -> DataError:
    return DataError(f"{path} is not a record: {error}; run `leukoscope analyze` again with --resume")


def _check_version(path: Path, version: object) -> None:
    if version not in VERSIONS or isinstance(version, bool):
        raise DataError(
            f"{path} has record_version {version!r}; this Leukoscope reads {' and '.join(map(str, VERSIONS))}: use the "
            "version that wrote it"
        )


def _check_field(path: Path, index: int, field: object) -> None:
    _check_keys(path, f"fields[{index}]", field, FIELD_KEYS)
    if field["status"] not in STATUSES:
        raise DataError(
            f"{path}: fields[{index}] has status {field['status']!r}; expected one of {', '.join(STATUSES)}"
        )
    for cell in field["cells"]:
        _check_keys(path, f"a cell of fields[{index}]", cell, CELL_KEYS)


def _check_keys(path: Path, what: str, got: object, keys: frozenset[str]) -> None:
    missing = keys - set(got) if isinstance(got, dict) else keys
    if missing:
        raise DataError(f"{path}: {what} lacks {', '.join(sorted(missing))}; see docs/record.md")
