"""Small pictures and their bytes, right and wrong, for the tests of reading images."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from leukoscope.errors import ImageError
from leukoscope.images import read_image

REASONS = (
    "missing",
    "no_permission",
    "read_error",
    "changed",
    "empty",
    "not_an_image",
    "slide",
    "truncated",
    "too_large",
    "unsupported",
    "damaged",
)
HEIGHT, WIDTH = 40, 60


def corner_colours() -> np.ndarray:
    """(40, 60, 3) smooth colours, another in each corner, so that every turn of the picture shows."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x * 4, y * 6, 255 - x * 2 - y], 2).astype(np.uint8)


def reason_of(path, **options) -> str:
    with pytest.raises(ImageError) as caught:
        read_image(path, **options)
    assert caught.value.reason in REASONS
    assert "\n" not in str(caught.value)
    return caught.value.reason


def encoded(pixels, image_format: str, **options) -> bytes:
    out = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(out, image_format, **options)
    return out.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, color: int = 2) -> bytes:
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + png_chunk(b"IEND", b"")
