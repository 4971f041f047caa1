"""One file of the input: its photographs with the head of their record entries, read within bounded memory."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from leukoscope.cores import Room
from leukoscope.entries import FieldEntry
from leukoscope.errors import ImageError
from leukoscope.images import Picture, header_megapixels, mislabelled, open_stored, read_pictures
from leukoscope.images.slides import Region, read_region
from leukoscope.images.stored import Stored
from leukoscope.pipeline.looks import look_of
from leukoscope.pipeline.sources import Source, Unread
from leukoscope.stores import StoreError, is_address, size_of

MOST_MEGABYTES = 256.0  # of files held at a time; a larger one is read when it is alone
MOST_MEGAPIXELS = 100.0  # decoded at a time, over all workers; a larger picture is decoded when it is alone


@dataclass(frozen=True, slots=True, eq=False)
class Rooms:
    """What the workers of a run share: room for files' bytes (megabytes), and for decoded pixels (megapixels)."""

    files: Room = field(default_factory=lambda: Room(MOST_MEGABYTES))
    pixels: Room = field(default_factory=lambda: Room(MOST_MEGAPIXELS))


Work = Callable[[Picture], tuple[dict, list]]


class Analysed(NamedTuple):
    """One file: the record's entries, and for each the pictures of its cells and a look (None where it failed)."""

    entries: list[FieldEntry]
    pictures: list[list]
    looks: list[str | None]


def each_picture(source: Source, um_per_px: float | None, rooms: Rooms, work: Work) -> Analysed:
    """The record's entries of one file, and what belongs to each.

    `work` adds to the entry of a picture; it is called for each picture that the file holds and that can be read. The
    file is read once: digest, format and pixels are of the same bytes, whatever happens to it meanwhile. Where the
    file as a whole fails there is one entry, which says why. A region of a slide is one picture.
    """
    head = _head(source, um_per_px)
    if source.part is not None:
        return _of_slide(source, head, rooms, work)
    done = Analysed([], [], [])
    try:
        with rooms.files.hold(_megabytes(source.file)), open_stored(source.file) as file:
            head["sha256"] = file.sha256
            with rooms.pixels.hold(header_megapixels(file)):
                for picture in read_pictures(file):
                    entry, pictures, look = _entry_of(head, file, picture), [], None
                    if picture.error is None:
                        try:
                            outcome, pictures = work(picture)
                            look = look_of(picture.pixels)
                            entry |= outcome
                        except MemoryError:  # a picture that could be read, but not be worked on
                            entry["reason"] = "too_large"
                    done.entries.append(entry)
                    done.pictures.append(pictures)
                    done.looks.append(look)
    except ImageError as error:
        return Analysed([head | _why(source.file, error)], [[]], [None])
    except MemoryError:
        return Analysed([head | {"reason": "too_large"}], [[]], [None])
    return done


def _of_slide(source: Source, head: dict, rooms: Rooms, work: Work) -> Analysed:
    """The one entry of a slide's region, or of a slide that has none; regions of one slide have no looks to compare."""
    head["sha256"] = source.part.sha256
    if isinstance(source.part, Unread):
        why = {"reason": source.part.reason}
        return Analysed([head | why | ({"detail": source.part.detail} if source.part.detail else {})], [[]], [None])
    head["region"] = {"box": list(source.part.box), "core": list(source.part.core)}
    width, height = source.part.size
    try:
        with rooms.pixels.hold(width * height / 1e6):
            pixels, plane = read_region(source.file, source.part)
            head["region"]["plane"] = plane
            outcome, pictures = work(Picture(pixels))
        return Analysed([head | outcome], [pictures], [None])
    except ImageError as error:
        return Analysed([head | _why(source.file, error)], [[]], [None])
    except MemoryError:
        return Analysed([head | {"reason": "too_large"}], [[]], [None])


def scale_of(source: Source, um_per_px: float | None) -> tuple[float | None, str | None]:
    """Micrometres a pixel of a source before anything is measured, and where it is from: as stated for the run, else
    by a slide's file."""
    if um_per_px is not None:
        return um_per_px, "stated"
    by_file = source.part.um_per_px if isinstance(source.part, Region) else None
    return by_file, None if by_file is None else "file"


def _head(source: Source, um_per_px: float | None) -> dict:
    um_per_px, origin = scale_of(source, um_per_px)
    return {
        "file": source.file,
        "sha256": None,
        "patient_id": source.key.patient_id,
        "smear_id": source.key.smear_id,
        "center": source.key.center,
        "status": "failed",
        "reason": None,
        "note": None,
        "width": None,
        "height": None,
        "um_per_px": um_per_px,
        "scale_from": origin,
        "quality": None,
        "cells": [],
    }


def _entry_of(head: dict, file: Stored, picture: Picture) -> dict:
    """The entry of one picture of a file; `pages` only where the file has several."""
    notes = [n for n in (mislabelled(file.path, file.image_format), *picture.notes) if n]
    of_pages = {"pages": list(picture.pages)} if picture.n_pages > 1 else {}
    why = {} if picture.error is None else _why(file.path, picture.error)
    return head | {"note": "; ".join(notes) or None} | of_pages | why


def _why(path: str, error: ImageError) -> dict:
    """The reason, and what to do in this project's own words: a decoder's are not the same each time."""
    if error.by_decoder:
        return {"reason": error.reason}
    return {"reason": error.reason, "detail": str(error).removeprefix(f"{path}: ")}


def _megabytes(path: str) -> float:
    try:
        return (size_of(path) if is_address(path) else os.path.getsize(path)) / 1e6
    except (OSError, ValueError, StoreError):
        return 0.0
