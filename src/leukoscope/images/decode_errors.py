"""What decoders raise on pictures that are broken, or too large for the memory."""

import struct
import zlib

from PIL import Image

# What Pillow raises on bytes that break a format's rules. It has no common root for these: each is a line of its
# decoders that trusted a number from the file.
DECODE_ERRORS = (
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
EXHAUSTED = (MemoryError, Image.DecompressionBombError)
