"""A data set without names: clean pictures in a folder of their own, pseudonyms for patients, smears and centres."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField, read_dataset, write_dataset
from leukoscope.errors import DataError, ImageError, InputError
from leukoscope.files import write_bytes
from leukoscope.images import file_sha256
from leukoscope.images.clean import clean_picture
from leukoscope.progress import Progress, no_progress
from leukoscope.pseudonyms import Pseudonyms, open_key
from leukoscope.taxonomy import ATTRIBUTE_SETS
from leukoscope.types import FieldKey

PICTURES = "pictures"
_SHIPPED = frozenset(
    (a.name, word) for s in ATTRIBUTE_SETS.values() for a in s.attributes for word in (*a.values, *a.source_words)
)


def deidentify_dataset(
    dataset_dir: str | Path, out: str | Path, names: Pseudonyms, *, progress: Progress = no_progress
) -> tuple[Dataset, tuple[str, ...]]:
    """Write the data set in folder `dataset_dir` into the new folder `out` without a name in it: manifest and pictures.

    Pictures hold their pixels and nothing else (`images.clean`). Classes, source codes, boxes, outlines, splits,
    scales, licence and citation stay; of attributes those of the shipped sets, with values that these know.
    Gives what was written, and the names of the attributes that were left out, for they may hold anything.
    InputError where `out` is not empty, DataError where a picture is gone, changed or unreadable.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is there already: expected an empty folder or a new one; name another")
    dataset = read_dataset(dataset_dir)
    made = _without_names(dataset, out / PICTURES, names, progress)
    write_dataset(made, out)
    return made, _dropped(dataset)


@contextmanager
def deidentified(
    dataset_dir: str | Path, beside: str | Path, names: Pseudonyms, *, progress: Progress = no_progress
) -> Iterator[Dataset]:
    """The same for as long as the block runs, in a folder beside `beside` that is removed again."""
    parent = Path(beside).resolve().parent
    parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".leukoscope-", dir=parent) as folder:
        yield _without_names(read_dataset(dataset_dir), Path(folder), names, progress)


@contextmanager
def handed_on(
    dataset_dir: str | Path, out: str | Path, *, deidentify: bool, key: str | Path | None
) -> Iterator[Dataset]:
    """The data set that goes into `out`: as it is, or without names (with the key that lies, or will lie, in `key`)."""
    if not deidentify:
        if key is not None:
            raise InputError("--key is the key of pseudonyms: it needs --deidentify")
        yield read_dataset(dataset_dir)
        return
    names = open_key(key, out=out)
    with deidentified(dataset_dir, out, names) as dataset:
        if key is not None:
            names.save(key)
        yield dataset


def _without_names(dataset: Dataset, folder: Path, names: Pseudonyms, progress: Progress) -> Dataset:
    folder.mkdir(parents=True, exist_ok=True)
    fields = []
    for n, field in enumerate(dataset.fields, 1):
        fields.append(_field(dataset, field, folder, names))
        progress(n, len(dataset.fields))
    # Its name is often that of the folder it was imported from.
    return replace(dataset, name=names.of("set", dataset.name), image_root=folder, fields=tuple(fields))


def _field(dataset: Dataset, field: TruthField, folder: Path, names: Pseudonyms) -> TruthField:
    path = dataset.path(field)
    try:
        if file_sha256(path) != field.sha256:
            raise DataError(f"{path} is not the picture that was imported (or is gone): put it back, or import again")
        data, suffix = clean_picture(path)
    except ImageError as error:
        raise DataError(f"{path} can't be read ({error.reason}): put a whole one there, or leave it out") from None
    file = names.of("photograph", field.file) + suffix
    write_bytes(folder / file, data, sync=False)
    key = FieldKey(
        names.of("field", field.key.field_id),
        names.of("smear", field.key.smear_id),
        names.of("patient", field.key.patient_id),
        names.of("center", field.key.center),
        field.key.specimen,
    )
    cells = tuple(replace(cell, attributes=_known(cell)) for cell in field.cells)
    return replace(field, key=key, file=file, sha256=hashlib.sha256(data).hexdigest(), cells=cells)


def _known(cell: TruthCell) -> tuple[tuple[str, str], ...]:
    """The attributes whose name and value a shipped set has: any other may be a note about somebody."""
    return tuple(pair for pair in cell.attributes if pair in _SHIPPED)


def _dropped(dataset: Dataset) -> tuple[str, ...]:
    pairs = (pair for field in dataset.fields for cell in field.cells for pair in cell.attributes)
    return tuple(sorted({name for name, value in pairs if (name, value) not in _SHIPPED}))
