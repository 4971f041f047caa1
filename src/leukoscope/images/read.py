"""Read photographs from files that nobody has vouched for: pixels come out, or an ImageError with its reason.

Reasons (short and stable, they go into tables):
    missing        no such file
    no_permission  it may not be read
    read_error     the drive or the network failed
    changed        it was written to while it was read
    empty          no bytes
    not_an_image   a folder, a device, or bytes of no image format
    unsupported    an image, but of a format, a codec or a kind of pixels that is not read here
    slide          a whole slide or a part of one, not a photograph
    truncated      the file ends too early
    damaged        the bytes contradict the format
    too_large      more pixels than the limit, or than the memory

A flipped bit in a JPEG's pixel data often decodes to a changed picture without any error: JPEG has no checksum.
Of a damaged TIFF the C library inside Pillow writes a line to standard error; it can't be told not to from here.
"""

import io
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
    features,
)

from leukoscope.errors import ImageError
from leukoscope.images.container import (
    HEAD_BYTES,
    READ_FORMATS,
    check_plausible_size,
    check_tiff_directory,
    sniff_format,
    strip_metadata,
)
from leukoscope.images.decode_errors import DECODE_ERRORS, EXHAUSTED
from leukoscope.images.samples import to_rgb
from leukoscope.images.slides.names import MOST_PHOTOGRAPH, check_is_no_slide, format_of_suffix
from leukoscope.images.stored import Stored, open_stored, read_head
from leukoscope.images.tiff import check_tiff_kind, explain_tiff, repair_tiles
from leukoscope.raster import Raster
from leukoscope.types import Field, FieldKey

MAX_PIXELS = MOST_PHOTOGRAPH

# The classes themselves, not Image.open: no other decoder is ever tried, and no global limit is consulted.
_OPENERS = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "JPEG 2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
    "GIF": GifImagePlugin.GifImageFile,
}
_OF_PILLOW = {"WebP": "webp", "JPEG 2000": "jpg_2000", "AVIF": "avif"}  # parts that a build of Pillow can lack
_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "WebP": (".webp",),
    "JPEG 2000": (".jp2", ".j2k", ".jpx", ".jpf", ".j2c", ".jpc"),
    "AVIF": (".avif",),
    "GIF": (".gif",),
    "HEIF": (".heic", ".heif", ".hif"),
}
_ADVICE = {  # what to do with a format that is known and not read
    "DICOM": "export its pictures as PNG or TIFF",
    "camera raw": "develop it to TIFF or PNG first",
    "Zeiss CZI": "export its pictures as TIFF",
    "Nikon ND2": "export its pictures as TIFF",
}

