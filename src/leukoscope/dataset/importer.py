"""Import a data set: read it in its own format, check every box, translate its codes, write the manifest."""

import json
import shutil
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from leukoscope.dataset.archive import UNPACKED, unpack
from leukoscope.dataset.attribute_table import join_attributes
from leukoscope.dataset.checks import check_cells
from leukoscope.dataset.codes import drop_predictions, place_codes, translate
from leukoscope.dataset.extras import HEAD_FILE, read_head
from leukoscope.dataset.fitting import fit_to_pictures, scaled
from leukoscope.dataset.formats import Format, format_named, readable
from leukoscope.dataset.manifest import Dataset, TruthField, write_dataset
from leukoscope.dataset.patients import field_ids, field_key, note_ids_spelled_twice, read_patients
from leukoscope.dataset.picture_types import apply_picture_types
from leukoscope.dataset.raw import Issue, RawField, RawSet, read_picture
from leukoscope.dataset.sources import Source, changed_source, read_source
from leukoscope.dataset.splitting import REPORT_FILE
from leukoscope.errors import DataError, InputError
from leukoscope.files import write_text
from leukoscope.taxonomy import VOCABULARY, Taxonomy, read_attribute_set, read_taxonomy
from leukoscope.types import SPECIMENS

IMPORT_REPORT = "import-report.json"
_COMMONEST = 3  # reasons that a refusal and the terminal name


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What came in and what did not; also written as import-report.json.

    n_fields, n_cells          in the manifest
    n_objects, n_dropped       annotated objects that the source holds; those of them that a "dropped" line of `issues`
                               counts: n_objects = n_cells + n_dropped
    cells_by_class             class name -> cells
    cells_by_code              the source's code -> cells
    fields_by_split            "train", "val", "test" or "none" -> fields
    n_without_cells            fields on which somebody looked and found no cell
    issues                     every box or picture that was dropped or repaired, with the reason
    images_that_lost_all       left out: all of their objects were dropped, so "no cell" would be untrue
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
    n_without_cells: int = 0
    images_that_lost_all: tuple[str, ...] = ()

    def commonest(self, n: int = _COMMONEST) -> list[tuple[str, str, int]]:
        """(action, reason, objects or pictures) of the commonest issues: what was lost first, then what was changed."""
        counts: Counter[tuple[str, str]] = Counter()
        for issue in self.issues:
            counts[issue.action, issue.reason] += max(issue.n, 1)
        order = {"dropped": 0, "repaired": 1, "noted": 2}
        ranked = sorted(counts.items(), key=lambda item: (order[item[0][0]], -item[1], item[0]))
        return [(action, reason, count) for (action, reason), count in ranked[:n]]

    def to_dict(self) -> dict:
        """Plain types for JSON."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        return plain | {"issues": [{k: getattr(i, k) for k in Issue.__slots__} for i in self.issues]}

    def to_json(self) -> str:
        """The report as JSON, a line for each issue."""
        plain = self.to_dict()
        encode = json.JSONEncoder(ensure_ascii=False).encode
        lines = [f" {encode(k)}: {encode(v)}" for k, v in plain.items() if k != "issues"]
        issues = ",\n".join("  " + encode(i) for i in plain["issues"])
        return "{\n" + ",\n".join([*lines, f' "issues": [\n{issues}\n ]']) + "\n}\n"


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
    stated: dict[str, str] | None = None,
    replace_set: bool = False,
    keep_predictions: bool = False,
) -> ImportReport:
    """Import the set in folder or zip file `src`: write dataset.json, fields.jsonl and import-report.json into `out`.

    format    one of `formats.readable()`
    source    whose codes these are: a name from `sources.SOURCES` or a TOML file (docs/format.md); None: the
              codes must be names of our vocabulary already
    taxonomy  a Taxonomy, the name of one or a TOML file: its class names too may be meant by the codes, and the report
              counts the cells whose class it has not
    columns   csv only: our column -> the table's, over what the source says
    patients  CSV of file, patient_id and, if known, smear_id, center: overrides what the source says
    attributes  CSV of a picture's name and, in further columns, what else is said of its one cell (`join_attributes`)
    specimen  "blood" or "marrow"; None: the source's own, else blood
    stated    further keys of the source, over what it says: `coordinates`, `code_attribute`
    replace_set       write over a data set that stands in `out`
    keep_predictions  take a model's objects for truth, each with the attribute `predicted`

    Pictures are referred to, not copied; those of a zip file are unpacked into `out`. Raises InputError for a wrong
    path or option, DataError for a malformed set or one of which nothing could be taken, TaxonomyError naming every
    code that has no meaning.
    """
    form = format_named(format, among=readable())
    src, out = Path(src), Path(out)
    _refuse_options(form, specimen, columns)
    taxonomy = read_taxonomy(taxonomy) if isinstance(taxonomy, (str, Path)) else taxonomy
    known = changed_source(read_source(source), columns=columns or {}, stated=stated or {})
    _refuse_place(out, replace_set)
    name = src.resolve().stem if src.is_file() else src.resolve().name
    root = unpack(src, out) if src.is_file() else src
    try:
        raw = _read(form, root, known, keep_predictions=keep_predictions)
        if attributes is not None:
            join_attributes(raw, attributes, read_attribute_set(known.attributes) if known.attributes else None)
        people = read_patients(patients, raw) if patients is not None else {}
        meant = translate(raw, known, (*VOCABULARY, *(taxonomy.names if taxonomy else ())))
        truth, lost = _checked_fields(raw, known, meant, people, specimen)
        dataset = _dataset(truth, root, known, name, form.name)
        note_ids_spelled_twice([f.key for f in truth], raw)
        _note_outside(dataset, taxonomy, raw)
        _refuse_nothing(_report(dataset, raw, "", lost), src, out)
    except BaseException:
        if src.is_file():
            shutil.rmtree(out / UNPACKED, ignore_errors=True)
        raise
    (out / REPORT_FILE).unlink(missing_ok=True)  # it described the set that is replaced
    report = _report(dataset, raw, write_dataset(dataset, out), lost)
    _write_report(report, out)
    return report


def _read(form: Format, root: Path, known: Source, *, keep_predictions: bool) -> RawSet:
    """What the format's reader finds: no predictions, boxes in px of the pictures as seen, codes in their place."""
    raw = form.reads.function()(root, **{key: getattr(known, key) for key in form.reads.settings})
    drop_predictions(raw, keep=keep_predictions)
    if known.coordinates == "relative" and form.name != "csv":
        _as_shares(raw)
    # An export of ours says what it means: there no box is a share of the picture.
    fit_to_pictures(raw, shares="keep" if (root / HEAD_FILE).is_file() else form.reads.shares)
    # ALL-IDB1's file names state the patient's diagnosis, not each cell's.
    place_codes(raw, known, names_state_codes=form.name != "xyc")
    if known.type_table:
        apply_picture_types(raw, known)
    return raw


