"""CVAT's video tracks: the visible key frames are what somebody drew; everything between them is interpolated."""

import os
import re
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Callable

from leukoscope.dataset.intake import Intake
from leukoscope.dataset.picture_index import ImageIndex
from leukoscope.dataset.raw import RawCell, RawSet

_SHAPES = ("box", "polygon", "mask", "ellipse")
_OTHERS = ("polyline", "points", "cuboid", "skeleton")
ReadShape = Callable[[ElementTree.Element, str, str, RawSet], RawCell | None]


def read_tracks(tree: ElementTree.Element, file: str, intake: Intake, read_shape: ReadShape) -> None:
    """Take the key frames of every track: one field for each frame that has one, found by its number in the name.

    Interpolated boxes are objects of the source, counted and left out; a box outside the picture is none.
    """
    drawn: dict[int, list[tuple[ElementTree.Element, str]]] = defaultdict(list)
    between: dict[int, int] = defaultdict(int)
    for position, track in enumerate(tree.iter("track")):
        for shape in (e for e in track if e.tag in _SHAPES + _OTHERS):
            if shape.get("outside") == "1":
                continue
            frame = _frame(shape)
            if shape.get("keyframe", "1") == "0":
                between[frame] += 1
                continue
            for name in ("label", "source", "group_id"):
                if track.get(name) is not None and shape.get(name) is None:
                    shape.set(name, track.get(name))
            drawn[frame].append((shape, f"{file} track {position}, frame {frame}"))
    if not drawn and not between:
        return
    raw, frames = intake.raw, _pictures_of_frames(intake.index)
    size = (tree.findtext(".//original_size/width"), tree.findtext(".//original_size/height"))
    raw.n_objects += sum(map(len, drawn.values())) + sum(between.values())
    reason = "interpolated between key frames: nobody looked at it"
    for frame in sorted({*drawn, *between}):
        name, shapes = f"frame {frame} of {file}", drawn[frame]
        pictures = frames.get(frame, [])
        if between[frame]:
            raw.drop(pictures[0] if len(pictures) == 1 else name, reason, name, between[frame])
        if not shapes:
            continue
        if len(pictures) != 1:
            if pictures:
                raw.note(pictures[0], "several pictures have a frame's number in their names", name)
            raw.without_image(name, len(shapes))
            continue
        seat = intake.seat(name, name, len(shapes), known=pictures[0], size=size)
        if seat is None:
            continue
        cells = []
        for shape, where in shapes:
            if shape.tag in _OTHERS:
                raw.drop(seat.file, f"a {shape.tag} is no outline of a cell", where)
            else:
                cells.append(read_shape(shape, where, seat.file, raw))
        intake.take(seat, cells)


def _frame(shape: ElementTree.Element) -> int:
    text = shape.get("frame", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1


def _pictures_of_frames(index: ImageIndex) -> dict[int, list[str]]:
    """{frame: pictures whose names end in its number}: CVAT exports frames as frame_000007.PNG."""
    pictures: dict[int, list[str]] = defaultdict(list)
    for file in index.files:
        digits = re.search(r"(\d{1,9})$", os.path.splitext(file)[0])
        if digits:
            pictures[int(digits[1])].append(file)
    return pictures
