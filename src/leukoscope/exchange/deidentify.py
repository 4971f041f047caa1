"""A record without names: what is known to be harmless stays, everything else goes (docs/decisions/0038)."""

import json
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath

from leukoscope.entries import CellEntry, FieldEntry, PatientEntry
from leukoscope.exchange.source import Source
from leukoscope.files import file_digest, write_json, write_whole
from leukoscope.pseudonyms import Pseudonyms
from leukoscope.report import Record, read_record
from leukoscope.report.pictures import Places

OLDEST_AGE = 90  # years: of 90 or more "90" is said (HIPAA, 45 CFR 164.514(b)(2)(i)(C))
# Keys that stay as they are: numbers, codes, and texts that Leukoscope itself makes of numbers. A field's `detail` and
# `note` may quote a path; digests of photographs tell who has the same file.
_PROVENANCE = ("leukoscope", "taxonomy", "taxonomy_sha256", "specimen", "um_per_px", "min_cells", "usual_min_cells",
               "unidentified_below", "not_offered", "attributes", "use")  # fmt: skip
_FIELD = ("status", "width", "height", "um_per_px", "scale_from", "scale_doubt", "red_cell_px", "quality", "tile_px",
          "pages", "region")  # fmt: skip
_SLIDE = ("reader", "width", "height", "n_levels", "n_planes", "um_per_px", "red_cell_px", "whole", "n_regions",
          "tile_px", "mm2", "map")  # fmt: skip
_CELL = CellEntry.__required_keys__ | CellEntry.__optional_keys__
_PATIENT = (PatientEntry.__required_keys__ | PatientEntry.__optional_keys__) - {"stated"}
_SIGNED = ("signed_version", "specimen", "numbers", "agreement_with_model", "version")
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,5}")
_CODES = re.compile(r"[a-z_, ]*")


def deidentified_source(source: Source, folder: Path, names: Pseudonyms) -> Source:
    """The source without names, written into `folder`, a place for the time of the export."""
    if source.signed is not None:
        signed = deidentified_signed(source.signed, names)
        path = folder / "signed.json"
        write_json(path, signed, sync=False)
        return Source(path, signed=signed, anonymous=True)
    path = folder / "record.json"
    places = write_deidentified(source.record, path, names)
    run = names.of("run", file_digest(source.path))
    return Source(path, record=read_record(path), places=places, run=run, anonymous=True, origin=source.path)


def write_deidentified(record: Record, path: Path, names: Pseudonyms) -> Places:
    """Write the record without names; where its photographs lie, by their new names. Cells pass by one at a time."""
    places: dict[str, tuple[str, str | None]] = {}
    head = {
        "record_version": record.version,
        "provenance": _provenance(record.provenance),
        "patients": [_patient(patient, names) for patient in record.patients],
    }
    if record.slides:
        head["slides"] = [_slide(slide, names) for slide in record.slides]
    with write_whole(path, encoding="ascii", newline="\n", sync=False) as out:
        out.write(json.dumps(head, indent=1)[:-2] + ',\n "fields": [')
        for number, (field, cells) in enumerate(record.streamed()):
            clean = _field(field, names)
            places[clean["file"]] = (field["file"], field["sha256"])
            out.write((",\n  " if number else "\n  ") + json.dumps(clean)[:-1] + ', "cells": [')
            _write_cells(out, cells)
            out.write("]}")
        out.write("\n ]\n}\n")
    return places


