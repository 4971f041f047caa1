"""TIFF through tifffile, tile by tile: OME-TIFF, pyramids and stitched photographs that OpenSlide does not open.

Only the tiles or strips that a read touches are decoded; a few stay in a cache of bounded bytes. A picture without
compression is mapped, not read.
"""

import re
import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from leukoscope.errors import ImageError
from leukoscope.images.slides.region import Box
from leukoscope.images.slides.slide import MOST_TILE_PX, Level, SlideFacts, opening, reading

_CACHE_BYTES = 192 << 20  # strips are as wide as the picture: a row of regions is held
MOST_SAMPLES = 4  # a pixel: red, green, blue and transparency
_BESIDE = re.compile(r"label|macro|overview|thumbnail", re.I)
_OME_UNITS = {"nm": 1e-3, "µm": 1.0, "um": 1.0, "mm": 1e3, "cm": 1e4}
_RESOLUTION_UM = {2: 25400.0, 3: 10000.0}  # ResolutionUnit: inch, centimetre


@dataclass(frozen=True, slots=True, eq=False)
class _Pages:
    """The pages of one level: for each plane of focus one page in colour, or three grey ones (red, green, blue)."""

    planes: tuple[tuple, ...]


class TiffReader:
    """A TIFF open in tifffile."""

    def __init__(self, path: str) -> None:
        import tifffile

        self.path = path
        self._lock = threading.Lock()
        self._cache: OrderedDict[tuple, np.ndarray] = OrderedDict()
        self._held = 0
        with reading(path, "can't be opened"):
            self._file = tifffile.TiffFile(path)
        with opening(self):
            series = _largest(self._file, path)
            levels = [_pages_of(path, level) for level in series.levels]
            self._pages = [pages for pages in levels if pages is not None]
            self.facts = self._read_facts(series)

    def read(self, box: Box, *, level: int = 0, plane: int = 0) -> np.ndarray:
        """As `Slide.read`."""
        self.facts.check_box(self.path, box, level)
        pages = self._pages[level].planes[plane]
        with reading(self.path):
            if len(pages) == 1:
                pixels = self._read_page(pages[0], box)
            else:
                pixels = np.concatenate([self._read_page(page, box)[..., :1] for page in pages], axis=2)
        return np.ascontiguousarray(np.repeat(pixels, 3, 2) if pixels.shape[2] == 1 else pixels[..., :3])

    def close(self) -> None:
        """Release the file and the cache."""
        self._cache.clear()
        self._file.close()

    def _read_facts(self, series) -> SlideFacts:
        first = self._pages[0].planes[0][0]
        sizes = [(p.planes[0][0].imagewidth, p.planes[0][0].imagelength) for p in self._pages]
        levels = tuple(Level(first.imagewidth / max(w, 1), w, h) for w, h in sizes)
        vendor = "OME" if self._file.is_ome else "generic TIFF"
        return SlideFacts("tifffile", vendor, _scale(self._file, first), levels, len(self._pages[0].planes))

    def _read_page(self, page, box: Box) -> np.ndarray:
        """(H, W, S) uint8 of a box."""
        x0, y0, x1, y1 = box
        if page.is_contiguous and not page.is_tiled:
            return _as_bytes(self._mapped(page)[y0:y1, x0:x1], page)
        width, height = (page.tilewidth, page.tilelength) if page.is_tiled else (page.imagewidth, page.rowsperstrip)
        height = min(height, page.imagelength)
        across, down = -(-page.imagewidth // width), -(-page.imagelength // height)
        separate = page.planarconfig == 2 and page.samplesperpixel > 1
        n_samples = page.samplesperpixel
        out = np.full((y1 - y0, x1 - x0, n_samples), 255, np.uint8)  # a tile without bytes was not scanned
        for sample in range(n_samples if separate else 1):
            for row in range(y0 // height, -(-y1 // height)):
                for column in range(x0 // width, -(-x1 // width)):
                    tile = self._tile(page, (sample * down + row) * across + column)
                    if tile is None:
                        continue
                    left, top = column * width, row * height
                    a, b = max(x0, left), min(x1, left + tile.shape[1])
                    c, d = max(y0, top), min(y1, top + tile.shape[0])
                    if a < b and c < d:
                        into = out[c - y0 : d - y0, a - x0 : b - x0]
                        part = tile[c - top : d - top, a - left : b - left]
                        if separate:
                            into[..., sample] = part[..., 0]
                        else:
                            into[:] = part
        return out

    def _mapped(self, page) -> np.ndarray:
        """(H, W, S) of the file itself, of a page without compression that lies in one piece."""
        shape = (page.imagelength, page.imagewidth, page.samplesperpixel)
        if page.planarconfig == 2 and page.samplesperpixel > 1:
            shape = (page.samplesperpixel, page.imagelength, page.imagewidth)
        with self._lock:
            kind = self._file.byteorder + page.dtype.char
            mapped = self._file.filehandle.memmap_array(kind, shape, offset=page.dataoffsets[0])
        return mapped if shape[-1] == page.samplesperpixel else np.moveaxis(mapped, 0, 2)

    def _tile(self, page, index: int) -> np.ndarray | None:
        """(h, w, S) uint8 of a tile or strip, decoded; None where the file holds no bytes of it."""
        key = (page.offset, index)
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
            n_bytes = page.databytecounts[index]
            if not n_bytes:
                return None
            handle = self._file.filehandle
            handle.seek(page.dataoffsets[index])
            data = handle.read(n_bytes)
        if len(data) < n_bytes:
            raise ImageError("truncated", f"{self.path}: the file ends within a tile; copy it again", by_decoder=True)
        decoded, _place, shape = page.decode(data, index, jpegtables=page.jpegtables)
        if decoded is None:
            return None
        tile = _as_bytes(decoded[0, : shape[1], : shape[2]], page)
        with self._lock:
            if key not in self._cache:
                self._cache[key] = tile
                self._held += tile.nbytes
                while self._held > _CACHE_BYTES and len(self._cache) > 1:
                    self._held -= self._cache.popitem(last=False)[1].nbytes
        return tile


def _largest(file, path: str):
    """The series with the most pixels, label and macro left out."""
    series = [s for s in file.series if not _BESIDE.search(s.name or "")]
    if not series:
        raise ImageError("damaged", f"{path}: it holds no picture of a slide")
    return max(series, key=lambda s: (s.keyframe.imagewidth * s.keyframe.imagelength, -file.series.index(s)))


def _pages_of(path: str, level) -> _Pages | None:
    """The pages of one level by plane of focus; ImageError for axes and pixels that are not read; None: no pages."""
    axes, shape = level.axes, level.shape
    page = level.keyframe
    if page.dtype is None or page.dtype.kind != "u" or page.dtype.itemsize > 2:
        raise ImageError("unsupported", f"{path}: {page.dtype} pixels are not read here; expected 8-bit colour")
    if not 1 <= page.samplesperpixel <= MOST_SAMPLES:
        raise ImageError("unsupported", f"{path}: {page.samplesperpixel} samples a pixel are not read; save as RGB")
    if not page.is_tiled and not page.is_contiguous and page.rowsperstrip * page.imagewidth > MOST_TILE_PX:
        raise ImageError(
            "too_large",
            f"{path}: {page.imagewidth} x {page.imagelength} px in one piece; save it in tiles "
            "(vips tiffsave IN OUT.tif --tile --pyramid --compression jpeg)",
        )
    if page.is_tiled and page.tilewidth * page.tilelength > MOST_TILE_PX:
        raise ImageError("too_large", f"{path}: its tiles have {page.tilewidth} x {page.tilelength} px each")
    outer = [(axis, n) for axis, n in zip(axes, shape, strict=True) if axis not in "YXS" and n > 1]
    if any(axis not in "ZCIQ" for axis, _ in outer) or len(outer) > 2:
        raise ImageError("unsupported", f"{path}: axes {axes} are not read here; expected one field in colour")
    pages = [p.aspage() for p in level.pages]  # a frame knows where its tiles are, and no more
    sides = dict(outer)
    n_colors = sides.get("C", 1)
    in_color = page.samplesperpixel >= 3
    if n_colors > 1 and (in_color or n_colors != 3):
        raise ImageError("unsupported", f"{path}: {n_colors} channels are not read here; expected colour")
    if n_colors == 1:
        return _Pages(tuple((p,) for p in pages))
    order = [axis for axis, _ in outer]
    n_planes = len(pages) // 3
    step = 1 if order[-1] == "C" else n_planes
    starts = range(0, len(pages), 3) if step == 1 else range(n_planes)
    return _Pages(tuple(tuple(pages[s + k * step] for k in range(3)) for s in starts))


def _as_bytes(pixels: np.ndarray, page) -> np.ndarray:
    """uint8 of 8- or 16-bit samples; of 16 bits the high byte, as cameras leave them."""
    if pixels.dtype == np.uint8:
        return pixels
    return (pixels >> max(int(page.bitspersample) - 8, 0)).astype(np.uint8)


def _scale(file, page) -> float | None:
    """Micrometres a pixel by OME's words, else by the resolution tags; None where neither says anything."""
    if file.is_ome:
        text = (file.ome_metadata or "")[:200_000]
        size = re.search(r'PhysicalSizeX="([\d.eE+-]+)"', text)
        unit = re.search(r'PhysicalSizeXUnit="([^"]+)"', text)
        factor = _OME_UNITS.get(unit[1] if unit else "µm")
        if size and factor:
            return float(size[1]) * factor
    tag, unit = page.tags.get(282), page.tags.get(296)
    um = _RESOLUTION_UM.get(int(unit.value)) if unit is not None else None
    if tag is None or um is None or not tag.value or not tag.value[0]:
        return None
    return um * tag.value[1] / tag.value[0]
