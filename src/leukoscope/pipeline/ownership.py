"""Whose a cell is, where two regions of a slide see it: each cell once, none lost at a border.

A region reads a halo around what it counts, and keeps the cells whose middle lies in its core, or in a narrow band
towards a counted neighbour (`images.slides.Region`). A cell of a band is in both records, and counts in one.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from leukoscope.images.slides import Region
from leukoscope.pipeline.sources import Source
from leukoscope.types import Cells

Keep = tuple[float, float, float, float] | None
_SAME = 0.5  # boxes at a border are one cell when their middles are nearer than this share of the smaller one's side


class BandCell(NamedTuple):
    """A cell near the border of its region: place of the region's entry, number there, box px of level 0 (4,),
    whether its middle lies in the region's core."""

    place: int
    cell: int
    box: np.ndarray
    in_core: bool


def kept_box(source: Source) -> Keep:
    """The box within which a cell's middle must lie for the source to keep it, px of what is read; None: anywhere."""
    if not isinstance(source.part, Region):
        return None
    x, y = source.part.box[:2]
    x0, y0, x1, y1 = source.part.keep
    return x0 - x, y0 - y, x1 - x, y1 - y


def is_owned(cells: Cells, keep: Keep) -> np.ndarray:
    """(N,) bool: the cells whose middle lies within `keep`."""
    if keep is None:
        return np.ones(len(cells), bool)
    return _inside(_middles(cells.boxes), keep)


def owned(cells: Cells, keep: Keep) -> Cells:
    """The cells whose middle lies within `keep`."""
    if keep is None:
        return cells
    rows = np.flatnonzero(is_owned(cells, keep))
    contours = None if cells.contours is None else tuple(cells.contours[r] for r in rows)
    return Cells(cells.key, cells.boxes[rows], cells.scores[rows], contours)


class Borders:
    """The cells of one slide that another region may hold too; a narrow band's cells, not the slide's."""

    def __init__(self) -> None:
        self._cells: list[BandCell] = []

    def add(self, place: int, entry: dict) -> None:
        """The cells of a region's entry that lie within reach of its border."""
        boxes = np.array([c["box"] for c in entry["cells"]], np.float64).reshape(-1, 4)
        if not len(boxes):
            return
        x, y = entry["region"]["box"][:2]
        boxes += (x, y, x, y)
        middles, core = _middles(boxes), entry["region"]["core"]
        reach = float((boxes[:, 2:] - boxes[:, :2]).max())
        deep = _inside(middles, (core[0] + reach, core[1] + reach, core[2] - reach, core[3] - reach))
        in_core = _inside(middles, core)
        self._cells += [BandCell(place, int(n), boxes[n], bool(in_core[n])) for n in np.flatnonzero(~deep)]

    def twice(self) -> Iterator[tuple[BandCell, BandCell]]:
        """(the cell that counts, the same cell seen by another region): the one in its own core counts, of two such or
        none the first."""
        order = sorted(self._cells, key=lambda c: (not c.in_core, c.place, c.cell))
        near: dict[tuple[int, int], list[BandCell]] = defaultdict(list)
        side = max((float((c.box[2:] - c.box[:2]).max()) for c in order), default=1.0)
        for cell in order:
            x, y = (cell.box[:2] + cell.box[2:]) / 2
            column, row = int(x // side), int(y // side)
            around = (near.get((column + i, row + j), ()) for i in (-1, 0, 1) for j in (-1, 0, 1))
            same = [other for cells in around for other in cells if _is_same(cell, other)]
            if same:
                yield min(same, key=lambda other: _gap(cell, other)), cell
            else:
                near[column, row].append(cell)


def _is_same(cell: BandCell, other: BandCell) -> bool:
    smaller = min(float((c.box[2:] - c.box[:2]).max()) for c in (cell, other))
    return cell.place != other.place and _gap(cell, other) < _SAME * smaller


def _gap(cell: BandCell, other: BandCell) -> float:
    return float(np.hypot(*((cell.box[:2] + cell.box[2:] - other.box[:2] - other.box[2:]) / 2)))


def _middles(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def _inside(points: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    x0, y0, x1, y1 = box
    return (points[:, 0] >= x0) & (points[:, 0] < x1) & (points[:, 1] >= y0) & (points[:, 1] < y1)
