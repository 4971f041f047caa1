"""Read photographs from files that nobody has vouched for: pixels come out, or an ImageError with its reason.

Reasons (short and stable, they go into tables):
    missing        no such file, or it can't be opened
    empty          no bytes
    not_an_image   a folder, a device, or bytes of no image format
    unsupported    an image, but not JPEG, PNG, BMP or TIFF, or a kind of these that Pillow can't decode
    truncated      the file ends too early
    damaged        the bytes contradict the format
    too_large      more pixels than the limit, or than the memory

A flipped bit in a JPEG's pixel data often decodes to a changed picture without any error: JPEG has no checksum.
Of a damaged TIFF the C library inside Pillow writes a line to standard error; it can't be told not to from here.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import BmpImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from leukoscope.errors import ImageError
from leukoscope.images.container import (
    HEAD_BYTES,
    READ_FORMATS,
    check_plausible_size,
    check_tiff_directory,
    sniff_format,
    strip_metadata,
)
from leukoscope.types import Field, FieldKey

MAX_PIXELS = 178_956_970  # where Pillow itself refuses: twice its MAX_IMAGE_PIXELS

# The classes themselves, not Image.open: no other decoder is ever tried, and no global limit is consulted.
_OPENERS = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
}
_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
}

# What Pillow raises on bytes that break a format's rules. It has no common root for these: each is a line of its
# decoders that trusted a number from the file.
_DECODE_ERRORS = (
    OSError,  # codec errors, "image file is truncated", UnidentifiedImageError
    SyntaxError,  # "not a PNG file" and most errors while opening
    ValueError,  # sizes, modes and offsets out of range; UnicodeDecodeError
    TypeError,  # a tag of the wrong type or missing (None) in arithmetic
    KeyError,  # an unknown tag value, compression or mode
    IndexError,  # a list of strips or tiles shorter than the header says
    AttributeError,  # a part that the header announced was never set up
    EOFError,  # no such page
    OverflowError,  # a number too big for a C integer
    ZeroDivisionError,  # a tile or strip of height 0
    AssertionError,  # Pillow's own checks of tag values
    NotImplementedError,
    RuntimeError,
    struct.error,
    zlib.error,
)
_EXHAUSTED = (MemoryError, Image.DecompressionBombError)

_TURN = {  # EXIF orientation -> what makes the picture upright (EXIF 2.32, table 6)
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BAND_PIXELS = 1 << 20  # pixels copied out of Pillow at a time: no second full-size copy stands in memory


def read_image(path: str | Path, *, page: int = 0, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """(H, W, 3) uint8 RGB pixels of one photograph, upright, without any metadata.

    Grey, 1-bit, palette and CMYK become RGB; transparency is laid on white; of 16-bit samples the high byte is
    kept (the full range 0 to 65535 is taken to be in use), of 12-bit TIFF samples the high eight bits. The content
    decides the format, not the suffix (`mislabelled` tells). `page` counts from 0 and matters for TIFF only.
    `max_pixels` is compared with the header before anything is decoded.
    Raises ImageError with one of the reasons above, and nothing else, whatever the file holds.
    """
    with _opened(path, max_pixels) as (image, orientation):
        if page:
            _seek(image, page)
            _check_size(image.size, max_pixels)
        image.load()
        rgb = _to_rgb(image)
        if orientation in _TURN:
            rgb = rgb.transpose(_TURN[orientation])
        return _to_array(rgb)


def read_field(path: str | Path, key: FieldKey, *, um_per_px: float | None = None) -> Field:
    """One photograph as a Field; errors as `read_image`. The scale is the caller's: headers are not trusted with it."""
    return Field(key, read_image(path), um_per_px)


def pages(path: str | Path) -> int:
    """How many pictures the file holds: 1, or more for a multi-page TIFF. Errors as `read_image`."""
    with _opened(path, MAX_PIXELS) as (image, _orientation):
        return getattr(image, "n_frames", 1) if image.format == "TIFF" else 1


def mislabelled(path: str | Path) -> str | None:
    """A note when a readable image has another format's suffix ("a .png file that holds JPEG"), else None."""
    try:
        with open(path, "rb") as file:
            image_format = sniff_format(file.read(HEAD_BYTES))
    except (OSError, ValueError) as error:
        raise ImageError("missing", f"{path}: can't be opened ({error})") from None
    suffix = Path(path).suffix.lower()
    if image_format not in READ_FORMATS or suffix in _SUFFIXES[image_format]:
        return None
    return f"a {suffix or 'suffixless'} file that holds {image_format}"


