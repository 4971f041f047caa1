"""A photograph's pixels in Pillow's own memory: parts are cut out, made smaller and balanced, and only they are copied.

An array of a whole photograph costs as much as decoding it, and white balance and resampling each want one more. What
a field needs is a window a cell, one small picture for the locator, and the green channel.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from leukoscope.allocation import give_back_pictures

give_back_pictures()

# Averaging over whole pixels is several times as fast as a filter, which is left a factor of this or more.
_REDUCING_GAP = 1.2
_BAND_PIXELS = 1 << 20  # copied out of Pillow at a time: no second full-size copy stands in memory


def jpeg_bytes(image: Image.Image, quality: int, **how: Any) -> bytes:
    """A JPEG file of an image; how: further words for Pillow's writer."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality, **how)
    return out.getvalue()


class Raster:
    """Pixels (H, W, 3) uint8 RGB, read-only. Stands wherever an array of pixels is asked for: `shape`, `np.asarray` and
    slices are as an array's, and a slice is an array of that window alone.

    levels  768 values, 256 a channel, that every pixel is looked up in before it is seen (white balance); None: as is
    """

    __slots__ = ("_image", "_levels")
    dtype = np.dtype(np.uint8)
    ndim = 3

    def __init__(self, image: Image.Image, levels: Sequence[int] | None = None) -> None:
        self._image = image if image.mode == "RGB" else image.convert("RGB")
        self._levels = levels

    @classmethod
    def of(cls, pixels: Pixels) -> Raster:
        """An array (H, W, 3) uint8 as a raster, which costs a copy; a raster as it is."""
        return pixels if isinstance(pixels, cls) else cls(Image.fromarray(np.ascontiguousarray(pixels)))

    @property
    def shape(self) -> tuple[int, int, int]:
        return self._image.size[1], self._image.size[0], 3

    @property
    def size(self) -> tuple[int, int]:
        """(width, height), as Pillow has it."""
        return self._image.size

    def balanced(self, levels: Sequence[int]) -> Raster:
        """The same pixels, looked up in `levels` (768) too; nothing is copied."""
        if self._levels is not None:
            levels = [levels[256 * (index // 256) + value] for index, value in enumerate(self._levels)]
        return Raster(self._image, levels)

    def window(self, box: tuple[int, int, int, int]) -> Image.Image:
        """The picture of a whole-pixel region (x0, y0, x1, y1) within the photograph. Not to be drawn on."""
        return self._looked_up(self._image if box == (0, 0, *self.size) else self._image.crop(box))

    def part(self, box: tuple[int, int, int, int]) -> Raster:
        """A whole-pixel region as a raster."""
        return self if box == (0, 0, *self.size) else Raster(self._image.crop(box), self._levels)

    def resized(self, size: tuple[int, int]) -> Image.Image:
        """The whole, `size` (width, height) large: averaged over whole pixels first, then by a triangle filter."""
        how = Image.Resampling.BILINEAR
        return self._looked_up(self._image.resize(size, how, reducing_gap=_REDUCING_GAP))

    def green(self, box: tuple[int, int, int, int] | None = None) -> Image.Image:
        """The green channel of the whole or of a region, as a grey picture."""
        whole = box is None or box == (0, 0, *self.size)
        channel = (self._image if whole else self._image.crop(box)).getchannel(1)
        return channel if self._levels is None else channel.point(self._levels[256:512])

    def thinned(self, step: int) -> np.ndarray:
        """Every `step`-th row and column from the middle of the first step on: what `[step // 2 :: step]` gives."""
        width, height = (len(range(step // 2, side, step)) for side in self.size)
        place = step // 2 + 0.5 - step / 2
        every = self._image.transform((width, height), Image.Transform.AFFINE, (step, 0, place, 0, step, place))
        return np.asarray(self._looked_up(every))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        width, height = self.size
        rows = max(1, _BAND_PIXELS // width)
        pixels = np.empty(self.shape, np.uint8)
        for top in range(0, height, rows):
            bottom = min(top + rows, height)
            pixels[top:bottom] = np.asarray(self.window((0, top, width, bottom)))
        return pixels if dtype is None else pixels.astype(dtype, copy=False)

    def __getitem__(self, key: Any) -> np.ndarray:
        rows, columns, *rest = key if isinstance(key, tuple) else (key, slice(None))
        if isinstance(rows, slice) and isinstance(columns, slice):
            (y0, y1, down), (x0, x1, right) = rows.indices(self.shape[0]), columns.indices(self.shape[1])
            if down > 0 and right > 0 and y0 < y1 and x0 < x1:
                window = np.asarray(self.window((x0, y0, x1, y1)))
                return window[(slice(None, None, down), slice(None, None, right), *rest)]
        return np.asarray(self)[key]

    def _looked_up(self, image: Image.Image) -> Image.Image:
        return image if self._levels is None else image.point(self._levels)


Pixels = np.ndarray | Raster  # (H, W, 3) uint8 RGB
