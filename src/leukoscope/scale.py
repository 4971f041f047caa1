"""Micrometres a pixel by the smear's own ruler: its red cells.

A red cell of a dried smear is about 7 µm wide whatever the camera, so haematologists judge a white cell's size by the
red cells beside it: a monocyte is two to three red cells wide, a lymphocyte one to two. Their outlines are found as
circles: each edge pixel votes for centres along its gradient (Kimme, Ballard and Sklansky 1975, the circular Hough
transform with edge directions). Circles need not be closed, so red cells that touch, overlap or are cut by the frame
count too.
"""

from dataclasses import replace

import numpy as np
from PIL import Image

from leukoscope.images.color import optical_density
from leukoscope.raster import Pixels, Raster
from leukoscope.types import Cells, Field

RED_CELL_UM = 7.0  # dried and stained; 6.2 to 8.2 in healthy people
LEAST_CIRCLES = 2
MOST_DISAGREEMENT = 1.25
_WHITE_CELL_PX = 36  # the field is shrunk until its median white cell is this wide
_REACH = 2.2  # half of the window that is searched, in white cells
_RADII = np.arange(5.5, 19.5)  # of red cells, at that scale: a third of a white cell to all of it
_LEAST_VOTES = 0.5  # a circle's length; edges are a few pixels thick, so a quarter of the circle can do
# The search for red cells of any size: the field is shown at sides a factor apart, so that some side shows red cells
# within _RADII; there their circles fill the most of what is looked at.
_FIRST_SIDE, _SIDE_STEP, _MOST_SIDE = 96.0, 1.7, 6000.0
_SEARCH_PX, _MEASURE_PX = 200, 320  # sides of the window in the middle that is searched, and then measured
_LEAST_FILLED = 0.04  # of the window's area: half a dozen red cells; noise and texture fill 0.02
_SURE_FILLED = 0.15  # from here on a nearer view that shows less than half as much ends the search
_MEASURED_AT = 20.0  # px of a red cell's diameter when it is measured: the middle of what _RADII reaches


def with_scale(field: Field, cells: Cells, *, red_px: float | None = None) -> Field:
    """The field with its scale: as stated, else by its red cells, else as it was (unknown).

    field   white-balanced (`leukoscope.locate.prepare`); cells  its white cells
    red_px  diameter of its smear's red cells, where that is known; None: they are looked for beside a white cell
    """
    if field.um_per_px is not None:
        return field
    if red_px is not None:
        return replace(field, um_per_px=round(RED_CELL_UM / red_px, 4))
    return replace(field, um_per_px=measure_um_per_px(field.pixels, cells.boxes))


def scale_doubt(stated: float | None, *, um_per_px: float | None, red_px: float | None) -> str | None:
    """What a reader should know of a field's scale: "unknown", "red_cells_disagree" or None.

    A stated scale disagrees when the smear's red cells would then be a quarter wider or narrower than 7 µm: more than
    macrocytes and microcytes (110 and 60 fl) are.
    """
    if um_per_px is None:
        return "unknown"
    if stated is None or red_px is None:
        return None
    return "red_cells_disagree" if abs(np.log(stated * red_px / RED_CELL_UM)) > np.log(MOST_DISAGREEMENT) else None


def measure_um_per_px(pixels: Pixels, boxes: np.ndarray) -> float | None:
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
    green = Raster.of(pixels).green((int(x0), int(y0), int(x1), int(y1))).resize(size, Image.Resampling.BOX)
    diameters = 2 * _circle_radii(np.asarray(green, np.float32), (boxes - np.tile((x0, y0), 2)) * scale) / scale
    return round(RED_CELL_UM / float(np.median(diameters)), 4) if len(diameters) >= LEAST_CIRCLES else None


def red_cell_px(pixels: Pixels) -> float | None:
    """Median diameter in px of a field's red cells, whatever its scale; None where too few are seen.

    pixels  (H, W, 3) uint8 RGB with white-balanced background
    Nothing needs to be known of the field: it is looked at from far and from near, and the view that round things
    fill most decides. Single fields scatter by 10 to 15 % around their smear's median, so pool several.
    """
    height, width = pixels.shape[:2]
    longer = max(height, width)
    green = Raster.of(pixels).green()
    most, diameter, side = 0.0, None, _FIRST_SIDE
    while side <= min(max(1.5 * longer, _FIRST_SIDE), _MOST_SIDE):
        radii, filled = _look(green, side / longer, _SEARCH_PX)
        if len(radii) >= LEAST_CIRCLES and filled >= max(_LEAST_FILLED, most):
            most, diameter = filled, 2 * float(np.median(radii)) * longer / side
        elif most >= _SURE_FILLED and filled < most / 2:
            break
        side *= _SIDE_STEP
    if diameter is None:
        return None
    radii, _ = _look(green, _MEASURED_AT / diameter, _MEASURE_PX)
    return 2 * float(np.median(radii)) * diameter / _MEASURED_AT if len(radii) >= LEAST_CIRCLES else None


def _look(green: Image.Image, scale: float, window_px: int) -> tuple[np.ndarray, float]:
    """Radii (K,) of round things in the middle of `green` shown at `scale`, and the share of its area they fill."""
    width, height = (min(window_px, side * scale) for side in green.size)
    if min(width, height) < 2 * _RADII[0]:
        return np.empty(0), 0.0
    left, top = (max(0.0, (side - shown / scale) / 2) for side, shown in zip(green.size, (width, height), strict=True))
    box = (left, top, green.size[0] - left, green.size[1] - top)
    how = Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR
    shown = np.asarray(green.resize((round(width), round(height)), how, box), np.float32)
    radii = _circle_radii(shown, np.empty((0, 4)))
    return radii, float(np.pi * np.square(radii).sum() / shown.size)


def _circle_radii(green: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(K,) radii in px of round things darker than their surroundings in green (H, W), outside boxes (N, 4)."""
    x, y, ux, uy = _edges(green, boxes)
    if not len(x):
        return np.empty(0)
    height, width = green.shape
    votes: np.ndarray = np.empty((len(_RADII), height, width), np.float32)
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
    # All that is darker than a trace of colour is one level: a cell's edge is where glass ends, however thick the cell.
    density = optical_density(green).clip(-0.7, 0.05)
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
    best = votes.max(0)
    peaks: list[float] = []
    while True:
        y, x = divmod(int(best.argmax()), best.shape[1])
        if best[y, x] < _LEAST_VOTES:
            return np.array(peaks)
        k = int(votes[:, y, x].argmax())
        if 0 < k < len(_RADII) - 1:
            below, here, above = votes[k - 1 : k + 2, y, x]
            bend = below - 2 * here + above
            peaks.append(_RADII[k] + (0.5 * (below - above) / bend if bend < 0 else 0.0))  # the parabola's top
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
