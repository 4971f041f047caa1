"""A look over a whole slide at low power: a grid of tiles, each with its verdict. Tiles pass by; only numbers stay."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from leukoscope.errors import ImageError
from leukoscope.images.quality import measure_focus
from leukoscope.images.slides.monolayer import (
    BLURRED,
    COUNTED,
    EMPTY,
    OUTSIDE,
    UNREADABLE,
    Glass,
    is_blurred,
    judge,
    learn_glass,
    measure_tile,
    smooth,
    usual_focus,
)
from leukoscope.images.slides.region import Box
from leukoscope.images.slides.slide import Slide, level_for
from leukoscope.progress import Progress, no_progress
from leukoscope.raster import jpeg_bytes

TILE_UM = 128.0
LOW_POWER_UM = 1.0  # µm/px of the look: a red cell is 7 px wide
_LEAST_TILE, _MOST_TILE, _UNKNOWN_TILE = 256, 1280, 512  # px of level 0
_MOST_TILES = 250_000
_OVERVIEW_PX = 4096  # longer side of the level that tissue is looked for in
_PICTURE_PX = 1024  # longer side of the picture under the report's map
_DARKER = 0.05  # optical density of what is no glass: of a single cell in a pixel of 16 µm, too
_LEAST_DARKER = 0.05  # of a tile's pixels in the overview: with less it is not looked at
_LEARN_FROM = 128  # tiles
_FOCUS_PX = 256  # of the piece at full resolution


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """The grid of a slide.

    tile_px   side of a tile, px of level 0
    verdicts  (rows, columns) letters of `monolayer.VERDICTS`
    glass     what was learnt of the slide; None with `whole`, and where no red cells were found
    picture   JPEG of the slide at low power; None where it has no small level
    """

    tile_px: int
    verdicts: np.ndarray
    glass: Glass | None
    picture: bytes | None

    def box(self, row: int, column: int, size: tuple[int, int]) -> Box:
        """A tile's box on a slide of that width and height, px of level 0."""
        x0, y0 = column * self.tile_px, row * self.tile_px
        return x0, y0, min(x0 + self.tile_px, size[0]), min(y0 + self.tile_px, size[1])


