"""The manifest: Leukoscope's own data set on disk. `docs/format.md` is the contract; this file reads and writes it.

A data set is a folder with `dataset.json` (what it is) and `fields.jsonl` (one photograph a line). Images are
referred to, not copied: `file` is relative to `image_root`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from leukoscope.errors import UNREADABLE, DataError, in_short
from leukoscope.files import write_text
from leukoscope.types import FieldKey

MANIFEST_VERSION = 1
SPLITS = ("train", "val", "test")
_SORTED = json.JSONEncoder(sort_keys=True).encode  # what the digest is over
_PLAIN = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True, slots=True)
class TruthCell:
    """One annotated cell: box in px (xyxy, half-open), class in our vocabulary (None: a cell of unstated type),
    the source's own code, its outline [(x, y), ...] where there is one, and what else the source says of it
    (name, value), such as "nucleolus": "prominent"."""

    box: tuple[float, float, float, float]
    class_name: str | None
    source_code: str
    contour: tuple[tuple[float, float], ...] | None = None
    attributes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class TruthField:
    """One annotated photograph. `split` is None where the source states none."""

    key: FieldKey
    file: str
    sha256: str
    width: int
    height: int
    cells: tuple[TruthCell, ...]
    um_per_px: float | None = None
    split: str | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """Annotated fields and where their pictures are."""

    name: str
    image_root: Path
    fields: tuple[TruthField, ...]
    licence: str
    citation: str
    source_format: str

    def subset(self, split: str) -> Dataset:
        """The fields of one split; DataError when there are none."""
        fields = tuple(f for f in self.fields if f.split == split)
        if not fields:
            have = ", ".join(sorted({f.split for f in self.fields if f.split})) or "none stated: take all of it"
            raise DataError(f"data set {self.name!r} has no fields in split {split!r}; its splits: {have}")
        return replace(self, fields=fields)

    def path(self, field: TruthField) -> Path:
        """Where a field's picture is."""
        return self.image_root / field.file

    def sha256(self) -> str:
        """Digest over the fields' lines (file digests, boxes, classes, splits): names the data a model saw."""
        return _digest(map(_field_to_dict, self.fields))


def write_dataset(dataset: Dataset, out: str | Path) -> str:
    """Write `dataset.json` and `fields.jsonl` into folder `out`, each replaced in one step; returns the digest."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    entries = [_field_to_dict(f) for f in dataset.fields]
    digest = _digest(entries)
    head = {
        "manifest_version": MANIFEST_VERSION,
        "name": dataset.name,
        "image_root": os.path.relpath(dataset.image_root.resolve(), out.resolve()),
        "licence": dataset.licence,
        "citation": dataset.citation,
        "source_format": dataset.source_format,
        "n_fields": len(dataset.fields),
        "n_cells": sum(len(f.cells) for f in dataset.fields),
        "fields_sha256": digest,
    }
    lines = "".join(_PLAIN(entry) + "\n" for entry in entries)
    # The head goes last: a folder without it is an unfinished write, never a small data set.
    head_text = json.dumps(head, indent=1, ensure_ascii=False) + "\n"
    for name, text in (("fields.jsonl", lines), ("dataset.json", head_text)):
        write_text(out / name, text)
    return digest


def _digest(entries: Iterable[dict]) -> str:
    digest = hashlib.sha256()
    for entry in entries:
        digest.update(_SORTED(entry).encode())
    return digest.hexdigest()


def read_dataset(directory: str | Path) -> Dataset:
    """Read a data set folder; DataError names the file and line that is wrong."""
    directory = Path(directory)
    head_file = directory / "dataset.json"
    if not head_file.is_file():
        raise DataError(
            f"{directory} is not a Leukoscope data set: it has no dataset.json (see `leukoscope dataset import`)"
        )
    try:
        head = json.loads(head_file.read_text("utf-8"))
        version = head["manifest_version"]
    except UNREADABLE as error:
        raise DataError(f"{head_file} is not a manifest: {in_short(error)}") from None
    missing = [k for k in ("name", "image_root", "licence", "citation", "source_format", "n_fields") if k not in head]
    if missing and version == MANIFEST_VERSION:
        raise DataError(
            f"{head_file} lacks {', '.join(missing)}: expected a manifest of version {MANIFEST_VERSION}; "
            f"import the set again"
        )
    if version != MANIFEST_VERSION:
        raise DataError(f"{head_file} has manifest_version {version}; this Leukoscope reads {MANIFEST_VERSION}")
    fields = []
    if not (directory / "fields.jsonl").is_file():
        raise DataError(
            f"{directory} has a dataset.json but no fields.jsonl: copy the whole folder again, or import again"
        )
    with open(directory / "fields.jsonl", "rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                fields.append(_field_from_dict(json.loads(line)))
            except (DataError, *UNREADABLE) as error:
                raise DataError(f"{directory / 'fields.jsonl'} line {number}: {in_short(error)}") from None
    if len(fields) != head["n_fields"]:
        raise DataError(f"{directory / 'fields.jsonl'} has {len(fields)} fields, dataset.json says {head['n_fields']}")
    return Dataset(
        name=head["name"],
        image_root=(directory / head["image_root"]).resolve(),
        fields=tuple(fields),
        licence=head["licence"],
        citation=head["citation"],
        source_format=head["source_format"],
    )


_STATED = ("file", "sha256", "width", "height", "um_per_px", "split")  # of a field, as they stand in its line


def _field_to_dict(field: TruthField) -> dict:
    cells = []
    for cell in field.cells:
        box = [round(float(v), 3) for v in cell.box]
        entry = {"box": box, "class": cell.class_name, "source_code": cell.source_code}
        if cell.contour is not None:
            entry["contour"] = [[round(float(x), 3), round(float(y), 3)] for x, y in cell.contour]
        if cell.attributes:
            entry["attributes"] = dict(cell.attributes)
        cells.append(entry)
    return {**asdict(field.key), **{name: getattr(field, name) for name in _STATED}, "cells": cells}


def _field_from_dict(d: dict) -> TruthField:
    if d["split"] is not None and d["split"] not in SPLITS:
        raise DataError(f"split must be one of {', '.join(SPLITS)} or null, got {d['split']!r}")
    plain = {name: d[name] for name in _STATED} | {"width": int(d["width"]), "height": int(d["height"])}
    key = FieldKey(d["field_id"], d["smear_id"], d["patient_id"], d["center"], d["specimen"])
    return TruthField(key=key, cells=tuple(_cell_from_dict(c) for c in d["cells"]), **plain)


def _cell_from_dict(c: dict) -> TruthCell:
    x0, y0, x1, y1 = c["box"]
    if not (math.isfinite(x0 + y0 + x1 + y1) and x1 > x0 and y1 > y0):
        raise DataError(f"a box must have x1 > x0 and y1 > y0, got {c['box']}")
    return TruthCell(
        box=(x0, y0, x1, y1),
        class_name=c["class"],
        source_code=c["source_code"],
        contour=tuple(map(tuple, c["contour"])) if c.get("contour") else None,
        attributes=tuple(dict(c.get("attributes", {})).items()),
    )
