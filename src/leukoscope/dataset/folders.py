"""Class folders: pictures of single cells in one folder a class, `lymphocyte/a.png` or `train/lymphocyte/a.png`."""

from collections.abc import Collection
from pathlib import Path, PurePosixPath

from leukoscope.dataset.intake import Intake
from leukoscope.dataset.raw import SPLIT_NAMES, RawCell, RawSet
from leukoscope.errors import DataError


def read_folders(src: str | Path, *, codes: Collection[str] = (), code_pattern: str | None = None) -> RawSet:
    """Read class folders: the innermost folder that names no split is the code; each picture is one full-frame box.

    codes         the source's codes: an inner folder that is none of them (a range of numbers) is passed over
    code_pattern  the source states the class in the file's name, so pictures need no class folder
    """
    intake = Intake(src)
    raw = intake.raw
    for file in intake.index.files:
        classes = [p for p in PurePosixPath(file).parts[:-1] if p.lower() not in SPLIT_NAMES and p != "images"]
        if not classes and code_pattern is None:
            continue
        raw.n_objects += 1
        seat = intake.seat(file, file, 1, known=file)
        if seat is not None:
            code = next((c for c in reversed(classes) if c in codes), classes[-1] if classes else "")
            intake.take(seat, [RawCell((0.0, 0.0, *map(float, seat.size)), code)])
    raw.in_px = False
    intake.finish()
    if len(raw.images_without_annotation) == len(intake.index.files):
        raise DataError(
            f"{raw.root} has no class folders: expected pictures in one folder a class (lymphocyte/a.png); "
            f"got {len(intake.index.files)} pictures at the top; sort them into folders, or use the csv format"
        )
    return raw
