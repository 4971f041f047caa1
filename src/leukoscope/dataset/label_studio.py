"""Label Studio's JSON: a list of tasks, each with a picture and the regions that people drew, in percent of it.

Only what people submitted counts: predictions are a model's, a cancelled annotation is none. Where several people
annotated a picture, one answer is taken and the others are listed.
"""

import re
from pathlib import Path

from leukoscope.dataset.extras import field_extras, with_attributes
from leukoscope.dataset.intake import Intake, Seat, stated_size
from leukoscope.dataset.raw import RawCell, RawSet, bounds, number
from leukoscope.dataset.shapes import ellipse, note_turned, polygon, turned_box, whole_picture
from leukoscope.dataset.text import read_json_files
from leukoscope.errors import DataError

_REGIONS = ("rectanglelabels", "polygonlabels", "ellipselabels", "rectangle", "polygon", "ellipse")
_OTHER_REGIONS = ("brushlabels", "brush", "keypointlabels", "keypoint", "vectorlabels", "vector", "bitmask",
                  "bitmasklabels")  # fmt: skip
_PICTURE_KEYS = ("image", "img", "photo", "picture")


def read_label_studio(src: str | Path, *, code_attribute: str | None = None) -> RawSet:
    """Read a folder of pictures and Label Studio JSON exports; DataError for a file that is none.

    code_attribute  the control whose choice is the class of a whole picture, where there are several
    """
    intake = Intake(src)
    raw = intake.raw
    files = list(read_json_files(raw.root))
    if not files:
        raise DataError(
            f"{raw.root} is not a Label Studio export: expected a .json file of tasks; got {len(intake.index.files)} "
            f"pictures and no .json; export as JSON, and put the pictures beside it"
        )
    for file, tasks in files:
        if not isinstance(tasks, list) or not all(isinstance(t, dict) and "data" in t for t in tasks):
            raise DataError(
                f"{file} is no Label Studio export: expected a list of tasks, each with `data` and `annotations`; "
                f"export as JSON (not JSON-MIN, not COCO)"
            )
        read = [_Task(t, f"{file} task {n}") for n, t in enumerate(tasks)]
        labels = {label for t in read for a in t.regions for r in a for label in _labels(r.get("value"), r.get("type"))}
        is_classified = not any(regions for t in read for regions in t.regions)
        for task in read:
            _read_task(task, intake, None if is_classified else labels, code_attribute)
    return intake.finish()


class _Task:
    """One task: what people answered, the shapes in each answer, and its pictures by their key in `data`."""

    def __init__(self, task: dict, where: str) -> None:
        self.where, self.task = where, task
        self.answers = task.get("annotations", task.get("completions", []))
        if not isinstance(self.answers, list) or not all(
            isinstance(a, dict) and isinstance(a.get("result", []), list) for a in self.answers
        ):
            raise DataError(f"{where}: annotations must be a list of objects with a list `result`; export it again")
        self.regions = [[r for r in a.get("result", []) if _is_region(r)] for a in self.answers]
        data = task["data"] if isinstance(task["data"], dict) else {}
        keys = dict.fromkeys((*(k for k in _PICTURE_KEYS if k in data), *data))
        self.pictures = {k: data[k] for k in keys if isinstance(data[k], str) and _names_picture(data[k])}
        if not self.pictures:
            raise DataError(f"{where} names no picture: expected data with an `image`, got {str(task['data'])[:60]}")
        self.chosen = _choose(self.answers)

    @property
    def answer(self) -> list:
        """The results of the answer that is taken."""
        return [] if self.chosen is None else self.answers[self.chosen].get("result", [])

    def by_picture(self) -> dict[str, list[dict]]:
        """{key of the picture: regions on it} of the answer that is taken; key "" where that can't be told."""
        regions = [] if self.chosen is None else self.regions[self.chosen]
        targets = {str(r.get("to_name")) for r in regions}
        if len(targets) < 2 or len(self.pictures) < 2:
            key = next((t for t in targets if t in self.pictures), next(iter(self.pictures)))
            return {key: regions}
        results: dict[str, list[dict]] = {key: [] for key in self.pictures if key in targets}
        for region in regions:
            target = str(region.get("to_name"))
            results.setdefault(target if target in self.pictures else "", []).append(region)
        return results