_TURN = {  # EXIF orientation -> what makes the picture upright (EXIF 2.32, table 6)
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_READ = "JPEG, PNG, TIFF, BMP, WebP, JPEG 2000, AVIF, GIF or HEIC"


class Decoded(NamedTuple):
    """Pixels (H, W, 3) uint8 RGB, upright, and what else to know of them, in words."""

    raster: Raster
    notes: tuple[str, ...]

    @property
    def pixels(self) -> np.ndarray:
        """An array of them, writable."""
        return np.asarray(self.raster)


def read_image(path: str | Path, *, page: int | Sequence[int] = 0, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """(H, W, 3) uint8 RGB pixels of one photograph, upright, without any metadata.

    Grey, 1-bit, palette and CMYK become RGB; transparency is laid on white, unless all is transparent. Of 16-bit
    samples the high eight bits that are in use are kept. The content decides the format, not the suffix
    (`mislabelled` tells). `page` counts from 0 and matters for TIFF only; three grey pages are red, green and blue.
    `max_pixels` is compared with the header before anything is decoded.
    Raises ImageError with one of the reasons above, and nothing else, whatever the file holds.
    """
    with open_stored(path) as file:
        return decode(file, [page] if isinstance(page, int) else page, max_pixels=max_pixels).pixels


def decode(file: Stored, pages: Sequence[int] = (0,), *, max_pixels: int = MAX_PIXELS) -> Decoded:
    """The pixels of a page, or of three grey pages that are red, green and blue; errors as `read_image`."""
    if len(pages) == 1:
        return _decode_page(file, pages[0], max_pixels)
    planes = [np.asarray(_decode_page(file, page, max_pixels).raster.green()) for page in pages]
    if len({plane.shape for plane in planes}) != 1 or len(planes) != 3:
        raise ImageError("unsupported", f"{file.path}: {len(planes)} pages of one size can't be red, green and blue")
    return Decoded(Raster.of(np.stack(planes, axis=2)), ())


def read_field(path: str | Path, key: FieldKey, *, um_per_px: float | None = None) -> Field:
    """One photograph as a Field; errors as `read_image`. The scale is the caller's: headers are not trusted with it."""
    return Field(key, read_image(path), um_per_px)


def pages(path: str | Path) -> int:
    """How many pictures the file holds: 1, or more for a multi-page TIFF. Errors as `read_image`."""
    with open_stored(path) as file, opened_image(file) as (image, _orientation):
        return getattr(image, "n_frames", 1) if image.format == "TIFF" else 1


def mislabelled(path: str | Path, image_format: str | None = None) -> str | None:
    """A note when a readable image has another format's suffix ("a .png file that holds JPEG"), else None.

    image_format  where it is known already; the file is not opened then
    """
    if image_format is None:
        image_format = sniff_format(read_head(path, HEAD_BYTES))
    suffix = Path(path).suffix.lower()
    if image_format not in READ_FORMATS or suffix in _SUFFIXES[image_format]:
        return None
    return f"a {suffix or 'suffixless'} file that holds {image_format}"


def _decode_page(file: Stored, page: int, max_pixels: int) -> Decoded:
    """One page. Where the high bytes of 16-bit colour are nearly empty, the low ones are decoded too: cameras of 10, 12
    and 14 bits leave their samples so, and the picture would be black."""
    with opened_image(file, page, max_pixels) as (image, orientation):
        low = None
        if repair_tiles(image):
            image.load()
            if max(high for _low, high in _extrema(image)) < 64:
                with opened_image(file, page, max_pixels) as (again, _orientation):
                    repair_tiles(again, low_bytes=True)
                    again.load()
                    low = np.asarray(again)
        image.load()
        rgb, notes = to_rgb(image, low)
        if orientation in _TURN:
            rgb = rgb.transpose(_TURN[orientation])
        return Decoded(Raster(rgb), notes)


def _extrema(image: Image.Image) -> Sequence[tuple[int, int]]:
    extrema: Any = image.getextrema()  # of one band a pair, of several a pair each
    return extrema if isinstance(extrema[0], tuple) else (extrema,)


@contextmanager
def opened_image(
    file: Stored, page: int = 0, max_pixels: int = MAX_PIXELS
) -> Iterator[tuple[ImageFile.ImageFile, int]]:
    """The image, its header read and its size checked, and its orientation; every decoding error inside the block
    becomes an ImageError that names the file."""
    image_format, image = _check_is_image(file), None
    try:
        with _without_pillow_warnings(image_format):
            stored = cast(BinaryIO, file.data)  # which an opened file has
            stored.seek(0)
            orientation = 1
            if image_format == "TIFF":  # may be larger than the memory: Pillow seeks in it
                check_tiff_directory(stored.read(HEAD_BYTES), file.n_bytes)
                stored.seek(0)
                source = stored
            else:
                data, orientation = strip_metadata(stored.read(), image_format)
                source = io.BytesIO(data)
            image = _opener(image_format)(source)
            if page:
                _seek(image, page)
            check_size(image.size, max_pixels)
            check_plausible_size(*image.size, n_bytes=file.n_bytes, image_format=image_format)
            if image_format == "TIFF":
                check_tiff_kind(image)
            elif image_format not in ("JPEG", "PNG"):
                orientation = _orientation(image)
            yield image, orientation
    except ImageError as error:
        text = str(error)
        text = text if text.startswith(file.path) else f"{file.path}: {text}"
        raise ImageError(error.reason, text, by_decoder=error.by_decoder) from None
    except EXHAUSTED:
        raise ImageError("too_large", f"{file.path}: decoding it takes too much memory") from None
    except DECODE_ERRORS as error:
        reason, text = _explain(error)
        if image_format == "TIFF":
            reason, text = explain_tiff(image, reason, text)
        message = f"{file.path}: this {image_format} can't be decoded ({text})"
        raise ImageError(reason, message, by_decoder=reason != "unsupported" or image_format != "TIFF") from None


def _check_is_image(file: Stored) -> str:
    """The format of a file that can be an image we read."""
    if not file.n_bytes:
        raise ImageError("empty", f"{file.path}: the file has no bytes; copy it again")
    check_is_no_slide(file.path)
    of_suffix = format_of_suffix(file.path)
    # Cameras' and microscopes' own formats are often TIFF outside: what reads as an image there is a thumbnail.
    image_format = of_suffix if of_suffix and file.image_format in (None, "TIFF") else file.image_format
    if image_format is None:
        raise ImageError("not_an_image", f"{file.path}: its content is no image; expected {_READ}")
    if image_format not in READ_FORMATS:
        advice = _ADVICE.get(image_format, "save it as PNG or TIFF")
        raise ImageError("unsupported", f"{file.path}: {image_format} is not read here; {advice}")
    # Held in memory whole; no pixel takes more than 8 bytes (RGBA of 16 bits).
    if file.data is None or (file.image_format != "TIFF" and file.n_bytes > 8 * MAX_PIXELS + (1 << 26)):
        raise ImageError("too_large", f"{file.path}: {file.n_bytes} bytes are more than a photograph can take")
    return image_format


def _opener(image_format: str):
    """Pillow's class for a format; HEIF's comes with an extra."""
    if image_format == "HEIF":
        try:
            from pi_heif.as_plugin import HeifImageFile
        except ImportError:
            raise ImageError(
                "unsupported", "HEIC is read with an extra (pip install 'leukoscope[heif]'), or save it as PNG or TIFF"
            ) from None
        return HeifImageFile
    if image_format in _OF_PILLOW and not features.check(_OF_PILLOW[image_format]):
        raise ImageError("unsupported", f"this Pillow reads no {image_format}; save it as PNG or TIFF")
    if image_format == "AVIF":
        from PIL import AvifImagePlugin  # since Pillow 11.3

        return AvifImagePlugin.AvifImageFile
    return _OPENERS[image_format]


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation of a format whose metadata Pillow keeps; 1 where it can't be read."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except DECODE_ERRORS:
        return 1


def check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageError("damaged", f"its header says {width} x {height} pixels")
    if width * height > max_pixels:
        raise ImageError(
            "too_large",
            f"{width} x {height} = {width * height / 1e6:.0f} megapixels, the limit is {max_pixels / 1e6:.0f}; "
            "save it as a TIFF in tiles, which is read part by part (docs/slides.md)",
        )


def _seek(image: ImageFile.ImageFile, page: int) -> None:
    try:
        if page < 0 or image.format != "TIFF":
            raise EOFError
        image.seek(page)
    except EOFError:
        raise ImageError("missing", f"has no page {page}, counted from 0") from None


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
    """Pillow warns of odd tags on its way; what matters of them becomes an ImageError. The warning filters
    are one list for all threads: the first reader in changes it, the last one out restores it."""
    global _n_quiet, _quiet_filters
    if image_format in ("JPEG", "PNG", "BMP"):  # these reach Pillow without the parts that it warns of
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
            if _n_quiet == 0 and _quiet_filters is not None:
                _quiet_filters.__exit__(None, None, None)
