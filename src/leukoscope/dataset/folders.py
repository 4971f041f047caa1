"""Class folders: pictures of single cells in one folder a class, `lymphocyte/a.png` or `train/lymphocyte/a.png`."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from leukoscope.dataset.raw import (
    SPLIT_NAMES,
    ImageIndex,
    Issue,
    RawCell,
    RawField,
    RawSet,
    image_size,
    source_folder,
    split_of,
)
from leukoscope.errors import DataError


def read_folders(src: str | Path, *, code_in_name: bool = False) -> RawSet:
    """Read class folders: the innermost folder that names no split is the code; each picture is one full-frame box.

    code_in_name: the source states the class in the file's name, so pictures need no class folder.
    """
    root = source_folder(src)
    index = ImageIndex(root)
    result = RawSet(root)
    for file in index.files:
        classes = [p for p in PurePosixPath(file).parts[:-1] if p.lower() not in SPLIT_NAMES and p != "images"]
        if not classes and not code_in_name:
            result.images_without_annotation.append(file)
            continue
        try:
            width, height = image_size(root / file)
        except DataError as error:
            result.issues.append(Issue(file, "dropped", "unreadable picture", str(error)))
            continue
        cell = RawCell((0.0, 0.0, float(width), float(height)), classes[-1] if classes else "")
        result.fields.append(RawField(file, width, height, (cell,), split_of(file)))
    if len(result.images_without_annotation) == len(index.files):
        raise DataError(
            f"{root} has no class folders: expected pictures in one folder a class (lymphocyte/a.png); "
            f"got {len(index.files)} pictures at the top; sort them into folders, or use the csv format"
        )
    return result
