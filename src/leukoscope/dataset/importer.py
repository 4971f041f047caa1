"""Import a data set: read it in its own format, check every box, translate its codes, write the manifest."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from os.path import splitext
from pathlib import Path, PurePosixPath

from leukoscope.dataset.attribute_table import join_attributes
from leukoscope.dataset.checks import check_cells
from leukoscope.dataset.coco import read_coco
from leukoscope.dataset.cvat import read_cvat
from leukoscope.dataset.extras import read_head
from leukoscope.dataset.files import ImageIndex, read_table
from leukoscope.dataset.folders import read_folders
from leukoscope.dataset.label_studio import read_label_studio
from leukoscope.dataset.manifest import Dataset, TruthField, write_dataset
from leukoscope.dataset.picture_types import apply_picture_types
from leukoscope.dataset.raw import UNTYPED, Issue, RawField, RawSet, read_picture
from leukoscope.dataset.sources import Source, read_source
from leukoscope.dataset.splitting import REPORT_FILE
from leukoscope.dataset.table import read_csv
from leukoscope.dataset.voc import read_voc
from leukoscope.dataset.xyc import read_xyc
from leukoscope.dataset.yolo import read_yolo
from leukoscope.errors import DataError, InputError, TaxonomyError
from leukoscope.taxonomy import VOCABULARY, Taxonomy, read_attribute_set, read_taxonomy
from leukoscope.types import SPECIMENS, FieldKey

FORMATS = ("yolo", "voc", "coco", "cvat", "folders", "csv", "label-studio", "xyc")


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What came in and what did not; also written as import-report.json.

    n_fields, n_cells          in the manifest
    n_objects, n_dropped       annotated objects that the source holds; those of them that a "dropped" line of `issues`
                               counts: n_objects = n_cells + n_dropped
    cells_by_class             class name -> cells
    cells_by_code              the source's code -> cells
    fields_by_split            "train", "val", "test" or "none" -> fields
    issues                     every box or picture that was dropped or repaired, with the reason
    images_without_annotation  left out of the manifest: nobody says what is on them
    annotations_without_image  left out: there is nothing to look at
    fields_sha256              the manifest's digest
    n_with_attributes          cells of which the source says more than their class
    """

    name: str
    n_fields: int
    n_cells: int
    n_objects: int
    n_dropped: int
    cells_by_class: dict[str, int]
    cells_by_code: dict[str, int]
    fields_by_split: dict[str, int]
    n_patients: int
    issues: tuple[Issue, ...]
    images_without_annotation: tuple[str, ...]
    annotations_without_image: tuple[str, ...]
    fields_sha256: str
    n_with_attributes: int = 0

    def to_dict(self) -> dict:
        """Plain types for JSON."""
        return asdict(self)


def import_dataset(
    format: str,
    src: str | Path,
    out: str | Path,
    *,
    source: str | Path | None = None,
    taxonomy: Taxonomy | str | Path | None = None,
    columns: dict[str, str] | None = None,
    patients: str | Path | None = None,
    attributes: str | Path | None = None,
    specimen: str | None = None,
) -> ImportReport:
    """Import the data set in folder `src` and write dataset.json, fields.jsonl and import-report.json into `out`.

    format    one of FORMATS
    source    whose codes these are: a name from `sources.SOURCES` or a TOML file (docs/format.md); None: the
              codes must be names of our vocabulary already
    taxonomy  a Taxonomy, the name of one or a TOML file: its class names too may be meant by the codes, and the report
              counts the cells whose class it has not
    columns   csv only: our column -> the table's, over what the source says
    patients  CSV of file, patient_id and, if known, smear_id, center: overrides what the source says
    attributes  CSV of a picture's name and, in further columns, what else is said of its one cell (`join_attributes`)
    specimen  "blood" or "marrow"; None: the source's own, else blood

    Pictures are referred to, not copied. Raises InputError for a wrong path or option, DataError for a malformed
    set, TaxonomyError naming every code that has no meaning.
    """
    if format not in FORMATS:
        raise InputError(f"no data set format {format!r}: expected one of {', '.join(FORMATS)}")
    src, out = Path(src), Path(out)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: expected a folder to write the manifest into; name another")
    if (out / REPORT_FILE).exists():
        raise InputError(
            f"{out} holds a data set that was split ({REPORT_FILE}): importing into it again would lose the split; "
            "choose another --out, or delete that folder first"
        )
    known = read_source(source)
    if specimen is not None and specimen not in SPECIMENS:
        raise InputError(f"specimen must be one of {', '.join(SPECIMENS)}, got {specimen!r}")
    taxonomy = read_taxonomy(taxonomy) if isinstance(taxonomy, (str, Path)) else taxonomy
    if columns and format != "csv":
        raise InputError(f"columns are for the csv format: {format} has none; leave them out")
    raw = _read(format, src, replace(known, columns={**known.columns, **(columns or {})}))
    if attributes is not None:
        join_attributes(raw, attributes, read_attribute_set(known.attributes) if known.attributes else None)
    people = _read_patients(patients, raw) if patients is not None else {}
    _refuse_unknown_codes(raw, known, set(VOCABULARY) | set(taxonomy.names if taxonomy else ()))
    ids = _field_ids(raw.fields)
    fields = tuple(
        _to_truth(f, _key(f, ids[f.file], known, people.get(f.file, {}), specimen), raw, known)
        for f in _progress(raw.fields, "importing")
    )
    head = {} if known.name else read_head(src)
    dataset = Dataset(
        name=known.name or head.get("name") or src.resolve().name,
        image_root=src.resolve(),
        fields=fields,
        licence=head.get("licence", known.licence),
        citation=head.get("citation", known.citation),
        source_format=format,
    )
    _note_outside(dataset, taxonomy, raw)
    report = _report(dataset, raw, write_dataset(dataset, out))
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
        raw = read_folders(src, codes=source.codes, code_in_name=source.code_pattern is not None)
    elif format == "yolo":
        raw = read_yolo(src, label_attributes=source.label_attributes)
    elif format == "xyc":
        raw = read_xyc(src, box_px=source.box_px)
    else:
        raw = {"voc": read_voc, "coco": read_coco, "cvat": read_cvat, "label-studio": read_label_studio}[format](src)
    if source.code_pattern and format != "xyc":  # there the file's name states the patient's diagnosis
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
    cells = tuple(replace(c, code=found.group(1)) for c in field.cells)
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
    unmapped = [c for c in seen if source.class_of(c) not in allowed and (c != UNTYPED or source.name)]
    if not unmapped:
        return
    listed = "; ".join(f"{c[:60]!r} ({seen[c]} cells, first in {first[c]})" for c in sorted(unmapped)[:30])
    listed += f"; and {len(unmapped) - 30} more" if len(unmapped) > 30 else ""
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


