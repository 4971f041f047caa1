"""COCO: JSON files of images, annotations and categories; boxes, polygons and run-length masks, one file a split.

Ids are keys and nothing more: they may start anywhere and have gaps, and each file has its own category order.
Reads CVAT's COCO export (`annotations/instances_<split>.json`, attributes, masks as iscrowd) and our own, which
keeps patient, smear and the source's code in further keys.
"""

from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

from leukoscope.dataset.checks import overlap
from leukoscope.dataset.extras import field_extras, with_attributes
from leukoscope.dataset.intake import Intake, Seat
from leukoscope.dataset.names import id_text, is_id, nfc
from leukoscope.dataset.picture_index import ImageIndex
from leukoscope.dataset.raw import SPLIT_NAMES, Box, Contour, Issue, RawCell, RawField, RawSet, bounds, number, split_of
from leukoscope.dataset.rle import outline_of, read_coco_rle
from leukoscope.dataset.shapes import largest, note_turned, pairs_of, turned_box
from leukoscope.dataset.text import read_json_files
from leukoscope.errors import DataError

_MOST_DOUBTED = 3  # boxes that look like corners, from which on a file is refused where they are half of it
_PLAIN = {"id", "image_id", "category_id", "bbox", "area", "segmentation", "iscrowd"}
_PARTS = ("images", "annotations", "categories")


def read_coco(src: str | Path) -> RawSet:
    """Read a folder of pictures and COCO files; DataError for a file that is none, or that contradicts itself."""
    intake = Intake(src)
    raw = intake.raw
    files: dict[str, dict] = {}
    for file, content in read_json_files(raw.root):
        if isinstance(content, dict) and all(isinstance(content.get(part), list) for part in _PARTS):
            files[file] = content
        else:
            raw.note(file, "not read: no COCO file of objects", f"expected lists {', '.join(_PARTS)}")
    if not files:
        raise DataError(
            f"{raw.root} is not a COCO data set: expected a .json file with lists {', '.join(_PARTS)}; "
            f"got {len(raw.issues)} other .json files; check the path and the format"
        )
    orders = {}
    for file, content in files.items():
        categories = _categories(content["categories"], file)
        orders[file] = list(categories.items())
        _read_file(file, content, categories, intake)
    first = next(iter(files))
    for file in files:
        if orders[file] != orders[first]:
            raw.note(file, "category order differs", f"from {first}: each file's ids mean its own categories")
    return intake.finish()


def _read_file(file: str, content: dict, categories: dict, intake: Intake) -> None:
    """One COCO file: its pictures, each with its annotations, in the file's order."""
    raw = intake.raw
    by_image: dict[str, list[tuple[int, dict]]] = defaultdict(list)
    raw.n_objects += len(content["annotations"])
    ids: Counter = Counter()
    for position, entry in enumerate(content["annotations"]):
        if not isinstance(entry, dict) or not is_id(entry.get("image_id")):
            raw.drop(file, "annotation without a picture's id", f"annotation {position}")
            continue
        ids[str(entry.get("id"))] += 1
        by_image[id_text(entry["image_id"])].append((position, entry))
    twice = [i for i, n in ids.items() if n > 1 and i != "None"]
    if twice:
        raw.note(file, "annotation ids given twice, each kept", f"{len(twice)} ids, the first {twice[0][:40]}")
    # Classes of whole pictures: only where nothing in the file has a box.
    whole = not any(e.get("bbox") or e.get("segmentation") for e in content["annotations"] if isinstance(e, dict))
    split, places, seen, begun = _split_in_name(file), _places(file), set(), len(raw.fields)
    for position, image in enumerate(content["images"]):
        if not isinstance(image, dict) or not is_id(image.get("id")) or not isinstance(image.get("file_name"), str):
            raise DataError(f"{file}: image {position} must be an object with an id and a file_name")
        image_id = id_text(image["id"])
        if image_id in seen:
            raise DataError(f"{file}: two images have the id {image['id']!r}: expected each once; export it again")
        seen.add(image_id)
        entries = by_image.pop(image_id, [])
        picture = _find(image["file_name"], places, intake.index)
        size = (image.get("width"), image.get("height"))
        where = f"{file} image {position}"
        seat = intake.seat(image["file_name"], where, len(entries), known=picture, size=size, split=split)
        if seat is None:
            continue
        cells = (_read_cell(e, f"{file} annotation {p}", seat, categories, raw, whole=whole) for p, e in entries)
        extras = field_extras(image, where)
        intake.take(seat, cells, split=split, extras=extras)
    _doubt_corners(intake.raw.fields[begun:], file, raw)
    for image_id, entries in by_image.items():
        detail = f"{len(entries)} annotations of image id {image_id[:40]}, which the file does not list"
        raw.drop(file, "annotation of an unknown picture", detail, len(entries))


