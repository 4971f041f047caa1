"""Run-length masks: COCO's, as counts or as its compressed text, and CVAT's. No library is needed to read them.

COCO counts run down the columns of the whole picture, CVAT's along the rows of the mask's own box; both begin with
the pixels outside.
"""

from collections.abc import Sequence

import numpy as np

from leukoscope.dataset.masks import mask_outline
from leukoscope.dataset.raw import Contour
from leukoscope.errors import DataError
from leukoscope.geometry import contour_area

_MOST_PIXELS = 100_000_000  # of one cell's box: more is a broken file, not a cell


def read_coco_rle(rle: object, width: int, height: int) -> tuple[np.ndarray, int, int]:
    """(mask of the cell's own box (h, w) bool, its left, its top) from COCO's {"counts": ..., "size": [h, w]}.

    DataError where the counts do not fill the picture, or hold no pixel.
    """
    size = rle.get("size") if isinstance(rle, dict) else None
    if size != [height, width]:
        raise DataError(f"mask of size {str(size)[:40]}: expected [{height}, {width}]")
    counts = rle.get("counts")
    counts = _uncompressed(counts) if isinstance(counts, str) else _checked(counts)
    if counts.sum() != width * height:
        raise DataError(f"mask's counts make {int(counts.sum())} px: expected {width * height}")
    ends = np.cumsum(counts)
    starts, ends = (ends - counts)[1::2], ends[1::2]
    keep = ends > starts
    starts, ends = starts[keep], ends[keep]
    if not len(starts):
        raise DataError("mask without a pixel")
    left, right = int(starts[0] // height), int((ends[-1] - 1) // height) + 1
    whole = (starts // height) != ((ends - 1) // height)
    top = 0 if whole.any() else int((starts % height).min())
    bottom = height if whole.any() else int(((ends - 1) % height).max()) + 1
    if (right - left) * height > _MOST_PIXELS:
        raise DataError(f"mask of {right - left} columns: expected a cell's")
    columns = np.zeros((right - left) * height, bool)
    for start, end in zip((starts - left * height).tolist(), (ends - left * height).tolist(), strict=True):
        columns[start:end] = True
    return columns.reshape(right - left, height).T[top:bottom], left, top


def read_cvat_rle(text: str, left: float, top: float, width: float, height: float) -> tuple[np.ndarray, int, int]:
    """The same from CVAT's `<mask rle="..." left top width height>`. DataError where the counts do not fill the box."""
    numbers = [left, top, width, height]
    if any(v != int(v) for v in numbers) or not 0 < width * height <= _MOST_PIXELS or min(width, height) <= 0:
        raise DataError(f"mask's box is {left:g}, {top:g}, {width:g} x {height:g}: expected whole px")
    try:
        counts = _checked([int(v) for v in text.split(",")])
    except ValueError:
        raise DataError(f"mask's rle is no list of counts: {text[:40]!r}") from None
    if counts.sum() != width * height:
        raise DataError(f"mask's counts make {int(counts.sum())} px: expected {int(width * height)}")
    flags = np.arange(len(counts)) % 2 == 1
    return np.repeat(flags, counts).reshape(int(height), int(width)), int(left), int(top)


def outline_of(mask: np.ndarray, left: int, top: int) -> tuple[Contour, int]:
    """The outline of a mask in the picture's px, and how many pixels of other parts (or of holes) it gets wrong."""
    outline = mask_outline(mask)
    if outline is None:
        raise DataError("mask without a pixel")
    wrong = abs(int(mask.sum()) - round(contour_area(np.array(outline))))
    return tuple((x + left, y + top) for x, y in outline), wrong


def _checked(counts: object) -> np.ndarray:
    if (
        not isinstance(counts, Sequence)
        or not all(isinstance(c, int) and not isinstance(c, bool) and 0 <= c < 2**40 for c in counts)
        or not counts
    ):
        raise DataError("mask's counts must be whole numbers, 0 or more")
    return np.array(counts, np.int64)


def _uncompressed(text: str) -> np.ndarray:
    """COCO's text of counts: 5 bits a character, the lowest first, each count from the third on a difference."""
    counts: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 60:
            raise DataError("mask's counts are no compressed counts")
        value |= (code & 0x1F) << shift
        shift += 5
        if code & 0x20:
            continue
        if code & 0x10:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise DataError("mask's counts end in the middle of a number")
    return _checked(counts)
