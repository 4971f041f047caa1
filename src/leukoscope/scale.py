"""Micrometres a pixel by the smear's own ruler: its red cells.

A red cell of a dried smear is about 7 µm wide whatever the camera, so haematologists judge a white cell's size by the
red cells beside it: a monocyte is two to three red cells wide, a lymphocyte one to two. Their outlines are found as
circles: each edge pixel votes for centres along its gradient (Kimme, Ballard and Sklansky 1975, the circular Hough
transform with edge directions). Circles need not be closed, so red cells that touch, overlap or are cut by the frame
count too.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from leukoscope.types import Cells, Field

RED_CELL_UM = 7.0  # dried and stained; 6.2 to 8.2 in healthy people
LEAST_CIRCLES = 2
_WHITE_CELL_PX = 36  # the field is shrunk until its median white cell is this wide
_REACH = 2.2  # half of the window that is searched, in white cells
_RADII = np.arange(5.5, 19.5)  # of red cells, at that scale: a third of a white cell to all of it
_LEAST_VOTES = 0.5  # a circle's length; edges are a few pixels thick, so a quarter of the circle can do
_WHITE = 240.0  # what white balance makes of empty glass


def with_scale(field: Field, cells: Cells) -> Field:
    """The field with its scale: as stated, else measured at its red cells, else as it was (unknown).

    field  white-balanced (`leukoscope.locate.prepare`); cells  its white cells
    """
    if field.um_per_px is not None:
        return field
    return replace(field, um_per_px=measure_um_per_px(field.pixels, cells.boxes))


def measure_um_per_px(pixels: np.ndarray, boxes: np.ndarray) -> float | None:
    """Micrometres a pixel, or None where fewer than two red cells are seen beside the first white cell.

    pixels  (H, W, 3) uint8 RGB with white-balanced background
    boxes   (N, 4) px xyxy of white cells: where not to look, and what a red cell's size is bounded by
    On the train split of pbc, whose magnification is one, single pictures scatter by 8 % around their median.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    if not len(boxes):
        return None
    height, width = pixels.shape[:2]
    white = float(np.median((boxes[:, 2:] - boxes[:, :2]).max(1)))
    center = (boxes[0, :2] + boxes[0, 2:]) / 2
    x0, y0 = np.maximum(center - _REACH * white, 0).astype(int)
    x1, y1 = np.minimum(center + _REACH * white, (width, height)).astype(int)
    scale = _WHITE_CELL_PX / white
    size = (round((x1 - x0) * scale), round((y1 - y0) * scale))
    if min(size) < _WHITE_CELL_PX // 2:
        return None
    green = Image.fromarray(np.ascontiguousarray(pixels[y0:y1, x0:x1, 1])).resize(size, Image.Resampling.BOX)
    diameters = 2 * _circle_radii(np.asarray(green, np.float32), (boxes - np.tile((x0, y0), 2)) * scale) / scale
    return round(RED_CELL_UM / float(np.median(diameters)), 4) if len(diameters) >= LEAST_CIRCLES else None


def _circle_radii(green: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(K,) radii in px of round things darker than their surroundings in green (H, W), outside boxes (N, 4)."""
    x, y, ux, uy = _edges(green, boxes)
    if not len(x):
        return np.empty(0)
    height, width = green.shape
    votes = np.empty((len(_RADII), height, width), np.float32)
    for radius, of_radius in zip(_RADII.astype(np.float32), votes, strict=True):
        cx, cy = np.rint(x + radius * ux).astype(np.int32), np.rint(y + radius * uy).astype(np.int32)
        inside = (cx >= 0) & (cy >= 0) & (cx < width) & (cy < height)
        place = (cy * width + cx)[inside]
        of_radius[:] = np.bincount(place, minlength=height * width).reshape(height, width)
    votes = _sum_3x3(votes) / (2 * np.pi * _RADII[:, None, None]).astype(np.float32)
    votes[1:-1] = votes[1:-1] / 2 + (votes[:-2] + votes[2:]) / 4
    return _peaks(votes)


def _edges(green: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, ...]:
    """x, y (M,) of edge pixels outside the boxes, and the unit vectors (M,) towards the darker side."""
    density = -np.log(np.maximum(green, 2) / _WHITE).clip(-0.05, 0.7)
    density = _sum_3x3(_sum_3x3(np.pad(density, 2, mode="edge")))[2:-2, 2:-2] / 81
    gx, gy = np.zeros_like(density), np.zeros_like(density)
    gx[:, 1:-1] = density[:, 2:] - density[:, :-2]
    gy[1:-1] = density[2:] - density[:-2]
    gx, gy = _sum_3x3(gx), _sum_3x3(gy)
    gx[:, [0, -1]] = 0
    gy[[0, -1]] = 0
    free = np.ones(green.shape, bool)
    for bx0, by0, bx1, by1 in boxes:
        free[max(0, int(by0 - 2)) : max(0, int(by1 + 3)), max(0, int(bx0 - 2)) : max(0, int(bx1 + 3))] = False
    steep = np.hypot(gx, gy)
    if free.sum() < 300:
        return (np.empty(0),) * 4
    y, x = np.nonzero((steep > max(0.35 * np.quantile(steep[free], 0.93), 1e-3)) & free)
    flat = y * green.shape[1] + x
    length = steep.ravel()[flat]
    return x.astype(np.float32), y.astype(np.float32), gx.ravel()[flat] / length, gy.ravel()[flat] / length


def _peaks(votes: np.ndarray) -> np.ndarray:
    """(K,) radii of the highest votes (R, H, W), one a place; the smallest and the largest radius don't count."""
    best, found = votes.max(0), []
    while True:
        y, x = divmod(int(best.argmax()), best.shape[1])
        if best[y, x] < _LEAST_VOTES:
            return np.array(found)
        k = int(votes[:, y, x].argmax())
        if 0 < k < len(_RADII) - 1:
            below, at, above = votes[k - 1 : k + 2, y, x]
            bend = below - 2 * at + above
            found.append(_RADII[k] + (0.5 * (below - above) / bend if bend < 0 else 0.0))  # the parabola's top
        r = int(_RADII[k])
        best[max(0, y - r) : y + r + 1, max(0, x - r) : x + r + 1] = 0


def _sum_3x3(a: np.ndarray) -> np.ndarray:
    """Sums over 3 x 3 neighbours in the last two axes, zero outside."""
    across = a.copy()
    across[..., 1:] += a[..., :-1]
    across[..., :-1] += a[..., 1:]
    total = across.copy()
    total[..., 1:, :] += across[..., :-1, :]
    total[..., :-1, :] += across[..., 1:, :]
    return total
