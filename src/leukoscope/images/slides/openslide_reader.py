"""Slides through OpenSlide: SVS, NDPI, MRXS, SCN, BIF, VMS, Philips and generic pyramidal TIFF."""

import threading

import numpy as np

from leukoscope.errors import ImageError
from leukoscope.images.slides.region import Box
from leukoscope.images.slides.slide import CACHE_BYTES, MOST_TILE_PX, Level, SlideFacts, opening, reading


class OpenSlideReader:
    """A slide open in OpenSlide. After an error the library refuses every further read, so it is opened anew."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._slide = self._open()
        with opening(self):
            self.facts = _facts(self._slide)
            _check_tiles(path, self._slide)

    @staticmethod
    def detects(path: str) -> bool:
        """Whether OpenSlide knows the file's format."""
        import openslide

        with reading(path):
            return openslide.OpenSlide.detect_format(path) is not None

    def read(self, box: Box, *, level: int = 0, plane: int = 0) -> np.ndarray:
        """As `Slide.read`; what was not scanned is white."""
        self.facts.check_box(self.path, box, level)
        with self._lock:
            slide = self._slide = self._slide or self._open()
        x0, y0, x1, y1 = box
        downsample = self.facts.levels[level].downsample
        try:
            with reading(self.path):
                place = (round(x0 * downsample), round(y0 * downsample))
                rgba = np.asarray(slide.read_region(place, level, (x1 - x0, y1 - y0)))
        except ImageError:
            with self._lock:
                if self._slide is slide:
                    self._slide = None  # closed with its last reader
            raise
        return _on_white(rgba)

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            slide, self._slide = self._slide, None
        if slide is not None:
            slide.close()

    def _open(self):
        import openslide

        with reading(self.path):
            slide = openslide.OpenSlide(self.path)
            slide.set_cache(openslide.OpenSlideCache(CACHE_BYTES))
            return slide


def _facts(slide) -> SlideFacts:
    said = slide.properties
    scales = [_number(said.get(f"openslide.mpp-{axis}")) for axis in "xy"]
    known = [s for s in scales if s is not None]
    levels = tuple(
        Level(float(d), int(w), int(h))
        for (w, h), d in zip(slide.level_dimensions, slide.level_downsamples, strict=True)
    )
    scale = float(np.mean(known)) if known else None
    return SlideFacts("openslide", said.get("openslide.vendor", "unknown"), scale, levels)


def _check_tiles(path: str, slide) -> None:
    """ImageError for tiles that can't be held: a header's lie, or a picture saved as one tile."""
    for level in range(slide.level_count):
        sides = [_number(slide.properties.get(f"openslide.level[{level}].tile-{side}")) for side in ("width", "height")]
        width, height = sides
        if width is not None and height is not None and width * height > MOST_TILE_PX:
            raise ImageError("too_large", f"{path}: its tiles are {width:.0f} x {height:.0f} px; save it in tiles")


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


def _on_white(rgba: np.ndarray) -> np.ndarray:
    """(H, W, 3) of premultiplied (H, W, 4)."""
    alpha = rgba[..., 3:]
    if alpha.min() == 255:
        return np.ascontiguousarray(rgba[..., :3])
    # openslide-python gives straight colours; where nothing was scanned alpha is 0.
    share = alpha.astype(np.uint16)
    return ((rgba[..., :3] * share + 255 * (255 - share)) // 255).astype(np.uint8)
