"""A split file of the user's own: read, and checked before anything is measured on it."""

from dataclasses import replace
from pathlib import Path

from leukoscope.dataset.audit import audit_dataset, describe
from leukoscope.dataset.manifest import SPLITS, Dataset
from leukoscope.dataset.picture_index import ImageIndex
from leukoscope.dataset.spreadsheet import read_table_of
from leukoscope.errors import InputError
from leukoscope.progress import StageProgress, no_stages

_LISTED = 5


def apply_split_file(dataset: Dataset, path: str | Path) -> Dataset:
    """The data set with the splits that a CSV of file, split states; `file` may be a field_id, a path or a file name.

    InputError where a row names no picture of the set or no split, names one twice with different splits, or where a
    picture of the set has no row.
    """
    rows = read_table_of(path, ("file", "split"))
    by_id = {f.key.field_id: f.file for f in dataset.fields}
    index = ImageIndex(dataset.image_root, [f.file for f in dataset.fields])
    split_of: dict[str, str] = {}
    unknown = []
    for number, row in enumerate(rows, 2):
        if row["split"] not in SPLITS:
            raise InputError(f"{path} row {number}: split must be one of {', '.join(SPLITS)}, got {row['split']!r}")
        file = by_id.get(row["file"]) or index.find(row["file"])
        if file is None:
            unknown.append(row["file"])
        elif split_of.setdefault(file, row["split"]) != row["split"]:
            raise InputError(f"{path} row {number} puts {file} into {row['split']}, another row into {split_of[file]}")
    without = [f.file for f in dataset.fields if f.file not in split_of]
    for what, files in (("rows that name no picture of the set", unknown), ("pictures of the set without", without)):
        if files:
            listed = ", ".join(f[:200] for f in files[:_LISTED]) + (", …" if len(files) > _LISTED else "")
            tail = " a row" if files is without else ""
            raise InputError(f"{path}: {len(files)} {what}{tail}: {listed}; one row for every picture is expected")
    return replace(dataset, fields=tuple(replace(f, split=split_of[f.file]) for f in dataset.fields))


def find_split_problems(dataset: Dataset, *, workers: int = 2, progress: StageProgress = no_stages) -> tuple[str, ...]:
    """What leaks across the splits that a data set states, a line each: patients, smears, duplicates; and pictures
    that could not be checked."""
    audit = audit_dataset(dataset, workers=workers, progress=progress)
    lines = []
    for straddler in audit.straddlers:
        who = " ".join(w for w in (straddler.center, straddler.patient_id, straddler.smear_id) if w)
        lines.append(f"{straddler.kind} {who} stands in {', '.join(str(side.split) for side, _ in straddler.sides)}")
    for pair in audit.leaks:
        words = describe(pair, audit.fields[pair.first], audit.fields[pair.second])
        lines.append(f"{audit.place(pair.first)} and {audit.place(pair.second)} show the same ({words})")
    lines += [f"{audit.place(row)} can't be checked: {why}" for row, why in sorted(audit.unreadable.items())]
    return tuple(lines)
