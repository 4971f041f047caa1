"""Overlap of contours by polygon clipping, and their one-to-one matching.

Clipping is GEOS's, through shapely (exact up to float64), never boxes or pixels. A contour is (K, 2) x, y in px; the
last corner joins the first. A contour that crosses itself encloses what the even-odd rule says, as where it is
drawn in SVG, CVAT or Pillow. Needs the extra: pip install 'leukoscope[study]'.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from leukoscope.errors import DataError, InputError


@dataclass(frozen=True, slots=True, eq=False)
class ContourMatches:
    """Which contours are the same cell.

    pairs   (M, 2) int64 rows of truth and of pred, truth rising; iou (M,) float64 of each pair
    missed  (K,) int64 rows of truth without a partner; extra (L,) int64 rows of pred without one
    """

    pairs: np.ndarray
    iou: np.ndarray
    missed: np.ndarray
    extra: np.ndarray


def match_contours(truth: Sequence[np.ndarray], pred: Sequence[np.ndarray], *, iou: float = 0.5) -> ContourMatches:
    """Pair contours one to one: as many pairs of at least `iou` as there can be, and of those the largest summed IoU.

    Optimal (Hungarian method, scipy), solved apart for each group of contours that are linked by overlaps. Raises
    InputError unless 0 < iou <= 1, DataError for a contour that isn't (K, 2) finite numbers.
    """
    if not 0 < iou <= 1:
        raise InputError(f"the IoU that makes two contours one cell must be above 0 and at most 1, got {iou}")
    rows, columns, overlap = overlapping_contours(truth, pred, at_least=iou)
    return match_overlaps(rows, columns, overlap, shape=(len(truth), len(pred)))


def match_overlaps(rows: np.ndarray, columns: np.ndarray, iou: np.ndarray, *, shape: tuple[int, int]) -> ContourMatches:
    """`match_contours` for overlaps already computed: pairs (rows[k], columns[k]) may match, with iou[k] in (0, 1]."""
    from_truth, partners, overlap = [], [], []
    for block_rows, block_columns, gain in _blocks(rows, columns, iou, shape):
        chosen = _assign(gain)
        from_truth += [block_rows[r] for r, _ in chosen]
        partners += [block_columns[c] for _, c in chosen]
        overlap += [gain[r, c] for r, c in chosen]
    pairs = np.array([from_truth, partners], np.int64).T.reshape(-1, 2)
    order = np.argsort(pairs[:, 0], kind="stable")
    pairs = pairs[order]
    return ContourMatches(
        pairs=pairs,
        iou=np.array(overlap, np.float64)[order],
        missed=np.setdiff1d(np.arange(shape[0]), pairs[:, 0]),
        extra=np.setdiff1d(np.arange(shape[1]), pairs[:, 1]),
    )


def contour_iou_matrix(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> np.ndarray:
    """(A, B) float64 in [0, 1]: intersection over union of every contour of a with every contour of b."""
    rows, columns, iou = overlapping_contours(a, b)
    matrix = np.zeros((len(a), len(b)))
    matrix[rows, columns] = iou
    return matrix


def overlapping_contours(
    a: Sequence[np.ndarray], b: Sequence[np.ndarray], *, at_least: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pairs that overlap: rows of a (P,), rows of b (P,), IoU (P,) above 0 and not below `at_least`.

    Only pairs whose boxes touch are clipped (an R-tree finds them), and of those only such as their areas and boxes
    let reach `at_least`; the rest is the same with or without that short cut.
    """
    shapely = _shapely()
    shapes_a, shapes_b = contour_polygons(a), contour_polygons(b)
    rows, columns = shapely.STRtree(shapes_b).query(shapes_a)
    area_a, area_b = shapely.area(shapes_a), shapely.area(shapes_b)
    bounds = shapely.bounds(shapes_a)[rows], shapely.bounds(shapes_b)[columns]
    sides = np.minimum(bounds[0][:, 2:], bounds[1][:, 2:]) - np.maximum(bounds[0][:, :2], bounds[1][:, :2])
    most = np.minimum(sides.clip(0).prod(1), np.minimum(area_a[rows], area_b[columns]))
    hopeful = (most > 0) & (_iou(most, area_a[rows], area_b[columns]) >= at_least - 1e-9)
    rows, columns = rows[hopeful], columns[hopeful]
    shared = shapely.area(shapely.intersection(shapes_a[rows], shapes_b[columns]))
    iou = np.minimum(_iou(shared, area_a[rows], area_b[columns]), 1.0)
    kept = (iou > 0) & (iou >= at_least)
    return rows[kept], columns[kept], iou[kept]


