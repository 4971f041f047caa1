"""Photographs with a name in every place that a file has beside its pixels, and a search that finds it again.

The names are META (in the files: tags, comments, profiles, thumbnails, further pages, what stands behind the picture)
and NAME (of files and folders). Nothing is of a real person.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import io
import json
import re
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image
from PIL.PngImagePlugin import PngInfo

META, NAME = "QzMetaAda", "QzNameGrace"
_XMP = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><dc:creator>{META} xmp</dc:creator></x:xmpmeta>'.encode()
_IPTC = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + struct.pack(">I", 40) + f"\x1c\x02\x50\0\x20{META} iptc by-line".encode()
_ZLIB = re.compile(rb"\x78[\x01\x5e\x9c\xda]")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{16,}={0,2}")
_STREAM = re.compile(rb"stream\r?\n(.*?)endstream", re.DOTALL)


def exif_bytes() -> bytes:
    """Every text tag of an EXIF block that people know, with a name; a GPS place; a maker's note."""
    exif = Image.Exif()
    for tag in (0x010D, 0x010E, 0x010F, 0x0110, 0x0131, 0x013B, 0x013C, 0x8298):
        exif[tag] = f"{META} tag {tag:04x}"
    for tag in (0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F):  # Windows' own, UTF-16
        exif[tag] = f"{META} windows {tag:04x}".encode("utf-16-le")
    inside = exif.get_ifd(0x8769)
    inside[0x9286], inside[0x927C] = f"ASCII\0\0\0{META} comment".encode(), f"{META} maker".encode()
    inside[0xA420], inside[0xA430], inside[0xA431] = (f"{META} {what}" for what in ("image id", "owner", "serial"))
    exif.get_ifd(0x8825)[0x001D] = f"{META} gps"
    return exif.tobytes()


def jpeg(pixels: np.ndarray, **how) -> bytes:
    """EXIF, XMP, IPTC, ICC, comments before and between the scans, a header thumbnail, a picture and text behind."""
    out = io.BytesIO()
    profile = f"{META} colour profile".encode().ljust(128, b"\0")
    Image.fromarray(pixels).save(
        out, "JPEG", quality=90, exif=exif_bytes(), comment=f"{META} comment", icc_profile=profile, **how
    )
    data = out.getvalue()
    segments = [(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + _XMP), (0xED, _IPTC), (0xE0, f"JFXX\0\x10{META}".encode()),
                (0xEF, f"{META} unknown".encode()), (0xFE, f"{META} second comment".encode())]  # fmt: skip
    added = b"".join(bytes((0xFF, kind)) + struct.pack(">H", len(body) + 2) + body for kind, body in segments)
    return data[:2] + added + data[2:] + f"{META} behind".encode() + data


def png(pixels: np.ndarray) -> bytes:
    """tEXt, zTXt, iTXt (packed), eXIf, iCCP, a private chunk, and text behind the end."""
    info = PngInfo()
    info.add_text("Author", f"{META} text")
    info.add_text("Comment", f"{META} packed text " * 9, zip=True)
    info.add_itxt("Title", f"{META} international " * 9, zip=True)
    info.add_itxt("XML:com.adobe.xmp", _XMP.decode())
    info.add(b"prVt", f"{META} private".encode(), after_idat=True)
    out = io.BytesIO()
    profile = f"{META} colour profile".encode().ljust(128, b"\0")
    Image.fromarray(pixels).save(out, "PNG", pnginfo=info, exif=exif_bytes(), icc_profile=profile)
    return out.getvalue() + f"{META} behind".encode()


def tiff(pixels: np.ndarray, path: Path) -> None:
    """Text tags, a private tag, XMP, IPTC, and as further pages a slide's label and macro picture made of the name."""
    more = [
        (33723, 7, len(_IPTC), _IPTC, True),
        (700, 1, len(_XMP), _XMP, True),
        (65000, 2, 0, f"{META} private", True),
    ]
    with tifffile.TiffWriter(path) as out:
        what = {"description": f"{META} description", "software": f"{META} software", "datetime": None}
        out.write(pixels, photometric="rgb", extratags=[(315, 2, 0, f"{META} artist", True), *more], **what)
        label = np.frombuffer((f"{META} label " * 99).encode()[:900], np.uint8).reshape(10, 30, 3)
        for name in ("label", "macro"):
            out.write(label, photometric="rgb", subfiletype=1, description=f"{META} {name}", metadata=None)


def webp(pixels: np.ndarray) -> bytes:
    """EXIF and XMP."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "WEBP", lossless=True, exif=exif_bytes(), xmp=_XMP)
    return out.getvalue()


def bmp(pixels: np.ndarray) -> bytes:
    """Text behind the picture, in the file's own length."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "BMP")
    return out.getvalue() + f"{META} behind".encode()


def write_planted(folder: Path, pictures: list[np.ndarray]) -> list[Path]:
    """Six photographs, one of each kind, in folders and under names that are a name too."""
    place = folder / f"{NAME} 1912-06-23" / f"ward of {NAME}"
    place.mkdir(parents=True)
    files = [
        place / f"{NAME}_{n}{suffix}" for n, suffix in enumerate((".jpg", ".jpg", ".png", ".tif", ".webp", ".bmp"))
    ]
    files[0].write_bytes(jpeg(pictures[0]))
    files[1].write_bytes(jpeg(pictures[1], progressive=True))
    files[2].write_bytes(png(pictures[2]))
    tiff(pictures[3], files[3])
    files[4].write_bytes(webp(pictures[4]))
    files[5].write_bytes(bmp(pictures[5]))
    return files


def found_in(data: bytes, token: str, depth: int = 0) -> bool:
    """Whether the token stands in the bytes: plain, in UTF-16, escaped, in base64, packed, in an archive, in a PDF."""
    needle = token.lower().encode()
    texts = (data, data.replace(b"\0", b""))
    if any(needle in text.lower() for text in texts):
        return True
    return depth < 4 and any(found_in(inner, token, depth + 1) for inner in _inside(data))


def _inside(data: bytes):
    """What is packed in the bytes."""
    if data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for entry in archive.infolist():
                yield entry.filename.encode() + entry.comment
                yield archive.read(entry)
        return
    if data[:2] == b"\x1f\x8b":
        yield gzip.decompress(data)
        return
    if b"\\u" in data[:1_000_000]:
        try:
            yield json.dumps(json.loads(data), ensure_ascii=False).encode("utf-8", "surrogatepass")
        except ValueError:
            pass
    for stream in _STREAM.findall(data):
        body = stream.strip()
        try:
            yield (
                base64.a85decode(body, adobe=False)
                if not body.endswith(b"~>")
                else base64.a85decode(b"<~" + body, adobe=True)
            )
        except ValueError:
            pass
    for at in _ZLIB.finditer(data):
        try:
            yield zlib.decompressobj().decompress(data[at.start() :], 1 << 24)
        except zlib.error:
            pass
    for text in _BASE64.findall(data):
        if len(text) > 24:
            for start in range(min(4, len(text) - 24)) if len(text) < 4000 else (0,):
                part = text[start:]
                try:
                    yield base64.b64decode(part[: len(part) // 4 * 4])
                except binascii.Error:
                    pass


def files_with(folder: Path, token: str) -> list[str]:
    """The files and folders below `folder` in whose bytes or name the token stands."""
    found = []
    for path in sorted(folder.rglob("*")):
        inside = path.is_file() and found_in(path.read_bytes(), token)
        if inside or token.lower() in str(path.relative_to(folder)).lower():
            found.append(str(path.relative_to(folder)))
    return found
