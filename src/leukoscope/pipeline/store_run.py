"""A run whose `--out` is an address in an object store: worked on in a folder here, kept and published there.

A store has no files that grow. The run's journal goes there in segments, one a patient (of at most MOST photographs):
`.work/segments/START`, a line that says how long its two parts are, then the bytes that the journal and the file of
thumbnails grew by. A run that goes on, on this machine or another, takes its state from there. record.json is put last.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

from leukoscope.errors import InputError
from leukoscope.files import write_bytes
from leukoscope.pipeline.journal import Journal
from leukoscope.pipeline.lock import RunInUse
from leukoscope.pipeline.parts import MOST
from leukoscope.stores import StoreError, below_all, cache_folder, exists, read, remove, upload, write

SILENT_S = 25.0  # a lock whose number stands still for so long has no owner any more
_BEAT_S = 5.0
_BESIDE = ("sources.jsonl", "slides.jsonl")


class StoreRun:
    """`with StoreRun(address, work_name, resume=...) as run:` `run.folder` is where the run is worked on.

    InputError where the address holds a run that is not to be resumed, or another process is at it.
    """

    def __init__(self, address: str, work_name: str, *, resume: bool) -> None:
        self.address, self._work, self._resume = address.rstrip("/"), work_name, resume
        self.folder = cache_folder() / "runs" / hashlib.sha256(self.address.encode()).hexdigest()[:16]
        self._sizes = (0, 0)  # of the journal and the thumbnails in the store
        self._n_since = 0
        self._patient: str | None = None
        self._lock = _Lock(f"{self.address}/{work_name}/lock.json")

    def __enter__(self) -> StoreRun:
        self._lock.take()
        try:
            begun = exists(f"{self.address}/record.json") or bool(self._segments())
            if begun and not self._resume:
                raise InputError(
                    f"{self.address} holds a run already: give another address, or --resume to go on with that run"
                )
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            if begun:
                self._fetch()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self._lock.release()

    def begun(self, journal: Journal) -> None:
        """The run's journal is open: what the store holds beyond it goes, the list of photographs is put there."""
        if self._sizes != self._now(journal):
            for address in self._segments():
                remove(address)
            self._sizes = (0, 0)
        for name in _BESIDE:
            if (path := journal.path.with_name(name)).is_file():
                upload(path, f"{self.address}/{self._work}/{name}")
        self.keep(journal)

    def note(self, journal: Journal, patient_id: str) -> None:
        """A photograph of this patient was written: keep the last patient's segment where another one begins."""
        if self._n_since and (patient_id != self._patient or self._n_since >= MOST):
            self.keep(journal)
        self._patient, self._n_since = patient_id, self._n_since + 1

    def keep(self, journal: Journal) -> None:
        """Put what the journal grew by into the store."""
        now = self._now(journal)
        if now == self._sizes:
            return
        grown = [_bytes(p, *span) for p, *span in zip(_files(journal), self._sizes, now, strict=True)]
        head = json.dumps({"journal": len(grown[0]), "thumbs": len(grown[1])}).encode() + b"\n"
        write(f"{self.address}/{self._work}/segments/{self._sizes[0]:015d}", head + b"".join(grown))
        self._sizes, self._n_since = now, 0

    def publish(self) -> None:
        """Put all outputs into the store, record.json last: where it is, the rest is."""
        outputs = [p for p in sorted(self.folder.rglob("*")) if p.is_file() and self._work not in p.parts]
        outputs.sort(key=lambda p: p.name == "record.json" and p.parent == self.folder)
        for path in outputs:
            upload(path, f"{self.address}/{path.relative_to(self.folder).as_posix()}")

    def _now(self, journal: Journal) -> tuple[int, int]:
        sizes = [path.stat().st_size for path in _files(journal)]
        return sizes[0], sizes[1]

    def _segments(self) -> list[str]:
        return below_all(f"{self.address}/{self._work}/segments")

    def _fetch(self) -> None:
        """The state as the store has it, up to the first segment that is missing or torn."""
        work = self.folder / self._work
        work.mkdir()
        for name in _BESIDE:
            with suppress(StoreError):
                write_bytes(work / name, read(f"{self.address}/{self._work}/{name}"))
        grown: list[list[bytes]] = [[], []]
        ends = [0, 0]
        for address in self._segments():
            head, _, data = read(address).partition(b"\n")
            sizes = json.loads(head)
            if int(address.rpartition("/")[2]) != ends[0] or len(data) != sizes["journal"] + sizes["thumbs"]:
                break
            grown[0].append(data[: sizes["journal"]])
            grown[1].append(data[sizes["journal"] :])
            ends = [ends[0] + sizes["journal"], ends[1] + sizes["thumbs"]]
        if ends[0]:
            journal = Journal(work)
            for path, parts in zip(_files(journal), grown, strict=True):
                write_bytes(path, b"".join(parts))
        self._sizes = (ends[0], ends[1])
        with suppress(StoreError):
            write_bytes(self.folder / "record.json", read(f"{self.address}/record.json"))


def _files(journal: Journal) -> tuple[Path, Path]:
    return journal.path, journal.thumbs_path


def _bytes(path: Path, start: int, end: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(start)
        return file.read(end - start)


class _Lock:
    """A lock in a store, which knows none: an object whose number its owner changes every few seconds.

    No clock is compared: whoever finds a lock watches it for SILENT_S. Two that begin at the same moment both write,
    look again, and the one that finds the other's lock leaves.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._id = f"{socket.gethostname()}:{os.getpid()}:{os.urandom(4).hex()}"
        self._ended = threading.Event()
        self._beats = threading.Thread(target=self._beat, daemon=True)

    def take(self) -> None:
        """RunInUse where another process is at work."""
        holder = self._read()
        if holder is not None and not self._is_dead_here(holder["id"]):
            self._ended.wait(SILENT_S)
            if self._read() not in (None, holder):
                raise RunInUse(f"{self._address.rpartition('/.')[0]} is in use by another run ({holder['id']})")
        self._write(0)
        time.sleep(0.1)
        holder = self._read()
        if holder is None or holder["id"] != self._id:
            raise RunInUse(f"{self._address.rpartition('/.')[0]} is in use by another run")
        self._beats.start()

    def release(self) -> None:
        """Take the lock away."""
        self._ended.set()
        if self._beats.is_alive():
            self._beats.join()
        with suppress(InputError):
            if (self._read() or {}).get("id") == self._id:
                remove(self._address)

    def _read(self) -> dict | None:
        try:
            return json.loads(read(self._address))
        except StoreError as error:
            if error.reason != "missing" or "does not exist" in str(error):
                raise
            return None

    def _write(self, number: int) -> None:
        write(self._address, json.dumps({"id": self._id, "n": number}).encode())

    def _beat(self) -> None:
        number = 0
        while not self._ended.wait(_BEAT_S):
            number += 1
            with suppress(InputError):
                self._write(number)

    @staticmethod
    def _is_dead_here(owner: str) -> bool:
        host, pid = owner.split(":")[:2]
        if host != socket.gethostname() or int(pid) == os.getpid():
            return False
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return False
