"""COCO: JSON files of images, annotations and categories; boxes, polygons and run-length masks, one file a split.

Ids are keys and nothing more: they may start anywhere and have gaps, and each file has its own category order.
Reads CVAT's COCO export (`annotations/instances_<split>.json`, attributes, masks as iscrowd) and our own, which
keeps patient, smear and the source's code in further keys.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

from leukoscope.dataset.extras import field_extras, with_attributes, with_extras
from leukoscope.dataset.files import ImageIndex, files_under, read_json
from leukoscope.dataset.raw import (
    SPLIT_NAMES,
    Box,
    Contour,
    Issue,
    RawCell,
    RawField,
    RawSet,
    bounds,
    number,
    source_folder,
    split_of,
    take_picture,
)
from leukoscope.dataset.rle import outline_of, read_coco_rle
from leukoscope.dataset.voc import note_other_size
from leukoscope.errors import DataError
from leukoscope.geometry import contour_area

_PARTS = ("images", "annotations", "categories")
_BESIDE = ("import-report.json", "export-report.json", "dataset.json", "labels.json", "leukoscope.json")


def read_coco(src: str | Path) -> RawSet:
    """Read a folder of pictures and COCO files; DataError for a file that is none, or that contradicts itself."""
    root = source_folder(src)
    index = ImageIndex(root)
    result = RawSet(root)
    files: dict[str, dict] = {}
    for file in files_under(root, (".json",)):
        if Path(file).name in _BESIDE:
            continue
        content = read_json(root / file)
        if isinstance(content, dict) and all(isinstance(content.get(part), list) for part in _PARTS):
            files[file] = content
        else:
            result.note(file, "not read: no COCO file of objects", f"expected lists {', '.join(_PARTS)}")
    if not files:
        raise DataError(
            f"{root} is not a COCO data set: expected a .json file with lists {', '.join(_PARTS)}; "
            f"got {len(result.issues)} other .json files; check the path and the format"
        )
    used: dict[str, str] = {}
    orders = {}
    for file, content in files.items():
        categories = _categories(content["categories"], file)
        orders[file] = list(categories.items())
        _read_file(file, content, categories, index, used, result)
    first = next(iter(files))
    for file in files:
        if orders[file] != orders[first]:
            result.note(file, "category order differs", f"from {first}: each file's ids mean its own categories")
    index.note_elsewhere(result)
    result.images_without_annotation = [f for f in index.files if f not in used]
    return result


def _read_file(
    file: str, content: dict, categories: dict, index: ImageIndex, used: dict[str, str], result: RawSet
) -> None:
    """One COCO file: its pictures, each with its annotations, in the file's order."""
    by_image: dict[object, list[tuple[int, dict]]] = defaultdict(list)
    result.n_objects += len(content["annotations"])
    ids: Counter = Counter()
    for position, entry in enumerate(content["annotations"]):
        if not isinstance(entry, dict) or not _is_id(entry.get("image_id")):
            result.drop(file, "annotation without a picture's id", f"annotation {position}")
            continue
        ids[str(entry.get("id"))] += 1
        by_image[entry["image_id"]].append((position, entry))
    twice = [i for i, n in ids.items() if n > 1 and i != "None"]
    if twice:
        result.note(file, "annotation ids given twice, each kept", f"{len(twice)} ids, the first {twice[0][:40]}")
    split, places, seen = _split_in_name(file), _places(file), set()
    for position, image in enumerate(content["images"]):
        if not isinstance(image, dict) or not _is_id(image.get("id")) or not isinstance(image.get("file_name"), str):
            raise DataError(f"{file}: image {position} must be an object with an id and a file_name")
        if image["id"] in seen:
            raise DataError(f"{file}: two images have the id {image['id']!r}: expected each once; export it again")
        seen.add(image["id"])
        entries = by_image.pop(image["id"], [])
        name = _find(image["file_name"], places, index)
        if name is None:
            result.without_image(image["file_name"], len(entries))
            continue
        if name in used:
            raise DataError(
                f"{file} and {used[name]} both annotate {name}: expected one entry a picture; remove one of them"
            )
        used[name] = file
        picture = take_picture(result, name, len(entries))
        if picture is None:
            continue
        note_other_size(result, name, (_text(image.get("width")), _text(image.get("height"))), picture)
        size = (picture.width, picture.height)
        cells = (_read_cell(e, f"{file} annotation {p}", name, categories, size, result) for p, e in entries)
        field = RawField(
            name, *size, tuple(c for c in cells if c is not None), split or split_of(name), sha256=picture.sha256
        )
        result.fields.append(with_extras(field, field_extras(image, f"{file} image {position}")))
    for image_id, entries in by_image.items():
        detail = f"{len(entries)} annotations of image id {str(image_id)[:40]}, which the file does not list"
        result.drop(file, "annotation of an unknown picture", detail, len(entries))


