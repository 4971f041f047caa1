"""Class folders: pictures of single cells in one folder a class, `lymphocyte/a.png` or `train/lymphocyte/a.png`."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path, PurePosixPath

from leukoscope.dataset.files import ImageIndex
from leukoscope.dataset.raw import SPLIT_NAMES, RawCell, RawField, RawSet, source_folder, split_of, take_picture
from leukoscope.errors import DataError


def read_folders(src: str | Path, *, codes: Collection[str] = (), code_in_name: bool = False) -> RawSet:
    """Read class folders: the innermost folder that names no split is the code; each picture is one full-frame box.

    codes         the source's codes: an inner folder that is none of them (a range of numbers) is passed over
    code_in_name  the source states the class in the file's name, so pictures need no class folder
    """
    root = source_folder(src)
    index = ImageIndex(root)
    result = RawSet(root)
    for file in index.files:
        classes = [p for p in PurePosixPath(file).parts[:-1] if p.lower() not in SPLIT_NAMES and p != "images"]
        if not classes and not code_in_name:
            result.images_without_annotation.append(file)
            continue
        result.n_objects += 1
        picture = take_picture(result, file, 1)
        if picture is None:
            continue
        code = next((c for c in reversed(classes) if c in codes), classes[-1] if classes else "")
        cell = RawCell((0.0, 0.0, float(picture.width), float(picture.height)), code)
        field = RawField(file, picture.width, picture.height, (cell,), split_of(file), sha256=picture.sha256)
        result.fields.append(field)
    if len(result.images_without_annotation) == len(index.files):
        raise DataError(
            f"{root} has no class folders: expected pictures in one folder a class (lymphocyte/a.png); "
            f"got {len(index.files)} pictures at the top; sort them into folders, or use the csv format"
        )
    return result
