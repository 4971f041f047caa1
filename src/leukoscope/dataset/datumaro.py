"""Datumaro's JSON, CVAT's export that loses nothing: `annotations/<subset>.json` of items beside `images/<subset>`."""

import math
from dataclasses import replace
from pathlib import Path

from leukoscope.dataset.extras import with_attributes
from leukoscope.dataset.intake import Intake, Seat, annotation_files
from leukoscope.dataset.names import id_text, is_id, nfc
from leukoscope.dataset.picture_index import IMAGE_SUFFIXES
from leukoscope.dataset.raw import SPLIT_NAMES, RawCell, RawSet, number
from leukoscope.dataset.rle import outline_of, read_coco_rle
from leukoscope.dataset.shapes import ellipse, note_turned, pairs_of, polygon, turned_box, whole_picture
from leukoscope.errors import DataError

_SHAPES = ("bbox", "rotated_bbox", "polygon", "mask", "ellipse")
_USUAL = {"occluded": "False", "rotation": "0.0", "keyframe": "True", "outside": "False"}  # says nothing of a cell


def read_datumaro(src: str | Path) -> RawSet:
    """Read a Datumaro set; DataError where it has no file of items, or one whose labels can't be read."""
    intake = Intake(src)
    raw = intake.raw
    files = annotation_files(
        raw,
        lambda content: (
            isinstance(content, dict) and isinstance(content.get("items"), list) and "categories" in content
        ),
        what="Datumaro file",
        expected="`items` and `categories` in annotations/<subset>.json",
    )
    for file, content in files.items():
        _read_file(file, content, intake)
    return intake.finish()


def _read_file(file: str, content: dict, intake: Intake) -> None:
    labels = _labels(content["categories"], file)
    subset = Path(file).stem
    split = SPLIT_NAMES.get(subset.lower())
    entries = [a for item in content["items"] for a in _annotations(item)]
    shaped = {_code(a, labels) for a in entries if a.get("type") in _SHAPES}
    for position, item in enumerate(content["items"]):
        if not isinstance(item, dict) or not isinstance(item.get("id"), str):
            raise DataError(f"{file}: item {position} must be an object with an id")
        _read_item(item, f"{file} item {position}", subset, split, labels, shaped, intake)


def _labels(categories: object, file: str) -> list[str]:
    label = categories.get("label") if isinstance(categories, dict) else None
    listed = label.get("labels") if isinstance(label, dict) else []
    if not isinstance(listed, list) or not all(isinstance(e, dict) and isinstance(e.get("name"), str) for e in listed):
        raise DataError(f"{file}: categories.label.labels must be a list of objects with a name; export it again")
    return [entry["name"].strip() for entry in listed]


def _annotations(item: object) -> list[dict]:
    entries = item.get("annotations") if isinstance(item, dict) else None
    return [a if isinstance(a, dict) else {} for a in entries] if isinstance(entries, list) else []


def _read_item(
    item: dict, where: str, subset: str, split: str | None, labels: list[str], shaped: set[str], intake: Intake
) -> None:
    raw = intake.raw
    entries = _annotations(item)
    whole = [a for a in entries if a.get("type") == "label"]
    shapes = [a for a in entries if a.get("type") not in ("label", "caption", "hash_key")]
    if shapes or (shaped and not all(_code(a, labels) in shaped for a in whole)):
        whole = []  # a word about the picture, not its class
    n_objects = len(shapes) + len(whole)
    raw.n_objects += n_objects
    image = item.get("image") or item.get("media")
    image = image if isinstance(image, dict) else {}
    stated = image.get("path") if isinstance(image.get("path"), str) and image["path"] else item["id"]
    size = image.get("size")
    size = (size[1], size[0]) if isinstance(size, list) and len(size) == 2 else None
    seat = intake.seat(stated, where, n_objects, known=_find(stated, subset, intake), size=size, split=split)
    if seat is None:
        return
    rest = [a for a in entries if a not in shapes and a not in whole]
    if rest:
        raw.note(seat.file, "words about the whole picture not kept", f"{where}: {len(rest)}")
    cells = [_read_shape(a, f"{where}, annotation {n}", labels, seat, raw) for n, a in enumerate(shapes)]
    classes = [_code(a, labels) for a in whole]
    intake.take(seat, cells + whole_picture(classes, where, seat, raw), split=split)


