"""Outline located cells: each box's crop through the outliner, its pixels back onto the field, contours around them.

Contours run along pixel edges of the field, so that they enclose whole pixels and never overlap.
"""

from dataclasses import dataclass, replace

import numpy as np

from leukoscope.crop import crop_cells, padding_px
from leukoscope.dataset.masks import mask_outlines
from leukoscope.errors import ModelError
from leukoscope.geometry import contour_area
from leukoscope.locate import prepare
from leukoscope.models.runtime import Session
from leukoscope.types import Cells, Field

BATCH = 16  # crops a call
LEAST_LOBE = 0.02  # of its cell's area: smaller pieces of a nucleus are specks
NO_CONTOUR = np.zeros((0, 2), np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Outlines:
    """Cells with their contours, and the contours of their nuclei.

    cells   with `contours`: (K, 2) float32 px; (0, 2) for a cell in whose box nothing of a cell was seen
    nuclei  per cell the contours (K, 2) of the parts of its nucleus, largest first; none where none was seen
    """

    cells: Cells
    nuclei: tuple[tuple[np.ndarray, ...], ...]

    @property
    def cell_area_px(self) -> np.ndarray:
        """(N,) float64 px²."""
        return np.array([contour_area(c) for c in self.cells.contours], np.float64)

    @property
    def nucleus_area_px(self) -> np.ndarray:
        """(N,) float64 px², all parts together."""
        return np.array([sum(contour_area(c) for c in parts) for parts in self.nuclei], np.float64)

    @property
    def nc_ratio(self) -> np.ndarray:
        """(N,) float64 in [0, 1]: the nucleus's share of the cell's area; NaN where there is no contour."""
        cell = self.cell_area_px
        return np.divide(self.nucleus_area_px, cell, out=np.full(len(cell), np.nan), where=cell > 0)


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """A cell's probabilities on whole pixels of the field: `cell` and `nucleus` (h, w) uint8, 255 is 1; origin x, y."""

    origin: tuple[int, int]
    cell: np.ndarray
    nucleus: np.ndarray


def outline(field: Field, cells: Cells, outliner: Session) -> Outlines:
    """Contours of a field's located cells and of their nuclei, row-aligned with `cells`.

    A pixel that several cells claim belongs to the one that is surer of it (equally sure: the one earlier in
    `cells`); of a cell that falls apart the largest part stays, its holes filled. `Cells` are given back with
    the same boxes and scores.
    """
    return outline_balanced(prepare(field, outliner.card), cells, outliner)


def outline_balanced(field: Field, cells: Cells, outliner: Session) -> Outlines:
    """`outline` for a field that `prepare` has already seen."""
    cutoff, nucleus_cutoff = (round(255 * outliner.card.thresholds[part]) for part in ("cell", "nucleus"))
    seen: list[_Seen] = []
    for start in range(0, len(cells), BATCH):
        looked = _look(field, cells.boxes[start : start + BATCH], outliner)
        seen += [_trimmed(one, cutoff) for one in looked]
    contours, nuclei = [], []
    for row, (one, others) in enumerate(zip(seen, _neighbours(seen), strict=True)):
        contour, inside = _contour(_own_pixels(row, seen, others, cutoff), one.origin)
        contours.append(contour)
        nuclei.append(_parts((one.nucleus >= nucleus_cutoff) & inside, one.origin, contour_area(contour)))
    return Outlines(replace(cells, contours=tuple(contours)), tuple(nuclei))


def _look(field: Field, boxes: np.ndarray, outliner: Session) -> list[_Seen]:
    """What the outliner sees of some cells, each brought back to the field's pixels."""
    rule = outliner.card.crop
    boxes = boxes.astype(np.float64)
    crops = crop_cells(field.pixels, boxes, rule)
    longer = (boxes[:, 2:] - boxes[:, :2]).max(1)
    sides = np.array([side + 2 * padding_px(side, rule) for side in longer])
    corners = (boxes[:, :2] + boxes[:, 2:]) / 2 - sides[:, None] / 2
    inside = (boxes - np.tile(corners, 2)) * (rule.size / sides)[:, None]
    (probs,) = outliner.run(pixels=crops, boxes=inside.astype(np.float32))
    if probs.shape != (len(boxes), 3, rule.size, rule.size):
        raise ModelError(
            f"model {outliner.card.name!r} gave probabilities of shape {probs.shape} for {len(boxes)} crops of "
            f"{rule.size} px; expected ({len(boxes)}, 3, {rule.size}, {rule.size}): its card and its ONNX file do not "
            f"belong together"
        )
    height, width = field.pixels.shape[:2]
    return [_to_field(p, corner, side, (height, width)) for p, corner, side in zip(probs, corners, sides, strict=True)]


def _to_field(probs: np.ndarray, corner: np.ndarray, side: float, shape: tuple[int, int]) -> _Seen:
    """Probabilities (3, S, S) of a crop, read off bilinearly at the middles of the field's pixels that it shows."""
    size = probs.shape[1]
    low = np.maximum(np.floor(corner), 0).astype(int)
    high = np.minimum(np.ceil(corner + side), shape[::-1]).astype(int)
    columns, rows = (
        _interpolation((np.arange(low[k], high[k]) + 0.5 - corner[k]) * (size / side) - 0.5, size) for k in (0, 1)
    )
    planes = np.stack([1 - probs[0], probs[2]]).astype(np.float32)
    cell, nucleus = np.rint(255 * np.clip(rows @ planes @ columns.T, 0, 1)).astype(np.uint8)
    return _Seen((int(low[0]), int(low[1])), cell, nucleus)


def _trimmed(seen: _Seen, cutoff: int) -> _Seen:
    """Only the rows and columns in which the cell reaches the cutoff: thousands of cells then fit into memory."""
    claimed = seen.cell >= cutoff
    ys, xs = np.flatnonzero(claimed.any(1)), np.flatnonzero(claimed.any(0))
    if not len(ys):
        return _Seen(seen.origin, seen.cell[:0, :0], seen.nucleus[:0, :0])
    part = np.s_[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1]
    origin = (seen.origin[0] + int(xs[0]), seen.origin[1] + int(ys[0]))
    return _Seen(origin, seen.cell[part].copy(), seen.nucleus[part].copy())


def _interpolation(places: np.ndarray, size: int) -> np.ndarray:
    """(n, size) float32 weights that read a row of `size` values off at positions (n,), linearly."""
    places = np.clip(places, 0, size - 1)
    first = np.minimum(places.astype(int), size - 2)
    weights = np.zeros((len(places), size), np.float32)
    line = np.arange(len(places))
    weights[line, first] = 1 - (places - first)
    weights[line, first + 1] = places - first
    return weights


def _own_pixels(row: int, seen: list[_Seen], others: np.ndarray, cutoff: int) -> np.ndarray:
    """(h, w) bool: the pixels of a cell that none of the cells in rows `others` has a better claim to."""
    mine = seen[row]
    cell = mine.cell >= cutoff
    (x0, y0), (height, width) = mine.origin, cell.shape
    for other_row in others:
        other = seen[other_row]
        (x, y), (tall, wide) = other.origin, other.cell.shape
        left, top, right, bottom = max(x0, x), max(y0, y), min(x0 + width, x + wide), min(y0 + height, y + tall)
        here = np.s_[top - y0 : bottom - y0, left - x0 : right - x0]
        theirs = other.cell[top - y : bottom - y, left - x : right - x]
        better = theirs > mine.cell[here] if row < other_row else theirs >= mine.cell[here]
        cell[here] &= ~(better & (theirs >= cutoff))
    return cell


def _neighbours(seen: list[_Seen]) -> list[np.ndarray]:
    """Per cell the rows of the cells whose pixels may overlap its own."""
    low = np.array([s.origin for s in seen]).reshape(-1, 2)
    high = low + np.array([s.cell.shape[::-1] for s in seen]).reshape(-1, 2)
    neighbours = []
    for row in range(len(seen)):
        overlap = ((low < high[row]) & (low[row] < high)).all(1)
        overlap[row] = False
        neighbours.append(np.flatnonzero(overlap))
    return neighbours


def _contour(cell: np.ndarray, origin: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The contour (K, 2) float32 of the largest part of (h, w) pixels, in field px; and the (h, w) pixels within."""
    best = max((np.array(o) for o in mask_outlines(cell)), key=contour_area, default=None)
    if best is None:
        return NO_CONTOUR, np.zeros(cell.shape, bool)
    return (best + origin).astype(np.float32), fill_outline(best, cell.shape)


def _parts(nucleus: np.ndarray, origin: tuple[int, int], cell_area: float) -> tuple[np.ndarray, ...]:
    """Contours of a nucleus's parts, largest first, without specks."""
    parts = [np.array(o) for o in mask_outlines(nucleus)]
    parts = [(contour_area(p), p) for p in parts]
    kept = sorted((pair for pair in parts if pair[0] >= LEAST_LOBE * cell_area), key=lambda pair: -pair[0])
    return tuple((p + origin).astype(np.float32) for _, p in kept)


def fill_outline(outline_px: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(h, w) bool: the pixels within an outline (K, 2) that runs along pixel edges (`mask_outlines`)."""
    crossings = np.zeros((shape[0], shape[1] + 1), np.int8)
    corners = np.asarray(outline_px).astype(int)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if x0 == x1:
            crossings[min(y0, y1) : max(y0, y1), x0] ^= 1
    return np.cumsum(crossings, axis=1)[:, :-1] % 2 == 1
