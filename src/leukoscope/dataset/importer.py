"""Import a data set: read it in its own format, check every box, translate its codes, write the manifest."""

from __future__ import annotations

import hashlib
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath

from leukoscope.dataset.folders import read_folders
from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField, write_dataset
from leukoscope.dataset.picture_types import apply_picture_types
from leukoscope.dataset.raw import ImageIndex, Issue, RawCell, RawField, RawSet, read_table
from leukoscope.dataset.sources import Source, read_source
from leukoscope.dataset.table import read_csv
from leukoscope.dataset.voc import read_voc
from leukoscope.dataset.yolo import read_yolo
from leukoscope.errors import InputError, TaxonomyError
from leukoscope.taxonomy import VOCABULARY, Taxonomy
from leukoscope.types import SPECIMENS, FieldKey

FORMATS = ("yolo", "voc", "folders", "csv")
_ROUNDING_PX = 0.01  # a box this far over the edge is a rounded number, not a wrong box
_NO_AREA_PX = 0.01  # the manifest keeps three decimals


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What came in and what did not; also written as import-report.json.

    n_fields, n_cells          in the manifest
    cells_by_class             class name -> cells
    cells_by_code              the source's code -> cells
    fields_by_split            "train", "val", "test" or "none" -> fields
    issues                     every box or picture that was dropped or repaired, with the reason
    images_without_annotation  left out of the manifest: nobody says what is on them
    annotations_without_image  left out: there is nothing to look at
    fields_sha256              the manifest's digest
    """

    name: str
    n_fields: int
    n_cells: int
    cells_by_class: dict[str, int]
    cells_by_code: dict[str, int]
    fields_by_split: dict[str, int]
    n_patients: int
    issues: tuple[Issue, ...]
    images_without_annotation: tuple[str, ...]
    annotations_without_image: tuple[str, ...]
    fields_sha256: str

    def to_dict(self) -> dict:
        """Plain types for JSON."""
        return asdict(self)


def import_dataset(
    format: str,
    src: str | Path,
    out: str | Path,
    *,
    source: str | Path | None = None,
    taxonomy: Taxonomy | None = None,
    patients: str | Path | None = None,
    specimen: str | None = None,
) -> ImportReport:
    """Import the data set in folder `src` and write dataset.json, fields.jsonl and import-report.json into `out`.

    format    "yolo", "voc", "folders" or "csv"
    source    whose codes these are: a name from `sources.SOURCES` or a TOML file (docs/format.md); None: the
              codes must be names of our vocabulary already
    taxonomy  further class names that the codes may mean, for a vocabulary of one's own
    patients  CSV of file, patient_id and, if known, smear_id, center: overrides what the source says
    specimen  "blood" or "marrow"; None: the source's own, else blood

    Pictures are referred to, not copied. Raises InputError for a wrong path or option, DataError for a malformed
    set, TaxonomyError naming every code that has no meaning.
    """
    if format not in FORMATS:
        raise InputError(f"no data set format {format!r}: expected one of {', '.join(FORMATS)}")
    src, out = Path(src), Path(out)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: expected a folder to write the manifest into; name another")
    known = read_source(source)
    specimen = specimen or known.specimen
    if specimen not in SPECIMENS:
        raise InputError(f"specimen must be one of {', '.join(SPECIMENS)}, got {specimen!r}")
    raw = _read(format, src, known)
    people = _read_patients(patients, raw) if patients is not None else {}
    allowed = set(VOCABULARY) | set(taxonomy.names if taxonomy else ())
    _refuse_unknown_codes(raw, known, allowed)
    ids = _field_ids([f.file for f in raw.fields])
    fields = tuple(
        _to_truth(f, FieldKey(ids[f.file], *_who(f, known, people.get(f.file, {})), specimen), raw, known)
        for f in _progress(raw.fields, "importing")
    )
    dataset = Dataset(
        name=known.name or src.resolve().name,
        image_root=src.resolve(),
        fields=fields,
        licence=known.licence,
        citation=known.citation,
        source_format=format,
    )
    write_dataset(dataset, out)
    report = _report(dataset, raw)
    text = json.dumps(report.to_dict(), indent=1, ensure_ascii=False) + "\n"
    (out / "import-report.json").write_text(text, "utf-8")
    return report


def _read(format: str, src: Path, source: Source) -> RawSet:
    if format == "csv":
        raw = read_csv(
            src,
            table=source.table,
            columns=source.columns,
            coordinates=source.coordinates,
            image_name=source.image_name,
            mask_name=source.mask_name,
        )
    elif format == "folders":
        raw = read_folders(src, code_in_name=source.code_pattern is not None)
    else:
        raw = {"yolo": read_yolo, "voc": read_voc}[format](src)
    if source.code_pattern:
        raw.fields = [_code_from_name(f, source.code_pattern, raw.issues) for f in raw.fields]
    if source.subject_pattern:
        raw.fields = [_subject_from_name(f, source.subject_pattern) for f in raw.fields]
    if source.type_table:
        apply_picture_types(raw, source)
    return raw


def _code_from_name(field: RawField, pattern: str, issues: list[Issue]) -> RawField:
    """The file's name states a finer class than the annotation: each cell takes that code."""
    found = re.search(pattern, PurePosixPath(field.file).name)
    if not found:
        issues.append(Issue(field.file, "noted", "no class in the file's name", f"expected {pattern}"))
        return field
    cells = tuple(RawCell(c.box, found.group(1), c.contour) for c in field.cells)
    return replace(field, cells=cells)


