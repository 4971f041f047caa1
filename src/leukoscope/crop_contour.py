"""Cut cells out by their contours, at a fixed scale: the standardised crops of the marrow pipeline (CBLC, abstract).

One rule for training and analysis. A frame is the square of the field that a crop shows; pictures and masks (of the
cell, of its nucleus) that are cut by the same frames lie on each other pixel by pixel.
"""

from collections.abc import Sequence

import numpy as np

from leukoscope.crop import BACKGROUND, crop_cells, resample_square
from leukoscope.errors import DataError, InputError
from leukoscope.geometry import contour_box
from leukoscope.models.bundle import CropRule
from leukoscope.types import Cells

BACKGROUNDS = ("keep", "blur", "mask")
BLUR_SHARE = 0.08  # of the crop's side: the standard deviation of the blur around a cell
EDGE_SHARE = 0.01  # of the crop's side: over this the blurred or masked background fades in
_LINES = 8  # that each row of pixels is cut into where contours are drawn


def crop_by_rule(pixels: np.ndarray, cells: Cells, rule: CropRule, *, um_per_px: float | None = None) -> np.ndarray:
    """Pictures (N, S, S, 3) uint8 of located cells as a classifier's card wants them: by box or by contour.

    What `classify` shows its model. By contour, a cell without one is taken by its box: in the same place and at the
    same scale, as long as the background is kept; InputError where it is not, for a box has no background.
    """
    if rule.center == "box":
        return crop_cells(pixels, cells.boxes, rule, um_per_px=um_per_px)
    contours = cells.contours or [np.zeros((0, 2))] * len(cells)
    bare = [row for row, contour in enumerate(contours) if len(contour) < 3]
    if bare and rule.background != "keep":
        raise InputError(
            f"cell {bare[0]} of field {cells.key.field_id} has no contour, and the classifier wants the background "
            f"outside of it replaced ({rule.background}): the model needs an outliner beside it"
        )
    shapes = [c if len(c) >= 3 else _corners_of(b) for c, b in zip(contours, cells.boxes, strict=True)]
    return crop_contours(
        pixels, shapes, size=rule.size, um_per_px=um_per_px, target_um_per_px=rule.um_per_px,
        pad=rule.pad_fraction or 0.0, background=rule.background,
    )  # fmt: skip


def crop_contours(
    pixels: np.ndarray,
    contours: Sequence[np.ndarray],
    *,
    size: int,
    um_per_px: float | None,
    target_um_per_px: float | None,
    pad: float = 0.25,
    background: str = "keep",
) -> np.ndarray:
    """Pictures of cells, each in the middle of its own crop, row-aligned with `contours`.

    pixels      (H, W, 3) uint8 RGB; what lies outside is filled with 240, empty white-balanced glass
    contours    N arrays (K, 2) px of the field; the last corner joins the first
    um_per_px, target_um_per_px, pad  the scale, see `contour_frames`
    background  what surrounds the contour: "keep" as it is; "blur" out of focus, neighbours without their detail and
                the cell itself not smeared into it; "mask" 240 everywhere
    Returns (N, size, size, 3) uint8. Raises DataError for a contour without area, InputError for other settings.
    """
    if background not in BACKGROUNDS:
        raise InputError(f"background must be one of {', '.join(BACKGROUNDS)}, got {background!r}")
    frames = contour_frames(contours, size=size, um_per_px=um_per_px, target_um_per_px=target_um_per_px, pad=pad)
    crops = crop_frames(pixels, frames, size=size)
    if background == "keep":
        return crops
    masks = mask_frames([[c] for c in contours], frames, size=size)
    for crop, mask in zip(crops, masks, strict=True):
        crop[:] = replace_background(crop, mask, background=background)
    return crops


def contour_frames(
    contours: Sequence[np.ndarray],
    *,
    size: int,
    um_per_px: float | None,
    target_um_per_px: float | None,
    pad: float = 0.25,
) -> np.ndarray:
    """(N, 3) float64: middle x, y and side, in px of the field, of the square that each crop shows.

    Scale known (both numbers given): a pixel of the crop is `target_um_per_px` wide whatever the camera, so size
    stays a feature of the cell; a cell longer than size · target_um_per_px is cut. `pad` then means nothing. For a
    fixed scale in pixels give um_per_px=1 and the field's pixels a crop pixel.
    Scale unknown (either is None): by the cell's diameter, the longer side of the contour's box and `pad` of it on
    either side; all cells then look equally large (`scale_words` says which of the two it was).
    The middle is the centre of the enclosed area.
    """
    for name, value in (("um_per_px", um_per_px), ("target_um_per_px", target_um_per_px)):
        if value is not None and not 0 < value < 100:
            raise InputError(f"{name} must be between 0 and 100, or None where unknown, got {value}")
    if not 16 <= size <= 1024 or not 0 <= pad <= 4:
        raise InputError(f"a crop needs a size of 16 to 1024 px and a pad of 0 to 4, got {size} and {pad}")
    frames = np.empty((len(contours), 3))
    for row, contour in enumerate(contours):
        frames[row, :2] = area_centre(contour, row=row)
        if um_per_px is not None and target_um_per_px is not None:
            frames[row, 2] = size * target_um_per_px / um_per_px
        else:
            x0, y0, x1, y1 = contour_box(contour)
            frames[row, 2] = max(x1 - x0, y1 - y0) * (1 + 2 * pad)
    return frames


def scale_words(um_per_px: float | None, target_um_per_px: float | None, *, pad: float = 0.25) -> str:
    """How `contour_frames` scales, for a record or a model card."""
    if um_per_px is not None and target_um_per_px is not None:
        return f"fixed: {target_um_per_px:g} µm a pixel"
    return f"by each cell's diameter and {100 * pad:g} % of it on either side (no scale known)"


