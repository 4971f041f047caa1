"""What every slide reader gives: facts, and pixels of a box of one level and one plane of focus."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from leukoscope.errors import ImageError
from leukoscope.images.slides.region import Box

MOST_SIDE = 2_000_000  # px: 20 cm at 0.1 µm; a header that says more lies
MOST_TILE_PX = 1 << 26  # of one tile or strip, decoded at once
MOST_READ_PX = 1 << 26  # of one read
CACHE_BYTES = 64 << 20  # of decoded tiles, a slide


@dataclass(frozen=True, slots=True)
class Level:
    """One level of a pyramid: px of level 0 a px here, width and height in its px."""

    downsample: float
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class SlideFacts:
    """What a file says of its slide.

    reader     the library that reads it: "openslide", "wsidicom", "tifffile"
    vendor     who wrote it, in the reader's words
    um_per_px  of level 0; None: the file says nothing
    levels     from the finest on; the first has downsample 1
    n_planes   planes of focus
    """

    reader: str
    vendor: str
    um_per_px: float | None
    levels: tuple[Level, ...]
    n_planes: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of level 0, px."""
        return self.levels[0].width, self.levels[0].height


class Slide(Protocol):
    """An open slide; `read` may be called from several threads. Label and macro pictures are not reachable here."""

    path: str
    facts: SlideFacts

    def read(self, box: Box, *, level: int = 0, plane: int = 0) -> np.ndarray:
        """(H, W, 3) uint8 RGB of a box in px of that level, inside it; ImageError where it can't be read."""
        ...

    def close(self) -> None:
        """Release files and caches."""
        ...


def check_facts(path: str, facts: SlideFacts) -> None:
    """ImageError for sizes that no slide has."""
    for level in facts.levels:
        if not (0 < level.width <= MOST_SIDE and 0 < level.height <= MOST_SIDE and level.downsample > 0):
            raise ImageError(
                "damaged",
                f"{path}: its header says {level.width} x {level.height} px: no slide has that size; copy it again",
            )
    first = facts.levels[0]
    for level in facts.levels[1:]:
        if level.width > first.width or level.height > first.height:
            raise ImageError("damaged", f"{path}: a level of its pyramid is larger than the first one; copy it again")


def check_read(path: str, facts: SlideFacts, box: Box, level: int) -> None:
    """ImageError for a box outside the level, or one too large to be held."""
    x0, y0, x1, y1 = box
    of = facts.levels[level]
    if not (0 <= x0 < x1 <= of.width and 0 <= y0 < y1 <= of.height):
        raise ImageError("damaged", f"{path}: {box} is outside its level of {of.width} x {of.height} px")
    if (x1 - x0) * (y1 - y0) > MOST_READ_PX:
        raise ImageError("too_large", f"{path}: {x1 - x0} x {y1 - y0} px are too many to be read at once")


def sensible_scale(um_per_px: float | None) -> float | None:
    """A file's µm/px where a microscope can have it; None for 0, for inches taken for a scale, for nonsense."""
    return um_per_px if um_per_px is not None and 0.02 <= um_per_px <= 10 else None


@contextmanager
def reading(path: str, what: str = "can't be read") -> Iterator[None]:
    """Every error of a library inside the block becomes an ImageError that names the file."""
    try:
        yield
    except ImageError:
        raise
    except MemoryError:
        raise ImageError("too_large", f"{path}: reading it takes too much memory") from None
    except Exception as error:  # three libraries and their decoders have no common root of errors
        words = " ".join(str(error).split())[:200] or type(error).__name__
        low = words.lower()
        reason = "truncated" if any(w in low for w in ("truncat", "eof", "short read", "end of file")) else "damaged"
        raise ImageError(reason, f"{path}: this slide {what} ({words})", by_decoder=True) from None


def level_for(facts: SlideFacts, downsample: float) -> int:
    """The coarsest level that is at least as fine as asked for."""
    fine = [n for n, level in enumerate(facts.levels) if level.downsample <= downsample * 1.01]
    return max(fine, key=lambda n: facts.levels[n].downsample)