def contour_polygons(contours: Sequence[np.ndarray]) -> np.ndarray:
    """(N,) shapely geometries: valid polygons or multipolygons; empty for a contour without area."""
    shapely = _shapely()
    arrays = [_corners(contour, row) for row, contour in enumerate(contours)]
    shapes = np.full(len(arrays), shapely.Polygon(), object)
    real = [row for row, corners in enumerate(arrays) if len(corners) >= 3]
    if not real:
        return shapes
    corners = np.concatenate([arrays[row] for row in real])
    owner = np.repeat(np.arange(len(real)), [len(arrays[row]) for row in real])
    made = shapely.polygons(shapely.linearrings(corners, indices=owner))
    crossed = ~shapely.is_valid(made)
    made[crossed] = [_even_odd(arrays[real[k]]) for k in np.flatnonzero(crossed)]
    shapes[real] = made
    return shapes


def _even_odd(ring: np.ndarray) -> object:
    """What a ring (K, 2) that crosses or touches itself encloses: its faces, each in or out by the even-odd rule.

    GEOS's make_valid does the same except where edges lie on each other, which it counts once.
    """
    shapely = _shapely()
    noded = shapely.union_all([shapely.LinearRing(ring)])
    faces = shapely.get_parts(shapely.polygonize(shapely.get_parts(noded)))
    inside = shapely.get_coordinates(shapely.point_on_surface(faces))
    (x0, y0), (x1, y1) = ring.T, np.roll(ring, -1, axis=0).T
    px, py = inside[:, :1], inside[:, 1:]
    spans = (y0 > py) != (y1 > py)  # (F, K) edges that the level of the face's point meets
    crossing = x0 + (py - y0) * np.divide(x1 - x0, y1 - y0, out=np.zeros_like(x0), where=y0 != y1)
    odd = (spans & (crossing > px)).sum(1) % 2 == 1
    return shapely.union_all(faces[odd])


def _corners(contour: np.ndarray, row: int) -> np.ndarray:
    corners = np.asarray(contour, np.float64)
    if corners.size == 0:
        return np.empty((0, 2))
    if corners.ndim != 2 or corners.shape[1] != 2 or not np.isfinite(corners).all():
        raise DataError(f"contour {row} must be (K, 2) finite numbers, got shape {corners.shape}")
    return corners


def _iou(shared: np.ndarray, area_a: np.ndarray, area_b: np.ndarray) -> np.ndarray:
    union = area_a + area_b - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _blocks(rows: np.ndarray, columns: np.ndarray, iou: np.ndarray, shape: tuple[int, int]):
    """Groups linked by overlaps: rows (R,), columns (C,), and IoU (R, C) that is 0 where the two may not match."""
    if not len(rows):
        return
    csgraph, sparse = _scipy()
    n = sum(shape)
    links = sparse.coo_matrix((np.ones(len(rows)), (rows, columns + shape[0])), shape=(n, n))
    _, group = csgraph.connected_components(links, directed=False)
    order = np.argsort(group[rows], kind="stable")
    for part in np.split(order, np.flatnonzero(np.diff(group[rows][order])) + 1):
        block_rows, at_row = np.unique(rows[part], return_inverse=True)
        block_columns, at_column = np.unique(columns[part], return_inverse=True)
        gain = np.zeros((len(block_rows), len(block_columns)))
        gain[at_row, at_column] = iou[part]
        yield block_rows, block_columns, gain


def _assign(gain: np.ndarray) -> list[tuple[int, int]]:
    """Positions (r, c) of gain (R, C) to pair: the most positive ones that exclude each other, then the largest sum."""
    if gain.size == 1:
        return [(0, 0)]
    from scipy.optimize import linear_sum_assignment

    # One pair more always outweighs any sum of IoU: the sum over at most min(R, C) pairs is halved below 1.
    weight = (gain > 0) + gain / (2 * min(gain.shape))
    chosen = zip(*linear_sum_assignment(weight, maximize=True), strict=True)
    return [(int(r), int(c)) for r, c in chosen if gain[r, c] > 0]


def _shapely() -> ModuleType:
    try:
        import shapely
    except ImportError:
        raise InputError(
            "overlap of contours needs shapely, which is not installed: pip install 'leukoscope[study]'"
        ) from None
    return shapely


def _scipy() -> tuple[ModuleType, ModuleType]:
    try:
        from scipy import sparse
        from scipy.sparse import csgraph
    except ImportError:
        raise InputError(
            "matching contours needs scipy, which is not installed: pip install 'leukoscope[study]'"
        ) from None
    return csgraph, sparse
