"""Files of slide scanners and microscopes: known by their names, so that a thumbnail in one is never counted."""

from __future__ import annotations

from pathlib import Path

from leukoscope.errors import ImageError

SLIDE_SUFFIXES = frozenset(".svs .svslide .ndpi .ndpis .scn .mrxs .bif .vms .vmu .vsi .qptiff .isyntax .dzi".split())
_MICROSCOPE_SUFFIXES = {
    ".czi": "Zeiss CZI",
    ".nd2": "Nikon ND2",
    ".lif": "Leica LIF",
    ".lsm": "Zeiss LSM",
    ".oib": "Olympus OIB",
    ".oif": "Olympus OIF",
    ".zvi": "Zeiss ZVI",
    ".dcm": "DICOM",
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


def check_signed_by_scanner(tags: dict) -> None:
    """ImageError "slide" when a TIFF page's tags are a slide scanner's."""
    texts = [str(tags.get(tag, ""))[:4000] for tag in _TEXT_TAGS]
    if any(s in text for s in _SIGNATURES for text in texts) or any(tag in tags for tag in _HAMAMATSU):
        raise ImageError("slide", HOW)


def format_of_suffix(path: str) -> str | None:
    """The format that a suffix says, of those that are known and not read."""
    return _MICROSCOPE_SUFFIXES.get(Path(path).suffix.lower())


HOW = "a scanned slide is not read here; export fields of it at full resolution as PNG or TIFF"
