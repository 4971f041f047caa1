"""Label Studio's JSON: a list of tasks, each with a picture and the regions that people drew, in percent of it.

Only what people submitted counts: predictions are a model's, a cancelled annotation is none. Where several people
annotated a picture, one answer is taken and the others are listed.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from leukoscope.dataset.cvat import rotated
from leukoscope.dataset.extras import field_extras, with_attributes, with_extras
from leukoscope.dataset.files import ImageIndex, files_under, read_json
from leukoscope.dataset.raw import (
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
from leukoscope.errors import DataError

_REGIONS = ("rectanglelabels", "polygonlabels", "rectangle", "polygon")
_OTHER_REGIONS = ("brushlabels", "brush", "ellipselabels", "ellipse", "keypointlabels", "keypoint", "vectorlabels",
                  "vector", "bitmask", "bitmasklabels")  # fmt: skip
_BESIDE = ("import-report.json", "export-report.json", "dataset.json")


def read_label_studio(src: str | Path) -> RawSet:
    """Read a folder of pictures and Label Studio JSON exports; DataError for a file that is none."""
    root = source_folder(src)
    index = ImageIndex(root)
    files = [f for f in files_under(root, (".json",)) if Path(f).name not in _BESIDE]
    if not files:
        raise DataError(
            f"{root} is not a Label Studio export: expected a .json file of tasks; got {len(index.files)} pictures "
            f"and no .json; export as JSON, and put the pictures beside it"
        )
    result = RawSet(root)
    used: dict[str, str] = {}
    for file in files:
        tasks = read_json(root / file)
        if not isinstance(tasks, list) or not all(isinstance(t, dict) and "data" in t for t in tasks):
            raise DataError(
                f"{file} is no Label Studio export: expected a list of tasks, each with `data` and `annotations`; "
                f"export as JSON (not JSON-MIN, not COCO)"
            )
        for position, task in enumerate(tasks):
            _read_task(task, f"{file} task {position}", index, used, result)
    index.note_elsewhere(result)
    result.images_without_annotation = [f for f in index.files if f not in used]
    return result


def _read_task(task: dict, where: str, index: ImageIndex, used: dict[str, str], result: RawSet) -> None:
    answers = task.get("annotations", task.get("completions", []))
    if not isinstance(answers, list) or not all(
        isinstance(a, dict) and isinstance(a.get("result", []), list) for a in answers
    ):
        raise DataError(f"{where}: annotations must be a list of objects with a list `result`; export it again")
    regions = [[r for r in a.get("result", []) if _is_region(r)] for a in answers]
    result.n_objects += sum(map(len, regions))
    stated = _stated_picture(task["data"], where)
    name = _find(stated, index)
    if name is None:
        result.without_image(stated[:200], sum(map(len, regions)))
        return
    chosen = _choose(answers)
    for position, answer in enumerate(answers):
        if position != chosen:
            reason = "cancelled annotation" if answer.get("was_cancelled") else "another person's annotation not used"
            result.drop(name, reason, f"{where}, annotation {position}", len(regions[position]))
    if chosen is None:
        return  # shown to people, answered by none: without annotation
    if name in used:
        raise DataError(f"{where} and {used[name]} both annotate {name}: expected one task a picture; remove one")
    used[name] = where
    picture = take_picture(result, name, len(regions[chosen]))
    if picture is None:
        return
    size = (picture.width, picture.height)
    answer = answers[chosen].get("result", [])
    cells = [_read_region(r, answer, f"{where}, region {n}", name, size, result) for n, r in enumerate(regions[chosen])]
    _note_rest(answer, name, where, result)
    split = split_of(name)
    field = RawField(name, *size, tuple(c for c in cells if c is not None), split, sha256=picture.sha256)
    extras = task["data"] if isinstance(task["data"], dict) else {}
    result.fields.append(with_extras(field, field_extras(extras, where)))


def _is_region(entry: object) -> bool:
    """Whether a result is an object on the picture: a shape, known or not."""
    return isinstance(entry, dict) and (
        entry.get("type") in _REGIONS + _OTHER_REGIONS
        or (
            isinstance(entry.get("value"), dict)
            and bool({"x", "points", "rle"} & set(entry["value"]))
            and not _side(entry)
        )
    )


def _side(entry: dict) -> bool:
    """Whether a result says something of a region (its label, an attribute) and is no shape of its own."""
    return entry.get("type") in ("labels", "choices", "textarea", "rating", "number", "taxonomy", "datetime")


def _stated_picture(data: object, where: str) -> str:
    values = data if isinstance(data, dict) else {}
    for key in ("image", "img", "photo", "picture", *values):
        value = values.get(key)
        if isinstance(value, str) and re.search(r"\.\w{3,4}($|\?)|\?d=", value):
            return value
    raise DataError(f"{where} names no picture: expected data with an `image`, got {str(data)[:60]}")


def _find(stated: str, index: ImageIndex) -> str | None:
    """The picture of an upload, a local file or a store's address; an upload's name has eight digits before it."""
    path = unquote(stated.split("?d=", 1)[1] if "?d=" in stated else stated.split("?", 1)[0])
    path = re.sub(r"^[a-z0-9]+://[^/]*/?", "", path)
    return index.find(path) or index.find(re.sub(r"(^|/)[0-9a-f]{8}-([^/]*)$", r"\1\2", path))


def _choose(answers: list[dict]) -> int | None:
    """The answer that is taken: the one marked ground truth, else the last that was not cancelled."""
    given = [i for i, a in enumerate(answers) if not a.get("was_cancelled")]
    marked = [i for i in given if answers[i].get("ground_truth") is True]
    return marked[-1] if marked else given[-1] if given else None


def _read_region(
    entry: dict, answer: list, where: str, image: str, size: tuple[int, int], result: RawSet
) -> RawCell | None:
    """One region in px, or None where it can't be one cell: listed then."""
    value = entry.get("value") if isinstance(entry.get("value"), dict) else {}
    kind = str(entry.get("type"))
    if kind in _OTHER_REGIONS or not ({"x", "points"} & set(value)):
        result.drop(image, f"a region of type {kind[:30]} is not read: draw rectangles or polygons", where)
        return None
    beside = [
        e for e in answer if isinstance(e, dict) and e is not entry and _side(e) and e.get("id") == entry.get("id")
    ]
    labels = _labels(value, kind)
    for other in beside:
        labels += _labels(other.get("value"), "labels") if other.get("type") == "labels" else []
    if len(set(labels)) != 1:
        said = "region without a label" if not labels else "region of several labels"
        result.drop(image, said, f"{where}: {', '.join(labels)[:80]}")
        return None
    try:
        cell = _shape(value, labels[0].strip(), size)
    except ValueError as error:
        result.drop(image, "region without numbers", f"{where}: {str(error)[:80]}")
        return None
    if "points" not in value and cell.contour:
        result.issues.append(Issue(image, "repaired", "rotated box: the box around it", where))
    attributes = {
        str(e.get("from_name")): _value_text(e["value"])
        for e in beside
        if e.get("type") != "labels" and e.get("id") is not None and isinstance(e.get("value"), dict)
    }
    return with_attributes(cell, attributes)


