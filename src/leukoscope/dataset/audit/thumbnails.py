"""Every picture once from disk: its digest and a small grey picture, JPEGs decoded at a fraction of their size."""

import hashlib
import io
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, JpegImagePlugin

from leukoscope.errors import ImageError
from leukoscope.images import MAX_PIXELS, read_image
from leukoscope.images.container import HEAD_BYTES, check_plausible_size, sniff_format, strip_metadata
from leukoscope.progress import Progress, no_progress

SIDE = 64  # px; pictures are squeezed into a square, so that a quarter turn of a field stays comparable
BLACK = 8  # grey level: cells cut out on black have a frame that says nothing of the cell
_LEAST_BLACK = 0.02  # share of the pixels, for a frame
_BLOCK = 512
# What Pillow raises on a JPEG that breaks the rules: the careful reader then says which.
_ODD_JPEG = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, struct.error)


@dataclass(frozen=True, slots=True, eq=False)
class Thumbnails:
    """Small pictures of N files.

    pixels      (N, 64, 64) uint8 grey; zeros where the file can't be read
    sha256      N digests of the files as they are now; "" where there is no file
    unreadable  {row: why}
    """

    pixels: np.ndarray
    sha256: tuple[str, ...]
    unreadable: dict[int, str]


def read_thumbnails(paths: Sequence[str | Path], *, workers: int = 2, progress: Progress = no_progress) -> Thumbnails:
    """Read every file once, on `workers` threads (decoding lets go of Python's lock). Never raises for a file."""
    pixels = np.zeros((len(paths), SIDE, SIDE), np.uint8)
    digests, unreadable = [], {}
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(paths), _BLOCK):
            for row, (small, digest, reason) in enumerate(pool.map(_read_one, paths[start : start + _BLOCK]), start):
                digests.append(digest)
                if reason:
                    unreadable[row] = reason
                else:
                    pixels[row] = small
            progress(len(digests), len(paths))
    return Thumbnails(pixels, tuple(digests), unreadable)


def _read_one(path: str | Path) -> tuple[np.ndarray | None, str, str]:
    """(64 x 64 grey, digest, "") or (None, digest, reason)."""
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
            file.seek(0)
            if sniff_format(head) != "JPEG":
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                return shrink(Image.fromarray(read_image(path)).convert("L")), digest, ""
            data = file.read()
        digest = hashlib.sha256(data).hexdigest()
    except ImageError as error:
        return None, digest, str(error)
    except (OSError, ValueError) as error:
        return None, "", f"{path}: can't be opened ({getattr(error, 'strerror', None) or error})"
    try:
        small = _small_jpeg(data)
        return shrink(Image.fromarray(read_image(path)).convert("L")) if small is None else small, digest, ""
    except ImageError as error:
        return None, digest, str(error)


def _small_jpeg(data: bytes) -> np.ndarray | None:
    """A JPEG's brightness decoded at the smallest fraction (1/2, 1/4, 1/8) that still has 64 px a side; None where
    the careful reader must look: it is turned by its metadata, or something is odd."""
    try:
        clean = strip_metadata(data, "JPEG")
        if clean.orientation != 1:
            return None
        image = JpegImagePlugin.JpegImageFile(io.BytesIO(clean.data))
        check_plausible_size(*image.size, n_bytes=len(data), image_format="JPEG")
        if image.width * image.height > MAX_PIXELS:
            return None
        image.draft("L", (SIDE, SIDE))
        return shrink(image.convert("L"))
    except (ImageError, *_ODD_JPEG):
        return None


def shrink(grey: Image.Image) -> np.ndarray:
    """(64, 64) uint8 by averaging over areas, a black frame filled with the mean of what it frames."""
    method = Image.Resampling.BOX if min(grey.size) >= SIDE else Image.Resampling.BILINEAR
    small = np.array(grey.resize((SIDE, SIDE), method))
    black = small <= BLACK
    if black.mean() < _LEAST_BLACK:
        return small
    # One pixel further in all directions: on the outline a pixel is part black, part cell.
    wide = np.pad(black, 1, mode="edge")
    wide = wide[:-2] | wide[1:-1] | wide[2:]
    wide = wide[:, :-2] | wide[:, 1:-1] | wide[:, 2:]
    small[wide] = round(float(small[~wide].mean())) if not wide.all() else 0
    return small