def _dataset(fields: tuple[TruthField, ...], root: Path, known: Source, name: str, format: str) -> Dataset:
    """The set, named as its source says, else as the export that it comes from, else as its folder."""
    head = {} if known.name else read_head(root)
    return Dataset(
        name=known.name or head.get("name") or name,
        image_root=root.resolve(),
        fields=fields,
        licence=head.get("licence", known.licence),
        citation=head.get("citation", known.citation),
        source_format=format,
    )


def _refuse_options(form: Format, specimen: str | None, columns: dict[str, str] | None) -> None:
    if specimen is not None and specimen not in SPECIMENS:
        raise InputError(f"specimen must be one of {', '.join(SPECIMENS)}, got {specimen!r}")
    if columns and form.name != "csv":
        raise InputError(f"columns are for the csv format: {form.name} has none; leave them out")


def _refuse_place(out: Path, replace_set: bool) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: expected a folder to write the manifest into; name another")
    if replace_set:
        return
    if (out / REPORT_FILE).exists():
        raise InputError(
            f"{out} holds a data set that was split ({REPORT_FILE}): importing into it again would lose the split; "
            "choose another --out, or say --replace"
        )
    if (out / "dataset.json").exists():
        raise InputError(f"{out} holds a data set already: choose another --out, or say --replace to write over it")


def _as_shares(raw: RawSet) -> None:
    """Boxes that the user says are shares of the picture, in px of it."""
    if not raw.in_px:
        raise InputError("coordinates are for formats in px: this one has shares of the picture anyway; leave them out")
    raw.fields = [scaled(f, (f.width, f.height)) for f in raw.fields]
    raw.in_px = False


def _checked_fields(
    raw: RawSet, source: Source, meant: dict[str, str | None], people: dict[str, dict[str, str]], specimen: str | None
) -> tuple[tuple[TruthField, ...], list[str]]:
    """(fields of the manifest, pictures left out because all of their objects were dropped)."""
    ids = field_ids(raw.fields)
    kept, lost = [], []
    for field in _progress(raw.fields, "importing"):
        cells = check_cells(field, meant.__getitem__, raw.issues)
        if not cells and max(field.n_objects, len(field.cells)):
            lost.append(field.file)
            continue
        key = field_key(field, ids[field.file], source, people.get(field.file, {}), specimen)
        digest = field.sha256 or read_picture(raw.root / field.file).sha256
        scale = field.um_per_px or source.um_per_px
        kept.append(TruthField(key, field.file, digest, field.width, field.height, cells, scale, field.split))
    return tuple(kept), lost


def _refuse_nothing(report: ImportReport, src: Path, out: Path) -> None:
    """DataError where no picture came in, or no cell though there were objects; the report of why is kept."""
    if report.n_fields and (report.n_cells or not report.n_objects):
        return
    why = "; ".join(f"{reason} ({n})" for _, reason, n in report.commonest()) or "no picture has an annotation"
    lost = next((i for i in report.issues if i.action == "dropped"), None)
    why += f"; the first: {' '.join(f'{lost.file}: {lost.detail}'.split())[:160]}" if lost else ""
    _write_report(report, out)
    raise DataError(
        f"{src}: nothing could be taken: {report.n_objects} annotated objects, {report.n_cells} cells on "
        f"{report.n_fields} pictures; {why}; no data set was written, {out / IMPORT_REPORT} lists everything"
    )


def _write_report(report: ImportReport, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / IMPORT_REPORT, report.to_json())


def _note_outside(dataset: Dataset, taxonomy: Taxonomy | None, raw: RawSet) -> None:
    """List the classes that a stated taxonomy has not, with how many cells are of each."""
    if taxonomy is None:
        return
    classes = Counter(c.class_name for f in dataset.fields for c in f.cells if c.class_name is not None)
    for name in sorted(set(classes) - set(taxonomy.names)):
        raw.note("", f"class outside taxonomy {taxonomy.name}", f"{name}: {classes[name]} cells", classes[name])


def _report(dataset: Dataset, raw: RawSet, digest: str, lost: list[str]) -> ImportReport:
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
        n_without_cells=sum(not f.cells for f in dataset.fields),
        images_that_lost_all=tuple(lost),
    )


def _progress(fields: list[RawField], what: str) -> Iterable[RawField]:
    """A progress bar on a terminal, for sets that take more than a moment; nothing elsewhere."""
    if len(fields) < 2000 or not sys.stderr.isatty():
        return fields
    from rich.console import Console
    from rich.progress import track

    return track(fields, what, console=Console(stderr=True), transient=True)
