"""A rendered slide as files: a pyramidal TIFF (tifffile) and a DICOM series (pydicom), both of the same JPEG tiles.

Tiles go to a spool on disk as they are drawn, so memory does not grow with the slide.
"""

import io
import struct
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from leukoscope.cores import usable_cores
from leukoscope.errors import InputError
from leukoscope.files import write_json, write_whole
from leukoscope.progress import Progress, no_progress
from leukoscope.raster import jpeg_bytes
from leukoscope.simulate.slide import TILE_PX, RenderedSlide, SlideOptions
from leukoscope.simulate.writing import NOTE

FILE_TILE_PX = 512
STEP = 4  # between two levels
_LEAST_SIDE = 512  # px of the last level's longer side, at least
_GRID_UM = 64.0  # of the truth's map of the monolayer
_MOST_SIDE = 200_000


@dataclass(eq=False)
class _Spool:
    """The JPEG tiles of one level on disk, in the order of rows."""

    width: int
    height: int
    file: io.BufferedRandom
    places: dict[tuple[int, int], tuple[int, int]]

    @property
    def grid(self) -> tuple[int, int]:
        return -(-self.height // FILE_TILE_PX), -(-self.width // FILE_TILE_PX)

    def add(self, row: int, column: int, jpeg: bytes) -> None:
        self.file.seek(0, io.SEEK_END)
        self.places[row, column] = (self.file.tell(), len(jpeg))
        self.file.write(jpeg)

    def tiles(self) -> Iterator[bytes]:
        rows, columns = self.grid
        for row in range(rows):
            for column in range(columns):
                offset, n_bytes = self.places[row, column]
                self.file.seek(offset)
                yield self.file.read(n_bytes)


def simulate_slide(
    out: str | Path, options: SlideOptions, *, dicom: bool = True, progress: Progress = no_progress
) -> Path:
    """Draw one whole slide into folder `out`, with its truth; returns `out`.

    slide.tif      pyramidal TIFF in JPEG tiles, with a macro picture that says so
    dicom/*.dcm    the same tiles as a DICOM series, a file a level, and a label (only with `dicom`)
    truth.json     every white cell (class, box in px of the slide), and where the monolayer is, on a grid

    Needs the extra `slides`. The same arguments give the same pixels. InputError for sizes that make no sense, or
    when `out` holds a slide already.
    """
    out = Path(out)
    if not all(FILE_TILE_PX <= side <= _MOST_SIDE for side in (options.width, options.height)) or options.seed < 0:
        raise InputError(
            f"a slide has {FILE_TILE_PX} to {_MOST_SIDE} px a side and a seed of 0 or more, got {options.width} x "
            f"{options.height} and {options.seed}"
        )
    if (out / "slide.tif").exists():
        raise InputError(f"{out} holds a slide already: choose another folder")
    try:
        import imagecodecs  # noqa: F401 - what tifffile writes JPEG with
        import pydicom  # noqa: F401
        import tifffile  # noqa: F401
    except ImportError:
        raise InputError("drawing slides needs an extra: pip install 'leukoscope[slides]'") from None
    out.mkdir(parents=True, exist_ok=True)
    slide = RenderedSlide(options)
    with tempfile.TemporaryDirectory(dir=out) as work:
        levels = _draw(slide, Path(work), progress)
        write_tiff(out / "slide.tif", levels, options.um_per_px)
        if dicom:
            write_dicom(out / "dicom", levels, options.um_per_px)
        for level in levels:
            level.file.close()
    write_json(out / "truth.json", _truth(slide))
    return out


def _draw(slide: RenderedSlide, work: Path, progress: Progress) -> list[_Spool]:
    """The levels, each drawn or shrunk from the one before, a strip of blocks at a time."""
    options = slide.options
    levels = [_spool(work, 0, options.width, options.height)]
    width, height = options.width, options.height
    while max(width, height) > _LEAST_SIDE * STEP:
        width, height = -(-width // STEP), -(-height // STEP)
        levels.append(_spool(work, len(levels), width, height))
    small = None if len(levels) == 1 else np.lib.format.open_memmap(
        work / "small.npy", "w+", np.uint8, (levels[1].height, levels[1].width, 3)
    )  # fmt: skip
    rows, columns = slide.grid
    slide.tile(0, 0)  # the banks of drawings are made once, not by every thread
    with ThreadPoolExecutor(min(usable_cores(), 8)) as pool:
        for row in range(rows):
            for column, pixels in enumerate(pool.map(lambda c, r=row: slide.tile(r, c), range(columns))):
                _keep(levels[0], row, column, pixels, slide.look.quality)
                if small is not None:
                    _shrink_into(small, row, column, pixels)
                progress(row * columns + column + 1, rows * columns)
    for n in range(1, len(levels)):
        small = _keep_all(levels[n], small, slide.look.quality)
    return levels


def _spool(work: Path, number: int, width: int, height: int) -> _Spool:
    return _Spool(width, height, open(work / f"{number}.jpegs", "w+b"), {})


def _keep(level: _Spool, row: int, column: int, pixels: np.ndarray, quality: int) -> None:
    """The JPEG tiles of one drawn block."""
    n = TILE_PX // FILE_TILE_PX
    for i in range(n):
        for j in range(n):
            place = (row * n + i, column * n + j)
            if place[0] < level.grid[0] and place[1] < level.grid[1]:
                part = pixels[i * FILE_TILE_PX : (i + 1) * FILE_TILE_PX, j * FILE_TILE_PX : (j + 1) * FILE_TILE_PX]
                level.add(*place, _jpeg(part, quality))


def _shrink_into(small: np.ndarray, row: int, column: int, pixels: np.ndarray) -> None:
    side = TILE_PX // STEP
    shrunk = np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BOX))
    into = small[row * side : (row + 1) * side, column * side : (column + 1) * side]
    into[:] = shrunk[: into.shape[0], : into.shape[1]]


