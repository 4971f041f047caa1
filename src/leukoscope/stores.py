"""Object stores (`s3://`, `gs://`, `file://` and all that fsspec knows): addresses, reading, listing, writing.

Each function says what went wrong in one line: a missing extra, no credentials, no such bucket, no network.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from leukoscope.errors import InputError

HOW = "pip install 'leukoscope[stores]'"
CACHE = "LEUKOSCOPE_CACHE"  # environment variable: where what is of stores is worked on here
_ADDRESS = re.compile(r"^([a-z][a-z0-9+.-]+)://(.*)$", re.IGNORECASE)
_BLOCK = 8 << 20  # bytes
_VERSION = ("ETag", "etag", "md5Hash", "generation", "VersionId", "LastModified", "mtime", "created", "size")
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile",
    "gs": "gcloud auth application-default login",
}


class StoreError(InputError):
    """A store can't be reached, or refuses. `reason`: "missing", "no_permission" or "read_error"."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def is_address(path: object) -> bool:
    """Whether a path is an address in a store: "s3://…", not a folder or a drive of Windows."""
    return bool(_ADDRESS.match(str(path)))


def local_path(path: str) -> str:
    """A `file://` address as the path it means; others as they are."""
    return path[len("file://") :] if path.lower().startswith("file://") else path


def cache_folder() -> Path:
    """The folder here for what lies in stores: runs that are worked on, copies of slides."""
    return Path(os.environ.get(CACHE) or Path.home() / ".cache" / "leukoscope")


def read(address: str) -> bytes:
    """All bytes of one object, in one request: what changes meanwhile is read as it was or as it is, never half."""
    with _said(address) as (store, path):
        return store.cat_file(path)


def read_start(address: str, n_bytes: int) -> bytes:
    """The first bytes of an object."""
    with _said(address) as (store, path):
        return store.cat_file(path, start=0, end=n_bytes)


@contextmanager
def opened(address: str) -> Iterator[BinaryIO]:
    """An object as a file to seek and read in, a block at a time; what the block raises for the store is explained."""
    with _said(address) as (store, path), store.open(path, "rb") as file:
        yield file


def blocks(address: str) -> Iterator[bytes]:
    """All bytes of an object, a block at a time."""
    with _said(address) as (store, path), store.open(path, "rb", block_size=_BLOCK) as file:
        while block := file.read(_BLOCK):
            yield block


def version_of(address: str) -> tuple[int, str]:
    """Bytes of an object, and what its store tells two versions of it apart by: digest, number or time."""
    with _said(address) as (store, path):
        store.invalidate_cache()
        said = store.info(path)
        return int(said.get("size") or 0), " ".join(f"{key}={said[key]}" for key in _VERSION if key in said)


def size_of(address: str) -> int:
    """Bytes of an object."""
    with _said(address) as (store, path):
        return int(store.size(path) or 0)


def exists(address: str) -> bool:
    """Whether there is such an object, or something below it."""
    with _said(address) as (store, path):
        return bool(store.exists(path))


def below(address: str) -> list[str]:
    """The addresses of all objects under one, sorted; the object itself where it is one. StoreError where there is
    nothing. Names that begin with a dot, and what lies under them, are left out."""
    with _said(address) as (store, path):
        store.invalidate_cache()
        entries = store.find(path)
        if not entries:
            raise FileNotFoundError(path)
        bare = path.rstrip("/")
        shown = [f for f in entries if not any(p.startswith(".") for p in PurePosixPath(f[len(bare) :]).parts)]
        return _addresses(address, shown)


def below_all(address: str) -> list[str]:
    """As `below`, hidden names too; [] where there is nothing."""
    with _said(address) as (store, path):
        store.invalidate_cache()
        return _addresses(address, store.find(path))


def write(address: str, data: bytes) -> None:
    """An object of these bytes; a store puts it in its place whole or not at all."""
    with _said(address, "write") as (store, path):
        if store.protocol in ("file", ("file", "local"), "memory"):
            store.makedirs(path.rpartition("/")[0], exist_ok=True)
        store.pipe_file(path, data)


def upload(source: Path, address: str) -> None:
    """A file as an object."""
    with _said(address, "write") as (store, path):
        store.put_file(str(source), path)


def remove(address: str) -> None:
    """Take an object away; nothing where there is none."""
    with _said(address, "write") as (store, path):
        if store.exists(path):
            store.rm_file(path)


def _addresses(like: str, paths: list[str]) -> list[str]:
    scheme = like.partition("://")[0]
    return sorted(f"{scheme}://{p.lstrip('/')}" for p in paths)


@contextmanager
def _said(address: str, doing: str = "read") -> Iterator[tuple]:
    """(file system, path in it); what it raises becomes a StoreError of one line."""
    match = _ADDRESS.match(address)
    assert match is not None, address
    scheme = match.group(1).lower()
    try:
        import fsspec
    except ImportError:
        raise InputError(f"{address} is in an object store: fsspec is needed and not installed: {HOW}") from None
    try:
        store, path = fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise InputError(f"{address}: its store needs a package that is not installed ({error}): {HOW}") from None
    except ValueError as error:
        raise InputError(f"{address}: fsspec knows no such store ({error}); expected s3://, gs:// or file://") from None
    try:
        yield store, path
    except Exception as error:
        raise _explained(error, address, scheme, doing) from None


def _explained(error: Exception, address: str, scheme: str, doing: str) -> Exception:
    """What a store's own error means; an error of something else stays what it is."""
    if isinstance(error, StoreError):
        return error
    name, words = type(error).__name__, " ".join(str(error).split())[:160]
    bucket = f"{scheme}://{address.partition('://')[2].partition('/')[0]}"
    if "NoCredentials" in name or "credentials" in words.lower() or "DefaultCredentialsError" in name:
        how = _CREDENTIALS.get(scheme, "see the store's own documentation")
        return StoreError("no_permission", f"no credentials for {bucket}: set them as its own tools want them ({how})")
    if "NoSuchBucket" in words or "bucket does not exist" in words.lower():
        return StoreError("missing", f"{bucket} does not exist: is the bucket's name right?")
    if isinstance(error, PermissionError):
        return StoreError("no_permission", f"{address}: you may not {doing} it ({words}); ask the bucket's owner")
    if isinstance(error, FileNotFoundError):
        return StoreError("missing", f"{address}: nothing there; is the name right?")
    if isinstance(error, (OSError, TimeoutError)) or "Connect" in name or "Endpoint" in name or "Client" in name:
        return StoreError("read_error", f"{address}: can't {doing} it ({name}: {words}); is the network there?")
    return error
