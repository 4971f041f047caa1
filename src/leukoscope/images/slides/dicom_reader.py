"""DICOM whole-slide images through wsidicom; which files of a folder belong to one slide."""

import threading
import warnings
from pathlib import Path

import numpy as np

from leukoscope.errors import ImageError
from leukoscope.images.slides.names import is_dicom, siblings
from leukoscope.images.slides.region import Box
from leukoscope.images.slides.slide import CACHE_BYTES, Level, SlideFacts, opening, reading
from leukoscope.stores import StoreError, is_address, opened

WSM = "1.2.840.10008.5.1.4.1.1.77.1.6"  # VL Whole Slide Microscopy Image Storage
_TAGS = ["SOPClassUID", "SeriesInstanceUID", "ImageType", "Modality"]
_BESIDE = {"LABEL", "OVERVIEW", "THUMBNAIL", "LOCALIZER"}  # ImageType, third value: never opened


class DicomReader:
    """A slide of one or several DICOM files, open in wsidicom."""

    def __init__(self, path: str, files: list[Path]) -> None:
        import wsidicom
        from wsidicom.config import Settings

        self.path = path
        self._lock = threading.Lock()
        settings = Settings(decoded_frame_cache_size=CACHE_BYTES // 2, encoded_frame_cache_size=CACHE_BYTES // 2)
        what = "can't be opened: is its series complete?"
        with reading(path, what), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._slide = wsidicom.WsiDicom.open([str(f) for f in files], settings=settings)
        with opening(self, what):
            self._pyramid = self._slide.pyramid
            self._levels = sorted(self._pyramid, key=lambda level: level.level)
            self._planes = sorted(self._levels[0].focal_planes)
            self.facts = self._read_facts()

    def read(self, box: Box, *, level: int = 0, plane: int = 0) -> np.ndarray:
        """As `Slide.read`."""
        self.facts.check_box(self.path, box, level)
        x0, y0, x1, y1 = box
        z = self._planes[plane] if len(self._planes) > 1 else None
        with reading(self.path), warnings.catch_warnings():
            number = self._levels[level].level
            with self._lock:  # its decoders share a file
                pixels = self._slide.read_region((x0, y0), number, (x1 - x0, y1 - y0), z=z, as_array=True)
        pixels = np.asarray(pixels)
        if pixels.dtype != np.uint8:
            raise ImageError("unsupported", f"{self.path}: {pixels.dtype} pixels are not read here; expected uint8")
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, 2)
        return np.ascontiguousarray(pixels[..., :3])

    def close(self) -> None:
        """Release the files."""
        self._slide.close()

    def _read_facts(self) -> SlideFacts:
        base = self._levels[0]
        if base.level != 0:
            raise ImageError("damaged", f"{self.path}: the series lacks its finest level; copy all of its files")
        width = base.size.width
        levels = tuple(Level(width / lv.size.width, lv.size.width, lv.size.height) for lv in self._levels)
        scale = (base.mpp.width + base.mpp.height) / 2
        return SlideFacts("wsidicom", "DICOM", scale, levels, max(len(self._planes), 1))


def series_files(path: str | Path) -> list:
    """The files of the slide that `path` is of: the series' pyramid in its folder, label and overview left out. Of an
    address the addresses.

    ImageError where it is no DICOM file, or of another kind than a slide.
    """
    head = read_head(path)
    if head.get("SOPClassUID") != WSM:
        kind = head.get("Modality") or "unknown kind"
        raise ImageError("unsupported", f"{path}: DICOM of modality {kind} is not read here; expected a whole slide")
    wanted = (is_beside(head), head["SeriesInstanceUID"])
    if wanted[0]:
        raise ImageError("unsupported", f"{path}: a slide's label or overview holds no cells and is not read")
    files = []
    for file in siblings(path):
        other = try_head(file)
        if other.get("SOPClassUID") == WSM and (is_beside(other), other["SeriesInstanceUID"]) == wanted:
            files.append(file)
    return files


def is_beside(head: dict) -> bool:
    """Whether a file holds the label, the overview or a thumbnail."""
    return bool(_BESIDE & set(head.get("ImageType") or ()))


def try_head(path: str | Path) -> dict:
    """`read_head`; {} for what is no DICOM file."""
    try:
        return read_head(path) if is_dicom(path) and (is_address(path) or Path(path).is_file()) else {}
    except ImageError:
        return {}


def read_head(path: str | Path) -> dict:
    """SOPClassUID, SeriesInstanceUID, ImageType and Modality of a DICOM file or object, those that it has."""
    import pydicom

    if not is_address(path) and not Path(path).is_file():
        raise ImageError("missing", f"{path}: no such file")
    with reading(str(path), "can't be opened"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with opened(str(path)) if is_address(path) else open(path, "rb") as file:
                dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_TAGS)
        except StoreError as error:
            raise ImageError(error.reason, str(error)) from None
        head = {tag: dataset.get(tag) for tag in _TAGS if dataset.get(tag) is not None}
    if head.get("SOPClassUID") == WSM and "SeriesInstanceUID" not in head:
        raise ImageError("damaged", f"{path}: it names no series; copy it again")
    return head
