"""What every slide reader gives: facts, and pixels of a box of one level and one plane of focus."""

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

    def __post_init__(self) -> None:
        """ValueError for sizes that no slide has; a scale that no microscope has (0, inches taken for one) is none."""
        for level in self.levels:
            if not (0 < level.width <= MOST_SIDE and 0 < level.height <= MOST_SIDE and level.downsample > 0):
                raise ValueError(f"its header says {level.width} x {level.height} px, no slide has that size")
            if level.width > self.levels[0].width or level.height > self.levels[0].height:
                raise ValueError("a level of its pyramid is larger than the first one")
        if self.um_per_px is not None:
            sensible = 0.02 <= self.um_per_px <= 10
            object.__setattr__(self, "um_per_px", round(self.um_per_px, 5) if sensible else None)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of level 0, px."""
        return self.levels[0].width, self.levels[0].height

    def check_box(self, path: str, box: Box, level: int) -> None:
        """ImageError for a box outside the level, or one too large to be held."""
        x0, y0, x1, y1 = box
        of = self.levels[level]
        if not (0 <= x0 < x1 <= of.width and 0 <= y0 < y1 <= of.height):
            raise ImageError("damaged", f"{path}: {box} is outside its level of {of.width} x {of.height} px")
        if (x1 - x0) * (y1 - y0) > MOST_READ_PX:
            raise ImageError("too_large", f"{path}: {x1 - x0} x {y1 - y0} px are too many to be read at once")


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


@contextmanager
def opening(slide: Slide, what: str = "can't be opened") -> Iterator[None]:
    """As `reading`, while a slide is being opened: where that fails its files are released."""
    try:
        with reading(slide.path, what):
            yield
    except BaseException:
        slide.close()
        raise


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