def _subject_from_name(field: RawField, pattern: str) -> RawField:
    found = re.search(pattern, PurePosixPath(field.file).name)
    subject = found.group(1) if found else field.patient_id
    return replace(field, patient_id=subject)


def _refuse_unknown_codes(raw: RawSet, source: Source, allowed: set[str]) -> None:
    """TaxonomyError that names each code without a meaning, how often it occurs and where first."""
    seen: Counter[str] = Counter()
    first: dict[str, str] = {}
    for field in raw.fields:
        for cell in field.cells:
            seen[cell.code] += 1
            first.setdefault(cell.code, field.file)
    invented = sorted(c for c in seen if source.class_of(c) not in allowed and c in source.codes)
    if invented:
        listed = ", ".join(f"{c!r} to {source.class_of(c)!r}" for c in invented)
        raise TaxonomyError(
            f"source {source.name!r} translates {listed}, which is no class of ours: expected names of "
            f"leukoscope.taxonomy.VOCABULARY; correct the table, or state a taxonomy that has the class"
        )
    unmapped = [c for c in seen if source.class_of(c) not in allowed]
    if not unmapped:
        return
    listed = "; ".join(f"{c!r} ({seen[c]} cells, first in {first[c]})" for c in sorted(unmapped))
    if source.name:
        known = ", ".join(source.codes) or "none"
        raise TaxonomyError(
            f"source {source.name!r} has no class for {listed}; it knows {known}; "
            f"add the code to a table of your own (TOML)"
        )
    raise TaxonomyError(
        f"no class for {listed}: without a source the codes must be class names of ours "
        f"(neutrophil, lymphoblast, …: leukoscope.taxonomy.VOCABULARY); "
        f"state whose codes these are with --source NAME or a TOML table"
    )


