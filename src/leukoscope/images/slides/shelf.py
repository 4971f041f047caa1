"""Slides that are open: a few at a time, shared by the threads of a run."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from leukoscope.errors import ImageError
from leukoscope.images.quality import measure_focus
from leukoscope.images.slides.opening import open_slide, slide_sha256, slide_stamp
from leukoscope.images.slides.region import Region
from leukoscope.images.slides.slide import Slide

_MOST_OPEN = 2  # slides; each holds a cache of decoded tiles


class _Shelf:
    """Open slides by path, the least lately used closed first; none is closed while it is read."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Nothing is open here: what a child process begins with."""
        self._lock = threading.Lock()
        self._slides: OrderedDict[str, tuple[Slide, tuple]] = OrderedDict()
        self._readers: dict[int, int] = {}
        self._leaving: list[Slide] = []
        self._digests: dict[str, tuple[tuple, str]] = {}
        self._hashing = threading.Lock()

    @contextmanager
    def take(self, path: str) -> Iterator[Slide]:
        slide = self._taken(path)
        try:
            yield slide
        finally:
            with self._lock:
                self._readers[id(slide)] -= 1
                self._close_unread()

    def digest(self, path: str) -> str:
        """SHA-256 of the slide's files, taken anew when their sizes or times have changed."""
        stamp = slide_stamp(path)
        with self._hashing:
            if self._digests.get(path, (None,))[0] != stamp:
                self._digests[path] = (stamp, slide_sha256(path))
            return self._digests[path][1]

    def _taken(self, path: str) -> Slide:
        stamp = slide_stamp(path)
        with self._lock:
            held = self._slides.get(path)
            if held is not None and held[1] != stamp:
                self._leaving.append(self._slides.pop(path)[0])
                held = None
            slide = held[0] if held is not None else open_slide(path)
            self._slides[path] = (slide, stamp)
            self._slides.move_to_end(path)
            self._readers[id(slide)] = self._readers.get(id(slide), 0) + 1
            while len(self._slides) > _MOST_OPEN:
                self._leaving.append(self._slides.popitem(last=False)[1][0])
            self._close_unread()
        return slide

    def _close_unread(self) -> None:
        for slide in [s for s in self._leaving if not self._readers.get(id(s))]:
            self._leaving.remove(slide)
            self._readers.pop(id(slide), None)
            slide.close()


_shelf = _Shelf()
if hasattr(os, "register_at_fork"):  # a child process shares no open file with its parent
    os.register_at_fork(after_in_child=_shelf.forget)


def slide_of(path: str | Path):
    """`with slide_of(path) as slide:` an open slide, shared; errors as `open_slide`."""
    return _shelf.take(str(path))


def slide_digest(path: str | Path) -> str:
    """`slide_sha256`, remembered for as long as the files are as they were."""
    return _shelf.digest(str(path))


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
