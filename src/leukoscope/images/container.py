"""What a file's bytes say before any pixel is decoded: its format, whether it is whole, and its orientation.

JPEG and PNG are rebuilt here from the parts that hold pixels, so that a decoder never parses their metadata:
neither a broken comment nor a name in it can come out at the other end.
"""

import re
import struct
from typing import NamedTuple

from leukoscope.errors import ImageError

# (offset, bytes there, format). What is not read is named so that a user learns why not.
_SIGNATURES = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"BM", "BMP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),  # BigTIFF
    (0, b"MM\0+", "big-endian BigTIFF"),  # Pillow takes it for a classic TIFF and finds nothing in it
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (8, b"WEBP", "WebP"),
    *((4, b"ftyp" + brand, "HEIF") for brand in b"heic heix heim heis hevc hevx hevm hevs mif1 msf1".split()),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypavis", "AVIF"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (128, b"DICM", "DICOM"),
    (0, b"8BPS", "Photoshop"),
    (0, b"\0\0\1\0", "icon"),
    (0, b"ZISRAWFILE", "Zeiss CZI"),
    (0, b"\xda\xce\xbe\x0a", "Nikon ND2"),
    (0, b"FUJIFILMCCD-RAW", "camera raw"),
    (0, b"IIRO", "camera raw"),
    (0, b"IIU\0", "camera raw"),
)
READ_FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WebP", "JPEG 2000", "AVIF", "GIF", "HEIF")
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)  # lengths of the headers that exist
HEAD_BYTES = 132  # as many as the signatures reach

# More pixels a byte than this and the header lies. Deflate packs at most 1032:1 (zlib's technical notes) and a PNG
# byte holds at most 8 pixels; a JPEG needs at least one bit for each 8 x 8 block (ITU T.81, F.1.2), doubled here.
_MOST_PIXELS_PER_BYTE = {"JPEG": 1024, "PNG": 8 * 1032}
_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")  # within a scan: neither a stuffed byte nor a restart
_MOST_JPEG_SCANS = 100  # progressive photographs have about ten; each scan is a pass over the whole picture

_JPEG_PROCESSES = {0xC3: "lossless JPEG", 0xC5: "hierarchical JPEG", 0xC6: "hierarchical JPEG", 0xF7: "JPEG-LS"}

_PNG_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_ORIENTATION_TAG = 0x0112


# Of a JPEG that is handed on as it is: size and process, quantisation, codes, restarts.
_SIZE_SEGMENTS, _TABLE_SEGMENTS = (0xC0, 0xC1, 0xC2), (0xC4, 0xDB, 0xDD)
_SHARED_IN_SCANS = {b"\xc4", b"\xda", b"\xdb", b"\xdd", b"\xd9"}


class Pixels(NamedTuple):
    """A picture's encoded pixels without its metadata; `orientation` is EXIF's, 1 to 8."""

    data: bytes
    orientation: int


class SharedJpeg(NamedTuple):
    """A whole JPEG file of pixels and nothing else, upright as it stands, and its size px."""

    data: bytes
    width: int
    height: int


def sniff_format(head: bytes) -> str | None:
    """The image format that the first bytes (HEAD_BYTES of them) show, or None."""
    for offset, signature, name in _SIGNATURES:
        if head[offset : offset + len(signature)] == signature:
            return name
    return None


def is_surely_image(head: bytes) -> bool:
    """Whether the first bytes alone, without a suffix, make a file a picture: two letters or a few zeros don't."""
    image_format = sniff_format(head)
    if image_format == "BMP":
        return len(head) > 18 and int.from_bytes(head[14:18], "little") in _BMP_HEADERS
    return image_format is not None and image_format != "icon" and head[:2] != b"\xff\x0a"


def check_tiff_directory(head: bytes, n_bytes: int) -> None:
    """ImageError "truncated" when a TIFF's first directory would lie past the file's end (often it is written last)."""
    order = "<" if head[:2] == b"II" else ">"
    is_big = head[2:4] == b"+\0"
    if len(head) < (16 if is_big else 8):
        raise ImageError("truncated", "the file ends inside the TIFF header")
    (offset,) = struct.unpack_from(order + ("Q" if is_big else "I"), head, 8 if is_big else 4)
    if offset + 2 > n_bytes:
        raise ImageError("truncated", f"its TIFF directory should be at byte {offset}, the file has {n_bytes}")


