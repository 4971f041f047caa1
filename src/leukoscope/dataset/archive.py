"""A zip file as an annotation tool exports it: unpacked beside the manifest, nothing outside that folder."""

import errno
import lzma
import shutil
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from leukoscope.dataset.picture_index import IMAGE_SUFFIXES
from leukoscope.errors import UNREADABLE, DataError, InputError, in_short

UNPACKED = "unpacked"
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)  # not of the archive
_MOST_FILES, _MOST_TIMES = 2_000_000, 500  # a file of more, or that grows by more, is a bomb, not an export


def unpack(src: Path, out: Path) -> Path:
    """Unpack zip file `src` into the folder `out/unpacked` and return that; what stood there is replaced.

    InputError for a file that is no zip, DataError for one that is damaged, encrypted, or leaves its folder.
    """
    if not zipfile.is_zipfile(src):
        raise InputError(f"{src} is a file: expected the data set's folder, or a .zip of it; name that")
    place = out / UNPACKED
    shutil.rmtree(place, ignore_errors=True)
    try:
        with zipfile.ZipFile(src) as archive:
            entries = [e for e in archive.infolist() if not e.is_dir()]
            _refuse_odd(entries, src)
            if not any(e.filename.lower().endswith(IMAGE_SUFFIXES) for e in entries):
                raise InputError(
                    f"{src} holds no pictures: export it with its images, or unpack it into the folder of the pictures "
                    f"and name that folder"
                )
            place.mkdir(parents=True)
            for entry in entries:
                target = place.joinpath(*PurePosixPath(entry.filename.replace("\\", "/")).parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as packed, open(target, "wb") as file:
                    shutil.copyfileobj(packed, file)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, *UNREADABLE) as error:
        shutil.rmtree(place, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
            raise
        raise DataError(
            f"{src} can't be unpacked ({in_short(error, 80)}): export it again, or unpack it yourself"
        ) from None
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return place


def _refuse_odd(entries: list[zipfile.ZipInfo], src: Path) -> None:
    for entry in entries:
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
            raise DataError(f"{src} holds {entry.filename[:80]!r}, which leaves its folder: unpack it yourself")
        if entry.flag_bits & 1:
            raise DataError(f"{src} is encrypted: unpack it with its password, then name the folder")
    packed = sum(e.compress_size for e in entries)
    if len(entries) > _MOST_FILES or sum(e.file_size for e in entries) > max(1_000_000_000, _MOST_TIMES * packed):
        raise DataError(f"{src} holds more than an export does ({len(entries)} files): unpack it yourself")
