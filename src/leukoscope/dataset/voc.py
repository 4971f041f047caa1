"""Pascal VOC: one XML file a picture, splits as lists of names in `ImageSets/Main`.

Corners are taken as they stand, as continuous px: the annotation tools that write this format store drawn
corners, not the 1-based inclusive pixels of the original challenge.
"""

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from os.path import splitext
from pathlib import Path

from leukoscope.dataset.extras import FIELD_LABEL, SOURCE_CODE, field_extras, with_attributes
from leukoscope.dataset.files import files_under
from leukoscope.dataset.intake import Intake
from leukoscope.dataset.manifest import SPLITS
from leukoscope.dataset.names import nfc
from leukoscope.dataset.raw import Issue, RawCell, RawSet, bounds, number
from leukoscope.dataset.shapes import note_turned, polygon, turned_box
from leukoscope.dataset.text import parse_xml, read_text
from leukoscope.errors import DataError

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_MASK_FOLDERS = ("masks", "SegmentationClass", "SegmentationObject")
# What an object says beside its name and box, and the value that says nothing.
_WORDS = {"difficult": "0", "truncated": "0", "occluded": "0", "pose": "unspecified"}


def read_voc(src: str | Path) -> RawSet:
    """Read a VOC folder; DataError names an XML file that is malformed or holds no annotation."""
    intake = Intake(src, leave_out=_MASK_FOLDERS)
    raw = intake.raw
    annotations = files_under(raw.root, (".xml",))
    if not annotations:
        raise DataError(
            f"{raw.root} is not a VOC data set: expected .xml annotation files; got {len(intake.index.files)} pictures "
            f"and no .xml; check the path and the format"
        )
    splits = _read_splits(raw.root)
    for name in annotations:
        tree = parse_xml(f"{raw.root}/{name}")
        if tree.tag != "annotation":
            raise DataError(f"{name} is no VOC annotation: expected <annotation>, got <{tree.tag}>; move it elsewhere")
        stem = nfc(splitext(name.rpartition("/")[2])[0])
        objects = list(tree.iter("object"))
        raw.n_objects += len(objects)
        picture = intake.beside(name, tree.findtext("filename") or "")
        size = (tree.findtext("size/width"), tree.findtext("size/height"))
        stated = tree.findtext("filename") or stem
        if picture is None:
            near = f"{name.rpartition('/')[0]}/{stated}".lstrip("/")
            raw.without_image(name, len(objects), intake.index.why_not(stated) or intake.index.why_not(near))
            continue
        seat = intake.seat(stated, name, len(objects), known=picture, size=size)
        if seat is None:
            continue
        cells = [_read_object(e, f"object {n}", seat.file, raw) for n, e in enumerate(objects)]
        split = splits.get(nfc(splitext(seat.file.rpartition("/")[2])[0])) or splits.get(stem)
        extras = field_extras(dict(tree.find(FIELD_LABEL).attrib), name) if tree.find(FIELD_LABEL) is not None else None
        intake.take(seat, cells, split=split, extras=extras)
    return intake.finish()


def _read_object(entry: ElementTree.Element, where: str, file: str, raw: RawSet) -> RawCell | None:
    """One object in px, or None where it can't be read: listed then."""
    parts = {e.tag: e for e in reversed(entry)}  # of several of one name the first
    said = {tag: (e.text or "").strip() for tag, e in parts.items()}
    code = said.get("name", "")
    if said.get("deleted") == "1":
        raw.drop(file, "object that was deleted", f"{where}, {code}")
        return None
    attributes = _attributes(said, parts.get("attributes"))
    try:
        if "robndbox" in parts and "bndbox" not in parts:
            cx, cy, w, h, angle = (number(parts["robndbox"].findtext(k, "")) for k in ("cx", "cy", "w", "h", "angle"))
            box, degrees = (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), math.degrees(angle)
            if abs(angle) > 2 * math.pi:  # roLabelImg writes radians, below a whole turn
                degrees = angle
                raw.note(file, "an angle over 2 pi taken as degrees", f"{where}, {code}: {angle:g}", 1)
        elif "polygon" in parts and "bndbox" not in parts:  # LabelMe's web tool
            contour = _outline(parts["polygon"], RawCell((0, 0, 0, 0), code), where, file, raw)
            if contour is None:
                raise ValueError("no outline")
            box, degrees = bounds(contour), 0.0
        else:
            corners = {e.tag: e.text or "" for e in reversed(parts["bndbox"])} if "bndbox" in parts else {}
            box = tuple(number(corners.get(corner, "")) for corner in _CORNERS)
            # An export of ours has turned its boxes already: there a rotation is a word like any other.
            degrees = attributes.pop("rotation", "0") if SOURCE_CODE not in attributes else "0"
        cell, is_turned = turned_box(box, degrees, code)
    except ValueError:
        raw.drop(file, "box without four numbers", f"{where}, {code or 'no name'}")
        return None
    if is_turned:
        note_turned(raw, file, f"{where}, {code}")
    if len(entry) > len(parts) and len(entry.findall("bndbox")) > 1:
        raw.note(file, "object of several boxes, the first taken", f"{where}, {code}", 1)
    if "part" in parts:
        raw.note(file, "parts of an object not kept", f"{where}, {code}", 1)
    if "polygon" in parts:
        cell = replace(cell, contour=_outline(parts["polygon"], cell, where, file, raw))
    score = said.get("score") or said.get("confidence") or ""
    if score:
        cell = replace(cell, predicted=f"score {score[:20]}")
    return with_attributes(cell, attributes)


def _attributes(said: dict[str, str], cvats: ElementTree.Element | None) -> dict[str, str]:
    """What an object says beside its name and box: VOC's own words where they say anything, CVAT's attributes."""
    attributes = {k: said[k] for k, usual in _WORDS.items() if said.get(k) and said[k].lower() not in (usual, "false")}
    if cvats is None:
        return attributes
    pairs = [(a.findtext("name") or "", a.findtext("value") or "") for a in cvats.findall("attribute")]
    usual = () if SOURCE_CODE in dict(pairs) else (("rotation", "0.0"), ("rotation", "0"), ("occluded", "False"))
    return attributes | {name: value for name, value in pairs if (name, value) not in usual}


def _outline(element: ElementTree.Element, cell: RawCell, where: str, file: str, raw: RawSet) -> tuple | None:
    """The outline of a <polygon> of x1, y1, x2, y2, …, or of <pt>s; else the turned box's, or none."""
    try:
        points = [(p.findtext("x", ""), p.findtext("y", "")) for p in element.findall("pt")]
        if not points:
            words = {e.tag: e.text or "" for e in element}
            points = [(words[f"x{n}"], words.get(f"y{n}", "")) for n in range(1, len(words)) if f"x{n}" in words]
        return polygon(points, "").contour
    except ValueError:
        raw.issues.append(Issue(file, "repaired", "outline can't be read: box only", where))
        return cell.contour


def _read_splits(root: Path) -> dict[str, str]:
    """{stem: split} from ImageSets/Main; a picture that two lists name is an error."""
    splits: dict[str, str] = {}
    lists = [f for f in files_under(root, (".txt",)) if f"/{f}".rpartition("/")[0].endswith("/ImageSets/Main")]
    for listing in lists:
        split = Path(listing).stem
        for line in read_text(root / listing).splitlines() if split in SPLITS else ():
            stem = nfc(line.split()[0]) if line.strip() else None
            if stem is None:
                continue
            if splits.get(stem, split) != split:
                raise DataError(f"{listing} lists {stem}, which is in {splits[stem]} too: expected one split a picture")
            splits[stem] = split
    return splits