def _names_picture(value: str) -> bool:
    return re.search(r"\.\w{3,4}($|\?)|\?d=", value) is not None


def _read_task(task: _Task, intake: Intake, labels: set[str] | None, code_attribute: str | None) -> None:
    """The pictures of a task. labels: those of the file's regions; None where it has none, so that choices classify."""
    raw, where = intake.raw, task.where
    raw.n_objects += sum(map(len, task.regions))
    groups = task.by_picture()
    unclear = groups.pop("", [])
    first = next(iter(task.pictures.values()))
    if unclear:
        raw.drop(first[:200], "which of the task's pictures a region is on can't be told", where, len(unclear))
    name = intake.index.find(first) or first[:200]
    for position, answer in enumerate(task.answers):
        if position != task.chosen:
            reason = "cancelled annotation" if answer.get("was_cancelled") else "another person's annotation not used"
            raw.drop(name, reason, f"{where}, annotation {position}", len(task.regions[position]))
    if task.chosen is None:
        predicted = task.task.get("predictions")
        if predicted:
            raw.note(name, "only a model's predictions: not truth, left out", where)
        return  # shown to people, answered by none: without annotation
    whole = {} if any(groups.values()) else _choices(task.answer, labels)
    n_whole = min(len(whole), 1) if code_attribute in whole else len(whole)
    raw.n_objects += n_whole
    for key, regions in groups.items():
        size = next((s for s in map(_size_of, regions) if s), None)
        seat = intake.seat(task.pictures[key], where, len(regions) + n_whole, size=size)
        if seat is None:
            continue
        side = _Side(task.answer)
        cells = [_read_region(r, side, f"{where}, region {n}", seat, raw) for n, r in enumerate(regions)]
        cells += _whole_cells(whole, code_attribute, where, seat, raw)
        if not whole:
            _note_rest(task.answer, seat.file, where, raw)
        extras = task.task["data"] if isinstance(task.task["data"], dict) else {}
        intake.take(seat, cells, extras=field_extras(extras, where))


def _size_of(region: dict) -> tuple[float, float] | None:
    return stated_size((region.get("original_width"), region.get("original_height")))


def _choices(answer: list, labels: set[str] | None) -> dict[str, str]:
    """{control: choice} of what classifies a whole picture: nothing has a region, or a region has that class too.

    Several choices of one control stand under it and its number.
    """
    choices: dict[str, str] = {}
    for entry in answer:
        if isinstance(entry, dict) and entry.get("type") == "choices":
            for n, choice in enumerate(_labels(entry.get("value"), "choices")):
                if labels is None or choice in labels:
                    choices[str(entry.get("from_name")) + (f" {n + 1}" if n else "")] = choice
    return choices


def _whole_cells(
    choices: dict[str, str], code_attribute: str | None, where: str, seat: Seat, raw: RawSet
) -> list[RawCell]:
    """The full-frame cell of a picture that choices classify, by the control that was stated where several do."""
    if code_attribute in choices:
        cells = whole_picture([choices[code_attribute]], where, seat, raw)
        return [with_attributes(cell, choices) for cell in cells]
    return whole_picture(list(choices.values()), where, seat, raw)


class _Side:
    """What an answer says beside its shapes, by the id of the region that it is about."""

    def __init__(self, answer: list) -> None:
        self._of: dict[str, list[dict]] = {}
        for entry in answer:
            if isinstance(entry, dict) and _side(entry):
                self._of.setdefault(str(entry.get("id")), []).append(entry)

    def beside(self, region: dict) -> list[dict]:
        """The results about a region, itself left out."""
        return [e for e in self._of.get(str(region.get("id")), []) if e is not region]


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