def _labels(value: object, kind: str) -> list[str]:
    found = value.get(kind) if isinstance(value, dict) else None
    return [v for v in found if isinstance(v, str)] if isinstance(found, list) else []


def _value_text(value: dict) -> str:
    """The text of an answer beside a region: its choices, text, number."""
    inner = next(iter(value.values()), "")
    return "; ".join(map(str, inner)) if isinstance(inner, list) else str(inner)


def _shape(value: dict, code: str, size: tuple[int, int]) -> RawCell:
    """Percent to px. A rectangle turns about its top left corner, on the picture's px."""
    sx, sy = size[0] / 100, size[1] / 100
    if "points" in value:
        points = value["points"]
        if (
            not isinstance(points, list)
            or len(points) < 3
            or not all(isinstance(p, list) and len(p) == 2 for p in points)
        ):
            raise ValueError("expected points [[x, y], …], three or more")
        contour = tuple((number(x) * sx, number(y) * sy) for x, y in points)
        return RawCell(bounds(contour), code, contour)
    x, y, w, h = (number(value.get(k)) for k in ("x", "y", "width", "height"))
    x0, y0, x1, y1 = x * sx, y * sy, (x + w) * sx, (y + h) * sy
    angle = number(value.get("rotation") or 0)
    if not angle:
        return RawCell((x0, y0, x1, y1), code)
    corners = rotated(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), angle, (x0, y0))
    return RawCell(bounds(corners), code, corners)


def _note_rest(answer: list, image: str, where: str, result: RawSet) -> None:
    """List what an answer says of the picture as a whole: a manifest has no place for it."""
    ids = {e.get("id") for e in answer if _is_region(e)}
    rest = [e for e in answer if not _is_region(e) and (not isinstance(e, dict) or e.get("id") not in ids)]
    if rest:
        kinds = sorted({str(e.get("type"))[:20] if isinstance(e, dict) else "no object" for e in rest})
        result.note(image, "answers about the whole picture not kept", f"{where}: {', '.join(kinds)}")