def crop_frames(pixels: np.ndarray, frames: np.ndarray, *, size: int) -> np.ndarray:
    """(N, size, size, 3) uint8: what each frame (x, y, side) of the field shows, resampled by a triangle filter."""
    crops = np.empty((len(frames), size, size, 3), np.uint8)
    for crop, (x, y, side) in zip(crops, frames, strict=True):
        crop[:] = np.asarray(resample_square(pixels, (x, y), side, size=size, background=BACKGROUND))
    return crops


def mask_frames(shapes: Sequence[Sequence[np.ndarray]], frames: np.ndarray, *, size: int) -> np.ndarray:
    """(N, size, size) uint8, 0 to 255: the share of each crop pixel that the contours of a row cover (even-odd each).

    shapes  per row the contours (K, 2) drawn together, in px of the field: one cell, the lobes of its nucleus, or none
    """
    masks = np.empty((len(frames), size, size), np.uint8)
    for mask, contours, (x, y, side) in zip(masks, shapes, frames, strict=True):
        covered = np.zeros((size, size))
        for contour in contours:
            corners = np.asarray(contour, np.float64).reshape(-1, 2)
            if len(corners) >= 3:
                covered = np.maximum(covered, coverage((corners - (x - side / 2, y - side / 2)) * (size / side), size))
        mask[:] = np.rint(255 * covered)
    return masks


def coverage(corners: np.ndarray, size: int) -> np.ndarray:
    """(size, size) float64 in [0, 1]: share of each pixel that a polygon (K, 2) encloses, by the even-odd rule.

    Exact along _LINES lines a pixel row.
    """
    level = (np.arange(size * _LINES) + 0.5)[:, None] / _LINES  # (L, 1)
    (x0, y0), (x1, y1) = corners.T, np.roll(corners, -1, axis=0).T
    meets = (y0 > level) != (y1 > level)  # (L, K)
    crossing = x0 + (level - y0) * np.divide(x1 - x0, y1 - y0, out=np.zeros_like(x0), where=y0 != y1)
    crossing = np.sort(np.where(meets, np.clip(crossing, 0, size), np.inf), 1)  # a line enters, leaves, enters, ...
    line, turn = np.nonzero(np.isfinite(crossing))
    crossing, sign = crossing[line, turn], np.where(turn % 2, -1.0, 1.0)
    # From a crossing on, every pixel is covered one more or less; the crossing's own pixel by what is right of it.
    first = np.minimum(crossing.astype(np.int64), size - 1)
    share = crossing - first
    steps = np.zeros((size * _LINES, size + 1))
    np.add.at(steps, (line, first), sign * (1 - share))
    np.add.at(steps, (line, first + 1), sign * share)
    return steps.cumsum(1)[:, :size].reshape(size, _LINES, size).mean(1).clip(0, 1)


def replace_background(crop: np.ndarray, mask: np.ndarray, *, background: str) -> np.ndarray:
    """(S, S, 3) uint8: the crop with what its mask (S, S) does not cover blurred or blank ("blur", "mask")."""
    size = len(crop)
    inside = (mask / 255.0)[..., None]  # (S, S, 1)
    if background == "blur":
        bell = _bell(size, BLUR_SHARE * size)
        # Only background is averaged: the cell's own colour would else stand around it as a halo.
        weight = _smooth(1 - inside, bell)
        around = _smooth(crop * (1 - inside), bell) / np.maximum(weight, 1e-6)
        around[weight[..., 0] <= 1e-6] = BACKGROUND
    else:
        around = np.full(crop.shape, float(BACKGROUND))
    soft = np.maximum(inside, _smooth(inside, _bell(size, EDGE_SHARE * size)))
    return np.rint(crop * soft + around * (1 - soft)).astype(np.uint8)


def area_centre(contour: np.ndarray, *, row: int = 0) -> np.ndarray:
    """(2,) x, y: the centre of the area that a contour encloses; DataError, naming `row`, where it has no area.

    Of a contour that crosses itself so that its parts cancel out, the middle of its box.
    """
    corners = np.asarray(contour, np.float64).reshape(-1, 2)
    box = contour_box(corners) if len(corners) >= 3 else np.zeros(4)
    sides = box[2:] - box[:2]
    if not (np.isfinite(box).all() and (sides > 0).all()):
        raise DataError(
            f"contour {row} has no area ({len(corners)} corners): leave out cells without an outline before cropping"
        )
    middle = (box[:2] + box[2:]) / 2
    a = corners - middle
    b = np.roll(a, -1, axis=0)
    cross = a[:, 0] * b[:, 1] - b[:, 0] * a[:, 1]
    if abs(cross.sum()) < 1e-6 * sides.prod():
        return middle
    centre = ((a + b) * cross[:, None]).sum(0) / (3 * cross.sum())
    return middle + np.clip(centre, -sides / 2, sides / 2)


def _corners_of(box: np.ndarray) -> np.ndarray:
    x0, y0, x1, y1 = (float(v) for v in box)
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def _bell(size: int, sigma: float) -> np.ndarray:
    """(S, S) matrix that smooths a row of S values by a Gaussian; at the edge the weights of what is there sum to 1."""
    apart = np.arange(size)[:, None] - np.arange(size)
    weights = np.exp(-(apart**2) / (2 * max(sigma, 0.3) ** 2))
    return weights / weights.sum(1, keepdims=True)


def _smooth(layers: np.ndarray, bell: np.ndarray) -> np.ndarray:
    """(S, S, C) smoothed along both sides."""
    return np.moveaxis(bell @ np.moveaxis(layers, 2, 0) @ bell.T, 0, 2)
