"""A photograph's file without anything but its pixels: for whatever is handed on."""

import io
from pathlib import Path

from PIL import Image

from leukoscope.images.container import shared_jpeg, strip_metadata
from leukoscope.images.read import decode
from leukoscope.images.stored import open_stored


def clean_picture(path: str | Path) -> tuple[bytes, str]:
    """(bytes, suffix) of a file with the pixels of a photograph, upright, and no EXIF, XMP, IPTC, comment, colour
    profile, text, thumbnail or further page, nor anything behind the picture.

    A plain JPEG or PNG keeps its encoded pixels; any other, and one that EXIF turns or whose parts are not those of an
    ordinary file, becomes a PNG of the pixels as they are read. ImageError where it can't be read.
    """
    with open_stored(path) as file:
        pixels = decode(file).pixels  # also says whether it can be read at all
        data = file.data.getvalue() if isinstance(file.data, io.BytesIO) else b""
        if file.image_format == "JPEG" and (shared := shared_jpeg(data)) is not None:
            return shared.data, ".jpg"
        if file.image_format == "PNG":
            kept = strip_metadata(data, "PNG")
            if kept.orientation == 1:
                return kept.data, ".png"
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=6)
    return out.getvalue(), ".png"
