"""Open a slide with the library that reads it best; which files it consists of, and their digest."""

import hashlib
import os
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from leukoscope.errors import ImageError
from leukoscope.images.slides.names import HOW, TIFF_SUFFIXES, is_dicom
from leukoscope.images.slides.slide import Slide, reading
from leukoscope.images.stored import file_sha256, read_head, why_unread

_ALSO_OPENSLIDE = "OpenSlide knows no such slide; expected SVS, NDPI, MRXS, SCN, BIF, TIFF or DICOM"


def open_slide(path: str | Path) -> Slide:
    """The slide, open.

    DICOM goes to wsidicom, OME-TIFF and what OpenSlide does not know of TIFF to tifffile, the rest to OpenSlide.
    ImageError: "missing" and the like for files, "slide" where the extra is not installed, "unsupported" for what no
    library reads, "truncated", "damaged", "too_large" for what one of them stumbles over.
    """
    path = Path(path)
    head = read_head(path, 4096)
    if not head:
        raise ImageError("empty", f"{path}: the file has no bytes; copy it again")
    if is_dicom(path):
        _need(path, "wsidicom", "pydicom")
        from leukoscope.images.slides.dicom_reader import DicomReader, series_files

        return DicomReader(str(path), series_files(path))
    is_tiff = head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
    if is_tiff and _is_ome(path):
        return _open_tiff(path)
    _need(path, "openslide")
    from leukoscope.images.slides.openslide_reader import OpenSlideReader

    if not is_tiff or OpenSlideReader.detects(str(path)):
        if not is_tiff and not OpenSlideReader.detects(str(path)):
            what = "is a folder of tiles" if path.suffix.lower() == ".dzi" else "is not read"
            raise ImageError("unsupported", f"{path}: this {path.suffix or 'file'} {what}: {_ALSO_OPENSLIDE}")
        return OpenSlideReader(str(path))
    return _open_tiff(path)


def slide_files(path: str | Path) -> list[Path]:
    """Every file that a slide's pixels come from, itself among them, sorted: the series of a DICOM file, the folder
    beside a .mrxs, the pictures that a .vms names."""
    try:
        changed = os.stat(Path(path).parent).st_mtime_ns
    except OSError:
        changed = 0
    return list(_files_of(Path(path), changed))


@lru_cache(maxsize=64)
def _files_of(path: Path, changed: int) -> tuple[Path, ...]:
    """`slide_files`; looked for anew when the folder has changed, for every file of a series is opened for it."""
    return tuple(_look_for_files(path))


def _look_for_files(path: Path) -> list[Path]:
    if is_dicom(path) and find_spec("pydicom"):
        from leukoscope.images.slides.dicom_reader import series_files

        return series_files(path)
    beside = path.with_suffix("")
    if path.suffix.lower() == ".mrxs" and beside.is_dir():
        return sorted([path, *(f for f in beside.rglob("*") if f.is_file())])
    if path.suffix.lower() in (".vms", ".vmu"):
        from leukoscope.images.slides.grouping import named_files

        return sorted({path, *(f for f in named_files(path) if f.is_file())})
    return [path]


def slide_sha256(path: str | Path) -> str:
    """One digest of all files of a slide: of one file its SHA-256, of several the SHA-256 of their names and digests.

    ImageError where a file can't be read.
    """
    files = slide_files(path)
    digests = [_sha256(f) for f in files]
    if len(files) == 1:
        return digests[0]
    whole = hashlib.sha256()
    for file, digest in zip(files, digests, strict=True):
        whole.update(f"{os.path.relpath(file, Path(path).parent)}\0{digest}\n".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def slide_stamp(path: str | Path) -> tuple:
    """Sizes and times of a slide's files: what tells cheaply that one was changed."""
    try:
        return tuple((s.st_size, s.st_mtime_ns) for s in map(os.stat, slide_files(path)))
    except OSError as error:
        raise why_unread(path, error) from None


def _sha256(file: Path) -> str:
    digest = file_sha256(file)  # of regular files alone: a pipe would be waited for
    if digest is None:
        read_head(file, 1)  # which says why
        raise ImageError("read_error", f"{file}: can't be read; is its drive or network still there?")
    return digest


def _open_tiff(path: Path) -> Slide:
    _need(path, "tifffile", "imagecodecs")
    from leukoscope.images.slides.tiff_reader import TiffReader

    return TiffReader(str(path))


def _is_ome(path: Path) -> bool:
    if path.suffix.lower() not in TIFF_SUFFIXES:
        return False
    _need(path, "tifffile", "imagecodecs")
    import tifffile

    with reading(str(path), "can't be opened"), tifffile.TiffFile(path) as file:
        return bool(file.is_ome)


def _need(path: Path, *libraries: str) -> None:
    if any(find_spec(name) is None for name in libraries):
        raise ImageError("slide", f"{path}: {HOW}")
