"""Coordinates made px of the picture as it is seen: shares, other sizes, EXIF's turns. One rule for every format.

Boxes come as the source states them. What is certain is put right and listed, what is not is left out and listed.
"""

import math
from collections.abc import Callable
from dataclasses import replace

from leukoscope.dataset.raw import Contour, Issue, RawCell, RawField, RawSet, bounds
from leukoscope.dataset.shapes import corners_of
from leukoscope.errors import DataError

Move = Callable[[float, float], tuple[float, float]]

# No cell lies within the first pixel: a box that does is in shares of the picture (rounded ones pass 1 a little).
_SHARE_END = 1.1
_SMALLEST_PICTURE = 8  # px; below it a share and a px are alike
_ROUNDED_PX = 2.0  # a stated size this close to the picture's is a rounded one
_BEYOND_PX = 2.0
_PERCENT_PICTURE, _PERCENT_BOXES = 400, 10  # boxes that all end by 100 on pictures much larger than that are noted


def fit_to_pictures(raw: RawSet, *, shares: str) -> None:
    """Every box and outline of `raw` in px of its picture as seen.

    shares  what becomes of a set whose boxes are all shares of the picture: "convert", "refuse" (DataError), or "keep"
            where it is known that they are px
    """
    if raw.in_px and shares != "keep":
        _fit_units(raw, shares)
    raw.fields = [_fit_size(f, raw) for f in raw.fields]


def _fit_units(raw: RawSet, shares: str) -> None:
    """Shares taken for px: the whole set converted or refused, single boxes left out."""
    large = [f for f in raw.fields if min(f.width, f.height) > _SMALLEST_PICTURE]
    boxes = [c.box for f in large for c in f.cells if all(map(math.isfinite, c.box))]
    n_shares = sum(map(_is_share, boxes))
    if n_shares and n_shares == len(boxes):
        first = next(f for f in large if any(_is_share(c.box) for c in f.cells))
        if shares == "refuse":
            raise DataError(
                f"every box lies in 0 to 1 (the first in {first.file}), which looks like shares of the picture: "
                f"expected px; state --coordinates relative, or correct the numbers"
            )
        raw.issues.append(Issue("", "repaired", "shares of the picture taken to px", f"{n_shares} boxes", n_shares))
        raw.fields = [scaled(f, (f.width, f.height)) for f in raw.fields]
        return
    if n_shares:
        raw.fields = [_without_shares(f, raw) for f in raw.fields]
    elif len(boxes) >= _PERCENT_BOXES and all(0 <= min(b) and max(b) <= 100 for b in boxes):
        if all(min(f.width, f.height) >= _PERCENT_PICTURE for f in raw.fields):
            raw.note("", "every box ends by 100: percent, or px?", f"{len(boxes)} boxes taken as px")


def _is_share(box: tuple) -> bool:
    return -0.1 <= min(box) and max(box) <= _SHARE_END


def _without_shares(field: RawField, raw: RawSet) -> RawField:
    if min(field.width, field.height) <= _SMALLEST_PICTURE:
        return field
    for cell in field.cells:
        if _is_share(cell.box):
            detail = f"{cell.code} {', '.join(f'{v:.4g}' for v in cell.box)}"
            raw.drop(field.file, "box within the first pixel: a share, not px", detail)
    return replace(field, cells=tuple(c for c in field.cells if not _is_share(c.box)))


def scaled(field: RawField, factors: tuple[float, float]) -> RawField:
    """The field with every x and y times its factor, and no stated size any more."""
    sx, sy = factors
    return replace(_moved(field, lambda x, y: (x * sx, y * sy)), stated_size=None)


def _moved(field: RawField, move: Move) -> RawField:
    """The field with every corner and outline point moved."""
    return replace(field, cells=tuple(_moved_cell(c, move) for c in field.cells))


def _moved_cell(cell: RawCell, move: Move) -> RawCell:
    swapped = cell.box[2] < cell.box[0] or cell.box[3] < cell.box[1]
    if swapped or not all(map(math.isfinite, cell.box)):  # judged later, as it stands
        box = (*move(*cell.box[:2]), *move(*cell.box[2:]))
    else:
        box = bounds(tuple(move(x, y) for x, y in corners_of(cell.box)))
    contour: Contour | None = None if cell.contour is None else tuple(move(x, y) for x, y in cell.contour)
    return replace(cell, box=box, contour=contour)


