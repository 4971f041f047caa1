"""Are a picture's colours those of a stained smear? Read as what dyes take from the light, whatever the light's tint.

Optical density is measured against the empty background (Beer and Lambert), per channel. Haemoglobin, eosin and the
azure dyes all take green most; red cells take more blue than red, nuclei more red than blue. So a picture without
colour, one whose objects are orange, yellow or green, and one with red and blue exchanged can be told, by any lamp and
camera.

The limits were chosen on all sets of real photographs that the project has, smears in cyan, green and yellow light
among them, against the same in grey and with channels exchanged, and against pictures of other things (docs/log.md;
benchmarks/hardships/odd_images.py draws such). All were looked at, so the rates say little of a further set.
"""

import numpy as np

_LEAST_DENSITY = 0.12  # of a pixel that is no background
_MOST_DENSITY = 2.5  # darker than this is noise
_LEAST_PIXELS = 20
_NO_COLOR = 0.10  # of the density: the densities of the three channels differ by less; smears have 0.14 or more
_MARGIN = 0.05
_MOST_BLUE = 0.55  # of all density, where blue is taken most: orange and brown; smears have 0.52 or less
_LEAST_GREEN = 0.08  # where green is taken least: green; smears have 0.06 or less
_ONE_HUE = 0.90  # length of the mean direction in density space; smears have 0.93 or more
# Where there is no background (cells cut out on black, crowds) this much of the density must take green most; those
# smears have 0.92 or more, photographs of other things 0.5 or less.
_NO_BACKGROUND = 0.80
# Red and blue exchanged turn the sign of this score: a logistic regression without intercept on the sets above.
_DARK, _DARKEST, _PALE, _SLOPE = -1.0, 2.0, -1.2, 1.1
_SWAPPED = -0.3


def judge_color(lit: np.ndarray, background: np.ndarray | None) -> str | None:
    """What is wrong with the colours of the pixels `lit` (N, 3) uint8 that are not black: "no_color", "not_stained",
    "channels_swapped" or None; None too where hardly anything is darker than the background."""
    white = np.percentile(lit, 98, axis=0) if background is None else background
    # By channel, of pixels that have one of 256 values each: several times as fast as (N, 3) at once.
    tables = np.log((white[:, None] + 1.0) / (np.arange(256) + 1.0)).clip(0, _MOST_DENSITY)  # (3, 256)
    density = np.stack([table[lit[:, channel]] for channel, table in enumerate(tables)])  # (3, N)
    density = np.compress(density.max(axis=0) > _LEAST_DENSITY, density, axis=1)
    if density.shape[1] < _LEAST_PIXELS:
        return None
    red, green, blue = density
    most = density.max(axis=0)
    total = float(most.sum())
    if float((most - density.min(axis=0)).sum()) < _NO_COLOR * total:
        return "no_color"
    directions = density / np.sqrt(red**2 + green**2 + blue**2)
    if (
        float(most[blue > np.maximum(red, green) + _MARGIN].sum()) > _MOST_BLUE * total
        or float(most[green < np.minimum(red, blue) - _MARGIN].sum()) > _LEAST_GREEN * total
        or float(np.linalg.norm(directions @ most)) < _ONE_HUE * total
        or (background is None and most[green == most].sum() < _NO_BACKGROUND * total)
    ):
        return "not_stained"
    return "channels_swapped" if _blue_nuclei(density, most) < _SWAPPED else None


def _blue_nuclei(density: np.ndarray, most: np.ndarray) -> float:
    """How much bluer the dark parts are than the pale ones: positive for nuclei among red cells."""
    depth, bluer = density.mean(axis=0), density[0] - density[2]
    half, dark, darkest = np.quantile(depth, (0.5, 0.9, 0.97))

    def tint(rows: np.ndarray) -> float:
        return float(bluer[rows].sum() / most[rows].sum())

    x, y = depth - depth.mean(), bluer - bluer.mean()
    spread = float(np.sqrt((x @ x) * (y @ y)))
    slope = float(x @ y) / spread if spread > 0 else 0.0
    tints = _DARK * tint(depth >= dark) + _DARKEST * tint(depth >= darkest) + _PALE * tint(depth <= half)
    return tints + _SLOPE * slope