def _field_ids(fields: list[RawField]) -> dict[str, str]:
    """{file: field_id}: what the source states, else the path without its suffix, or with it where two pictures differ
    in nothing else. DataError where two would be one."""
    stems = Counter(splitext(f.file)[0] for f in fields)
    ids: dict[str, str] = {}
    owners: dict[str, str] = {}
    for field in fields:
        stem = splitext(field.file)[0]
        field_id = field.field_id or (stem if stems[stem] == 1 else field.file)
        if field_id in owners:
            raise DataError(f"{field.file} and {owners[field_id]} both have the field_id {field_id!r}: state two")
        ids[field.file], owners[field_id] = field_id, field.file
    return ids


def _key(field: RawField, field_id: str, source: Source, person: dict[str, str], specimen: str | None) -> FieldKey:
    """Smear, patient and centre: what the patients table says, else the annotation, else the source; "" if nobody."""
    specimen = specimen or field.specimen or source.specimen
    if specimen not in SPECIMENS:
        raise DataError(f"{field.file}: specimen must be one of {', '.join(SPECIMENS)}, got {specimen[:40]!r}")
    return FieldKey(
        field_id,
        person.get("smear_id") or field.smear_id,
        person.get("patient_id") or field.patient_id,
        person.get("center") or field.center or source.center,
        specimen,
    )


def _to_truth(field: RawField, key: FieldKey, raw: RawSet, source: Source) -> TruthField:
    cells = check_cells(field, lambda code: None if code == UNTYPED else source.class_of(code), raw.issues)
    digest = field.sha256 or read_picture(raw.root / field.file).sha256
    scale = field.um_per_px or source.um_per_px
    return TruthField(key, field.file, digest, field.width, field.height, cells, scale, field.split)


def _note_outside(dataset: Dataset, taxonomy: Taxonomy | None, raw: RawSet) -> None:
    """List the classes that a stated taxonomy has not, with how many cells are of each."""
    if taxonomy is None:
        return
    classes = Counter(c.class_name for f in dataset.fields for c in f.cells if c.class_name is not None)
    for name in sorted(set(classes) - set(taxonomy.names)):
        raw.note("", f"class outside taxonomy {taxonomy.name}", f"{name}: {classes[name]} cells", classes[name])


def _report(dataset: Dataset, raw: RawSet, digest: str) -> ImportReport:
    cells = [c for f in dataset.fields for c in f.cells]
    return ImportReport(
        name=dataset.name,
        n_fields=len(dataset.fields),
        n_cells=len(cells),
        n_objects=raw.n_objects,
        n_dropped=sum(i.n for i in raw.issues if i.action == "dropped"),
        cells_by_class=dict(sorted(Counter(str(c.class_name) for c in cells).items())),
        cells_by_code=dict(sorted(Counter(c.source_code for c in cells).items())),
        fields_by_split=dict(sorted(Counter(f.split or "none" for f in dataset.fields).items())),
        n_patients=len({f.key.patient_id for f in dataset.fields} - {""}),
        issues=tuple(raw.issues),
        images_without_annotation=tuple(raw.images_without_annotation),
        annotations_without_image=tuple(raw.annotations_without_image),
        fields_sha256=digest,
        n_with_attributes=sum(bool(c.attributes) for c in cells),
    )


def _progress(fields: list[RawField], what: str) -> Iterable[RawField]:
    """A progress bar on a terminal, for sets that take more than a moment; nothing elsewhere."""
    if len(fields) < 2000 or not sys.stderr.isatty():
        return fields
    from rich.console import Console
    from rich.progress import track

    return track(fields, what, console=Console(stderr=True), transient=True)
