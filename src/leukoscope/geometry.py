"""Boxes, tiles and contours in the pixel convention of `leukoscope.types`; numpy only."""

import math

import numpy as np

from leukoscope.errors import DataError


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of every box of a (N, 4) with every box of b (M, 4): (N, M) float64 in [0, 1].

    Where both boxes have no area the result is 0.
    """
    a, b = _as_boxes(a), _as_boxes(b)
    shared = _intersections(a, b)
    union = box_area(a)[:, None] + box_area(b)[None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def box_area(boxes: np.ndarray) -> np.ndarray:
    """(N,) float64, px²; 0 for a box whose sides are turned around."""
    boxes = _as_boxes(boxes)
    return np.maximum(boxes[:, 2] - boxes[:, 0], 0) * np.maximum(boxes[:, 3] - boxes[:, 1], 0)


def nms(boxes: np.ndarray, scores: np.ndarray, iou: float) -> np.ndarray:
    """Greedy non-maximum suppression: indices of the boxes that stay, best score first.

    A box goes when its IoU with a better one that stays is above `iou`. Equal scores: the earlier box wins.
    """
    boxes = _as_boxes(boxes)
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    kept: list[int] = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(int(best))
        order = order[box_iou(boxes[best], boxes[order])[0] <= iou]
    return np.array(kept, np.int64)


def drop_nested(boxes: np.ndarray, scores: np.ndarray, *, inside: float, share: float) -> np.ndarray:
    """Indices of the boxes (N, 4) that stay, in their order, where of two boxes one in the other only one is a thing.

    A box lies in a larger one when `inside` of its area does. The larger stays, for the other is a part of it; but it
    goes where it holds two boxes that score more, and where it scores less than `share` of one that it holds: then it
    is drawn around things that were found themselves.
    """
    boxes, scores = _as_boxes(boxes), np.asarray(scores, np.float64)
    areas = box_area(boxes)
    held = _intersections(boxes, boxes) >= inside * np.maximum(areas, 1e-9)[:, None]  # [part, whole]
    held &= areas[:, None] < areas[None, :]
    better = held & (scores[:, None] > scores[None, :])
    around = (better.sum(0) > 1) | (held & (scores[None, :] < share * scores[:, None])).any(0)
    return np.flatnonzero(~around & ~(held & ~around[None, :]).any(1))


def tiles(height: int, width: int, size: int, overlap: int) -> np.ndarray:
    """Tiles that cover a field: (T, 4) int64 boxes, rows first, none larger than `size` px a side.

    Neighbours share at least `overlap` px, so whatever is no longer than `overlap` lies whole in some tile.
    A side no longer than `size` gets one tile. Raises DataError unless 0 <= overlap < size.
    """
    if not 0 <= overlap < size or height < 1 or width < 1:
        raise DataError(
            f"tiles need a field of at least 1 px and 0 <= overlap < size, got {height} x {width} px, "
            f"overlap {overlap}, size {size}"
        )
    rows, columns = _spans(height, size, overlap), _spans(width, size, overlap)
    return np.array([(x0, y0, x1, y1) for y0, y1 in rows for x0, x1 in columns], np.int64)


def _spans(length: int, size: int, overlap: int) -> list[tuple[int, int]]:
    """Evenly spread spans of `size` along one side; the whole side when it is no longer than that."""
    if length <= size:
        return [(0, length)]
    n_spans = math.ceil((length - overlap) / (size - overlap))
    starts = [round(i * (length - size) / (n_spans - 1)) for i in range(n_spans)]
    return [(start, start + size) for start in starts]


def merge_tiles(
    boxes: np.ndarray,
    scores: np.ndarray,
    *,
    tile_ids: np.ndarray,
    tile_boxes: np.ndarray,
    iou: float,
    border_px: float = 2.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Make one list of what the tiles of a field found: a cell that several tiles saw stays once, and whole.

    boxes       (N, 4) in field px; scores (N,); duplicates within a tile are gone already
    tile_ids    (N,) which tile found a box; tile_boxes (T, 4) from `tiles`
    iou         two whole boxes of different tiles above this overlap are one cell; the better score stays
    border_px   a box that comes this close to an inner border of its tile is taken as cut there
    A cut box goes when half of the smaller of the two lies in a whole box of another tile; two cut boxes that
    overlap so (a cell longer than the tiles' overlap) become the box around both.
    Returns boxes (M, 4) float64 and scores (M,), best score first.
    """
    boxes, scores = _as_boxes(boxes).copy(), np.asarray(scores, np.float64).copy()
    tile_ids = np.asarray(tile_ids, np.int64)
    cut = _cut_by_border(boxes, np.asarray(tile_boxes, np.float64), tile_ids, border_px)
    kept: list[int] = []
    for i in np.lexsort((-scores, cut)):  # whole boxes first, each group best score first
        others = np.array([k for k in kept if tile_ids[k] != tile_ids[i]], np.int64)
        if not len(others):
            kept.append(int(i))
            continue
        if not cut[i]:
            same = box_iou(boxes[i], boxes[others])[0] > iou
        else:
            smaller = np.minimum(box_area(boxes[i]), box_area(boxes[others]))
            same = _intersections(boxes[i : i + 1], boxes[others])[0] >= 0.5 * smaller
        if not same.any():
            kept.append(int(i))
            continue
        twin = others[same][0]
        if cut[i] and cut[twin]:
            boxes[twin] = (*np.minimum(boxes[i, :2], boxes[twin, :2]), *np.maximum(boxes[i, 2:], boxes[twin, 2:]))
    kept_ids = np.array(kept, np.int64)
    kept_ids = kept_ids[np.argsort(-scores[kept_ids], kind="stable")]
    return boxes[kept_ids], scores[kept_ids]


def _cut_by_border(boxes: np.ndarray, tile_boxes: np.ndarray, tile_ids: np.ndarray, border_px: float) -> np.ndarray:
    """(N,) bool: the box reaches a border of its tile that is not the field's own border."""
    if not len(boxes):
        return np.zeros(0, bool)
    field_low, field_high = tile_boxes[:, :2].min(0), tile_boxes[:, 2:].max(0)
    tile = tile_boxes[tile_ids]
    low = (tile[:, :2] > field_low) & (boxes[:, :2] <= tile[:, :2] + border_px)
    high = (tile[:, 2:] < field_high) & (boxes[:, 2:] >= tile[:, 2:] - border_px)
    return (low | high).any(1)


def contour_area(contour: np.ndarray) -> float:
    """Area of a simple polygon (K, 2) in px², by the shoelace formula; the last corner joins the first."""
    x, y = np.asarray(contour, np.float64).reshape(-1, 2).T
    if len(x) < 3:
        return 0.0
    x, y = x - x[0], y - y[0]  # far from the origin the products would eat up the digits
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def contour_box(contour: np.ndarray) -> np.ndarray:
    """(4,) float64 xyxy: the smallest box around a contour (K, 2)."""
    points = np.asarray(contour, np.float64).reshape(-1, 2)
    if not len(points):
        raise DataError("a contour needs at least one point to have a box")
    return np.concatenate([points.min(0), points.max(0)])


def _as_boxes(boxes: np.ndarray) -> np.ndarray:
    return np.asarray(boxes, np.float64).reshape(-1, 4)


def _intersections(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, M) float64 shared areas in px²."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])  # (N, M, 2)
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    sides = np.maximum(high - low, 0)
    return sides[..., 0] * sides[..., 1]
