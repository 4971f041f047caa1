"""CVAT's own XML, version 1.1, "for images": boxes, polygons and masks with their attributes, one entry a picture.

Video tasks ("for video": tracks) are refused: their boxes are drawn between key frames, so nobody looked at each.
CVAT's other exports are read by the formats that they imitate: `coco`, `yolo`, `voc`.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from leukoscope.dataset.extras import FIELD_LABEL, field_extras, with_attributes, with_extras
from leukoscope.dataset.files import ImageIndex, files_under
from leukoscope.dataset.raw import (
    Issue,
    RawCell,
    RawField,
    RawSet,
    bounds,
    number,
    source_folder,
    split_named,
    split_of,
    take_picture,
)
from leukoscope.dataset.rle import outline_of, read_cvat_rle
from leukoscope.dataset.voc import note_other_size, parse_xml
from leukoscope.errors import DataError

_SHAPES = ("box", "polygon", "mask")
_OTHER_SHAPES = ("polyline", "points", "cuboid", "ellipse", "skeleton")


def read_cvat(src: str | Path) -> RawSet:
    """Read a folder of pictures and CVAT XML files; DataError for tracks, or for XML that is not CVAT's."""
    root = source_folder(src)
    index = ImageIndex(root)
    files = files_under(root, (".xml",))
    if not files:
        raise DataError(
            f"{root} is not a CVAT export: expected an annotations.xml; got {len(index.files)} pictures and no .xml; "
            f"for CVAT's COCO or YOLO exports use those formats"
        )
    result = RawSet(root)
    used: dict[str, str] = {}
    for file in files:
        tree = parse_xml(root / file)
        _refuse_others(tree, file)
        for position, image in enumerate(tree.iter("image")):
            _read_image(image, f"{file} image {position}", index, used, result)
    index.note_elsewhere(result)
    result.images_without_annotation = [f for f in index.files if f not in used]
    return result


def _refuse_others(tree: ElementTree.Element, file: str) -> None:
    if tree.tag != "annotations":
        hint = "that is VOC: use the voc format" if tree.tag == "annotation" else "export it as CVAT for images 1.1"
        raise DataError(f"{file} is no CVAT file: expected <annotations>, got <{tree.tag[:40]}>; {hint}")
    version = tree.findtext("version")
    if version is not None and version.strip().split(".")[0] != "1":
        raise DataError(f"{file} has version {version[:20]}: expected 1.1; export it as CVAT for images 1.1")
    n_tracks = sum(1 for _ in tree.iter("track"))
    if n_tracks:
        raise DataError(
            f"{file} holds {n_tracks} tracks: expected pictures. A track's boxes are interpolated between frames, so "
            f"nobody looked at each; make an annotation task of the pictures, and export it as CVAT for images 1.1"
        )


def _read_image(
    image: ElementTree.Element, where: str, index: ImageIndex, used: dict[str, str], result: RawSet
) -> None:
    shapes = [e for e in image if e.tag in _SHAPES]
    others = [e for e in image if e.tag in _OTHER_SHAPES]
    n_objects = len(shapes) + len(others)
    result.n_objects += n_objects
    stated = image.get("name")
    if not stated:
        raise DataError(f"{where} has no name: expected the picture's file name; export it again")
    subset = image.get("subset", "")
    name = next((p for p in (f"images/{subset}/{stated}", f"images/{stated}") if p in index.exact), None)
    name = name or index.find(stated)
    if name is None:
        result.without_image(stated, n_objects)
        return
    if name in used:
        raise DataError(f"{where} and {used[name]} both annotate {name}: expected one entry a picture; remove one")
    used[name] = where
    picture = take_picture(result, name, n_objects)
    if picture is None:
        return
    note_other_size(result, name, (image.get("width"), image.get("height")), picture)
    for element in others:
        result.drop(name, f"a {element.tag} is no outline of a cell", f"{where}, {element.get('label', '')[:60]}")
    cells = [_read_shape(e, f"{where}, {e.tag} {n}", name, result) for n, e in enumerate(shapes)]
    split = split_named(subset, where) or split_of(name)
    field = RawField(
        name, picture.width, picture.height, tuple(c for c in cells if c is not None), split, sha256=picture.sha256
    )
    result.fields.append(_with_tags(field, image, where, result))


def _with_tags(field: RawField, image: ElementTree.Element, where: str, result: RawSet) -> RawField:
    """The field with what its tag "field" says; a tag of another name is listed: a manifest has no place for it."""
    for tag in image.iter("tag"):
        if tag.get("label") == FIELD_LABEL:
            field = with_extras(field, field_extras(_attributes(tag), where))
        else:
            result.note(field.file, "tag of a picture not kept", tag.get("label", "")[:80])
    return field


def _attributes(element: ElementTree.Element) -> dict[str, str]:
    return {a.get("name", ""): a.text or "" for a in element.findall("attribute")}


def _read_shape(element: ElementTree.Element, where: str, image: str, result: RawSet) -> RawCell | None:
    """One cell in px, or None where its numbers can't be read: listed then."""
    code = element.get("label", "").strip()
    try:
        cell = {"box": _read_box, "polygon": _read_polygon, "mask": _read_mask}[element.tag](element, code)
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
        result.issues.append(Issue(image, "repaired", "rotated box: the box around it", where))
    attributes = _attributes(element)
    if element.get("occluded") == "1":
        attributes.setdefault("occluded", "1")
    return with_attributes(cell, attributes)


def _read_box(element: ElementTree.Element, code: str) -> RawCell:
    x0, y0, x1, y1 = (number(element.get(k, "")) for k in ("xtl", "ytl", "xbr", "ybr"))
    angle = number(element.get("rotation", "0"))
    if not angle:
        return RawCell((x0, y0, x1, y1), code)
    corners = rotated(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), angle, ((x0 + x1) / 2, (y0 + y1) / 2))
    return RawCell(bounds(corners), code, corners)


def rotated(points: tuple, degrees: float, center: tuple[float, float]) -> tuple[tuple[float, float], ...]:
    """Points turned clockwise on screen about a center; ValueError for an angle that is none."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    cx, cy = center
    return tuple((cx + (x - cx) * cos - (y - cy) * sin, cy + (x - cx) * sin + (y - cy) * cos) for x, y in points)


def _read_polygon(element: ElementTree.Element, code: str) -> RawCell:
    contour = tuple(tuple(number(v) for v in point.split(",")) for point in element.get("points", "").split(";"))
    if len(contour) < 3 or any(len(p) != 2 for p in contour):
        raise ValueError("expected points x,y;x,y;… three or more")
    return RawCell(bounds(contour), code, contour)


def _read_mask(element: ElementTree.Element, code: str) -> RawCell:
    left, top, width, height = (number(element.get(k, "")) for k in ("left", "top", "width", "height"))
    if not all(math.isfinite(v) for v in (left, top, width, height)):
        raise ValueError("the mask's box is no number")
    contour, _ = outline_of(*read_cvat_rle(element.get("rle", ""), left, top, width, height))
    return RawCell((left, top, left + width, top + height), code, contour)