def strip_metadata(data: bytes, image_format: str) -> Pixels:
    """The pixel-bearing parts of a JPEG or PNG file; other formats come back whole.

    ImageError: "truncated" when the file ends too early, "damaged" when its structure is wrong.
    """
    if image_format == "PNG":
        return _strip_png(data)
    if image_format == "JPEG":
        return _strip_jpeg(data)
    return Pixels(data, 1)


def header_size(data: bytes, image_format: str) -> tuple[int, int] | None:
    """(width, height) that a JPEG's or PNG's header says, nothing else being looked at; None: it says none."""
    if image_format == "PNG":
        return struct.unpack_from(">II", data, 16) if data[12:16] == b"IHDR" and len(data) >= 24 else None
    offset = 2
    while image_format == "JPEG" and offset + 9 <= len(data) and data[offset] == 0xFF:
        if data[offset + 1] in _SIZE_SEGMENTS:
            height, width = struct.unpack_from(">HH", data, offset + 5)
            return width, height
        # A fill byte, else a segment that is passed over.
        offset += 1 if data[offset + 1] == 0xFF else 2 + int.from_bytes(data[offset + 2 : offset + 4], "big")
    return None


def shared_jpeg(data: bytes) -> SharedJpeg | None:
    """The JPEG `data` as it can be handed on without being encoded anew: every segment that is not needed to decode it
    is left out, thumbnails in headers and what follows the picture too. None where that can't be vouched for: EXIF
    turns it, it is neither grey nor of three colours, or its parts are not those of an ordinary photograph."""
    try:
        pixels, orientation = _strip_jpeg(data)
    except ImageError:
        return None
    if orientation != 1 or pixels[-2:] != b"\xff\xd9":
        return None
    kept, sizes, offset = [b"\xff\xd8"], [], 2
    while pixels[offset + 1] != 0xDA:
        marker, end = pixels[offset + 1], offset + 2 + int.from_bytes(pixels[offset + 2 : offset + 4], "big")
        header = _shared_segment(marker, pixels[offset:end])
        if header is None:
            return None
        if marker in _SIZE_SEGMENTS:
            sizes.append(struct.unpack_from(">HHB", header, 5))
        kept.append(header)
        offset = end
    between = {marker[-1:] for marker in _MARKER.findall(pixels, offset)}
    if len(sizes) != 1 or sizes[0][2] not in (1, 3) or not between <= _SHARED_IN_SCANS:
        return None
    height, width, _n_colors = sizes[0]
    return SharedJpeg(b"".join([*kept, pixels[offset:]]), width, height)


def _shared_segment(marker: int, segment: bytes) -> bytes | None:
    """A segment before the first scan as it is handed on, b"" where it is left out; None: the file is not ordinary."""
    if marker in _SIZE_SEGMENTS:
        return segment if len(segment) >= 10 else None
    if marker in _TABLE_SEGMENTS:
        return segment
    if marker == 0xE0 and segment[4:9] == b"JFIF\0" and len(segment) >= 16:
        return b"\xff\xe0\0\x10" + segment[4:16] + b"\0\0"  # the size of its thumbnail: none
    if marker == 0xEE and segment[4:9] == b"Adobe" and len(segment) >= 16:
        return b"\xff\xee\0\x0e" + segment[4:16]
    return b"" if marker == 0xE0 else None


def check_plausible_size(width: int, height: int, *, n_bytes: int, image_format: str) -> None:
    """ImageError "truncated" when no file of `n_bytes` can hold so many pixels: nothing is allocated for a lie."""
    most = _MOST_PIXELS_PER_BYTE.get(image_format)
    if most is not None and width * height > most * n_bytes:
        raise ImageError("truncated", f"its header says {width} x {height} pixels, which {n_bytes} bytes can't hold")


def _strip_png(data: bytes) -> Pixels:
    """Walk the chunks (PNG specification, 5.3): length, type, data, checksum, which Pillow verifies."""
    kept, orientation, offset = [data[:8]], 1, 8
    while True:
        if offset + 12 > len(data):
            raise ImageError("truncated", "the file ends before the PNG end mark")
        (length,) = struct.unpack_from(">I", data, offset)
        kind = data[offset + 4 : offset + 8]
        end = offset + 12 + length
        if not kind.isalpha() or length > 0x7FFFFFFF:
            raise ImageError("damaged", f"no PNG chunk where one should start (byte {offset})")
        if end > len(data):
            raise ImageError("truncated", f"the file ends inside a PNG chunk ({kind.decode('ascii')})")
        if kind in _PNG_PIXEL_CHUNKS:
            kept.append(data[offset:end])
        elif kind == b"eXIf":
            orientation = _tiff_orientation(data[offset + 8 : end - 4])
        elif kind[:1].isupper():
            raise ImageError("unsupported", f"PNG chunk {kind.decode('ascii')!r} is not in the standard")
        if kind == b"IEND":
            return Pixels(b"".join(kept), orientation)
        offset = end