def deidentified_signed(signed: dict, names: Pseudonyms) -> dict:
    """A signed record without names and without the time of signing."""
    who = signed.get("signed") or {}
    readings = [
        {k: reading[k] for k in ("kind", "active_ms", "state") if k in reading}
        | {"reader": names.of("reader", reading["reader"])}
        for reading in signed.get("readings", ())
    ]
    kept = ("cell", "field", "box", "model", "class", "call", "seen", "hidden")
    cells = [
        {k: cell[k] for k in kept}
        | {"file": _file(cell["file"], names), "reader": names.of("reader", cell["reader"] or "") or None}
        for cell in signed.get("cells", ())
    ]
    return {k: signed[k] for k in _SIGNED if k in signed} | {
        "patient_id": names.of("patient", signed["patient_id"]),
        "center": names.of("center", signed.get("center") or ""),
        "smear_ids": [names.of("smear", smear) for smear in signed["smear_ids"]],
        "record_sha256": names.of("run", signed["record_sha256"]),
        "provenance": _provenance(signed["provenance"]),
        "readings": readings,
        "cells": cells,
        "signed": {"by": names.of("reader", who.get("by", "")), "at": None},
        "log": {"events": (signed.get("log") or {}).get("events"), "hash": ""},
    }


def _provenance(provenance: dict) -> dict:
    """Options that are numbers or switches stay; a text may be a path."""
    kept = {key: provenance[key] for key in _PROVENANCE if key in provenance}
    options = provenance.get("options") or {}
    kept["options"] = {k: v for k, v in options.items() if v is None or isinstance(v, (bool, int, float))}
    models = provenance.get("models") or {}
    kept["models"] = {
        part: {k: v for k, v in model.items() if k == "name" or k.endswith("_sha256")} for part, model in models.items()
    }
    return kept


def _patient(patient: PatientEntry, names: Pseudonyms) -> dict:
    kept = {key: value for key, value in patient.items() if key in _PATIENT}
    kept |= {
        "patient_id": names.of("patient", patient["patient_id"]),
        "center": [names.of("center", center) for center in patient["center"]],
        "smear_ids": [names.of("smear", smear) for smear in patient["smear_ids"]],
    }
    stated = {k: v for k, v in (patient.get("stated") or {}).items() if k in ("age_years", "sex", "leukocytes_per_nl")}
    if isinstance(stated.get("age_years"), (int, float)):
        stated["age_years"] = min(stated["age_years"], OLDEST_AGE)
    return kept | ({"stated": stated} if stated else {})


def _field(field: FieldEntry, names: Pseudonyms) -> dict:
    """A field without its cells."""
    reason = field["reason"] if field["reason"] and _CODES.fullmatch(field["reason"]) else None
    kept = {
        "file": _file(field["file"], names),
        "sha256": None,
        "patient_id": names.of("patient", field["patient_id"]),
        "smear_id": names.of("smear", field["smear_id"]),
        "center": names.of("center", field["center"]),
        "reason": reason,
        "note": None,
    }
    kept |= {key: field[key] for key in _FIELD if key in field}
    for key in ("repeats", "overlaps"):
        if key in field:
            kept[key] = _seen_again(field[key], names)
    if "also_of" in field:
        kept["also_of"] = [names.of("patient", patient) for patient in field["also_of"]]
    return kept


def _slide(slide: dict, names: Pseudonyms) -> dict:
    """What is said of a slide; `vendor` is a text of its file and goes."""
    kept = {key: slide[key] for key in _SLIDE if key in slide} | {"vendor": "", "sha256": ""}
    ids = {"patient_id": "patient", "smear_id": "smear"}
    return kept | {key: names.of(kind, slide[key]) for key, kind in ids.items()} | {"file": _file(slide["file"], names)}


def _seen_again(said, names: Pseudonyms):
    """`repeats` or `overlaps`, which name the other file."""
    if isinstance(said, list):
        return [_seen_again(one, names) for one in said]
    return said | {"file": _file(said["file"], names)}


def _write_cells(out, cells: Iterable[CellEntry]) -> None:
    for n, cell in enumerate(cells):
        out.write((", " if n else "") + json.dumps({k: v for k, v in cell.items() if k in _CELL}))


def _file(file: str, names: Pseudonyms) -> str:
    """A photograph's new name; its ending stays where it is one of letters and digits."""
    suffix = PurePosixPath(PureWindowsPath(file).name).suffix
    return names.of("photograph", file) + (suffix.lower() if _SUFFIX.fullmatch(suffix) else "")