def _places(file: str) -> tuple[str, ...]:
    """The folders in which tools put the pictures of a COCO file, of its split first."""
    stem = Path(file).stem.rpartition("_")[2]
    near = file.rpartition("/")[0]
    near = near + "/" if near else ""
    return tuple(dict.fromkeys((f"images/{stem}/", f"{near}images/{stem}/", "images/", f"{stem}/", near)))


def _find(file_name: str, places: tuple[str, ...], index: ImageIndex) -> str | None:
    """The picture of a file name, looked for first in the places of its own file."""
    stated = nfc(file_name.strip()).replace("\\", "/")
    return next((index.exact[folder + stated] for folder in places if folder + stated in index.exact), None)


def _categories(entries: list, file: str) -> dict[str, str]:
    names: dict[str, str] = {}
    for entry in entries:
        if not isinstance(entry, dict) or not is_id(entry.get("id")) or not isinstance(entry.get("name"), str):
            raise DataError(f"{file}: each category must be an object with an id and a name, got {str(entry)[:60]}")
        if id_text(entry["id"]) in names:
            raise DataError(f"{file}: two categories have the id {entry['id']!r}: expected each once; correct one")
        names[id_text(entry["id"])] = entry["name"].strip()
    return names


def _read_cell(entry: dict, where: str, seat: Seat, categories: dict, raw: RawSet, *, whole: bool) -> RawCell | None:
    """One annotation in px, or None where it has no box that can be read: listed then. whole: of the whole picture."""
    category = entry.get("category_id")
    named = categories.get(id_text(category)) if is_id(category) else None
    code = named if named is not None else f"category {str(category)[:40]}"
    box, outline = _box(entry.get("bbox")), entry.get("segmentation")
    if box is not None and not outline and not entry.get("iscrowd") and _PLAIN.issuperset(entry):
        # Most annotations: a box and nothing else.
        return RawCell(_not_corners(box, None, entry, where, seat, raw), code)
    contour = _outline(outline, where, seat, raw)
    if box is None and contour is None:
        if whole:
            return RawCell((0.0, 0.0, *map(float, seat.stated)), code)
        raw.drop(seat.file, "box without four numbers", f"{where}, {code}: {str(entry.get('bbox'))[:60]}")
        return None
    if box is None:
        raw.note(seat.file, "no box: the outline's taken", where, 1)
    elif contour is not None or entry.get("area"):
        box = _not_corners(box, contour, entry, where, seat, raw)
    if entry.get("iscrowd") == 1:
        raw.note(seat.file, "iscrowd=1 kept as one cell", where, 1)
    attributes = entry.get("attributes")
    pairs = {str(k): _text(v) or "" for k, v in attributes.items()} if isinstance(attributes, dict) else {}
    # CVAT writes its own two with each object; its box is the one before it was turned.
    pairs = {k: v for k, v in pairs.items() if (k, v) != ("occluded", "False")}
    cell = RawCell(box or bounds(contour), code, contour)
    if isinstance(entry.get("source_code"), str):
        pairs["source_code"] = entry["source_code"]  # an export of ours, which has turned its boxes already
    elif contour is None:
        cell = _turned(cell, pairs, where, seat.file, raw)
    elif pairs.get("rotation") in ("0", "0.0"):
        pairs.pop("rotation")
    score = entry.get("score")
    if isinstance(score, (int, float, str)) and score != "":
        cell = replace(cell, predicted=f"score {_text(score)[:20]}")
    return with_attributes(cell, pairs)


def _turned(cell: RawCell, pairs: dict[str, str], where: str, file: str, raw: RawSet) -> RawCell:
    """The box turned by its attribute `rotation`, degrees clockwise about its middle; the attribute is used up then."""
    if "rotation" not in pairs:
        return cell
    try:
        turned, is_turned = turned_box(cell.box, pairs.get("rotation", "0"), cell.code)
    except ValueError:
        return cell  # a word of the source's own
    pairs.pop("rotation", None)
    if is_turned:
        note_turned(raw, file, where)
    return turned