def _places(file: str) -> tuple[str, ...]:
    """The folders in which tools put the pictures of a COCO file, of its split first."""
    stem = Path(file).stem.rpartition("_")[2]
    near = file.rpartition("/")[0]
    near = near + "/" if near else ""
    return tuple(dict.fromkeys((f"images/{stem}/", f"{near}images/{stem}/", "images/", f"{stem}/", near)))


def _find(file_name: str, places: tuple[str, ...], index: ImageIndex) -> str | None:
    """The picture of a file name, looked for first in the places of its own file."""
    stated = file_name.strip().replace("\\", "/")
    for folder in places:
        if folder + stated in index.exact:
            return folder + stated
    return index.find(file_name)


def _categories(entries: list, file: str) -> dict[object, str]:
    names: dict[object, str] = {}
    for entry in entries:
        if not isinstance(entry, dict) or not _is_id(entry.get("id")) or not isinstance(entry.get("name"), str):
            raise DataError(f"{file}: each category must be an object with an id and a name, got {str(entry)[:60]}")
        if entry["id"] in names:
            raise DataError(f"{file}: two categories have the id {entry['id']!r}: expected each once; correct one")
        names[entry["id"]] = entry["name"].strip()
    return names


def _read_cell(
    entry: dict, where: str, image: str, categories: dict, size: tuple[int, int], result: RawSet
) -> RawCell | None:
    """One annotation in px, or None where it has no box that can be read: listed then."""
    category = entry.get("category_id")
    named = categories.get(category) if _is_id(category) else None
    code = named if named is not None else f"category {str(category)[:40]}"
    contour = _outline(entry.get("segmentation"), where, image, size, result)
    box = _box(entry.get("bbox"))
    if box is None and contour is None:
        result.drop(image, "box without four numbers", f"{where}, {code}: {str(entry.get('bbox'))[:60]}")
        return None
    if box is None:
        result.note(image, "no box: the outline's taken", where, 1)
    if entry.get("iscrowd") == 1:
        result.note(image, "iscrowd=1 kept as one cell", where, 1)
    attributes = entry.get("attributes")
    pairs = {str(k): _text(v) or "" for k, v in attributes.items()} if isinstance(attributes, dict) else {}
    # CVAT writes its own two with each object.
    pairs = {k: v for k, v in pairs.items() if (k, v) not in (("occluded", "False"), ("rotation", "0"))}
    if isinstance(entry.get("source_code"), str):
        pairs["source_code"] = entry["source_code"]
    return with_attributes(RawCell(box or bounds(contour), code, contour), pairs)


def _box(value: object) -> Box | None:
    if not isinstance(value, list) or len(value) != 4:
        return None
    try:
        x, y, w, h = (number(v) for v in value)
    except ValueError:
        return None
    return x, y, x + w, y + h


def _outline(value: object, where: str, image: str, size: tuple[int, int], result: RawSet) -> Contour | None:
    """The outline of a polygon or mask, None where there is none; of several parts the largest, listed."""
    if value in (None, [], {}):
        return None
    try:
        if isinstance(value, dict):
            contour, wrong = outline_of(*read_coco_rle(value, *size))
            if wrong:
                result.note(image, "outline leaves out parts or holes of the mask", f"{where}: {wrong} px", 1)
            return contour
        parts = [_polygon(part) for part in (value if isinstance(value, list) else [value])]
    except DataError as error:
        result.issues.append(Issue(image, "repaired", "outline can't be read: box only", f"{where}: {error}"))
        return None
    if len(parts) > 1:
        result.note(image, "outline in several parts: the largest kept", f"{where}: {len(parts)} parts", 1)
    return max(parts, key=contour_area)


def _polygon(part: object) -> Contour:
    if not isinstance(part, list) or len(part) < 6 or len(part) % 2:
        raise DataError("a polygon must be a list of x, y pairs, three or more")
    try:
        values = [number(v) for v in part]
    except ValueError:
        raise DataError("a polygon holds what is no number") from None
    return tuple(zip(values[::2], values[1::2], strict=True))


def _split_in_name(file: str) -> str | None:
    """The split that a file's name or folder states: instances_train.json, train/_annotations.coco.json."""
    words = Path(file).stem.lower().replace("-", "_").split("_")
    named = {SPLIT_NAMES[w] for w in words for w in (w, w.rstrip("0123456789")) if w in SPLIT_NAMES}
    return named.pop() if len(named) == 1 else split_of(file)


def _is_id(value: object) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool)


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return str(int(value)) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else str(value)
