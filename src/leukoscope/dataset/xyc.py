"""ALL-IDB1: beside each photograph `ImNNN_Y.jpg` a file `ImNNN_Y.xyc` with the centroid of each lymphoblast.

A centroid is no box. Each becomes a square around it of a stated side, and says so in its attribute `box_from`:
good for cropping the cell, no truth for a locator (docs/format.md says which side, and why).
"""

from pathlib import Path, PurePosixPath

from leukoscope.dataset.files import files_under
from leukoscope.dataset.intake import Intake
from leukoscope.dataset.raw import RawCell, RawSet, number
from leukoscope.dataset.text import read_text
from leukoscope.errors import DataError

CODE = "1"  # only blasts are marked
_ATTRIBUTES = (("box_from", "centroid"),)


def read_xyc(src: str | Path, *, box_px: float | None) -> RawSet:
    """Read photographs with .xyc files: numbers x y x y …, on lines of their own or together.

    box_px  the side of the square around each centroid; None: refused, since nothing says how large a cell is
    """
    intake = Intake(src)
    raw, files = intake.raw, intake.index.files
    marks = {f[:-4].lower(): f for f in files_under(raw.root, (".xyc",))}
    if not marks:
        raise DataError(
            f"{raw.root} is not in the layout of ALL-IDB1: expected .xyc files beside the pictures; "
            f"got {len(files)} pictures and no .xyc; check the path and the format"
        )
    if box_px is None:
        raise DataError("a centroid has no size: state box_px in the source (all-idb1 does), in px")
    by_name = {PurePosixPath(stem).name: f for stem, f in marks.items()}
    used = set()
    half = box_px / 2
    for file in files:
        stem = file.rpartition(".")[0].lower()
        mark = marks.get(stem) or by_name.get(PurePosixPath(stem).name)  # `im/` beside `xyc/`
        if mark is None:
            continue
        if mark in used:
            raise DataError(f"{mark} would mark two pictures, {file} and another: expected one of each name")
        used.add(mark)
        points = _centroids(raw.root / mark, raw)
        seat = intake.seat(file, mark, len(points), known=file)
        if seat is not None:
            boxes = ((x - half, y - half, x + half, y + half) for x, y in points)
            intake.take(seat, (RawCell(box, CODE, None, None, _ATTRIBUTES) for box in boxes))
    for mark in (m for m in marks.values() if m not in used):
        raw.without_image(mark, len(_centroids(raw.root / mark, raw)))
    raw.note("", "only lymphoblasts are marked", "the other white cells of these photographs have no box")
    return intake.finish()


def _centroids(path: Path, result: RawSet) -> list[tuple[float, float]]:
    words = read_text(path).replace(",", " ").replace(";", " ").split()
    try:
        values = [number(w) for w in words]
    except ValueError:
        raise DataError(f"{path} holds what is no number: expected x y of each centroid; correct it") from None
    if len(values) % 2:
        raise DataError(f"{path} holds {len(values)} numbers: expected an x and a y for each centroid; correct it")
    result.n_objects += len(values) // 2
    return list(zip(values[::2], values[1::2], strict=True))
