"""What is exported: a run's record, or a record that was signed. Cells pass by one at a time."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path

from leukoscope.errors import UNREADABLE, InputError, said_damaged
from leukoscope.exchange.findings import Findings, findings_of, findings_of_signed, read_signed
from leukoscope.report import Record, read_record
from leukoscope.report.json_stream import JsonStream
from leukoscope.report.pictures import Places
from leukoscope.taxonomy import Taxonomy

RECORD = "record.json"


@dataclass(frozen=True, slots=True)
class Photograph:
    """One field of a record, without its cells: a photograph, a page of one, or a region of a slide.

    place    where it stands in the record, from 0
    path     where to read it: for reading only, never written
    sha256   of the file; None: not known (a signed record does not say)
    counted  False where it shows what another field shows: then none of its cells counts
    page     of a file of several pages
    region   of a slide: its box in px of level 0, in which its cells' boxes begin; None for a photograph
    """

    place: int
    path: str
    file: str
    patient_id: str
    smear_id: str
    center: str
    specimen: str
    status: str = "ok"
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    um_per_px: float | None = None
    counted: bool = True
    page: int | tuple[int, ...] | None = None
    region: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class ExportCell:
    """One cell.

    class_name  None: not identified
    counts      whether the patient's numbers hold it (not seen twice)
    numbers     what was measured of it: score, probabilities, suspicion, areas in px², N:C ratio; () of a signed one
    words       attributes, and of a signed cell who called it
    """

    box: tuple[float, ...]
    class_name: str | None
    counts: bool = True
    contour: list | None = None
    nuclei: tuple[list, ...] = ()
    numbers: tuple[tuple[str, float], ...] = ()
    words: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A run's record or a signed record; exactly one of the two is not None.

    Of one without names (`deidentify.py`) `anonymous` is true; `places` has where its photographs lie and their
    digests, `run` what stands for the run's digest, and `origin` where the run's own record is.
    """

    path: Path
    record: Record | None = None
    signed: dict | None = None
    places: Places = field(default_factory=dict)
    run: str | None = None
    anonymous: bool = False
    origin: Path | None = None

    @property
    def taxonomy(self) -> Taxonomy:
        """The classes that its cells may have."""
        return self.record.taxonomy if self.record else Taxonomy.from_dict(self.signed["provenance"]["taxonomy"])

    def findings(self) -> Iterator[Findings]:
        """Its patients."""
        return findings_of(self.record, run=self.run) if self.record else iter([findings_of_signed(self.signed)])

    def photographs(self) -> Iterator[tuple[Photograph, Iterator[ExportCell]]]:
        """Its photographs, each with its cells; those that could not be read too, without any."""
        return _of_record(self.record, self.places) if self.record else _of_signed(self.signed)


def open_source(path: str | Path) -> Source:
    """A run's folder, a record.json, or the JSON of a signed record; InputError or DataError says what else it is."""
    path = Path(path)
    file = path / RECORD if path.is_dir() else path
    if not file.is_file():
        what = f"it holds no {RECORD}" if path.is_dir() else "there is no such file"
        raise InputError(f"nothing to export at {path}: {what}; expected a run's folder or a signed record's JSON")
    if _is_signed(file):
        source = Source(file, signed=read_signed(file))
        with said_damaged(file, "is no signed record"):
            next(source.findings())  # says now what is wrong with it
        return source
    return Source(file, record=read_record(file))


def _is_signed(file: Path) -> bool:
    """By the first of its keys that only one of the two has; what is wrong with a file `read_record` says."""
    try:
        with open(file, encoding="utf-8") as text:
            keys = JsonStream(text).members()
            stated = (
                key for key in keys if key in ("record_version", "patients", "signed_version", "numbers", "cells")
            )
            return next(stated, "") in ("signed_version", "numbers", "cells")
    except (OSError, *UNREADABLE):
        return False


def _of_record(record: Record, places: Places) -> Iterator[tuple[Photograph, Iterator[ExportCell]]]:
    specimen = record.provenance.get("specimen", "marrow")
    keys = ("file", "patient_id", "smear_id", "center", "status", "width", "height", "um_per_px")
    for place, (head, cells) in enumerate(record.streamed()):
        page = head.get("pages")
        counted = "repeats" not in head
        shown = {key: head[key] for key in keys} | {"page": tuple(page) if isinstance(page, list) else page}
        shown["region"] = tuple(head["region"]["box"]) if "region" in head else None
        path, digest = places.get(head["file"], (head["file"], head["sha256"]))
        photograph = Photograph(place, path, sha256=digest, specimen=specimen, counted=counted, **shown)
        yield photograph, map(partial(_cell, counted=counted), cells)


def _cell(cell: dict, *, counted: bool) -> ExportCell:
    numbers = {"score": cell["score"], "suspicion": cell["suspicion"]}
    numbers |= {f"prob {name}": value for name, value in cell["probs"].items()}
    measured = {k: cell.get(k) for k in ("cell_area_px", "nucleus_area_px", "nc_ratio")}
    numbers |= {name: value for name, value in measured.items() if value is not None}
    return ExportCell(
        tuple(cell["box"]),
        cell["class"] if cell.get("identified", True) else None,
        counted and "same_as" not in cell,
        cell.get("contour"),
        tuple(cell.get("nuclei") or ()),
        tuple(numbers.items()),
        tuple((cell.get("attributes") or {}).items()),
    )


def _of_signed(signed: dict) -> Iterator[tuple[Photograph, Iterator[ExportCell]]]:
    smear = signed["smear_ids"][0] if len(signed["smear_ids"]) == 1 else ""
    by_field = groupby(sorted(signed["cells"], key=lambda c: c["field"]), key=lambda c: (c["field"], c["file"]))
    for (place, file), cells in by_field:
        photograph = Photograph(
            place, file, file, signed["patient_id"], smear, signed.get("center") or "", signed["specimen"]
        )
        yield photograph, (_signed_cell(c) for c in cells if c["call"] != "not_a_cell")


def _signed_cell(cell: dict) -> ExportCell:
    words = {"called by": cell["reader"], "model": cell["model"]}
    return ExportCell(tuple(cell["box"]), cell["class"], words=tuple((k, v) for k, v in words.items() if v is not None))