def survey(slide: Slide, um_per_px: float | None, *, whole: bool = False, progress: Progress = no_progress) -> Survey:
    """Look over a slide.

    um_per_px  as far as it is known
    whole      take every tile that can hold a cell
    progress   called with (tiles looked at, tiles in all)
    """
    tile_px = tile_side(um_per_px)
    columns, rows = (-(-side // tile_px) for side in slide.facts.size)
    if columns * rows > _MOST_TILES:
        raise ImageError(
            "too_large", f"{slide.path}: {slide.facts.size[0]} x {slide.facts.size[1]} px are more than any slide has"
        )
    overview = _overview(slide)
    verdicts = np.full((rows, columns), COUNTED)
    if overview is not None:
        least = 0.0 if whole else _LEAST_DARKER  # whole: no tile with a single cell is left out
        verdicts[_is_empty(overview, tile_px, slide.facts.size, least=least)] = EMPTY
    picture = None if overview is None else _jpeg(overview)
    plan = Survey(tile_px, verdicts, None, picture)
    if whole:
        return plan
    downsample = max(1.0, LOW_POWER_UM / um_per_px) if um_per_px else tile_px / TILE_UM
    some = [pixels for _, pixels in _tiles(slide, plan, downsample, _spread(verdicts, _LEARN_FROM))]
    readable = [pixels for pixels in some if pixels is not None]
    if some and not readable:  # thousands of tiles more would not be either, and each takes its time
        raise ImageError("damaged", f"{slide.path}: none of {len(some)} places can be read; copy it again")
    glass = learn_glass(readable)
    if glass is None:
        verdicts[verdicts == COUNTED] = OUTSIDE
        return plan
    plan = replace(plan, glass=glass)
    places = np.argwhere(verdicts == COUNTED)
    for n, (place, pixels) in enumerate(_tiles(slide, plan, downsample, places)):
        verdicts[place] = UNREADABLE if pixels is None else judge(measure_tile(pixels, glass))
        progress(n, len(places))
    verdicts[:] = smooth(verdicts)
    _look_for_blur(slide, plan)
    progress(len(places), len(places))
    return plan


def tile_side(um_per_px: float | None) -> int:
    """Side of a tile in px: TILE_UM, a multiple of 64."""
    if um_per_px is None:
        return _UNKNOWN_TILE
    return int(np.clip(round(TILE_UM / um_per_px / 64) * 64, _LEAST_TILE, _MOST_TILE))


def pieces(slide: Slide, plan: Survey, n: int, side: int) -> Iterator[np.ndarray]:
    """Pieces at full resolution from the middle of up to `n` of the tiles that are counted, spread over the slide."""
    for row, column in _spread(plan.verdicts, n):
        try:
            yield slide.read(_middle(plan.box(row, column, slide.facts.size), side))
        except ImageError:
            continue


def _look_for_blur(slide: Slide, plan: Survey) -> None:
    """Take the tiles out of the count that are much less sharp than the slide is; the sharpest plane stands for all.

    One tile is looked at for four.
    """
    focus: dict[tuple[int, int], float | None] = {}
    looked: set[tuple[int, int]] = set()
    for row, column in np.argwhere(plan.verdicts == COUNTED).tolist():
        if (row // 2, column // 2) in looked:
            continue
        looked.add((row // 2, column // 2))
        box = _middle(plan.box(row, column, slide.facts.size), _FOCUS_PX)
        try:
            planes = [measure_focus(slide.read(box, plane=p)) for p in range(slide.facts.n_planes)]
            focus[row, column] = max((f for f in planes if f is not None), default=None)
        except ImageError:
            plan.verdicts[row, column] = UNREADABLE
    usual = usual_focus([f for f in focus.values() if f is not None])
    for (row, column), value in focus.items():
        if is_blurred(value, usual):
            four = plan.verdicts[row // 2 * 2 : row // 2 * 2 + 2, column // 2 * 2 : column // 2 * 2 + 2]
            four[four == COUNTED] = BLURRED


def _tiles(
    slide: Slide, plan: Survey, downsample: float, places: np.ndarray
) -> Iterator[tuple[tuple[int, int], np.ndarray | None]]:
    """Each tile at low power; None where it can't be read."""
    level = level_for(slide.facts, downsample)
    of = slide.facts.levels[level]
    for row, column in np.asarray(places).reshape(-1, 2).tolist():
        x0, y0, x1, y1 = plan.box(row, column, slide.facts.size)
        left, right = (min(round(v / of.downsample), of.width) for v in (x0, x1))
        top, bottom = (min(round(v / of.downsample), of.height) for v in (y0, y1))
        box = (min(left, right - 1), min(top, bottom - 1), right, bottom)  # of a sliver at the edge, a pixel at least
        try:
            pixels = slide.read(box, level=level)
        except ImageError:
            yield (row, column), None
            continue
        size = max(1, round((x1 - x0) / downsample)), max(1, round((y1 - y0) / downsample))
        if size != (pixels.shape[1], pixels.shape[0]):
            pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))
        yield (row, column), pixels


def _spread(verdicts: np.ndarray, n: int) -> np.ndarray:
    """Up to `n` places (row, column) of counted tiles, evenly spread in their order."""
    places = np.argwhere(verdicts == COUNTED)
    return places[np.linspace(0, len(places) - 1, min(n, len(places))).astype(int)] if len(places) else places


def _middle(box: Box, side: int) -> Box:
    """The middle of a box, `side` px wide and high where it has so many."""
    x0, y0, x1, y1 = box
    left, top = x0 + max(0, (x1 - x0 - side) // 2), y0 + max(0, (y1 - y0 - side) // 2)
    return left, top, min(left + side, x1), min(top + side, y1)


def _overview(slide: Slide) -> np.ndarray | None:
    """(H, W, 3) of the coarsest level, where it is small enough to be held."""
    last = len(slide.facts.levels) - 1
    of = slide.facts.levels[last]
    if max(of.width, of.height) > _OVERVIEW_PX or last == 0 and max(slide.facts.size) > _OVERVIEW_PX:
        return None
    try:
        return slide.read((0, 0, of.width, of.height), level=last)
    except ImageError:
        return None


def _is_empty(overview: np.ndarray, tile_px: int, size: tuple[int, int], *, least: float) -> np.ndarray:
    """(rows, columns) bool: the tiles of which less than a share of the overview's pixels is darker than glass."""
    columns, rows = (-(-side // tile_px) for side in size)
    green = overview[..., 1].astype(np.float32)
    scanned = green[overview.min(axis=2) < 253]
    glass = float(np.quantile(scanned, 0.98)) if scanned.size else 255.0
    darker = np.log((glass + 1) / (green + 1)) > _DARKER
    row = (np.arange(overview.shape[0]) + 0.5) * size[1] / overview.shape[0] // tile_px
    column = (np.arange(overview.shape[1]) + 0.5) * size[0] / overview.shape[1] // tile_px
    tile = (row[:, None] * columns + column[None]).astype(np.int64)
    n_pixels = np.bincount(tile.ravel(), minlength=rows * columns)
    n_darker = np.bincount(tile[darker], minlength=rows * columns)
    return ((n_pixels > 0) & (n_darker <= least * n_pixels)).reshape(rows, columns)


def _jpeg(pixels: np.ndarray) -> bytes:
    picture = Image.fromarray(pixels)
    picture.thumbnail((_PICTURE_PX, _PICTURE_PX), Image.Resampling.BOX)
    return jpeg_bytes(picture, 80)