def _choose(answers: list[dict]) -> int | None:
    """The answer that is taken: the one marked ground truth, else the last that was not cancelled."""
    given = [i for i, a in enumerate(answers) if not a.get("was_cancelled")]
    marked = [i for i in given if answers[i].get("ground_truth") is True]
    return marked[-1] if marked else given[-1] if given else None


def _read_region(entry: dict, side: _Side, where: str, seat: Seat, raw: RawSet) -> RawCell | None:
    """One region in px of the size it was drawn at, or None where it can't be one cell: listed then."""
    value = entry.get("value") if isinstance(entry.get("value"), dict) else {}
    kind, file = str(entry.get("type")), seat.file
    if kind in _OTHER_REGIONS or not ({"x", "points"} & set(value)):
        raw.drop(file, f"a region of type {kind[:30]} is not read: draw rectangles, ellipses or polygons", where)
        return None
    beside = side.beside(entry)
    labels = _labels(value, kind)
    for other in beside:
        labels += _labels(other.get("value"), "labels") if other.get("type") == "labels" else []
    if len(set(labels)) != 1:
        said = "region without a label" if not labels else "region of several labels"
        raw.drop(file, said, f"{where}: {', '.join(labels)[:80]}")
        return None
    try:
        cell, is_turned = _shape(value, labels[0].strip(), seat.stated)
    except ValueError as error:
        raw.drop(file, "region without numbers", f"{where}: {str(error)[:80]}")
        return None
    if is_turned:
        note_turned(raw, file, where)
    if entry.get("image_rotation") not in (None, 0):
        # Its editor turns the points back before it writes them (PolygonRegion's serialize): nothing to undo.
        raw.note(file, "picture turned in the editor: taken as on the unturned picture", where, 1)
    attributes = {
        str(e.get("from_name")): _value_text(e["value"])
        for e in beside
        if e.get("type") != "labels" and e.get("id") is not None and isinstance(e.get("value"), dict)
    }
    return with_attributes(cell, attributes)


def _labels(value: object, kind: object) -> list[str]:
    labels = value.get(str(kind)) if isinstance(value, dict) else None
    return [v for v in labels if isinstance(v, str)] if isinstance(labels, list) else []


def _value_text(value: dict) -> str:
    """The text of an answer beside a region: its choices, text, number."""
    inner = next(iter(value.values()), "")
    return "; ".join(map(str, inner)) if isinstance(inner, list) else str(inner)


def _shape(value: dict, code: str, size: tuple[float, float]) -> tuple[RawCell, bool]:
    """(cell, whether it is a turned box) from percent. A rectangle turns about its top left corner, an ellipse about
    its middle, both on the picture's px."""
    sx, sy = size[0] / 100, size[1] / 100
    if "points" in value:
        cell = polygon(value["points"], code)
        contour = tuple((x * sx, y * sy) for x, y in cell.contour)
        return RawCell(bounds(contour), code, contour), False
    if "radiusX" in value:
        x, y, rx, ry = (number(value.get(k)) for k in ("x", "y", "radiusX", "radiusY"))
        degrees = number(value.get("rotation") or 0)
        return ellipse((x * sx, y * sy), (rx * sx, ry * sy), code, degrees=degrees), False
    x, y, w, h = (number(value.get(k)) for k in ("x", "y", "width", "height"))
    box = (x * sx, y * sy, (x + w) * sx, (y + h) * sy)
    return turned_box(box, value.get("rotation") or 0, code, about=box[:2])


def _note_rest(answer: list, image: str, where: str, result: RawSet) -> None:
    """List what an answer says of the picture as a whole: a manifest has no place for it."""
    ids = {e.get("id") for e in answer if _is_region(e)}
    rest = [e for e in answer if not _is_region(e) and (not isinstance(e, dict) or e.get("id") not in ids)]
    if rest:
        kinds = sorted({str(e.get("type"))[:20] if isinstance(e, dict) else "no object" for e in rest})
        result.note(image, "answers about the whole picture not kept", f"{where}: {', '.join(kinds)}")
