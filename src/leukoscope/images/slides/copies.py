"""Slides in object stores: copied into a bounded folder here, for the libraries that read slides want files.

A copy has a folder of its own, called after its address; it appears whole. Who reads it holds the system's shared lock
on it, so that no process takes a copy away that another one reads. The least lately used ones go when the folder grows
beyond its bound, and those of a run at its end.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from leukoscope.errors import ImageError
from leukoscope.images.slides.grouping import named_files
from leukoscope.images.slides.names import is_dicom
from leukoscope.progress import Progress, no_progress
from leukoscope.stores import StoreError, below, blocks, cache_folder, is_address, version_of

MOST = "LEUKOSCOPE_CACHE_GB"  # environment variable: gigabytes of copies
MOST_GB = 50.0
_SPARE = 1 << 28  # bytes that a copy leaves free on its disk, for the run's outputs
_VERSION = "copy.json"


class Lease:
    """A slide's file here, for as long as it is not closed. Of a file of this machine it is the file itself."""

    def __init__(self, path: Path, lock: int | None = None) -> None:
        self.path, self._lock = path, lock

    def again(self) -> Lease:
        """Another one of the same copy."""
        return Lease(self.path, None if self._lock is None else os.dup(self._lock))

    def close(self) -> None:
        """The copy may be taken away."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def lease_of(path: str, progress: Progress = no_progress) -> Lease:
    """The slide's files here, copied first where `path` is an address and its copy is missing or of another version.

    ImageError: "missing", "no_permission" or "read_error" of the store, "too_large" where there is no room for it.
    """
    if not is_address(path):
        return Lease(Path(path))
    folder = _folder(path)
    handle = -1
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        _lock(handle, shared=True)
        files = _files_of(path)
        versions = {file: version_of(file) for file in files}
        if not _is_there(path, folder, versions):
            _lock(handle)  # one process copies, the others wait for it; it waits for readers of an older version
            if not _is_there(path, folder, versions):
                _bring(path, folder, versions, progress)
            _lock(handle, shared=True)
        os.utime(handle)
        return Lease(folder / _name(path), handle)
    except BaseException as error:
        if handle >= 0:
            os.close(handle)
        if isinstance(error, StoreError):
            raise ImageError(error.reason, str(error)) from None
        if isinstance(error, OSError):
            raise _no_room(path, error) from None
        raise


def remove_copies(addresses: Iterable[str]) -> None:
    """Take the copies of these slides away, those apart that another process reads."""
    for folder in map(_folder, addresses):
        if folder.is_dir():
            _remove(folder)


def _is_there(address: str, folder: Path, versions: dict[str, tuple[int, str]]) -> bool:
    """Whether the copy is whole, and of these versions."""
    with suppress(OSError, ValueError):
        return json.loads((folder / _VERSION).read_text("utf-8")) == _said(address, versions)
    return False


def _said(address: str, versions: dict[str, tuple[int, str]]) -> dict[str, str]:
    return {_name(file, beside=address): version for file, (_, version) in versions.items()}


def _bring(address: str, folder: Path, versions: dict[str, tuple[int, str]], progress: Progress) -> None:
    """Copy the slide's objects, of these bytes and versions, into `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    n_bytes = sum(n for n, _ in versions.values())
    _make_room(address, folder.parent, n_bytes)
    partial = folder.with_suffix(".part")
    shutil.rmtree(partial, ignore_errors=True)
    n_done = 0
    try:
        for file in versions:
            target = partial / _name(file, beside=address)
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(target, "wb") as out:
                for block in blocks(file):
                    out.write(block)
                    n_done += len(block)
                    progress(n_done // 1_000_000, max(n_bytes // 1_000_000, 1))
        if n_done != n_bytes or {f: version_of(f) for f in versions} != versions:
            raise ImageError("changed", f"{address}: was changed while it was copied; analyse it again")
        (partial / _VERSION).write_text(json.dumps(_said(address, versions)), "utf-8")
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _files_of(address: str) -> list[str]:
    """Every object that a slide's pixels come from (as `opening.slide_files`), itself among them."""
    if is_dicom(address) and find_spec("pydicom"):
        from leukoscope.images.slides.dicom_reader import series_files

        return series_files(address)
    if address.lower().endswith(".mrxs"):
        with suppress(StoreError):
            return [address, *below(address[: -len(".mrxs")] + "/")]
    if address.lower().endswith((".vms", ".vmu")):
        there = set(below(address.rpartition("/")[0]))
        return sorted({address, *(f for f in named_files(address) if f in there)})
    return [address]


def _make_room(address: str, folder: Path, n_bytes: int) -> None:
    """Take copies away, the least lately used first, until another of `n_bytes` fits; what others read stays."""
    most = _most_bytes(address)
    if n_bytes > most:
        raise ImageError(
            "too_large",
            f"{address}: its copy takes {n_bytes / 1e9:.1f} GB, and {most / 1e9:g} GB are set aside for copies: "
            f"set {MOST} higher, or copy the slide to a drive",
        )
    held = {copy: _n_bytes(copy) for copy in folder.iterdir() if copy.is_dir()}
    for copy in sorted(held, key=_last_used):
        free = shutil.disk_usage(folder).free
        if sum(held.values()) + n_bytes <= most and free >= n_bytes + _SPARE:
            break
        if _remove(copy):
            held[copy] = 0
    free = shutil.disk_usage(folder).free
    if free < n_bytes + _SPARE:
        raise ImageError(
            "too_large",
            f"{address}: its copy takes {n_bytes / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free in {folder}: make "
            "room, or let LEUKOSCOPE_CACHE name a folder on a larger drive",
        )


def _most_bytes(address: str) -> float:
    said = os.environ.get(MOST) or str(MOST_GB)
    try:
        most = float(said)
    except ValueError:
        most = -1.0
    if not 0 < most < float("inf"):
        raise ImageError("read_error", f"{address}: {MOST} must be a number of gigabytes, got {said!r}")
    return most * 1e9


def _remove(copy: Path) -> bool:
    """Whether nobody read the copy, so that it is gone now."""
    lock = copy.with_suffix(".lock")
    try:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        return False
    try:
        if not _lock(handle, wait=False):
            return False
        for rest in (copy, copy.with_suffix(".part")):
            shutil.rmtree(rest, ignore_errors=True)
        return True
    finally:
        os.close(handle)


def _lock(handle: int, *, shared: bool = False, wait: bool = True) -> bool:
    """The system's lock on an open file; False where another process has it. Where there are none (Windows) each
    process has copies of its own."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _folder(address: str) -> Path:
    mark = hashlib.sha256(address.encode()).hexdigest()[:16]
    return cache_folder() / "slides" / (mark if find_spec("fcntl") else f"{mark}-{os.getpid()}")


def _name(address: str, beside: str | None = None) -> str:
    """What follows the folder of an address, or that of the one `beside` it."""
    return address[len((beside or address).rpartition("/")[0]) + 1 :]


def _n_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.stat().st_size
    return total


def _last_used(copy: Path) -> float:
    with suppress(OSError):
        return copy.with_suffix(".lock").stat().st_mtime
    return 0.0


def _no_room(address: str, error: OSError) -> ImageError:
    where = cache_folder() / "slides"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ImageError(
            "too_large",
            f"{address}: the disk of {where} is full, where slides are copied to: make room, or let LEUKOSCOPE_CACHE "
            "name a folder on a larger drive",
        )
    why = error.strerror or error
    return ImageError("read_error", f"{address}: can't be copied to {where} ({why}): may you write there?")