def _find(stated: str, subset: str, intake: Intake) -> str | None:
    """The picture in the folders of its own subset; an id has no suffix."""
    exact, plain = intake.index.exact, nfc(stated)
    suffixes = ("",) if plain.lower().endswith(IMAGE_SUFFIXES) else IMAGE_SUFFIXES
    places = (f"images/{subset}/{plain}", f"images/{plain}", plain)
    return next((exact[p + s] for p in places for s in suffixes if p + s in exact), None)


def _code(entry: dict, labels: list[str]) -> str:
    label = id_text(entry.get("label_id")) if is_id(entry.get("label_id")) else ""
    is_known = label.isascii() and label.isdigit() and len(label) < 9 and int(label) < len(labels)
    return labels[int(label)] if is_known else f"label {str(entry.get('label_id'))[:40]}"


def _read_shape(entry: dict, where: str, labels: list[str], seat: Seat, raw: RawSet) -> RawCell | None:
    """One annotation in px, or None where it outlines no cell or can't be read: listed then."""
    kind, code = str(entry.get("type")), _code(entry, labels)
    said = entry.get("attributes")
    said = {str(k): str(v) for k, v in said.items()} if isinstance(said, dict) else {}
    if kind not in _SHAPES:
        raw.drop(seat.file, f"a {kind[:30]} is no outline of a cell", where)
        return None
    if said.get("keyframe", "True").lower() == "false":
        raw.drop(seat.file, "interpolated between key frames: nobody looked at it", where)
        return None
    try:
        cell, is_turned = _shape(kind, entry, code, said, seat)
    except (ValueError, DataError) as error:
        raw.drop(seat.file, f"{kind} that can't be read", f"{where}, {code[:60]}: {str(error)[:80]}")
        return None
    if is_turned:
        note_turned(raw, seat.file, where)
    score = said.pop("score", "")
    said = {k: v for k, v in said.items() if _USUAL.get(k) != v}
    if entry.get("group") not in (None, 0):
        said.setdefault("group_id", str(entry["group"]))
    return with_attributes(replace(cell, predicted=f"score {score[:20]}" if score else ""), said)


def _shape(kind: str, entry: dict, code: str, said: dict[str, str], seat: Seat) -> tuple[RawCell, bool]:
    """(cell, whether it is a turned box); takes `rotation` out of what is said."""
    if kind in ("bbox", "rotated_bbox"):
        values = [number(v) for v in _list(entry.get(kind))]
        if kind == "bbox":
            x, y, w, h = values
            return turned_box((x, y, x + w, y + h), said.pop("rotation", "0"), code)
        x, y, w, h, degrees = values
        return turned_box((x - w / 2, y - h / 2, x + w / 2, y + h / 2), degrees, code)
    if kind == "polygon":
        return polygon(pairs_of(entry.get("points")), code), False
    if kind == "ellipse":
        (x0, y0), (x1, y1) = pairs_of(entry.get("points"))
        radii = (abs(x1 - x0) / 2, abs(y1 - y0) / 2)
        degrees = number(said.pop("rotation", "0"))
        if not math.isfinite(degrees):
            raise ValueError("the angle is no number")
        return ellipse(((x0 + x1) / 2, (y0 + y1) / 2), radii, code, degrees=degrees), False
    mask, left, top = read_coco_rle(entry.get("rle"), *map(round, seat.stated))
    contour, _ = outline_of(mask, left, top)
    rows, columns = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
    box = (left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1)
    return RawCell(tuple(map(float, box)), code, contour), False


def _list(value: object) -> list:
    if not isinstance(value, list):
        raise ValueError("expected a list of numbers")
    return value
