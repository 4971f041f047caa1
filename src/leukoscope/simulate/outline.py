"""Outlines as they can be seen: cut at the field's edge and where another cell lies over them."""

import numpy as np

from leukoscope.simulate.shapes import ANGLES

N_RAYS = 64
N_STEPS = 48
_RAYS = np.arange(N_RAYS) * (2 * np.pi / N_RAYS)
_COS, _SIN = np.cos(_RAYS), np.sin(_RAYS)


def outline_at(radii: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Radius of an outline (N_ANGLES,) at any angles."""
    return np.interp(angles % (2 * np.pi), np.append(ANGLES, 2 * np.pi), np.append(radii, radii[0]))


def visible_outline(
    radii: np.ndarray, place: np.ndarray, above: list[tuple[np.ndarray, np.ndarray]], size: tuple[int, int]
) -> np.ndarray:
    """(N_RAYS, 2) corners of what is seen of a cell whose middle is in the field and not covered.

    radii   (N_ANGLES,) of its outline; place (2,) its middle; above: the same of the cells that lie over it
    size    width and height of the field
    Each ray from the middle ends at the outline, at the field's edge or where it first meets a cell above: the
    polygon is star-shaped, so it never crosses itself. A sliver that shows beyond a covering cell is left out.
    """
    reach = outline_at(radii, _RAYS)
    with np.errstate(divide="ignore"):
        to_side = np.where(_COS > 0, (size[0] - place[0]) / _COS, -place[0] / _COS)
        to_end = np.where(_SIN > 0, (size[1] - place[1]) / _SIN, -place[1] / _SIN)
    reach = np.minimum(reach, np.minimum(np.abs(to_side), np.abs(to_end)))
    for other_radii, other_place in above:
        reach = _stop_at(reach, place, other_radii, other_place)
    reach = np.maximum(reach, 0.5)
    corners = place + np.stack([reach * _COS, reach * _SIN], 1)
    return np.clip(corners, 0, size)


def _stop_at(reach: np.ndarray, place: np.ndarray, radii: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Shorten rays to where they enter the outline `radii` around `other`."""
    share = np.linspace(0, 1, N_STEPS)
    along = reach[:, None] * share  # (N_RAYS, N_STEPS) px from the middle
    x = place[0] + along * _COS[:, None] - other[0]
    y = place[1] + along * _SIN[:, None] - other[1]
    depth = outline_at(radii, np.arctan2(y, x)) - np.hypot(x, y)
    inside = depth > 0
    first = inside.argmax(1)
    meets = inside.any(1) & (first > 0)
    rows = np.flatnonzero(meets)
    before, after = depth[rows, first[rows] - 1], depth[rows, first[rows]]
    crossing = share[first[rows] - 1] + (-before / (after - before)) * share[1]
    reach = reach.copy()
    reach[rows] *= crossing
    return reach


def cut_to_field(contour: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The part of a polygon (K, 2) that lies in the field (Sutherland and Hodgman, CACM 1974)."""
    for axis, limit, keep_below in ((0, 0, False), (0, size[0], True), (1, 0, False), (1, size[1], True)):
        inside = contour[:, axis] <= limit if keep_below else contour[:, axis] >= limit
        corners = []
        for k in range(len(contour)):
            a, b = contour[k - 1], contour[k]
            if inside[k - 1] != inside[k]:
                corners.append(a + (b - a) * (limit - a[axis]) / (b[axis] - a[axis]))
            if inside[k]:
                corners.append(b)
        contour = np.array(corners).reshape(-1, 2)
    return contour
