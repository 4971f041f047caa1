"""LabelMe: one JSON file a picture, of shapes with a label; also as X-AnyLabeling writes it."""

import base64
import binascii
import io
import math
import posixpath
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from leukoscope.dataset.extras import with_attributes
from leukoscope.dataset.intake import Intake, Seat, read_json_pictures
from leukoscope.dataset.raw import RawCell, RawSet, number
from leukoscope.dataset.rle import outline_of
from leukoscope.dataset.shapes import drawn_cell, ellipse, polygon, whole_picture

_OTHER_SHAPES = ("point", "points", "line", "linestrip", "cuboid")
_MOST_MASK_BYTES = 50_000_000


def read_labelme(src: str | Path) -> RawSet:
    """Read a folder of pictures and LabelMe files; DataError where there is none."""
    expected = "a list `shapes` for each picture"
    return read_json_pictures(src, "shapes", _read_file, what="LabelMe file", expected=expected)


def _read_file(file: str, content: dict, intake: Intake, *, is_classified: bool) -> None:
    raw = intake.raw
    flags = content.get("flags") if isinstance(content.get("flags"), dict) else {}
    classes = [str(name) for name, on in flags.items() if on is True] if is_classified else []
    n_objects = len(content["shapes"]) + len(classes)
    raw.n_objects += n_objects
    stated = content.get("imagePath") if isinstance(content.get("imagePath"), str) else ""
    picture = intake.beside(file, stated)
    size = (content.get("imageWidth"), content.get("imageHeight"))
    near = posixpath.join(posixpath.dirname(file), stated.replace("\\", "/") or file)
    seat = intake.seat(near, file, n_objects, known=picture, size=size)
    if seat is None:
        return
    cells = [_read_shape(s, f"{file} shape {n}", seat, raw) for n, s in enumerate(content["shapes"])]
    intake.take(seat, cells + whole_picture(classes, file, seat, raw))


def _read_shape(shape: object, where: str, seat: Seat, raw: RawSet) -> RawCell | None:
    """One shape in px, or None where it outlines no cell or can't be read: listed then."""
    shape = shape if isinstance(shape, dict) else {}
    kind, code = str(shape.get("shape_type") or "polygon"), str(shape.get("label") or "").strip()
    read, place = partial(_shape, kind, shape, code), (raw, seat.file, where)
    cell = drawn_cell(
        kind, code, read, is_outline=kind not in _OTHER_SHAPES, unnamed="shape without a label", place=place
    )
    if cell is None:
        return None
    said = {str(k): "true" for k, on in _dict(shape.get("flags")).items() if on is True}
    said |= {str(k): str(v) for k, v in _dict(shape.get("attributes")).items()}
    said |= {k: str(shape[k]) for k in ("group_id", "description") if shape.get(k) not in (None, "")}
    said |= {"difficult": "1"} if shape.get("difficult") is True else {}
    score = shape.get("score")
    return with_attributes(replace(cell, predicted="" if score is None else f"score {str(score)[:20]}"), said)


def _dict(value: object) -> dict:
    return value if isinstance(value, dict) else {}


def _shape(kind: str, shape: dict, code: str) -> RawCell:
    points = shape.get("points")
    if not isinstance(points, list) or not all(isinstance(p, list) and len(p) == 2 for p in points):
        raise ValueError("expected points [[x, y], …]")
    points = [(number(x), number(y)) for x, y in points]
    if kind == "mask":
        return _mask(shape.get("mask"), points, code)
    if kind == "circle" and len(points) == 2:
        radius = math.dist(*points)
        return ellipse(points[0], (radius, radius), code)
    if kind == "rectangle" and len(points) in (2, 4):
        xs, ys = zip(*points, strict=True)
        if not all(map(math.isfinite, (*xs, *ys))):
            raise ValueError("a corner is no number")
        return RawCell((min(xs), min(ys), max(xs), max(ys)), code)
    if kind in ("polygon", "rotation"):
        return polygon(points, code)
    raise ValueError(f"{len(points)} points")


def _mask(text: object, points: list, code: str) -> RawCell:
    """A mask: a PNG of the box between two points, in base64."""
    try:
        data = base64.b64decode(text if isinstance(text, str) else "", validate=True)
        if not 0 < len(data) <= _MOST_MASK_BYTES:
            raise ValueError("no mask")
        with Image.open(io.BytesIO(data)) as picture:
            mask = np.asarray(picture.convert("L")) > 0
    except (binascii.Error, UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"a mask that is no picture ({str(error)[:40]})") from None
    left, top = points[0] if points else (0.0, 0.0)
    contour, _ = outline_of(mask, int(left), int(top))
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = (left + xs[0], top + ys[0], left + xs[-1] + 1, top + ys[-1] + 1)
    return RawCell(tuple(map(float, box)), code, contour)
