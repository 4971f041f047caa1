"""Files of slide scanners and microscopes: known by their names and signatures, so that no thumbnail is counted."""

from collections.abc import Mapping
from pathlib import Path

from PIL import TiffImagePlugin

from leukoscope.errors import ImageError
from leukoscope.images.decode_errors import DECODE_ERRORS, EXHAUSTED
from leukoscope.stores import StoreError, below, is_address, opened, read_start

SLIDE_SUFFIXES = frozenset(".svs .svslide .ndpi .ndpis .scn .mrxs .bif .vms .vmu .vsi .qptiff .isyntax .dzi".split())
DICOM_SUFFIXES = frozenset((".dcm", ".dicom"))
TIFF_SUFFIXES = frozenset((".tif", ".tiff", ".btf"))
_MICROSCOPE_SUFFIXES = {
    ".czi": "Zeiss CZI",
    ".nd2": "Nikon ND2",
    ".lif": "Leica LIF",
    ".lsm": "Zeiss LSM",
    ".oib": "Olympus OIB",
    ".oif": "Olympus OIF",
    ".zvi": "Zeiss ZVI",
    ".dcm": "DICOM",
    ".dicom": "DICOM",
    ".jxl": "JPEG XL",
    ".psd": "Photoshop",
    ".ppm": "PPM",
    ".pgm": "PPM",
    ".pnm": "PPM",
    ".pcx": "PCX",
    ".tga": "TGA",
    ".ico": "icon",
    **dict.fromkeys(".dng .nef .nrw .cr2 .cr3 .arw .orf .rw2 .raf .pef .srw".split(), "camera raw"),
}
KNOWN_SUFFIXES = SLIDE_SUFFIXES | frozenset(_MICROSCOPE_SUFFIXES)
# How scanners sign the first page: Aperio, Leica, Ventana, Philips, Hamamatsu, 3DHISTECH.
_SIGNATURES = (
    "Aperio",
    "<scn",
    "<iScan",
    'xmlns="http://www.leica',
    "PHILIPS",
    "Hamamatsu",
    "3DHISTECH",
    "PerkinElmer-QPI",
)
_TEXT_TAGS = (270, 271, 272, 305)  # ImageDescription, Make, Model, Software
_HAMAMATSU = range(65420, 65450)


def check_is_no_slide(path: str) -> None:
    """ImageError "slide" by the file's suffix."""
    if Path(path).suffix.lower() in SLIDE_SUFFIXES:
        raise ImageError("slide", f"{path}: {HOW}")


def check_signed_by_scanner(tags: Mapping) -> None:
    """ImageError "slide" when a TIFF page's tags are a slide scanner's."""
    if is_signed_by_scanner(tags):
        raise ImageError("slide", HOW)


def is_signed_by_scanner(tags: Mapping) -> bool:
    """Whether a TIFF page's tags (number -> value) are a slide scanner's."""
    texts = [str(tags.get(tag, ""))[:4000] for tag in _TEXT_TAGS]
    return any(s in text for s in _SIGNATURES for text in texts) or any(tag in tags for tag in _HAMAMATSU)


def format_of_suffix(path: str) -> str | None:
    """The format that a suffix says, of those that are known and not read."""
    return _MICROSCOPE_SUFFIXES.get(Path(path).suffix.lower())


HOW = "a scanned slide is read by `leukoscope analyze` with an extra: pip install 'leukoscope[slides]'"
"""What to do with a slide where a photograph is expected, or where the extra is not installed."""


MOST_PHOTOGRAPH = 178_956_970  # px that the reader of photographs takes: where Pillow refuses, twice its own limit
_TILED_SLIDE = 50_000_000  # px from which on a TIFF in tiles is a slide: cameras write strips


def is_slide(path: str | Path) -> bool:
    """Whether a file, or an object at an address, goes the way of slides, region by region: by its suffix, its
    signature, or its sheer size.

    Of a TIFF the first header is read, of a file without a suffix its first bytes; of others nothing.
    """
    suffix = Path(path).suffix.lower()
    if suffix in SLIDE_SUFFIXES or suffix in DICOM_SUFFIXES:
        return True
    if suffix in TIFF_SUFFIXES:
        return _is_slide_tiff(path)
    return not suffix and is_dicom(path)


def is_dicom(path: str | Path) -> bool:
    """By suffix or first bytes."""
    if Path(path).suffix.lower() in DICOM_SUFFIXES:
        return True
    return _starts(path, 132)[128:] == b"DICM"


def siblings(path: str | Path) -> list:
    """The files in the folder of a file, sorted; of an address the addresses."""
    if not is_address(path):
        return sorted(Path(path).parent.iterdir())
    folder = str(path).rpartition("/")[0]
    return [a for a in below(folder) if a.rpartition("/")[0] == folder]


def _is_slide_tiff(path: str | Path) -> bool:
    if not is_address(path) and not Path(path).is_file():  # nor a pipe, which opening would wait for
        return False
    try:
        with opened(str(path)) if is_address(path) else open(path, "rb") as file:
            with TiffImagePlugin.TiffImageFile(file) as image:
                width, height = image.size
                signed, in_tiles = is_signed_by_scanner(image.tag_v2), 322 in image.tag_v2
    except (*DECODE_ERRORS, *EXHAUSTED, StoreError, Warning):  # the reader of photographs says why
        return False
    return signed or width * height > (_TILED_SLIDE if in_tiles else MOST_PHOTOGRAPH)


def _starts(path: str | Path, n_bytes: int) -> bytes:
    try:
        if is_address(path):
            return read_start(str(path), n_bytes)
        if Path(path).is_file():
            with open(path, "rb") as file:
                return file.read(n_bytes)
    except (OSError, StoreError):
        pass
    return b""
