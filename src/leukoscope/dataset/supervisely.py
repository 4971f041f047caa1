"""Supervisely: `meta.json` above folders of `img/` and `ann/`, one JSON file a picture, named after it."""

import base64
import binascii
import io
import zlib
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from leukoscope.dataset.extras import with_attributes
from leukoscope.dataset.intake import Intake, Seat, read_json_pictures
from leukoscope.dataset.raw import Issue, RawCell, RawSet, number
from leukoscope.dataset.rle import outline_of
from leukoscope.dataset.shapes import drawn_cell, polygon, whole_picture

_SHAPES = ("rectangle", "polygon", "bitmap")
_SCORES = ("confidence", "conf", "score")  # tags that a model's objects carry
_MOST_BYTES = 200_000_000


def read_supervisely(src: str | Path) -> RawSet:
    """Read a Supervisely project; DataError where it has no annotation. Corners are taken as they stand."""
    expected, what = "`objects` and `size` in ann/NAME.json for each picture", "annotation of Supervisely"
    beside = ("meta.json",)
    return read_json_pictures(src, "objects", _read_file, what=what, expected=expected, has="size", beside=beside)


def _read_file(file: str, content: dict, intake: Intake, *, is_classified: bool) -> None:
    raw = intake.raw
    tags = _tags(content.get("tags"))
    classes = [value or name for name, value in tags.items()] if is_classified else []
    n_objects = len(content["objects"]) + len(classes)
    raw.n_objects += n_objects
    folder, _, name = file.rpartition("/")
    stated = f"{folder.removesuffix('ann')}img/{name[:-5]}" if folder.endswith("ann") else file[:-5]
    picture = intake.index.exact.get(stated) or intake.beside(file, name[:-5])
    size = content.get("size") if isinstance(content.get("size"), dict) else {}
    seat = intake.seat(stated, file, n_objects, known=picture, size=(size.get("width"), size.get("height")))
    if seat is None:
        return
    if tags and not is_classified:
        raw.note(seat.file, "tags of a picture not kept", ", ".join(tags)[:80])
    cells = [_read_object(o, f"{file} object {n}", seat, raw) for n, o in enumerate(content["objects"])]
    intake.take(seat, cells + whole_picture(classes, file, seat, raw))


def _tags(tags: object) -> dict[str, str]:
    """{name: value, "" for none} of a list of tags."""
    values = {}
    for tag in tags if isinstance(tags, list) else []:
        if isinstance(tag, dict) and isinstance(tag.get("name"), str):
            values[tag["name"].strip()] = "" if tag.get("value") is None else str(tag["value"]).strip()
    return values


def _read_object(entry: object, where: str, seat: Seat, raw: RawSet) -> RawCell | None:
    """One object in px, or None where it outlines no cell or can't be read: listed then."""
    entry = entry if isinstance(entry, dict) else {}
    kind, code = str(entry.get("geometryType")), str(entry.get("classTitle") or "").strip()
    read, place = partial(_shape, kind, entry, code, where, seat.file, raw), (raw, seat.file, where)
    cell = drawn_cell(kind, code, read, is_outline=kind in _SHAPES, unnamed="object without a class", place=place)
    if cell is None:
        return None
    tags = _tags(entry.get("tags"))
    score = next((f"{name} {tags[name]}" for name in tags if name.lower() in _SCORES and tags[name]), "")
    return with_attributes(replace(cell, predicted=score), {name: value or "true" for name, value in tags.items()})


def _shape(kind: str, entry: dict, code: str, where: str, file: str, raw: RawSet) -> RawCell:
    if kind == "bitmap":
        return _bitmap(entry.get("bitmap"), code)
    points = entry.get("points") if isinstance(entry.get("points"), dict) else {}
    exterior = points.get("exterior")
    if kind == "polygon":
        cell = polygon(exterior, code)
        if points.get("interior"):
            raw.issues.append(Issue(file, "noted", "outline leaves out parts or holes of the mask", where))
        return cell
    if not isinstance(exterior, list) or len(exterior) != 2 or not all(isinstance(p, list) for p in exterior):
        raise ValueError("expected two corners")
    (x0, y0), (x1, y1) = ([number(v) for v in p] for p in exterior)
    return RawCell((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)), code)


def _bitmap(value: object, code: str) -> RawCell:
    """A mask: a PNG, deflated, in base64, and where its top left pixel lies."""
    value = value if isinstance(value, dict) else {}
    origin = value.get("origin")
    if not isinstance(origin, list) or len(origin) != 2:
        raise ValueError("expected an origin x, y")
    left, top = (number(v) for v in origin)
    try:
        packed = base64.b64decode(value.get("data") if isinstance(value.get("data"), str) else "", validate=True)
        data = zlib.decompressobj().decompress(packed, _MOST_BYTES)
        with Image.open(io.BytesIO(data)) as picture:
            planes = np.asarray(picture.convert("RGBA"))
    except (
        binascii.Error, zlib.error, UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError
    ) as error:  # fmt: skip
        raise ValueError(f"a mask that is no picture ({str(error)[:40]})") from None
    mask = (planes[..., 3] > 0) & planes[..., :3].any(-1) if (planes[..., 3] == 255).all() else planes[..., 3] > 0
    contour, _ = outline_of(mask, int(left), int(top))
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return RawCell(tuple(map(float, (left + xs[0], top + ys[0], left + xs[-1] + 1, top + ys[-1] + 1))), code, contour)
