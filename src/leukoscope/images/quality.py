"""What a microscopist would say of a photograph before counting on it: focus, light, stain, and how full it is.

The thresholds separate real photographs of five public sets (the training images of the Barcelona cells and of BCCD;
the JTSC, CellaVision and draaslan sets) from the same ones blurred, darkened, overexposed and paled. All five were
looked at while choosing, so that few of them are flagged says little of a sixth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leukoscope.images.color import BLACK, N_SAMPLES, find_background, thin

PROBLEMS = ("blurred", "too_dark", "too_bright", "low_stain_contrast", "empty", "crowded")

_BLURRED = 0.045  # focus below this; a Gaussian blur of 3 px took all of those photographs below it
_TOO_DARK = 0.47  # exposure below this: half the light of an ordinary photograph
_CLIPPED = 250  # a green value from which light is lost
_MOST_CLIPPED = 0.85  # of the pixels: red cells have gone white
_PALE_WHEN_CLIPPED = 130  # green of the darkest pixels when the background is clipped: nuclei have gone pale
_LOW_STAIN = 0.30  # stain below this: nothing is darker than a pale red cell
_EMPTY, _CROWDED = 0.01, 0.92  # content

_FIELD_PX = 1000  # a large photograph's focus is judged on blocks of a 1000th of its longer side
_SMALL_PX = 48  # below this a crop is too small for blocks
_WINDOW = 96  # side in blocks of a window that focus is measured in
_GRID = 3  # windows across and down
_MOST_WINDOWS = _GRID**2
_LEAST_EDGE = 9.0  # squared gradient (grey levels over 2 px): below it there is no edge, only noise


@dataclass(frozen=True, slots=True)
class Quality:
    """Measures of one photograph, each about 0 to 1, and what is wrong with it.

    focus     curvature energy at edges over gradient energy, green channel, binned by 2 px: larger is sharper; None
              where there is no edge to judge by
    exposure  brightness of the background (of the brightest pixels where none is found): 1 is white
    stain     how much darker than the background the darkest 0.5 % are, in green light: nuclei reach 0.4 to 0.95
    content   share of pixels that are not background
    problems  names out of PROBLEMS, in that order; none for a good photograph
    """

    focus: float | None
    exposure: float
    stain: float
    content: float
    problems: tuple[str, ...]


def check_quality(pixels: np.ndarray) -> Quality:
    """Judge `pixels` (H, W, 3) uint8 of any size; black (masked) pixels are left out. Costs about 1 ms."""
    sample = thin(pixels, N_SAMPLES).reshape(-1, 3)
    greatest = _greatest(sample)
    lit = sample[greatest > BLACK]
    if not len(lit):
        return Quality(focus=None, exposure=0.0, stain=0.0, content=0.0, problems=("too_dark", "empty"))
    background = find_background(lit)
    green = lit[:, 1]
    darkest, dark, bright = _levels(green, (0.005, 0.02, 0.98))
    if background is None:
        exposure = _levels(greatest, (0.98,))[0] / 255
        empty_green, content = bright, 1.0
    else:
        exposure = float(background.mean()) / 255
        empty_green = float(background[1])
        content = float(np.mean(green < 0.9 * empty_green))
    stain = max(0.0, 1 - darkest / max(empty_green, 1.0))
    has_black = len(lit) < len(sample)
    focus = measure_focus(pixels, has_black=has_black)
    n_clipped = np.count_nonzero(green >= _CLIPPED)
    clipped = background is not None and background[1] >= _CLIPPED
    found = {
        "blurred": focus is not None and focus < _BLURRED,
        "too_dark": exposure < _TOO_DARK,
        "too_bright": clipped and (n_clipped > _MOST_CLIPPED * len(lit) or dark > _PALE_WHEN_CLIPPED),
        "low_stain_contrast": content >= _EMPTY and stain < _LOW_STAIN,
        "empty": content < _EMPTY,
        "crowded": content > _CROWDED and not has_black,  # a cell cut out on black is no crowd
    }
    return Quality(
        focus=None if focus is None else round(focus, 4),
        exposure=round(exposure, 4),
        stain=round(stain, 4),
        content=round(content, 4),
        problems=tuple(name for name in PROBLEMS if found[name]),
    )


def measure_focus(pixels: np.ndarray, *, has_black: bool = False) -> float | None:
    """Squared Laplacian over squared gradient, averaged with the squared gradient as weight; None without edges.

    A blur of s px widens every edge, and the ratio falls as 1 / s^2 whatever the contrast. The weight leaves noise and
    compression blocks out. So does the binning, by 2 px, or by a 1000th of the longer side where that is more: of a
    large sensor no more is asked than its lens can give. `has_black`: black is a mask, whose edge is left out.
    """
    height, width = pixels.shape[:2]
    bin_px = 1 if min(height, width) < _SMALL_PX else max(2, round(max(height, width) / _FIELD_PX))
    energy = weight = 0.0
    for window in _windows(pixels, bin_px):
        green = _binned(window[..., 1], bin_px)
        center = green[1:-1, 1:-1]
        left, right, up, down = green[1:-1, :-2], green[1:-1, 2:], green[:-2, 1:-1], green[2:, 1:-1]
        gradient = np.square(right - left) + np.square(down - up)  # (grey levels over 2 px) squared
        gradient[gradient < _LEAST_EDGE] = 0
        if has_black:
            lit = _binned(_greatest(window) > BLACK, bin_px) > 0.999
            inside = lit[1:-1, 1:-1] & lit[1:-1, :-2] & lit[1:-1, 2:] & lit[:-2, 1:-1] & lit[2:, 1:-1]
            gradient *= inside
        laplacian = 4 * center - (left + right + up + down)
        energy += float(np.vdot(np.square(laplacian), gradient))
        weight += float(np.vdot(gradient, gradient))
    return energy / weight if weight else None


def _windows(pixels: np.ndarray, bin_px: int) -> list[np.ndarray]:
    """All of a small photograph; of a large one a grid of windows, so that the time does not grow with it."""
    height, width = pixels.shape[:2]
    side = _WINDOW * bin_px
    if height * width <= _MOST_WINDOWS * side**2:
        return [pixels]
    n_down = min(_GRID, max(1, height // side))
    n_across = min(_GRID, max(1, width // side))
    tops = np.linspace(0, max(0, height - side), n_down).astype(int)
    lefts = np.linspace(0, max(0, width - side), n_across).astype(int)
    return [pixels[top : top + side, left : left + side] for top in tops for left in lefts]


def _binned(channel: np.ndarray, bin_px: int) -> np.ndarray:
    """Blocks of bin_px x bin_px as float32 means; what is left over is cut off."""
    height, width = (n // bin_px * bin_px for n in channel.shape)
    total = np.zeros((height // bin_px, width // bin_px), np.uint16)
    for row in range(bin_px):
        for column in range(bin_px):
            total += channel[row:height:bin_px, column:width:bin_px]
    return total * np.float32(1 / bin_px**2)


def _greatest(pixels: np.ndarray) -> np.ndarray:
    """The greatest channel of each pixel: (..., 3) to (...); numpy's own max over so short an axis is slow."""
    return np.maximum(np.maximum(pixels[..., 0], pixels[..., 1]), pixels[..., 2])


def _levels(values: np.ndarray, shares: tuple[float, ...]) -> list[float]:
    """The grey levels below which `shares` of the uint8 `values` lie."""
    cumulated = np.cumsum(np.bincount(values, minlength=256))
    return [float(np.searchsorted(cumulated, share * len(values), side="right")) for share in shares]
