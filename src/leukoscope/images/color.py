"""The colour of the empty background, and white balance by it.

Haemoglobin and the stains all absorb green light, so the empty plasma or glass between the cells is the part of a
smear with the most green, whatever the lamp, the camera and the stain: the brightest well-filled peak of the green
histogram. That holds when red cells cover most of the field, where the most frequent colour is a red cell's.
"""

from typing import TypeVar

import numpy as np
from PIL import Image

from leukoscope.errors import InputError
from leukoscope.raster import Pixels, Raster

_P = TypeVar("_P", np.ndarray, Raster)

WHITE = 240  # where white balance puts the background: near white, with room above it for brighter spots
NO_BACKGROUND = (WHITE, WHITE, WHITE)

N_SAMPLES = 6_000  # pixels looked at; twice as many move the estimate by two levels at most
BLACK = 30  # a pixel with no channel above this is a mask or a frame, not a smear
_MIN_GREEN = 80  # darker than this is no empty background, however underexposed
_MIN_SHARE = 0.03  # of the pixels that are not black, in a peak of 9 levels
_MIN_GREEN_TO_MAX = 0.8  # red cells and stained cells have green well below their red or blue; background has not
_BAND_PIXELS = 1 << 20  # pixels balanced at a time: of a large photograph no further copies stand in memory
_HALF_PEAK = 4  # levels on each side of a peak that belong to it


def optical_density(pixels: np.ndarray, dtype: type = np.float32) -> np.ndarray:
    """How much light each channel of white-balanced pixels lost on its way through the cell: -log(I / 240).

    A channel below 2 counts as 2.
    """
    return -np.log(np.maximum(np.asarray(pixels, dtype), 2) / WHITE)


def background_color(pixels: Pixels) -> np.ndarray:
    """(3,) float32 RGB of the empty background of `pixels` (H, W, 3) uint8, in [0, 255].

    Where there is no plausible background (a crop filled by one cell, cells cut out on black, a black picture)
    the answer is exactly (240, 240, 240), with which `white_balance` changes nothing. Costs about 0.2 ms.
    """
    background = find_background(thin(pixels, N_SAMPLES).reshape(-1, 3))
    return np.array(NO_BACKGROUND, np.float32) if background is None else background


def find_background(sample: np.ndarray) -> np.ndarray | None:
    """(3,) float32 RGB of the empty background in `sample` (N, 3) uint8, or None where nothing can be it."""
    red, green, blue = (np.ascontiguousarray(sample[:, c]) for c in range(3))
    greatest = np.maximum(np.maximum(red, green), blue)
    # Red cells and nuclei leave here; what stays is background, pale cytoplasm and platelets.
    pale = (green >= _MIN_GREEN) & (green >= _MIN_GREEN_TO_MAX * greatest)
    n_lit = int(np.count_nonzero(greatest > BLACK))
    level = _brightest_peak(np.bincount(green[pale], minlength=256), _MIN_SHARE * n_lit)
    if level is None:
        return None
    near = sample[pale & (green >= level - _HALF_PEAK) & (green <= level + _HALF_PEAK)]
    color = np.median(near, axis=0).astype(np.float32)
    return color if color.min() > BLACK else None


def white_balance(pixels: _P, background: np.ndarray) -> _P:
    """`pixels` (H, W, 3) uint8 with each channel scaled so that `background` (3,) becomes 240; brighter is clipped.

    Black stays black. The pixels themselves come back where there is nothing to change; of a raster nothing is copied,
    its parts are balanced when they are cut out. InputError when `background` is not three positive finite numbers.
    """
    background = np.asarray(background, np.float64)
    if background.shape != (3,) or not (np.isfinite(background) & (background > 0)).all():
        raise InputError(f"a background colour is three positive numbers (red, green, blue), got {background.tolist()}")
    if (background == WHITE).all():
        return pixels
    table = np.arange(256) * (WHITE / background[:, None])  # (3, 256)
    table = np.minimum(np.rint(table), 255).astype(np.uint8)
    levels = [int(level) for level in table.ravel()]
    if isinstance(pixels, Raster):
        return pixels.balanced(levels)
    balanced = np.empty_like(pixels)
    rows = max(1, _BAND_PIXELS // max(1, pixels.shape[1]))
    for top in range(0, len(pixels), rows):
        # Pillow's lookup is twice as fast as three numpy takes on interleaved colour; it takes 8 bytes a pixel.
        band = np.ascontiguousarray(pixels[top : top + rows])
        balanced[top : top + rows] = np.asarray(Image.fromarray(band).point(levels))
    return balanced


def thin(pixels: Pixels, n_pixels: int) -> np.ndarray:
    """Every k-th row and column of `pixels`, about `n_pixels` pixels (all of them when fewer)."""
    height, width = pixels.shape[:2]
    step = max(1, round((height * width / n_pixels) ** 0.5))
    if isinstance(pixels, Raster):
        return pixels.thinned(step if min(height, width) > step else 1)
    return pixels[step // 2 :: step, step // 2 :: step] if min(height, width) > step else pixels


def _brightest_peak(histogram: np.ndarray, least: float) -> int | None:
    """The highest level (of 256) that is a local maximum of the smoothed histogram and holds `least` pixels or more."""
    width = 2 * _HALF_PEAK + 1
    total = np.convolve(histogram, np.ones(width, np.int64), mode="same")  # pixels within +-4 levels
    # A clipped background piles up at 255: the windows that reach it all hold it, and the one around it ranks first.
    peaks = np.flatnonzero((total >= max(least, 1)) & (total >= np.r_[total[1:], 0]) & (total >= np.r_[0, total[:-1]]))
    if not len(peaks):
        return None
    # Small bright bumps (refractile spots, the rim of a scratch) lose to a peak ten times as full.
    peaks = peaks[total[peaks] >= 0.1 * total[peaks].max()]
    return int(peaks[-1])
