"""Slides that are open: a few at a time, shared by the threads of a run."""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leukoscope.errors import ImageError
from leukoscope.images.quality import measure_focus
from leukoscope.images.slides.copies import Lease, lease_of, remove_copies
from leukoscope.images.slides.opening import open_slide, slide_sha256, slide_stamp
from leukoscope.images.slides.region import Region
from leukoscope.images.slides.slide import Slide
from leukoscope.progress import Progress, no_progress
from leukoscope.stores import is_address

_NOTHING = ("", Lease(Path()))
_MOST_OPEN = 2  # slides; each holds a cache of decoded tiles


@dataclass(eq=False)
class _Open:
    """A slide that is open, of which version of its files, and its lease of their copy."""

    slide: Slide
    stamp: tuple
    lease: Lease
    n_readers: int = 0

    def close(self) -> None:
        self.slide.close()
        self.lease.close()


class _Shelf:
    """Open slides by path or address, the least lately used closed first; none is closed while it is read."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Nothing is open here: what a child process begins with."""
        self._lock = threading.Lock()
        self._slides: OrderedDict[str, _Open] = OrderedDict()
        self._leaving: list[_Open] = []
        self._digests: dict[str, tuple[tuple, str]] = {}
        self._hashing = threading.Lock()
        self._copying = threading.Lock()
        self._last = _NOTHING

    @contextmanager
    def take(self, path: str) -> Iterator[Slide]:
        """The slide, open; what its copy's path says in an error is said of the address."""
        with self._lease(path) as here, self._named(path, here):
            held = self._taken(path, here)
            try:
                yield held.slide
            finally:
                self._give_back(held)

    def digest(self, path: str) -> str:
        """SHA-256 of the slide's files, taken anew when their sizes or times have changed."""
        with self._lease(path) as here, self._named(path, here):
            stamp = slide_stamp(here.path)
            with self._hashing:
                if self._digests.get(path, (None,))[0] != stamp:
                    self._digests[path] = (stamp, slide_sha256(here.path))
                return self._digests[path][1]

    def copy(self, path: str, progress: Progress) -> None:
        """Copy a slide in a store to here; nothing where it is open, for nobody waits for readers that are himself."""
        with self._lock:
            is_open = path in self._slides
        if not is_open:
            self._copied(path, progress).close()

    def put_away(self, addresses: Iterable[str]) -> None:
        """Close these slides, and take their copies away."""
        with self._lock:
            self._leaving += [self._slides.pop(a) for a in set(addresses) & set(self._slides)]
            self._close_unread()
        with self._copying:
            self._last[1].close()
            self._last = _NOTHING
        remove_copies(addresses)

    @contextmanager
    def _lease(self, path: str) -> Iterator[Lease]:
        """Where the slide's files are here, for as long as the block lasts."""
        with self._lock:
            held = self._slides.get(path) if is_address(path) else None
            if held is not None:
                held.n_readers += 1
        if held is None:
            with self._copied(path) as lease:
                yield lease
            return
        try:
            yield held.lease
        finally:
            self._give_back(held)

    def _copied(self, path: str, progress: Progress = no_progress) -> Lease:
        """A lease of a slide; threads that want one copy make it once, and its store is not asked again at once."""
        if not is_address(path):
            return lease_of(path)
        with self._copying:
            if self._last[0] != path:
                self._last[1].close()
                self._last = _NOTHING  # a copy that nobody reads may have to go for this one
                self._last = (path, lease_of(path, progress))
            return self._last[1].again()

    @staticmethod
    @contextmanager
    def _named(path: str, here: Lease) -> Iterator[None]:
        try:
            yield
        except ImageError as error:
            if not is_address(path):
                raise
            words = str(error).replace(str(here.path), path)
            raise ImageError(error.reason, words, by_decoder=error.by_decoder) from None

    def _taken(self, path: str, here: Lease) -> _Open:
        stamp = slide_stamp(here.path)
        with self._lock:
            held = self._slides.get(path)
            if held is not None and held.stamp != stamp:
                self._leaving.append(self._slides.pop(path))
                held = None
            if held is None:
                held = _Open(open_slide(here.path), stamp, here.again())
            self._slides[path] = held
            self._slides.move_to_end(path)
            held.n_readers += 1
            while len(self._slides) > _MOST_OPEN:
                self._leaving.append(self._slides.popitem(last=False)[1])
            self._close_unread()
        return held

    def _give_back(self, held: _Open) -> None:
        with self._lock:
            held.n_readers -= 1
            self._close_unread()

    def _close_unread(self) -> None:
        for held in [h for h in self._leaving if not h.n_readers]:
            self._leaving.remove(held)
            held.close()


_shelf = _Shelf()
if hasattr(os, "register_at_fork"):  # a child process shares no open file with its parent
    os.register_at_fork(after_in_child=_shelf.forget)


def slide_of(path: str | Path):
    """`with slide_of(path) as slide:` an open slide, shared; errors as `open_slide`."""
    return _shelf.take(str(path))


def slide_digest(path: str | Path) -> str:
    """`slide_sha256`, remembered for as long as the files are as they were."""
    return _shelf.digest(str(path))


def copy_slide(path: str | Path, progress: Progress = no_progress) -> None:
    """Copy a slide in an object store to here (`copies.lease_of`, which says what can go wrong); of a file nothing."""
    if is_address(path):
        _shelf.copy(str(path), progress)


def put_away_copies(addresses: Iterable[str]) -> None:
    """A run is at its end: take the copies of its slides in stores away, where nobody else reads them."""
    _shelf.put_away(sorted(set(addresses)))


def read_region(path: str | Path, region: Region) -> tuple[np.ndarray, int]:
    """(H, W, 3) uint8 of a region's box, of the plane of focus that is sharpest there, and which plane that is.

    ImageError "changed" where the slide is not the one that the run was planned on.
    """
    if slide_digest(path) != region.sha256:
        raise ImageError("changed", f"{path}: the slide was changed since the run began; analyse it again")
    with slide_of(path) as slide:
        best, best_plane, best_focus = slide.read(region.box), 0, -1.0
        if slide.facts.n_planes > 1:
            best_focus = measure_focus(best) or 0.0
            for plane in range(1, slide.facts.n_planes):
                pixels = slide.read(region.box, plane=plane)
                focus = measure_focus(pixels) or 0.0
                if focus > best_focus:
                    best, best_plane, best_focus = pixels, plane, focus
    return best, best_plane