@contextmanager
def _opened(path: str | Path, max_pixels: int) -> Iterator[tuple[ImageFile.ImageFile, int]]:
    """The image, its header read and its size checked, and its orientation; every decoding error inside the block
    becomes an ImageError that names the file."""
    image_format, n_bytes = _look_at(path, max_pixels)
    try:
        with _without_pillow_warnings(image_format), open(path, "rb") as file:
            source, orientation = file, 1
            if image_format == "TIFF":  # may be a whole slide: not read into memory, Pillow seeks in it
                check_tiff_directory(file.read(HEAD_BYTES), n_bytes)
                file.seek(0)
            else:
                data, orientation = strip_metadata(file.read(), image_format)
                source = io.BytesIO(data)
            image = _OPENERS[image_format](source)
            _check_size(image.size, max_pixels)
            check_plausible_size(*image.size, n_bytes=n_bytes, image_format=image_format)
            yield image, orientation
    except ImageError as error:
        raise ImageError(error.reason, f"{path}: {error}") from None
    except _EXHAUSTED as error:
        raise ImageError("too_large", f"{path}: decoding it takes too much memory ({error})") from None
    except _DECODE_ERRORS as error:
        reason, text = _explain(error)
        raise ImageError(reason, f"{path}: this {image_format} can't be decoded ({text})") from None


def _look_at(path: str | Path, max_pixels: int) -> tuple[str, int]:
    """(format, size in bytes) of a regular file that looks like an image we read; a pipe is never opened."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise ImageError("not_an_image", f"{path}: is a folder or a device, expected an image file")
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
    except FileNotFoundError:
        raise ImageError("missing", f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise ImageError("missing", f"{path}: can't be opened ({error})") from None
    image_format = sniff_format(head)
    if not head:
        raise ImageError("empty", f"{path}: the file has no bytes; copy it again")
    if image_format is None:
        raise ImageError("not_an_image", f"{path}: its content is no image; expected JPEG, PNG, BMP or TIFF")
    if image_format not in READ_FORMATS:
        raise ImageError("unsupported", f"{path}: {image_format} is not read here; save it as PNG or TIFF")
    # JPEG, PNG and BMP are held in memory whole; no pixel takes more than 8 bytes (RGBA of 16 bits).
    if image_format != "TIFF" and status.st_size > 8 * max_pixels + (1 << 26):
        raise ImageError("too_large", f"{path}: {status.st_size} bytes are more than {max_pixels} pixels can take")
    return image_format, status.st_size


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageError("damaged", f"its header says {width} x {height} pixels")
    if width * height > max_pixels:
        raise ImageError(
            "too_large",
            f"{width} x {height} = {width * height / 1e6:.0f} megapixels, the limit is {max_pixels / 1e6:.0f}; "
            "cut it into fields first",
        )


def _seek(image: ImageFile.ImageFile, page: int) -> None:
    n_pages = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
    if not 0 <= page < n_pages:
        raise ImageError("missing", f"has no page {page}: it has {n_pages}, counted from 0")
    image.seek(page)


def _to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB of any decoded picture; ImageError "unsupported" for sample types without a known range."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):
        return _high_byte(image)
    if image.mode in ("I", "F", "LAB"):
        raise ImageError("unsupported", f"its pixels are of type {image.mode!r}; save it as 8-bit or 16-bit RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        if alpha.getextrema()[0] < 255:
            on_white = Image.new("RGB", image.size, (255, 255, 255))
            on_white.paste(image, mask=alpha)
            return on_white
    return image.convert("RGB")


def _high_byte(image: Image.Image) -> Image.Image:
    """16-bit grey to RGB: Pillow's own conversion clips at 255 instead of scaling."""
    bits = getattr(image, "tag_v2", {}).get(258, (16,))  # TIFF BitsPerSample; Pillow calls 12-bit samples I;16 too
    values = np.asarray(image).astype(np.uint16)  # native byte order
    return Image.fromarray((values >> (4 if tuple(bits) == (12,) else 8)).astype(np.uint8)).convert("RGB")


def _to_array(image: Image.Image) -> np.ndarray:
    """(H, W, 3) uint8, writable."""
    width, height = image.size
    rows = max(1, _BAND_PIXELS // width)
    if rows >= height:
        return np.array(image)
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        pixels[top : top + rows] = np.asarray(image.crop((0, top, width, min(top + rows, height))))
    return pixels


def _explain(error: Exception) -> tuple[str, str]:
    """(reason, text) for an error of Pillow's, whose message is all it tells."""
    text = str(error) or type(error).__name__
    low = text.lower()
    if any(w in low for w in ("truncated", "not enough data", "out of range", "end of file", "end of data")):
        return "truncated", text
    if isinstance(error, NotImplementedError) or any(
        w in low for w in ("unsupported", "unknown pixel mode", "not available", "not implemented", "unknown data org")
    ):
        return "unsupported", text
    return "damaged", text


_quiet = threading.Lock()
_n_quiet = 0
_quiet_filters: warnings.catch_warnings | None = None


@contextmanager
def _without_pillow_warnings(image_format: str) -> Iterator[None]:
    """Pillow warns of odd TIFF tags on its way; what matters of them becomes an ImageError. The warning filters
    are one list for all threads: the first reader in changes it, the last one out restores it."""
    global _n_quiet, _quiet_filters
    if image_format != "TIFF":  # the other formats reach Pillow without the parts that it warns of
        yield
        return
    with _quiet:
        _n_quiet += 1
        if _n_quiet == 1:
            _quiet_filters = warnings.catch_warnings()
            _quiet_filters.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        yield
    finally:
        with _quiet:
            _n_quiet -= 1
            if _n_quiet == 0:
                _quiet_filters.__exit__(None, None, None)
