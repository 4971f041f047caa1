"""One run at a time in a folder: a lock that says whose it is, and that a dead owner does not keep.

The operating system's own lock on the file decides between processes of one machine, and it ends with its process,
however that ends. Some network drives don't pass such locks on to other machines: there the owner's sign of life
counts, a file time renewed every few seconds.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

from leukoscope.errors import InputError

_BEAT_S = 10.0  # between two signs of life
STALE_S = 30.0  # without one, an owner on another machine is taken for dead
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


class RunInUse(InputError):
    """Another run is at this folder."""


class RunLock:
    """`with RunLock(folder):` holds `folder`/lock; InputError names the run that holds it already."""

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / "lock"
        self._handle = -1
        self._ended = threading.Event()
        self._beats = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> RunLock:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                self._refuse_if_held(_lock(self._handle))
                # Between opening and locking its last owner may have removed the file: then that lock is worth nothing.
                if os.path.exists(self.path) and os.path.samestat(os.fstat(self._handle), os.stat(self.path)):
                    break
            except BaseException:
                os.close(self._handle)
                raise
            os.close(self._handle)
        try:
            os.truncate(self._handle, 0)
            os.lseek(self._handle, 0, os.SEEK_SET)
            os.write(self._handle, json.dumps({"host": socket.gethostname(), "pid": os.getpid()}).encode("ascii"))
        except BaseException:
            self._remove()
            raise
        self._beats.start()
        return self

    def __exit__(self, *_error) -> None:
        self._ended.set()
        self._beats.join()
        self._remove()

    def _refuse_if_held(self, locked: bool | None) -> None:
        """`locked`: whether the system gave the lock; None where it knows none."""
        owner = self._owner()
        where = f"process {owner.get('pid', '(unknown)')} on {owner.get('host', 'an unknown computer')}"
        if locked is False:
            raise RunInUse(f"{self.path.parent.parent} is in use by another run ({where}): wait until it has ended")
        if not owner:
            return
        here = owner.get("host") == socket.gethostname()
        if here and (locked or not _is_alive(owner.get("pid"))):
            return
        if here or not self._is_silent():
            raise RunInUse(f"{self.path.parent.parent} is in use by another run ({where}): wait until it has ended")

    def _owner(self) -> dict:
        with suppress(OSError, ValueError):
            owner = json.loads(os.pread(self._handle, 1000, 0) if hasattr(os, "pread") else self.path.read_bytes())
            return owner if isinstance(owner, dict) else {}
        return {}

    def _is_silent(self) -> bool:
        """Whether the owner gives no sign of life for STALE_S. The file time is watched, not compared with a clock: one
        that jumped would let a live owner look dead, or a dead one alive for a year."""
        before, until = self.path.stat().st_mtime_ns, time.monotonic() + STALE_S
        while time.monotonic() < until:
            time.sleep(min(1.0, STALE_S / 4))
            if self.path.stat().st_mtime_ns != before:
                return False
        return True

    def _beat(self) -> None:
        while not self._ended.wait(_BEAT_S):
            with suppress(OSError):
                os.utime(self.path)

    def _remove(self) -> None:
        with suppress(OSError):
            self.path.unlink()
        os.close(self._handle)
        if os.name == "nt":  # where an open file can't be removed
            with suppress(OSError):
                self.path.unlink()


def _lock(handle: int) -> bool | None:
    """Take the system's lock on an open file: True, or False where another holds it; None: there are no locks here."""
    try:
        import fcntl
    except ImportError:
        import msvcrt

        os.lseek(handle, 1 << 20, os.SEEK_SET)  # beyond the text, which others must be able to read
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        if isinstance(error, BlockingIOError) or error.errno == errno.EACCES:
            return False
        raise
    return True


def _is_alive(pid: object) -> bool:
    if not isinstance(pid, int) or pid <= 0 or pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
