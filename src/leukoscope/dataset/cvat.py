"""CVAT's own XML, version 1.1: boxes, polygons, masks and ellipses with their attributes.

"For images" has one entry a picture. "For video" has tracks: of those the visible key frames are read, which somebody
drew; the boxes between them are interpolated, so nobody looked at each: counted and left out (`cvat_tracks`).
CVAT's other exports are read by the formats that they imitate: `coco`, `yolo`, `voc`, `datumaro`.
"""

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

from leukoscope.dataset.cvat_backup import read_backups
from leukoscope.dataset.cvat_tracks import read_tracks
from leukoscope.dataset.extras import FIELD_LABEL, field_extras, with_attributes
from leukoscope.dataset.files import files_under
from leukoscope.dataset.intake import Intake
from leukoscope.dataset.names import nfc
from leukoscope.dataset.raw import Issue, RawCell, RawSet, bounds, number, split_named
from leukoscope.dataset.rle import outline_of, read_cvat_rle
from leukoscope.dataset.shapes import ellipse, note_turned, polygon, turned_box, whole_picture
from leukoscope.dataset.text import parse_xml
from leukoscope.errors import DataError

_SHAPES = ("box", "polygon", "mask", "ellipse")
_OTHER_SHAPES = ("polyline", "points", "cuboid", "skeleton")


def read_cvat(src: str | Path) -> RawSet:
    """Read a folder of pictures and CVAT XML files; DataError for XML that is not CVAT's."""
    intake = Intake(src)
    raw = intake.raw
    files = files_under(raw.root, (".xml",))
    if not files and read_backups(intake):
        return intake.finish()
    if not files:
        raise DataError(
            f"{raw.root} is not a CVAT export: expected an annotations.xml; got {len(intake.index.files)} pictures and "
            f"no .xml; for CVAT's COCO or YOLO exports use those formats"
        )
    for file in files:
        tree = parse_xml(raw.root / file)
        _refuse_others(tree, file)
        images = list(tree.iter("image"))
        labels = {e.get("label", "").strip() for image in images for e in image if e.tag in _SHAPES}
        for position, image in enumerate(images):
            _read_image(image, f"{file} image {position}", intake, labels)
        read_tracks(tree, file, intake, read_shape)
    return intake.finish()


def _refuse_others(tree: ElementTree.Element, file: str) -> None:
    if tree.tag != "annotations":
        hint = "that is VOC: use the voc format" if tree.tag == "annotation" else "export it as CVAT for images 1.1"
        raise DataError(f"{file} is no CVAT file: expected <annotations>, got <{tree.tag[:40]}>; {hint}")
    version = tree.findtext("version")
    if version is not None and version.strip().split(".")[0] != "1":
        raise DataError(f"{file} has version {version[:20]}: expected 1.1; export it as CVAT for images 1.1")


def _read_image(image: ElementTree.Element, where: str, intake: Intake, labels: set[str]) -> None:
    raw = intake.raw
    shapes = [e for e in image if e.tag in _SHAPES]
    others = [e for e in image if e.tag in _OTHER_SHAPES]
    tags = [t for t in image.iter("tag") if t.get("label") != FIELD_LABEL]
    # A class of the whole picture: it has no shape, and the tag is a class elsewhere, or nothing has a shape.
    whole = [t for t in tags if not shapes and not others and (not labels or t.get("label", "").strip() in labels)]
    n_objects = len(shapes) + len(others) + len(whole)
    raw.n_objects += n_objects
    stated = image.get("name")
    if not stated:
        raise DataError(f"{where} has no name: expected the picture's file name; export it again")
    subset, plain = image.get("subset", ""), nfc(stated)
    places = (f"images/{subset}/{plain}", f"images/{plain}")
    picture = next((intake.index.exact[p] for p in places if p in intake.index.exact), None)
    size = (image.get("width"), image.get("height"))
    split = split_named(subset, where)
    seat = intake.seat(stated, where, n_objects, known=picture, size=size, split=split)
    if seat is None:
        return
    for element in others:
        raw.drop(seat.file, f"a {element.tag} is no outline of a cell", f"{where}, {element.get('label', '')[:60]}")
    cells = [read_shape(e, f"{where}, {e.tag} {n}", seat.file, raw) for n, e in enumerate(shapes)]
    classes = whole_picture([t.get("label", "") for t in whole], where, seat, raw)
    cells += [with_attributes(_marked(c, whole[0]), _attributes(whole[0])) for c in classes]
    extras = None
    for tag in image.iter("tag"):
        if tag.get("label") == FIELD_LABEL:
            extras = field_extras(_attributes(tag), where)
        elif tag not in whole:
            raw.note(seat.file, "tag of a picture not kept", tag.get("label", "")[:80])
    intake.take(seat, cells, split=split, extras=extras)