def _read_patients(path: str | Path, raw: RawSet) -> dict[str, dict[str, str]]:
    """{file: row} of a patients table, its files looked up as an annotation's are."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no such file: {path}: expected a CSV of file, patient_id, smear_id, center")
    rows = read_table(path)
    missing = [c for c in ("file", "patient_id") if c not in rows[0]]
    if missing:
        raise InputError(
            f"{path} has no column {', '.join(missing)}: expected file, patient_id and maybe smear_id, center; "
            f"got {', '.join(rows[0])}"
        )
    index = ImageIndex(raw.root, [f.file for f in raw.fields] + raw.images_without_annotation)
    people: dict[str, dict[str, str]] = {}
    for number, row in enumerate(rows, 2):
        file = index.find(row["file"])
        where = f"{path} row {number} names {row['file']!r}"
        if file is None:
            raise InputError(f"{where}, which is no picture under {raw.root}; correct or remove the row")
        if people.setdefault(file, row) != row:
            raise InputError(f"{where} a second time with other values; keep one row a picture")
    return people


def _field_ids(files: list[str]) -> dict[str, str]:
    """{file: field_id}: the path without its suffix, or with it where two pictures differ in nothing else."""
    stems = Counter(str(PurePosixPath(f).with_suffix("")) for f in files)
    short = {f: str(PurePosixPath(f).with_suffix("")) for f in files}
    return {f: short[f] if stems[short[f]] == 1 else f for f in files}


def _who(field: RawField, source: Source, person: dict[str, str]) -> tuple[str, str, str]:
    """Smear, patient and centre: what the patients table says, else the source; "" where nobody says."""
    return (
        person.get("smear_id") or field.smear_id,
        person.get("patient_id") or field.patient_id,
        person.get("center") or field.center or source.center,
    )


def _to_truth(field: RawField, key: FieldKey, raw: RawSet, source: Source) -> TruthField:
    cells, seen = [], set()
    for cell in field.cells:
        box = _checked_box(cell, field, raw.issues)
        if box is None:
            continue
        if (box, cell.code) in seen:
            raw.issues.append(Issue(field.file, "dropped", "box given twice", f"{cell.code} {_show(box)}"))
            continue
        seen.add((box, cell.code))
        cells.append(TruthCell(box, source.class_of(cell.code), cell.code, cell.contour))
    digest = hashlib.sha256((raw.root / field.file).read_bytes()).hexdigest()
    return TruthField(key, field.file, digest, field.width, field.height, tuple(cells), source.um_per_px, field.split)


def _checked_box(cell: RawCell, field: RawField, issues: list[Issue]) -> tuple[float, float, float, float] | None:
    """The box inside its picture, or None; what is dropped or repaired is listed."""
    x0, y0, x1, y1 = cell.box

    def note(action: str, reason: str) -> None:
        detail = f"{cell.code} {_show(cell.box)} in {field.width}x{field.height}"
        issues.append(Issue(field.file, action, reason, detail))

    if not all(math.isfinite(v) for v in cell.box):
        note("dropped", "box is not a number")
        return None
    if x1 < x0 or y1 < y0:
        note("repaired", "corners swapped")
        x0, x1, y0, y1 = min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1)
    if min(x1 - x0, y1 - y0) < _NO_AREA_PX:
        note("dropped", "box without area")
        return None
    if min(x0, y0, field.width - x1, field.height - y1) < -_ROUNDING_PX:
        note("repaired", "box cut at the picture's edge")
    cut = (max(x0, 0.0), max(y0, 0.0), min(x1, float(field.width)), min(y1, float(field.height)))
    if min(cut[2] - cut[0], cut[3] - cut[1]) < _NO_AREA_PX:
        note("dropped", "box outside its picture")
        return None
    return cut


def _show(box: tuple[float, float, float, float]) -> str:
    return "[" + ", ".join(f"{v:.6g}" for v in box) + "]"


def _report(dataset: Dataset, raw: RawSet) -> ImportReport:
    cells = [c for f in dataset.fields for c in f.cells]
    return ImportReport(
        name=dataset.name,
        n_fields=len(dataset.fields),
        n_cells=len(cells),
        cells_by_class=dict(sorted(Counter(str(c.class_name) for c in cells).items())),
        cells_by_code=dict(sorted(Counter(c.source_code for c in cells).items())),
        fields_by_split=dict(sorted(Counter(f.split or "none" for f in dataset.fields).items())),
        n_patients=len({f.key.patient_id for f in dataset.fields} - {""}),
        issues=tuple(raw.issues),
        images_without_annotation=tuple(raw.images_without_annotation),
        annotations_without_image=tuple(raw.annotations_without_image),
        fields_sha256=dataset.sha256(),
    )


def _progress(fields: list[RawField], what: str) -> Iterable[RawField]:
    """A progress bar on a terminal, for sets that take more than a moment; nothing elsewhere."""
    if len(fields) < 2000 or not sys.stderr.isatty():
        return fields
    from rich.console import Console
    from rich.progress import track

    return track(fields, what, console=Console(stderr=True), transient=True)
