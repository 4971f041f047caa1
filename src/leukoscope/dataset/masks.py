"""A cell's box and outline from its mask picture."""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, UnidentifiedImageError

from leukoscope.dataset.manifest import TruthField
from leukoscope.errors import DataError

# The sources draw 0 background, 128 cytoplasm, 255 nucleus; a stray value belongs to the nearest of the three.
FOREGROUND = 64


def read_mask(path: Path) -> np.ndarray:
    """(H, W) bool: the cell's pixels, from a grey picture of 0 (outside), 128 and 255 (cell), stray values rounded."""
    return read_mask_values(path) >= FOREGROUND


def read_mask_values(path: Path) -> np.ndarray:
    """(H, W) uint8: the grey levels of a mask picture; DataError where it can't be read."""
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("L"))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} can't be read as a mask ({error})") from None


def mask_name(field: TruthField, pattern: str) -> str:
    """Where a field's mask is, relative to the set's pictures: {stem} and {number} are of the picture's name."""
    path = PurePosixPath(field.file)
    digits = re.search(r"(\d+)\D*$", path.stem)
    return pattern.replace("{stem}", path.stem).replace("{number}", digits.group(1) if digits else path.stem)


def mask_box(mask: np.ndarray) -> tuple[float, float, float, float] | None:
    """Half-open px box of the True pixels of an (H, W) mask; None where there are none."""
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(ys):
        return None
    return float(xs[0]), float(ys[0]), float(xs[-1] + 1), float(ys[-1] + 1)


def mask_outline(mask: np.ndarray) -> tuple[tuple[float, float], ...] | None:
    """The outer border of the True pixels that encloses most: (x, y) px corners, clockwise on screen; None if empty."""
    return max(mask_outlines(mask), key=_area_xy, default=None)


def mask_outlines(mask: np.ndarray) -> Iterator[tuple[tuple[float, float], ...]]:
    """Every outer border of the True pixels, not those of holes: (x, y) px corners, corners only, clockwise on screen.

    Walks the cracks between pixels, so that the enclosed area is the count of the pixels it encloses.
    """
    steps = _border_steps(mask)
    while steps:
        start = min(steps)  # the topmost, leftmost corner left
        point, path, heading = start, [], (0, 0)
        while True:
            ends = steps[point]
            # Where two borders touch, turn right: that keeps diagonal neighbours apart.
            end = max(ends, key=lambda e: _turn(heading, (e[0] - point[0], e[1] - point[1])))
            ends.remove(end)
            if not ends:
                del steps[point]
            step = (end[0] - point[0], end[1] - point[1])
            if step != heading:
                path.append(point)
            point, heading = end, step
            if point == start:
                break
        if _area(path) > 0:
            yield tuple((float(x), float(y)) for y, x in path)


def _border_steps(mask: np.ndarray) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """{corner (y, x): next corners} round every True pixel that has a False neighbour, the True side on the right."""
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    steps: dict[tuple[int, int], list[tuple[int, int]]] = {}
    sides = (
        (padded[:-2, 1:-1], (0, 0), (0, 1)),  # open above: go right along the top
        (padded[1:-1, 2:], (0, 1), (1, 1)),  # open right: go down
        (padded[2:, 1:-1], (1, 1), (1, 0)),  # open below: go left
        (padded[1:-1, :-2], (1, 0), (0, 0)),  # open left: go up
    )
    for neighbour, begin, end in sides:
        for y, x in np.argwhere(inside & ~neighbour).tolist():
            steps.setdefault((y + begin[0], x + begin[1]), []).append((y + end[0], x + end[1]))
    return steps


def _turn(heading: tuple[int, int], step: tuple[int, int]) -> int:
    """> 0 where `step` turns right of `heading` on screen (both y, x; y down)."""
    return heading[1] * step[0] - heading[0] * step[1]


def _area(path: list[tuple[int, int]]) -> float:
    """Signed area of a closed path of (y, x) corners: positive for an outer border, negative for a hole."""
    if not path:
        return 0.0
    points = np.array(path, np.float64)
    y, x = points.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def _area_xy(outline: tuple[tuple[float, float], ...]) -> float:
    return _area([(y, x) for x, y in outline])