def _marked(cell: RawCell, element: ElementTree.Element) -> RawCell:
    """The cell, marked where CVAT says that a model made it and nobody touched it."""
    return replace(cell, predicted='source="auto"') if element.get("source", "").lower() == "auto" else cell


def _attributes(element: ElementTree.Element) -> dict[str, str]:
    return {a.get("name", ""): a.text or "" for a in element.findall("attribute")}


def read_shape(element: ElementTree.Element, where: str, image: str, result: RawSet) -> RawCell | None:
    """One cell in px, or None where its numbers can't be read: listed then."""
    code = element.get("label", "").strip()
    try:
        cell = _READERS[element.tag](element, code)
    except ValueError as error:
        result.drop(image, f"{element.tag} that can't be read", f"{where}, {code[:60]}: {error}")
        return None
    except DataError as error:
        # A mask whose counts are wrong still has its box.
        result.issues.append(Issue(image, "repaired", "outline can't be read: box only", f"{where}: {error}"))
        left, top, width, height = (number(element.get(k, "")) for k in ("left", "top", "width", "height"))
        cell = RawCell((left, top, left + width, top + height), code)
    if element.tag == "mask" and cell.contour and bounds(cell.contour) != cell.box:
        result.note(image, "outline leaves out parts of the mask", where, 1)
    if element.tag == "box" and cell.contour:
        note_turned(result, image, where)
    attributes = _attributes(element)
    if element.get("occluded") == "1":
        attributes.setdefault("occluded", "1")
    if element.get("group_id", "0") != "0":
        attributes.setdefault("group_id", element.get("group_id"))
    return with_attributes(_marked(cell, element), attributes)


def _read_box(element: ElementTree.Element, code: str) -> RawCell:
    box = tuple(number(element.get(k, "")) for k in ("xtl", "ytl", "xbr", "ybr"))
    return turned_box(box, element.get("rotation", "0"), code)[0]


def _read_polygon(element: ElementTree.Element, code: str) -> RawCell:
    return polygon([point.split(",") for point in element.get("points", "").split(";")], code)


def _read_ellipse(element: ElementTree.Element, code: str) -> RawCell:
    cx, cy, rx, ry = (number(element.get(k, "")) for k in ("cx", "cy", "rx", "ry"))
    return ellipse((cx, cy), (rx, ry), code, degrees=number(element.get("rotation", "0")))


def _read_mask(element: ElementTree.Element, code: str) -> RawCell:
    left, top, width, height = (number(element.get(k, "")) for k in ("left", "top", "width", "height"))
    if not all(math.isfinite(v) for v in (left, top, width, height)):
        raise ValueError("the mask's box is no number")
    contour, _ = outline_of(*read_cvat_rle(element.get("rle", ""), left, top, width, height))
    return RawCell((left, top, left + width, top + height), code, contour)


_READERS = {"box": _read_box, "polygon": _read_polygon, "mask": _read_mask, "ellipse": _read_ellipse}
