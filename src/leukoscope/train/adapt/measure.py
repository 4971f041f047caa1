"""What a haematologist measures by eye: size and shape of the nucleus, how much cytoplasm, and the colours of both.

Few numbers with few cells to fit them, beside a network's thousands. The nucleus is where red light is absorbed most
(DNA binds the blue dye; red cells absorb next to no red): Otsu's threshold on the red channel's optical density inside
the disc that the cell's box spans. No outline that a person drew is used.
"""

from __future__ import annotations

import numpy as np

from leukoscope.crop import BACKGROUND

NAMES = (
    "nucleus_share", "cytoplasm_share", "nucleus_to_cell", "boundary", "roundness", "elongation", "off_centre",
    *(f"nucleus_{c}" for c in "rgb"), *(f"cytoplasm_{c}" for c in "rgb"),
    *(f"nucleus_spread_{c}" for c in "rgb"), *(f"cytoplasm_spread_{c}" for c in "rgb"),
    "nucleus_hue", "nucleus_blue", "cytoplasm_hue", "cytoplasm_blue", "contrast_r", "contrast_g", "contrast_b",
    "nucleus_texture", "cytoplasm_texture", "grain_dark", "grain_red", "log_diameter", "has_diameter",
)  # fmt: skip
_LEAST_DENSITY = 0.12  # paler than this is empty glass


def measure_cells(crops: np.ndarray, diameters_um: np.ndarray, *, box_share: float) -> np.ndarray:
    """(N, len(NAMES)) float64 measurements of white-balanced crops (N, S, S, 3) uint8.

    diameters_um (N,) 0 where unknown; box_share: the box's longer side as a share of the crop's (1 / (1 + 2 · pad)).
    A crop without any nucleus gives zeros for what can't be measured. Each row depends on its own crop only.
    """
    out = np.zeros((len(crops), len(NAMES)))
    size = crops.shape[1]
    y, x = (np.mgrid[:size, :size] + 0.5) / size - 0.5
    disc = np.hypot(x, y) < 0.5 * box_share * 1.05
    for row, (crop, diameter) in enumerate(zip(crops, diameters_um, strict=True)):
        density = -np.log(np.maximum(crop.astype(np.float64), 2) / BACKGROUND)  # (S, S, 3)
        out[row, :-2] = _measure(density, disc, x, y)
        out[row, -2:] = (np.log(diameter / 10) if diameter > 0 else 0.0, float(diameter > 0))
    return out


def _measure(density: np.ndarray, disc: np.ndarray, x: np.ndarray, y: np.ndarray) -> list[float]:
    smooth = _smooth(density)
    nucleus = disc & (smooth[..., 0] > otsu(smooth[..., 0][disc]))
    cytoplasm = disc & ~_grown(nucleus) & (smooth.sum(2) > 3 * _LEAST_DENSITY)
    area = max(int(nucleus.sum()), 1)
    edge = nucleus & ~_shrunk(nucleus)
    deepest, inner = 0, nucleus
    while inner.any():
        inner, deepest = _shrunk(inner), deepest + 1
    nx, ny = x[nucleus], y[nucleus]
    spread = np.linalg.eigvalsh(np.cov(np.stack([nx, ny]))) if area > 2 else np.ones(2)
    n, c = density[nucleus], density[cytoplasm]
    n_mean, c_mean = _mean(n), _mean(c)
    texture = np.abs(density - smooth).mean(2)
    cell = max(int(nucleus.sum() + cytoplasm.sum()), 1)
    grain = density[cytoplasm] - smooth[cytoplasm]
    return [
        nucleus.sum() / disc.sum(),
        cytoplasm.sum() / disc.sum(),
        nucleus.sum() / cell,
        edge.sum() / np.sqrt(area),
        np.pi * deepest**2 / area,
        float(np.sqrt(max(spread[0], 0) / max(spread[1], 1e-12))),
        float(np.hypot(nx.mean(), ny.mean())) if len(nx) else 0.0,
        *n_mean,
        *c_mean,
        *_deviation(n),
        *_deviation(c),
        n_mean[0] / max(n_mean[1], 0.05),
        n_mean[2] / max(n_mean[1], 0.05),
        c_mean[0] / max(c_mean[1], 0.05),
        c_mean[2] / max(c_mean[1], 0.05),
        *(n_mean - c_mean),
        float(texture[nucleus].mean()) if nucleus.any() else 0.0,
        float(texture[cytoplasm].mean()) if cytoplasm.any() else 0.0,
        float((grain[:, 0] > 0.1).mean()) if len(grain) else 0.0,  # dark granules stand out of red light too
        float((grain[:, 1:].mean(1) - grain[:, 0] > 0.05).mean()) if len(grain) else 0.0,  # red ones don't
    ]


def otsu(values: np.ndarray, *, n_bins: int = 128) -> float:
    """The threshold between two groups of values that leaves the least variance within them (Otsu 1979)."""
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return low
    counts, edges = np.histogram(values, n_bins, (low, high))
    middle = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * middle)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(edges[1:][np.nan_to_num(between[:-1]).argmax()])


def _mean(values: np.ndarray) -> np.ndarray:
    return values.mean(0) if len(values) else np.zeros(3)


def _deviation(values: np.ndarray) -> np.ndarray:
    return values.std(0) if len(values) else np.zeros(3)


def _smooth(a: np.ndarray) -> np.ndarray:
    """5 x 5 means of (S, S, 3), edges repeated."""
    for axis in (0, 1):
        padded = np.concatenate([a.take([0, 0], axis), a, a.take([-1, -1], axis)], axis)
        size = a.shape[axis]
        a = np.sum([padded.take(range(k, k + size), axis) for k in range(5)], 0) / 5
    return a


def _shrunk(mask: np.ndarray) -> np.ndarray:
    """Pixels whose four neighbours are in the mask too; the frame's edge counts as outside."""
    out = mask.copy()
    out[1:] &= mask[:-1]
    out[:-1] &= mask[1:]
    out[:, 1:] &= mask[:, :-1]
    out[:, :-1] &= mask[:, 1:]
    out[[0, -1]] = False
    out[:, [0, -1]] = False
    return out


def _grown(mask: np.ndarray) -> np.ndarray:
    """The mask and its four-neighbours."""
    out = mask.copy()
    out[1:] |= mask[:-1]
    out[:-1] |= mask[1:]
    out[:, 1:] |= mask[:, :-1]
    out[:, :-1] |= mask[:, 1:]
    return out