def _not_corners(box: Box, contour: Contour | None, entry: dict, where: str, seat: Seat, raw: RawSet) -> Box:
    """The box; or, where its outline or area says that it was written as corners (x0, y0, x1, y1), those corners."""
    if contour is None and box[2] <= seat.stated[0] + 1 and box[3] <= seat.stated[1] + 1:
        return box
    corners = (box[0], box[1], box[2] - box[0], box[3] - box[1])
    if corners[2] <= corners[0] or corners[3] <= corners[1]:
        return box
    if contour is not None:
        around = bounds(contour)
        is_corners = overlap(corners, around) > 0.9 > overlap(box, around)
    else:
        try:
            area = number(entry.get("area"))
        except ValueError:
            return box
        as_corners = (corners[2] - corners[0]) * (corners[3] - corners[1])
        # Outside its picture as it stands, and of the stated area as corners.
        is_corners = abs(as_corners - area) <= 0.01 * area
    if not is_corners:
        return box
    raw.issues.append(Issue(seat.file, "repaired", "box was written as corners, not as corner and size", where))
    return corners


def _doubt_corners(fields: list[RawField], file: str, raw: RawSet) -> None:
    """Boxes that leave their picture as corner and size and would fit as corners: noted, refused where most do."""
    n_boxes, doubted = 0, []
    for field in fields:
        width, height = field.stated_size or (field.width, field.height)
        for cell in field.cells:
            x0, y0, x1, y1 = cell.box
            n_boxes += 1
            if (x1 > width + 1 or y1 > height + 1) and x0 < x1 - x0 <= width + 1 and y0 < y1 - y0 <= height + 1:
                doubted.append((field.file, f"{cell.code} {x0:g}, {y0:g}, {x1 - x0:g}, {y1 - y0:g}"))
    if len(doubted) >= _MOST_DOUBTED and 2 * len(doubted) >= n_boxes:
        raise DataError(
            f"{file}: {len(doubted)} of {n_boxes} boxes leave their picture as x, y, width, height and fit as corners "
            f"x0, y0, x1, y1 (the first: {doubted[0][1]} in {doubted[0][0]}): write width and height, as COCO does"
        )
    for name, detail in doubted:
        raw.note(name, "box leaves its picture and would fit as corners", detail, 1)


def _box(value: object) -> Box | None:
    if not isinstance(value, list) or len(value) != 4:
        return None
    try:
        x, y, w, h = map(number, value)
    except ValueError:
        return None
    return x, y, x + w, y + h


def _outline(value: object, where: str, seat: Seat, raw: RawSet) -> Contour | None:
    """The outline of a polygon or mask, None where there is none; of several parts the largest, listed."""
    if value in (None, [], {}):
        return None
    try:
        if isinstance(value, dict):
            contour, wrong = outline_of(*read_coco_rle(value, *map(round, seat.stated)))
            if wrong:
                raw.note(seat.file, "outline leaves out parts or holes of the mask", f"{where}: {wrong} px", 1)
            return contour
        parts = [_polygon(part) for part in (value if isinstance(value, list) else [value])]
    except DataError as error:
        raw.issues.append(Issue(seat.file, "repaired", "outline can't be read: box only", f"{where}: {error}"))
        return None
    if len(parts) > 1:
        raw.note(seat.file, "outline in several parts: the largest kept", f"{where}: {len(parts)} parts", 1)
    return largest(parts)


def _polygon(part: object) -> Contour:
    if not isinstance(part, list) or len(part) < 6 or len(part) % 2:
        raise DataError("a polygon must be a list of x, y pairs, three or more")
    try:
        return tuple(pairs_of(part))
    except ValueError:
        raise DataError("a polygon holds what is no number") from None


def _split_in_name(file: str) -> str | None:
    """The split that a file's name or folder states: instances_train.json, train/_annotations.coco.json."""
    words = Path(file).stem.lower().replace("-", "_").split("_")
    named = {SPLIT_NAMES[w] for w in words for w in (w, w.rstrip("0123456789")) if w in SPLIT_NAMES}
    return named.pop() if len(named) == 1 else split_of(file)


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return str(int(value)) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else str(value)
