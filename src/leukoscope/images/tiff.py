"""What Pillow gets wrong or leaves open in TIFF files: 16-bit planes, codecs it lacks, channels without a colour."""

import sys
from typing import Any, cast

from PIL import Image, ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from leukoscope.errors import ImageError
from leukoscope.images.slides.names import check_signed_by_scanner

_PHOTOMETRIC, _SAMPLES, _COMPRESSION, _DNG_VERSION = 262, 277, 259, 50706
# Codecs beyond TIFF 6.0 that a libtiff can be built without.
_OPTIONAL_CODECS = {
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy DNG JPEG",
    34925: "LZMA",
    34933: "PNG",
    34934: "JPEG XR",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
    22610: "JPEG XR",
}
_OTHER = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}


def tags_of(image: Image.Image) -> Any:
    """The tags of an opened TIFF file, which Pillow's type of an opened picture does not tell of."""
    return cast(TiffImageFile, image).tag_v2


def check_tiff_kind(image: ImageFile.ImageFile) -> None:
    """ImageError "slide" for a scanner's page, "unsupported" for several channels that no colour is stated of."""
    tags = tags_of(image)
    check_signed_by_scanner(tags)
    if _DNG_VERSION in tags:
        raise ImageError("unsupported", "camera raw is not read here; develop it to TIFF or PNG first")
    if tags.get(_PHOTOMETRIC) in (0, 1) and tags.get(_SAMPLES, 1) > 2:
        raise ImageError("unsupported", f"it has {tags[_SAMPLES]} channels and says the colour of none; save it as RGB")


def explain_tiff(image: ImageFile.ImageFile | None, reason: str, text: str) -> tuple[str, str]:
    """(reason, text) for a decoding error: a codec that is not there is no damage."""
    if text.startswith("string index"):  # Pillow names the planes of the colours that it knows, and has run out of them
        return "unsupported", "its planes are of no colours that are read here; save it as RGB"
    codec = _OPTIONAL_CODECS.get(tags_of(image).get(_COMPRESSION)) if image is not None else None
    if codec is not None and reason != "truncated":
        return "unsupported", f"{codec} inside TIFF is not read here; save it without compression, with LZW or as PNG"
    return reason, text


def repair_tiles(image: ImageFile.ImageFile, *, low_bytes: bool = False) -> bool:
    """Make an opened 16-bit colour picture decode right: whether it is one.

    Pillow keeps the high byte of each sample. In planes (TIFF PlanarConfiguration 2) it forgets the 16 bits and reads
    garbage; asked for the other byte order it gives the low bytes.
    """
    if image.mode not in ("RGB", "RGBA"):
        return False
    is_tiff = image.format == "TIFF"
    order = ";16L" if is_tiff and tags_of(image).prefix == b"II" else ";16B"
    has_16 = is_tiff and set(tags_of(image).get(258, (8,))) == {16}
    tiles = []
    for tile in image.tile:
        args = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        raw = args[0]
        if not isinstance(raw, str):
            return False
        if has_16 and raw in ("R", "G", "B", "A"):
            raw += order
        if ";16" not in raw:
            return False
        if low_bytes:
            raw = raw[:-1] + _OTHER[raw[-1]]
        tiles.append(tile._replace(args=(raw, *args[1:]) if isinstance(tile.args, tuple) else raw))
    image.tile = tiles
    return bool(tiles)
