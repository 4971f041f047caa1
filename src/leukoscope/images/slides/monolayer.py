"""Where on a smear to count, as a microscopist would: in the monolayer, neither at the thick nor at the feathered end.

Each low-power tile is measured: how much of it red cells cover, how much of that is two cells deep, whether it is
stained, and how sharp it is. What one layer of red cells absorbs is learnt from the slide itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leukoscope.images.color import find_background
from leukoscope.images.stain import judge_color

# What a tile is, and the letter that the record's map has for it.
COUNTED, OUTSIDE, EMPTY, THICK, FEATHERED, BLURRED, NOT_STAINED, UNREADABLE, APART = "MO.TFBSUA"
VERDICTS = {
    COUNTED: "monolayer, counted",
    OUTSIDE: "not counted",
    EMPTY: "empty glass",
    THICK: "too thick: red cells lie over each other",
    FEATHERED: "feathered end: red cells lie far apart",
    BLURRED: "out of focus",
    NOT_STAINED: "not stained as a smear is",
    UNREADABLE: "can't be read",
    APART: "thin, but too small a patch apart from the monolayer",
}
_COVERED = 0.4  # of one layer's density: from here on a pixel is covered
_TWO_DEEP = 1.55  # of one layer's density
_NUCLEUS = 3.5  # of one layer's density: darker is a nucleus; as many layers of red cells cover the whole tile anyway
_LEAST_CONTENT = 0.02
_LEAST_COVERED, _MOST_COVERED = 0.16, 0.80
_MOST_TWO_DEEP = 0.16
_BLURRED_BELOW = 0.45  # of the slide's own usual focus
_LEAST_TILES = 8  # of a patch


@dataclass(frozen=True, slots=True)
class Glass:
    """A slide's empty background RGB, and the green optical density of one layer of its red cells."""

    color: tuple[float, float, float]
    one_layer: float


@dataclass(frozen=True, slots=True)
class TileQuality:
    """What is measured of a low-power tile, each in [0, 1] but focus (`images.quality.measure_focus`).

    covered    share of the tile that red cells cover
    two_deep   share of that, nuclei apart, where they lie over each other
    stained    whether its colours are a stained smear's
    focus      of a piece at full resolution; None where it was not looked at, or shows no edge
    """

    covered: float
    two_deep: float
    stained: bool
    focus: float | None = None


def learn_glass(tiles: Sequence[np.ndarray]) -> Glass | None:
    """The glass and the density of one layer from some low-power tiles (H, W, 3) uint8 of the smear; None where no
    tile shows both.

    Of each tile that shows glass and is not full, the median of what is darker than glass is a layer; the slide's is
    the lower quartile of these, for cells over cells make it more, never less.
    """
    sample = [t.reshape(-1, 3)[:: max(1, t.shape[0] * t.shape[1] // 6000)] for t in tiles]
    backgrounds = [find_background(s) for s in sample]
    colors = np.array([c for c in backgrounds if c is not None]).reshape(-1, 3)
    if not len(colors):
        return None
    seen = colors[(colors < 253).any(axis=1)]  # where nothing was scanned a file is white; so may the lamp's light be
    color = np.median(seen if len(seen) else colors, axis=0)
    layers = []
    for pixels in sample:
        green = density(pixels, color)
        dark = green > 0.1
        if 0.08 < dark.mean() < 0.75:
            layers.append(float(np.median(green[dark])))
    return Glass(tuple(color.tolist()), float(np.quantile(layers, 0.25))) if layers else None


def density(pixels: np.ndarray, color: np.ndarray) -> np.ndarray:
    """Optical density in green light of pixels (..., 3) uint8, against the glass."""
    of = np.log((color[1] + 1) / (np.arange(256, dtype=np.float32) + 1)).astype(np.float32)
    return of[pixels[..., 1]]


def measure_tile(pixels: np.ndarray, glass: Glass) -> TileQuality:
    """`pixels` (H, W, 3) uint8 at about 1 µm/px."""
    color = np.array(glass.color)
    green = density(pixels, color)
    covered = green > _COVERED * glass.one_layer
    cells = covered & (green < _NUCLEUS * glass.one_layer)
    two_deep = float((green[cells] > _TWO_DEEP * glass.one_layer).mean()) if cells.any() else 0.0
    lit = pixels.reshape(-1, 3)[:: max(1, pixels.shape[0] * pixels.shape[1] // 6000)]
    wrong = judge_color(lit, color) if covered.mean() > _LEAST_CONTENT else None
    # Whether red and blue are exchanged can't be told from a tile that may hold no nucleus.
    stained = wrong not in ("no_color", "not_stained")
    return TileQuality(round(float(covered.mean()), 4), round(two_deep, 4), stained)


def judge(quality: TileQuality | None) -> str:
    """The verdict on one tile by itself, focus apart."""
    if quality is None or quality.covered < _LEAST_CONTENT:
        return EMPTY
    if not quality.stained:
        return NOT_STAINED
    if quality.two_deep > _MOST_TWO_DEEP or quality.covered > _MOST_COVERED:
        return THICK
    return COUNTED if quality.covered >= _LEAST_COVERED else FEATHERED


def smooth(verdicts: np.ndarray) -> np.ndarray:
    """The map (rows, columns) of letters with single tiles set by their neighbours, and small patches left out.

    A tile that most of its eight neighbours differ from goes by them between thick, counted and feathered; what can't
    be counted for another reason stays as it is.
    """
    smoothed = verdicts.copy()
    by_layer = np.isin(verdicts, (COUNTED, THICK, FEATHERED))
    for row, column in np.argwhere(by_layer):
        near = verdicts[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].ravel()
        letters, counts = np.unique(near[np.isin(near, (COUNTED, THICK, FEATHERED))], return_counts=True)
        most = letters[counts.argmax()]
        if most != verdicts[row, column] and counts.max() > len(near) / 2:
            smoothed[row, column] = most
    patches = list(_patches(smoothed == COUNTED))
    if any(len(patch) >= _LEAST_TILES for patch in patches):
        for patch in patches:
            if len(patch) < _LEAST_TILES:
                smoothed[tuple(np.array(patch).T)] = APART
    return smoothed


def usual_focus(values: Sequence[float]) -> float | None:
    """The focus that the sharper part of a slide reaches: its upper quartile; None without values."""
    return float(np.quantile(values, 0.75)) if len(values) else None


def is_blurred(focus: float | None, usual: float | None) -> bool:
    """Whether a tile is much less sharp than its slide usually is."""
    return focus is not None and usual is not None and focus < _BLURRED_BELOW * usual


def _patches(mask: np.ndarray):
    """The connected (four neighbours) groups of True in a mask, as lists of (row, column)."""
    left = {tuple(place) for place in np.argwhere(mask).tolist()}
    while left:
        patch, todo = [], [left.pop()]
        while todo:
            row, column = todo.pop()
            patch.append((row, column))
            for place in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                if place in left:
                    left.remove(place)
                    todo.append(place)
        yield patch
