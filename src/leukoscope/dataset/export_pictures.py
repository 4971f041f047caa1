"""The pictures of an export: short names, each once, copied and checked against their digests."""

import hashlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from leukoscope.dataset.manifest import Dataset, TruthField
from leukoscope.dataset.picture_index import IMAGE_SUFFIXES
from leukoscope.dataset.raw import SPLIT_NAMES
from leukoscope.errors import DataError
from leukoscope.files import write_whole
from leukoscope.progress import Progress

# Folders that say how a set is laid out, not what a picture is: dropped from exported names.
_LAYOUT = {"images", "labels", "jpegimages", "default", *SPLIT_NAMES}


def picture_names(dataset: Dataset) -> dict[str, str]:
    """{field's file: name in the export}: the path without layout folders, no two alike but for case or suffix.

    DataError for a path that leaves the image root, or whose suffix no reader takes for a picture.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for field in dataset.fields:
        path = PurePosixPath(field.file)
        if path.is_absolute() or ".." in path.parts or not path.name:
            raise DataError(f"field {field.key.field_id}: file {field.file!r} leaves the image root: can't be exported")
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            expected = ", ".join(IMAGE_SUFFIXES)
            raise DataError(f"field {field.key.field_id}: file {field.file!r} has no suffix of pictures ({expected})")
        if field.file in names:
            raise DataError(f"two fields have the file {field.file!r}: can't be exported; keep one")
        parts = [p for p in path.parts[:-1] if p.lower() not in _LAYOUT and p != "."]
        stem, n = "/".join([*parts, path.stem.strip() or "picture"]), 1
        unique = stem
        while unique.lower() in taken:
            n += 1
            unique = f"{stem}_{n}"
        taken.add(unique.lower())
        names[field.file] = unique + path.suffix
    return names


def copy_pictures(dataset: Dataset, place: Callable[[TruthField], Path], progress: Progress) -> None:
    """Copy each picture to `place(field)`. DataError where one is gone, or is another than was imported."""
    for n, field in enumerate(dataset.fields, 1):
        source, target = dataset.path(field), place(field)
        try:
            data = source.read_bytes()
        except OSError as error:
            raise DataError(
                f"{source} can't be read ({error.strerror}): the pictures of data set {dataset.name!r} were moved; "
                f"put them back, or import again"
            ) from None
        if hashlib.sha256(data).hexdigest() != field.sha256:
            raise DataError(f"{source} is not the picture that was imported (its digest differs): import again")
        target.parent.mkdir(parents=True, exist_ok=True)
        with write_whole(target, "wb", sync=False) as file:
            file.write(data)
        progress(n, len(dataset.fields))