def _fit_size(field: RawField, raw: RawSet) -> RawField:
    """The field with boxes in px of the picture as seen, whatever size its annotation was made at."""
    seen = (float(field.width), float(field.height))
    stored = seen[::-1] if field.orientation >= 5 else seen
    stated = field.stated_size
    if not field.cells:
        if stated and _differs(stated, seen):
            raw.note(field.file, "stated size differs", _sizes(stated, seen))
        return field
    if stated is None:
        return _fit_orientation(field, seen, stored, raw)
    if not _differs(stated, seen):
        if field.orientation > 1 and (field.orientation < 5 or seen[0] == seen[1]):
            raw.note(field.file, "picture turned by EXIF: boxes taken as seen", f"orientation {field.orientation}")
        elif stated != seen:
            raw.note(field.file, "stated size differs", _sizes(stated, seen))
        return field
    if _fits(field, seen) and not _fits(field, stated):
        raw.note(field.file, "stated size differs", f"{_sizes(stated, seen)}; the boxes are the picture's px")
        return field
    if _same_shape(stated, seen):
        return _resized(field, stated, seen, raw)
    if field.orientation >= 5 and _same_shape(stated, stored):
        if _differs(stated, stored):
            field = _resized(field, stated, stored, raw)
        return _turned(field, stored, raw)
    reason = "stated size is not the picture's: which boxes are meant can't be told"
    raw.drop(field.file, reason, _sizes(stated, seen), len(field.cells))
    return replace(field, cells=())


def _fit_orientation(field: RawField, seen: tuple, stored: tuple, raw: RawSet) -> RawField:
    """A picture that EXIF turns, its annotation silent on the size: as seen, unless only the stored picture fits."""
    if field.orientation == 1:
        return field
    if raw.in_px and stored != seen and _fits(field, stored) and not _fits(field, seen):
        return _turned(field, stored, raw)
    raw.note(field.file, "picture turned by EXIF: boxes taken as seen", f"orientation {field.orientation}")
    return field


def _turned(field: RawField, stored: tuple, raw: RawSet) -> RawField:
    detail = f"orientation {field.orientation}, annotated at {stored[0]:g}x{stored[1]:g}"
    raw.issues.append(Issue(field.file, "repaired", "boxes turned as EXIF turns the picture", detail, len(field.cells)))
    return _moved(field, exif_move(field.orientation, stored))


def exif_move(orientation: int, stored: tuple[float, float]) -> Move:
    """From px of the stored picture (width, height) to px of the picture as EXIF's orientation shows it."""
    w, h = stored
    return {
        1: lambda x, y: (x, y),
        2: lambda x, y: (w - x, y),
        3: lambda x, y: (w - x, h - y),
        4: lambda x, y: (x, h - y),
        5: lambda x, y: (y, x),
        6: lambda x, y: (h - y, x),
        7: lambda x, y: (h - y, w - x),
        8: lambda x, y: (y, w - x),
    }[orientation]


def _resized(field: RawField, stated: tuple, size: tuple, raw: RawSet) -> RawField:
    detail = _sizes(stated, size)
    raw.issues.append(Issue(field.file, "repaired", "boxes of another size: scaled", detail, len(field.cells)))
    return scaled(field, (size[0] / stated[0], size[1] / stated[1]))


def _differs(stated: tuple, size: tuple) -> bool:
    return max(abs(stated[0] - size[0]), abs(stated[1] - size[1])) > _ROUNDED_PX


def _same_shape(stated: tuple, size: tuple) -> bool:
    """Whether one size is the other times a number, each side rounded to a px."""
    return abs(size[0] * stated[1] - size[1] * stated[0]) <= max(*stated, *size)


def _fits(field: RawField, size: tuple) -> bool:
    """Whether every box lies in a picture of that size, but for a little."""
    boxes = [c.box for c in field.cells if all(map(math.isfinite, c.box))]
    return all(max(b[0], b[2]) <= size[0] + _BEYOND_PX and max(b[1], b[3]) <= size[1] + _BEYOND_PX for b in boxes)


def _sizes(stated: tuple, size: tuple) -> str:
    return f"annotation {stated[0]:g}x{stated[1]:g}, picture {size[0]:g}x{size[1]:g}"