def _strip_jpeg(data: bytes) -> Pixels:
    """Walk the marker segments up to the first scan (ITU T.81, B.1.1). APP0 (JFIF) and APP14 (Adobe) stay: they
    say how colours are coded. All other APPn and comments go: names, places, thumbnails."""
    kept, orientation, offset = [b"\xff\xd8"], 1, 2
    while True:
        offset = data.find(b"\xff", offset)  # bytes between segments are skipped, as every decoder does
        while 0 <= offset < len(data) and data[offset] == 0xFF:  # fill bytes
            offset += 1
        if not 0 <= offset < len(data) - 2:
            raise ImageError("truncated", "the file ends before the JPEG pixel data")
        marker = data[offset]
        if marker == 0xDA:  # start of scan
            break
        if marker == 0xD9:
            raise ImageError("truncated", "the JPEG ends before its pixel data")
        if marker == 0 or marker == 1 or 0xD0 <= marker <= 0xD8:  # stuffed byte, or a marker without a segment
            offset += 1
            continue
        (length,) = struct.unpack_from(">H", data, offset + 1)
        end = offset + 1 + length
        if length < 2:
            raise ImageError("damaged", f"a JPEG segment has the impossible length {length}")
        if end > len(data):
            raise ImageError("truncated", "the file ends inside a JPEG header segment")
        if marker in _JPEG_PROCESSES or marker in (0xC0, 0xC1, 0xC2):
            _check_jpeg_process(marker, data[offset + 3])
        if marker in (0xE0, 0xEE) or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            kept.append(b"\xff" + data[offset:end])
        elif marker == 0xE1 and data[offset + 3 : offset + 9] == b"Exif\0\0":
            orientation = _tiff_orientation(data[offset + 9 : end])
        offset = end
    kept.append(data[offset - 1 : _end_of_scans(data, offset)])
    return Pixels(b"".join(kept), orientation)


def _check_jpeg_process(marker: int, precision: int) -> None:
    """ImageError "unsupported" for a kind of JPEG that ordinary decoders don't know (ITU T.81, table B.1)."""
    kind = _JPEG_PROCESSES.get(marker) or (f"{precision}-bit JPEG" if precision == 12 else None)
    if kind is not None:
        raise ImageError("unsupported", f"{kind} is not read here; save it as an ordinary JPEG, PNG or TIFF")


def _end_of_scans(data: bytes, offset: int) -> int:
    """Where the picture ends, `at` being the marker byte of its first scan. Phones put a film behind it, and other
    cameras a second picture; where the end mark is missing or the structure is broken, all of it is kept."""
    n_scans = 0
    while n_scans <= _MOST_JPEG_SCANS:
        n_scans += data[offset] == 0xDA
        marker = _MARKER.search(data, offset + 1)
        if marker is None:
            break
        offset = marker.end() - 1
        if data[offset] == 0xD9:
            return offset + 1
        if (
            data[offset] in (0xC4, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE) or 0xE0 <= data[offset] <= 0xEF
        ):  # segments between scans
            (length,) = struct.unpack(">H", data[offset + 1 : offset + 3].rjust(2, b"\0"))
            if length < 2 or offset + 1 + length > len(data):
                n_scans += data.count(b"\xff\xda", offset)
                break
            offset += length if data[offset] != 0xDA else 0
    if n_scans > _MOST_JPEG_SCANS:
        raise ImageError("too_large", f"it has more than {_MOST_JPEG_SCANS} JPEG scans: decoding takes too long")
    return len(data)


def _tiff_orientation(exif: bytes) -> int:
    """Orientation 1 to 8 from the first directory of an EXIF block (TIFF 6.0, section 2); 1 when it can't be found."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None or len(exif) < 8:
        return 1
    (offset,) = struct.unpack_from(order + "I", exif, 4)
    if offset + 2 > len(exif):
        return 1
    (n_entries,) = struct.unpack_from(order + "H", exif, offset)
    for entry in range(offset + 2, min(offset + 2 + 12 * n_entries, len(exif) - 11), 12):
        tag, _type, _count, value = struct.unpack_from(order + "HHIH", exif, entry)
        if tag == _ORIENTATION_TAG:
            return value if 1 <= value <= 8 else 1
    return 1
