"""An image file's bytes, taken once: its digest, its format and its pixels then come from the same bytes.

A file that is replaced, or still being written, while it is read would else give the digest of one picture and the
cells of another. Nothing here waits: a pipe or a device is never read.
"""

import errno
import hashlib
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from leukoscope.errors import ImageError
from leukoscope.images.container import HEAD_BYTES, sniff_format
from leukoscope.images.slides.names import HOW, SLIDE_SUFFIXES
from leukoscope.stores import StoreError, is_address, read, size_of

_IN_MEMORY = 1 << 28  # bytes; a larger TIFF is decoded from its open file, and checked not to have changed
_MOST_IN_MEMORY = 1 << 31  # bytes; no photograph of another format is larger
_BLOCK = 1 << 20
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
_FORBIDDEN = (errno.EACCES, errno.EPERM)


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """A regular file as it was read.

    path          as given; for messages
    sha256        of all its bytes
    n_bytes       how many
    image_format  what its first bytes show (`sniff_format`), None: no image
    data          its bytes, to be read from the start; None for a file too large to be a photograph
    """

    path: str
    sha256: str
    n_bytes: int
    image_format: str | None
    data: BinaryIO | None = field(repr=False)


@contextmanager
def open_stored(path: str | Path) -> Iterator[Stored]:
    """Read a file once. ImageError: "missing", "no_permission", "read_error", or "not_an_image" for what is no file;
    at the end "changed" when a file too large for the memory was written to meanwhile."""
    if is_address(path):
        yield _of_store(str(path))
        return
    with _opened(path) as file:
        try:
            before = os.fstat(file.fileno())
            head = file.read(HEAD_BYTES)
            image_format = sniff_format(head)
            rest = (_IN_MEMORY if image_format == "TIFF" else _MOST_IN_MEMORY) - len(head)
            data = head + file.read(rest if image_format is not None else 0)
            digest, n_bytes = hashlib.sha256(data), len(data)
            while block := file.read(_BLOCK):
                digest.update(block)
                n_bytes += len(block)
        except OSError as error:
            raise why_unread(path, error) from None
        whole = io.BytesIO(data) if n_bytes == len(data) else None
        if whole is None and image_format == "TIFF":
            file.seek(0)
            yield Stored(str(path), digest.hexdigest(), n_bytes, image_format, file)
            after = os.fstat(file.fileno())
            if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                raise ImageError("changed", f"{path}: was changed while it was read; analyse it again")
        else:
            yield Stored(str(path), digest.hexdigest(), n_bytes, image_format, whole)


def _of_store(address: str) -> Stored:
    """An object of a store, read in one request and held whole. Errors as of `open_stored`, and "too_large"."""
    if Path(address).suffix.lower() in SLIDE_SUFFIXES:
        raise ImageError("slide", f"{address}: {HOW}")
    try:
        if size_of(address) > _MOST_IN_MEMORY:
            raise ImageError("too_large", f"{address}: is larger than 2 GiB; copy it to a drive")
        data = read(address)
    except StoreError as error:
        raise ImageError(error.reason, str(error)) from None
    image_format = sniff_format(data[:HEAD_BYTES])
    return Stored(address, hashlib.sha256(data).hexdigest(), len(data), image_format, io.BytesIO(data))


def file_sha256(path: str | Path) -> str | None:
    """The digest of a regular file's bytes, or an object's; None where it can't be read."""
    if is_address(path):
        with suppress(StoreError):
            return hashlib.sha256(read(str(path))).hexdigest()
        return None
    with suppress(ImageError, OSError), _opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
    return None


def read_head(path: str | Path, n_bytes: int = HEAD_BYTES) -> bytes:
    """The first bytes of a regular file; errors as `open_stored`."""
    with _opened(path) as file:
        try:
            return file.read(n_bytes)
        except OSError as error:
            raise why_unread(path, error) from None


def why_unread(path: str | Path, error: OSError | ValueError) -> ImageError:
    """The ImageError for an error of the system's."""
    number = getattr(error, "errno", None)
    if number in _GONE or isinstance(error, ValueError):  # ValueError: a null byte in the name
        return ImageError("missing", f"{path}: no such file")
    if number in _FORBIDDEN:
        return ImageError("no_permission", f"{path}: you may not read it; ask its owner for permission")
    words = getattr(error, "strerror", None) or error
    return ImageError("read_error", f"{path}: can't be read ({words}); is its drive or network still there?")


@contextmanager
def _opened(path: str | Path) -> Iterator[io.BufferedReader]:
    """A regular file, open. A named pipe would make an ordinary open wait for ever, and a device may act on being
    opened: what it is is asked before, and of the open file again."""
    try:
        is_file = stat.S_ISREG(os.stat(path).st_mode)
        file = open(path, "rb", opener=_at_once) if is_file else None
    except (OSError, ValueError) as error:
        raise why_unread(path, error) from None
    if file is None:
        raise _no_file(path)
    with file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise _no_file(path)
        yield file


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


def _no_file(path: str | Path) -> ImageError:
    try:
        if os.path.isdir(path):
            os.scandir(path).close()
    except OSError as error:
        return why_unread(path, error)
    return ImageError("not_an_image", f"{path}: is a folder or a device, expected an image file")
