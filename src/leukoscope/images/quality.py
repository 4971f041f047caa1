"""What a microscopist would say of a photograph before counting on it: focus, light, stain, scale, and how full it is.

The thresholds separate real photographs of five public sets (the training images of the Barcelona cells and of BCCD;
the JTSC, CellaVision and draaslan sets) from the same ones blurred, darkened, overexposed and paled. All five were
looked at while choosing, so that few of them are flagged says little of a sixth.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leukoscope.images.color import BLACK, N_SAMPLES, find_background, thin
from leukoscope.images.stain import judge_color
from leukoscope.raster import Pixels, Raster

PROBLEMS = (
    "blurred",
    "too_dark",
    "too_bright",
    "low_stain_contrast",
    "empty",
    "crowded",
    "no_color",
    "not_stained",
    "channels_swapped",
    "too_small",
)

_BLURRED = 0.045  # focus below this; a Gaussian blur of 3 px took all of those photographs below it
_TOO_DARK = 0.47  # exposure below this: half the light of an ordinary photograph
_CLIPPED = 250  # a green value from which light is lost
_MOST_CLIPPED = 0.85  # of the pixels: red cells have gone white
_PALE_WHEN_CLIPPED = 130  # green of the darkest pixels when the background is clipped: nuclei have gone pale
_LOW_STAIN = 0.30  # stain below this: nothing is darker than a pale red cell
_EMPTY, _MUCH, _CROWDED = 0.01, 0.2, 0.92  # content

# Cells of usable size are still much the same 8 px further on. Half of the variation there is what red cells of about
# 17 px leave (0.4 um/px); the smallest of those photographs' have 25 px, and an overview at a tenth 7 px.
_GRAIN_PX = 8
_LEAST_GRAIN = 0.5
_LEAST_SPREAD = 0.05  # standard deviation of the optical density: below it there is noise to judge, and no cells

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
    grain     correlation of optical density over 8 px: below 0.5 things are too small; None where nothing can be judged
    problems  names out of PROBLEMS, in that order; none for a good photograph
    """

    focus: float | None
    exposure: float
    stain: float
    content: float
    grain: float | None
    problems: tuple[str, ...]


def check_quality(pixels: Pixels) -> Quality:
    """Judge `pixels` (H, W, 3) uint8 of any size; black (masked) pixels are left out. Costs about 1 ms."""
    sample = thin(pixels, N_SAMPLES).reshape(-1, 3)
    greatest = _greatest(sample)
    lit = sample[greatest > BLACK]
    if not len(lit):
        return Quality(None, exposure=0.0, stain=0.0, content=0.0, grain=None, problems=("too_dark", "empty"))
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
    bin_px = _bin_px(pixels)
    greens = _binned_greens(pixels, bin_px)
    focus = _focus(greens, _lit(pixels, bin_px) if has_black else None)
    grain = None if has_black else _grain(greens, bin_px, empty_green)
    color = judge_color(lit, background) if content >= _EMPTY else None
    n_clipped = np.count_nonzero(green >= _CLIPPED)
    clipped = background is not None and background[1] >= _CLIPPED
    measured = {
        # Where there is much to see and no edge at all, nothing is in focus; flat cells cut out on black are let be.
        "blurred": focus < _BLURRED if focus is not None else content > _MUCH and not has_black,
        "too_dark": exposure < _TOO_DARK,
        "too_bright": clipped and (n_clipped > _MOST_CLIPPED * len(lit) or dark > _PALE_WHEN_CLIPPED),
        "low_stain_contrast": content >= _EMPTY and stain < _LOW_STAIN,
        "empty": content < _EMPTY,
        "crowded": content > _CROWDED and not has_black,  # a cell cut out on black is no crowd
        "too_small": content >= _EMPTY and grain is not None and grain < _LEAST_GRAIN,
    }
    return Quality(
        focus=None if focus is None else round(focus, 4),
        exposure=round(exposure, 4),
        stain=round(stain, 4),
        content=round(content, 4),
        grain=None if grain is None else round(grain, 4),
        problems=tuple(name for name in PROBLEMS if measured.get(name) or name == color),
    )


def measure_focus(pixels: Pixels, *, has_black: bool = False) -> float | None:
    """Squared Laplacian over squared gradient, averaged with the squared gradient as weight; None without edges.

    A blur of s px widens every edge, and the ratio falls as 1 / s^2 whatever the contrast. The weight leaves noise and
    compression blocks out. So does the binning, by 2 px, or by a 1000th of the longer side where that is more: of a
    large sensor no more is asked than its lens can give. `has_black`: black is a mask, whose edge is left out.
    """
    bin_px = _bin_px(pixels)
    return _focus(_binned_greens(pixels, bin_px), _lit(pixels, bin_px) if has_black else None)


