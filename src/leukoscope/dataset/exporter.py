"""Export a data set to a format that other tools read, so that importing it again gives the same data set."""

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from leukoscope.dataset.export_pictures import copy_pictures, picture_names
from leukoscope.dataset.extras import HEAD_FILE
from leukoscope.dataset.formats import format_named, writable
from leukoscope.dataset.manifest import Dataset, TruthField, read_dataset
from leukoscope.dataset.raw import NEITHER_SPLIT, UNTYPED
from leukoscope.errors import InputError
from leukoscope.files import settle, write_json
from leukoscope.progress import Progress, no_progress
from leukoscope.taxonomy import VOCABULARY


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was written; also in export-report.json.

    class_names    in the order that the format numbers them
    beside         what the format has no place for, and where it is kept
    fields_sha256  digest of the exported data set
    """

    name: str
    format: str
    n_fields: int
    n_cells: int
    class_names: tuple[str, ...]
    cells_by_class: dict[str, int]
    fields_by_split: dict[str, int]
    beside: tuple[str, ...]
    fields_sha256: str

    def to_dict(self) -> dict:
        """Plain types for JSON."""
        return asdict(self)


def export_dataset(
    format: str, dataset_dir: str | Path | Dataset, out: str | Path, *, progress: Progress = no_progress
) -> ExportReport:
    """Write the data set in folder `dataset_dir` as `format` into the new folder `out`, pictures copied.

    format  one of `formats.writable()`
    progress called with (pictures done, all) while they are copied
    `import_dataset(format, out, ...)` of the result has the same fields, classes, boxes, outlines, patients and
    splits; only `file` (where the picture stands) and `source_format` differ. Cells of unstated type are written as
    "untyped". Raises InputError where `out` is not empty, DataError where a picture is gone or changed.
    """
    form = format_named(format, among=writable())
    format = form.name
    dataset, out = dataset_dir if isinstance(dataset_dir, Dataset) else read_dataset(dataset_dir), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is there already: expected an empty folder or a new one; name another")
    names, classes = picture_names(dataset), _class_order(dataset)
    out.mkdir(parents=True, exist_ok=True)
    copy_pictures(dataset, lambda f: out / picture_place(format, f, names), progress)
    beside = form.writes.function()(dataset, out, names, classes)
    head = {"name": dataset.name, "licence": dataset.licence, "citation": dataset.citation}
    settle()  # the many files are on the disk before the two that say that they are whole
    write_json(out / HEAD_FILE, head)
    report = _report(dataset, format, classes, beside)
    write_json(out / "export-report.json", report.to_dict())
    return report


def picture_place(format: str, field: TruthField, names: dict[str, str]) -> str:
    """Where a field's picture stands in an export, relative."""
    folder = format_named(format, among=writable()).writes.pictures.format(split=field.split or NEITHER_SPLIT)
    return folder + names[field.file]


def _class_order(dataset: Dataset) -> tuple[str, ...]:
    """The classes that occur: in the order of the vocabulary, then further ones by name, then "untyped"."""
    names = {UNTYPED if c.class_name is None else c.class_name for f in dataset.fields for c in f.cells}
    known = [name for name in VOCABULARY if name in names]
    further = sorted(names - set(known) - {UNTYPED})
    return (*known, *further, *([UNTYPED] if UNTYPED in names else []))


def _report(dataset: Dataset, format: str, classes: tuple[str, ...], beside: tuple[str, ...]) -> ExportReport:
    cells = Counter(UNTYPED if c.class_name is None else c.class_name for f in dataset.fields for c in f.cells)
    return ExportReport(
        name=dataset.name,
        format=format,
        n_fields=len(dataset.fields),
        n_cells=sum(cells.values()),
        class_names=classes,
        cells_by_class={name: cells[name] for name in classes},
        fields_by_split=dict(sorted(Counter(f.split or "none" for f in dataset.fields).items())),
        beside=beside,
        fields_sha256=dataset.sha256(),
    )
