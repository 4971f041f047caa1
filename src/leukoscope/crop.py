"""Cut located cells out of a field: the one rule that training and analysis share."""

import math

import numpy as np
from PIL import Image

from leukoscope.errors import DataError
from leukoscope.images.color import WHITE, optical_density
from leukoscope.models.bundle import CropRule
from leukoscope.raster import Pixels, Raster

BACKGROUND = WHITE  # what white balance makes of empty glass
MOST_STAIN = 2.5  # times that a stain is strengthened or weakened at most
_WHITE = float(BACKGROUND)
_BLACK = 12  # up to this is no stain but the black that a cell was cut out on
_LEAST_DENSITY = 0.05  # a crop without a nucleus has no stain to go by
_DENSITY = optical_density(np.arange(256), np.float64).astype(np.float32)  # of a pixel value


def crop_cells(
    pixels: Pixels,
    boxes: np.ndarray,
    rule: CropRule,
    *,
    um_per_px: float | None = None,
    background: int | tuple[int, int, int] = BACKGROUND,
) -> np.ndarray:
    """Square pictures of cells, row-aligned with `boxes`.

    pixels      (H, W, 3) uint8 RGB
    boxes       (N, 4) px, xyxy; may reach over the field's edge
    um_per_px   micrometres a pixel, None where unknown: the rule then pads by a share of the box
    background  colour of what lies outside the field: one grey value or RGB
    Returns (N, S, S, 3) uint8 with S = rule.size. Each crop is centred on its box, its side is the box's longer
    side and `padding_px` on either side (PCM, section 2.3.2), resampled by an antialiased triangle filter.
    Raises DataError when a box has no area. A crop depends on its own box only.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    crops = np.empty((len(boxes), rule.size, rule.size, 3), np.uint8)
    for crop, (x0, y0, x1, y1) in zip(crops, boxes, strict=True):
        longer = max(x1 - x0, y1 - y0)
        if not (x1 > x0 and y1 > y0 and math.isfinite(longer)):
            raise DataError(f"can't crop box {[x0, y0, x1, y1]}: expected finite x1 > x0 and y1 > y0")
        side = longer + 2 * padding_px(longer, rule, um_per_px=um_per_px)
        centre = (x0 + x1) / 2, (y0 + y1) / 2
        crop[:] = np.asarray(resample_square(pixels, centre, side, size=rule.size, background=background))
    return crops


def match_nuclei(crops: np.ndarray, density: tuple[float, float, float] | None) -> np.ndarray:
    """Crops (N, S, S, 3) uint8 with white-balanced background, each stained so that its nucleus has `density`.

    Stain absorbs light, so a paler or bluer stain scales the optical density, od = -log(I / 240), of each channel.
    The nucleus, the darkest fifth of a crop's middle, is in every nucleated cell and is DNA in all of them: it
    calibrates the stain as the empty background calibrates the light. Each channel's od is scaled, by 2.5 times at
    most, so that the nucleus gets `density` (R, G, B); black (what a cell was cut out on) stays black, and white white.
    With density None the crops come back as they are. A crop depends on itself only.
    """
    if density is None or not len(crops):
        return crops
    size = crops.shape[1]
    middle = slice(round(0.22 * size), round(0.78 * size), 2)
    matched = np.empty_like(crops)
    for crop, out in zip(crops, matched, strict=True):
        scale = np.clip(np.array(density) / _nucleus_density(crop[middle, middle]), 1 / MOST_STAIN, MOST_STAIN)
        table = _WHITE * np.power(np.arange(256)[:, None] / _WHITE, scale)  # (256, 3): 240 · exp(-scale · od)
        table[:_BLACK] = np.arange(_BLACK)[:, None]
        table = np.rint(np.minimum(table, 255)).astype(np.uint8)
        # Pillow's lookup is several times as fast as numpy's on interleaved colour.
        out[:] = Image.fromarray(crop).point(table.T.ravel().tolist())
    return matched


def _nucleus_density(middle: np.ndarray) -> np.ndarray:
    """(3,) mean optical density of the darkest fifth of the pixels that aren't black."""
    pixels = middle.reshape(-1, 3)
    pixels = pixels[pixels.max(1) > _BLACK]
    if not len(pixels):
        return np.full(3, _LEAST_DENSITY)
    od = _DENSITY[pixels]  # (M, 3)
    total = od.sum(1)
    darkest = od[total >= np.quantile(total, 0.8)]
    return np.maximum(darkest.mean(0), _LEAST_DENSITY)


def padding_px(longer_px: float, rule: CropRule, *, um_per_px: float | None = None) -> float:
    """Context on every side of a box whose longer side is `longer_px`: in pixels of the field."""
    if rule.pad_px is not None:
        return rule.pad_px
    if rule.pad_um is not None and um_per_px is not None:
        return rule.pad_um / um_per_px
    return (rule.pad_fraction or 0.0) * longer_px  # which a rule without pad_px has


def resample_square(
    pixels: Pixels, center: tuple[float, float], side: float, *, size: int, background: int | tuple[int, int, int]
) -> Image.Image:
    """The square of `side` px around `center` (x, y), as a picture of `size` px."""
    left, top = center[0] - side / 2, center[1] - side / 2
    # The filter also reads pixels just outside the square. A margin of its reach gives them to it, the same ones
    # wherever the field ends, so that a shifted field gives the same crop.
    margin = math.ceil(max(1.0, side / size)) + 1
    x_first, y_first = math.floor(left) - margin, math.floor(top) - margin
    x_stop, y_stop = math.ceil(left + side) + margin, math.ceil(top + side) + margin
    patch = _cut(pixels, (x_first, y_first, x_stop, y_stop), background)
    square = (left - x_first, top - y_first, left - x_first + side, top - y_first + side)
    return patch.resize((size, size), Image.Resampling.BILINEAR, box=square)


def _cut(pixels: Pixels, region: tuple[int, int, int, int], background: int | tuple[int, int, int]) -> Image.Image:
    """Whole-pixel region (x0, y0, x1, y1) of a field, filled with background where it reaches over the edge."""
    height, width = pixels.shape[:2]
    x0, y0, x1, y1 = region
    inside = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
    if inside == region:
        return _window(pixels, region)
    color = tuple(int(level) for level in np.broadcast_to(background, 3))
    patch = Image.new("RGB", (x1 - x0, y1 - y0), color)
    if inside[0] < inside[2] and inside[1] < inside[3]:
        patch.paste(_window(pixels, inside), (inside[0] - x0, inside[1] - y0))
    return patch


def _window(pixels: Pixels, box: tuple[int, int, int, int]) -> Image.Image:
    """A region within the field; of an array that region alone is copied."""
    if isinstance(pixels, Raster):
        return pixels.window(box)
    x0, y0, x1, y1 = box
    return Image.fromarray(np.ascontiguousarray(pixels[y0:y1, x0:x1]))