def _focus(greens: list[np.ndarray], lit: list[np.ndarray] | None) -> float | None:
    """`measure_focus` of binned windows; lit: where each is not black, None where nothing is."""
    energy = weight = 0.0
    for row, green in enumerate(greens):
        left, right, up, down = green[1:-1, :-2], green[1:-1, 2:], green[:-2, 1:-1], green[2:, 1:-1]
        # In place: on two cores a fresh array costs as much as what is done with it. Sums of quarters are exact.
        gradient, across = right - left, down - up  # grey levels over 2 px
        gradient *= gradient
        across *= across
        gradient += across
        gradient *= gradient >= _LEAST_EDGE
        if lit is not None:
            gradient *= lit[row]
        laplacian = np.multiply(green[1:-1, 1:-1], 4, out=across)
        for neighbour in (left, right, up, down):
            laplacian -= neighbour
        laplacian *= laplacian
        energy += float(np.vdot(laplacian, gradient))
        weight += float(np.vdot(gradient, gradient))
    return energy / weight if weight else None


def _grain(greens: list[np.ndarray], bin_px: int, empty_green: float) -> float | None:
    """Correlation of the green optical density with itself _GRAIN_PX further across and down, in [-1, 1]: how large
    things are, whatever they are. None where hardly anything is there, or the photograph is too large to tell."""
    lag = round(_GRAIN_PX / bin_px)
    if lag < 1:
        return None
    n, total, squares, moved, n_moved = 0, 0.0, 0.0, 0.0, 0
    for green in greens:
        density = np.log((empty_green + 1) / (green + 1)).clip(0, 0.5)
        if min(density.shape) <= lag:
            return None
        n, total, squares = n + density.size, total + float(density.sum()), squares + float(np.vdot(density, density))
        for step in (density[:, lag:] - density[:, :-lag], density[lag:] - density[:-lag]):
            moved, n_moved = moved + float(np.vdot(step, step)), n_moved + step.size
    spread = squares / n - (total / n) ** 2
    return 1 - moved / n_moved / (2 * spread) if spread > _LEAST_SPREAD**2 else None


def _bin_px(pixels: Pixels) -> int:
    """Side of the blocks that a photograph is judged by."""
    height, width = pixels.shape[:2]
    return 1 if min(height, width) < _SMALL_PX else max(2, round(max(height, width) / _FIELD_PX))


def _windows(pixels: Pixels, bin_px: int) -> list[tuple[int, int, int, int]]:
    """All of a small photograph; of a large one a grid of windows (x0, y0, x1, y1): the time does not grow with it."""
    height, width = pixels.shape[:2]
    side = _WINDOW * bin_px
    if height * width <= _MOST_WINDOWS * side**2:
        return [(0, 0, width, height)]
    n_down = min(_GRID, max(1, height // side))
    n_across = min(_GRID, max(1, width // side))
    tops = np.linspace(0, max(0, height - side), n_down).astype(int).tolist()
    lefts = np.linspace(0, max(0, width - side), n_across).astype(int).tolist()
    return [(x, y, min(x + side, width), min(y + side, height)) for y in tops for x in lefts]


def _binned_greens(pixels: Pixels, bin_px: int) -> list[np.ndarray]:
    """The green channel of each window in blocks."""
    if isinstance(pixels, Raster):
        return [_binned(np.asarray(pixels.green(box)), bin_px) for box in _windows(pixels, bin_px)]
    return [_binned(pixels[y0:y1, x0:x1, 1], bin_px) for x0, y0, x1, y1 in _windows(pixels, bin_px)]


def _lit(pixels: Pixels, bin_px: int) -> list[np.ndarray]:
    """Of each window's blocks but the outermost: whether neither it nor a neighbour has black in it."""
    values = []
    for x0, y0, x1, y1 in _windows(pixels, bin_px):
        lit = _binned(_greatest(pixels[y0:y1, x0:x1]) > BLACK, bin_px) > 0.999
        values.append(lit[1:-1, 1:-1] & lit[1:-1, :-2] & lit[1:-1, 2:] & lit[:-2, 1:-1] & lit[2:, 1:-1])
    return values


def _binned(channel: np.ndarray, bin_px: int) -> np.ndarray:
    """Blocks of bin_px x bin_px as float32 means; what is left over is cut off."""
    height, width = (n // bin_px * bin_px for n in channel.shape)
    rows = _summed([channel[row:height:bin_px, :width] for row in range(bin_px)])  # along the memory first
    total = _summed([rows[:, column::bin_px] for column in range(bin_px)])
    return total * np.float32(1 / bin_px**2)


def _summed(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Their sum as uint16."""
    if len(parts) == 1:
        return parts[0].astype(np.uint16)
    total = np.add(parts[0], parts[1], dtype=np.uint16)
    for part in parts[2:]:
        total += part
    return total


def _greatest(pixels: np.ndarray) -> np.ndarray:
    """The greatest channel of each pixel: (..., 3) to (...); numpy's own max over so short an axis is slow."""
    return np.maximum(np.maximum(pixels[..., 0], pixels[..., 1]), pixels[..., 2])


def _levels(values: np.ndarray, shares: tuple[float, ...]) -> list[float]:
    """The grey levels below which `shares` of the uint8 `values` lie."""
    cumulated = np.cumsum(np.bincount(values, minlength=256))
    return [float(np.searchsorted(cumulated, share * len(values), side="right")) for share in shares]