def _keep_all(level: _Spool, pixels: np.ndarray, quality: int) -> np.ndarray:
    """The tiles of a level from its pixels; returns the next level's."""
    rows, columns = level.grid
    for row in range(rows):
        for column in range(columns):
            part = pixels[
                row * FILE_TILE_PX : (row + 1) * FILE_TILE_PX, column * FILE_TILE_PX : (column + 1) * FILE_TILE_PX
            ]
            whole = np.full((FILE_TILE_PX, FILE_TILE_PX, 3), 255, np.uint8)
            whole[: part.shape[0], : part.shape[1]] = part
            level.add(row, column, _jpeg(whole, quality))
    size = (-(-level.width // STEP), -(-level.height // STEP))
    out = np.empty((size[1], size[0], 3), np.uint8)
    for top in range(0, size[1], 64):  # a band at a time: the first of these levels may not fit the memory
        bottom = min(top + 64, size[1])
        band = Image.fromarray(np.ascontiguousarray(pixels[top * STEP : bottom * STEP]))
        out[top:bottom] = np.asarray(band.resize((size[0], bottom - top), Image.Resampling.BOX))
    return out


def _jpeg(pixels: np.ndarray, quality: int) -> bytes:
    return jpeg_bytes(Image.fromarray(pixels), quality, subsampling=0)


def write_tiff(path: Path, levels: list[_Spool], um_per_px: float) -> None:
    """A pyramidal BigTIFF of the levels' JPEG tiles, and a macro picture as its last page."""
    import tifffile

    with write_whole(path, "w+b", sync=False) as file, tifffile.TiffWriter(file, bigtiff=True) as tiff:
        for number, level in enumerate(levels):
            per_cm = 1e4 / um_per_px / STEP**number
            tiff.write(
                level.tiles(),
                shape=(level.height, level.width, 3),
                dtype=np.uint8,
                tile=(FILE_TILE_PX, FILE_TILE_PX),
                photometric="ycbcr",
                compression="jpeg",
                subsampling=(1, 1),
                subfiletype=1 if number else 0,
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER",
                description=NOTE if not number else None,
                metadata=None,
                software="leukoscope simulate",
            )
        macro = beside_picture("MACRO Planted^Name")
        tiff.write(macro, photometric="rgb", compression="deflate", description="Macro", metadata=None)


def beside_picture(words: str) -> np.ndarray:
    """(H, W, 3) uint8: a label or macro picture with words that must never come out of an analysis."""
    picture = Image.new("RGB", (600, 200), (250, 220, 40))
    ImageDraw.Draw(picture).text((20, 80), words, fill=(0, 0, 0))
    return np.asarray(picture)


def _truth(slide: RenderedSlide) -> dict:
    options = slide.options
    step = _GRID_UM / options.um_per_px
    x, y = np.meshgrid(np.arange(step / 2, options.width, step), np.arange(step / 2, options.height, step))
    grid = slide.is_monolayer(x, y)
    cells = [{"class": c.class_name, "box": list(c.box)} for c in slide.cells()]
    return {
        "note": NOTE,
        **asdict(options),
        "kind": slide.kind.name,
        "blast_class": slide.kind.blast_class,
        "monolayer": {"step_px": step, "map": ["".join("M" if v else "." for v in row) for row in grid]},
        "cells": cells,
    }


def write_dicom(folder: Path, levels: list[_Spool], um_per_px: float) -> None:
    """A DICOM whole-slide series: a file a level (TILED_FULL, the JPEG tiles as they are), and a label."""
    from leukoscope.simulate.slide_dicom import Series

    folder.mkdir(parents=True, exist_ok=True)
    series = Series(levels[0].width * um_per_px / 1000, levels[0].height * um_per_px / 1000)
    for number, level in enumerate(levels):
        kind = ("VOLUME", "NONE") if not number else ("VOLUME", "RESAMPLED")
        mm_per_px = um_per_px * STEP**number / 1000
        size = (level.width, level.height)
        head = series.image(number + 1, kind, size, tile_px=FILE_TILE_PX, mm_per_px=mm_per_px)
        rows, columns = level.grid
        write_encapsulated(folder / f"level-{number}.dcm", head, level.tiles(), rows * columns)
    pixels = beside_picture("LABEL Planted^Name")
    head = series.label(len(levels) + 1, pixels.shape[1], pixels.shape[0])
    write_encapsulated(folder / "label.dcm", head, iter([_jpeg(pixels, 90)]), 1)


def write_encapsulated(path: Path, head, frames: Iterator[bytes], n_frames: int) -> None:
    """A DICOM file: `head`, then encapsulated frames as they come, with their offsets in the basic offset table."""
    with write_whole(path, "w+b", sync=False) as file:
        head.save_as(file, enforce_file_format=True)
        file.write(struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF))
        file.write(struct.pack("<HHI", 0xFFFE, 0xE000, 4 * n_frames))
        table = file.tell()
        file.write(bytes(4 * n_frames))
        first, offsets = file.tell(), []
        for frame in frames:
            offsets.append(file.tell() - first)
            frame += b"\0" * (len(frame) % 2)
            file.write(struct.pack("<HHI", 0xFFFE, 0xE000, len(frame)))
            file.write(frame)
        file.write(struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))
        file.seek(table)
        file.write(struct.pack(f"<{n_frames}I", *offsets))
