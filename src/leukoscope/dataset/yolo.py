"""YOLO: one text file a picture, a line a box: class, centre x, centre y, width, height as shares of the picture.

A line of more than five numbers is an outline (class, then x y pairs). A picture whose label file is empty was
looked at and holds no cell; a picture without a label file was not annotated: it is reported and left out.
Layouts: Ultralytics (data.yaml, images/ and labels/ in either order with the splits), CVAT's YOLO 1.1
(obj.names, obj_train_data/, train.txt), flat.
"""

import math
import re
from dataclasses import dataclass
from os.path import splitext
from pathlib import Path, PurePosixPath

from leukoscope.dataset.extras import CellExtras, FieldExtras, read_cell_extras, read_field_extras
from leukoscope.dataset.files import files_under
from leukoscope.dataset.intake import Intake
from leukoscope.dataset.names import folded, nfc
from leukoscope.dataset.raw import RawCell, RawSet, bounds
from leukoscope.dataset.text import read_text
from leukoscope.dataset.yolo_names import NAME_FILES, ClassNames
from leukoscope.dataset.yolo_splits import stated_splits
from leukoscope.errors import DataError

_LABEL_LINE = re.compile(r"\s*\d+([\s,;]+[-+.\deE]+){4,}\s*(\n|$)")
_DECIMAL_COMMA = re.compile(r"-?\d+,\d+$")
_MOST_SHARE = 1.5  # outlines may pass the edge a little; further out are px, or a pose's visibilities


def read_yolo(src: str | Path, *, label_attributes: int = 0) -> RawSet:
    """Read a YOLO folder: `train/images` beside `train/labels`, `images/train`, flat, or labels beside the pictures.

    label_attributes  numbers behind each box that are no outline but attributes of the cell, a1, a2, … (LeukemiaAttri)
    """
    intake = Intake(src)
    raw, index, root = intake.raw, intake.index, intake.raw.root
    raw.in_px = False
    names = ClassNames(root)
    field_extras, cell_extras = read_field_extras(root), read_cell_extras(root)
    splits = stated_splits(root, index, None if field_extras else names, raw)
    texts = files_under(root, (".txt",))
    present, used = {folded(t): t for t in texts} | {nfc(t): t for t in texts}, set()
    for file in index.files:
        label = _label_file(nfc(file))
        label = present.get(label) or present.get(folded(label))
        if label is None:
            continue
        if label in used:
            raise DataError(f"{label} would label two pictures, {file} and another: expected one of each name")
        used.add(label)
        lines = _label_lines(f"{root}/{label}")
        raw.n_objects += len(lines)
        seat = intake.seat(file, label, len(lines), known=file)
        if seat is None:
            continue
        cells = []
        layout = _Layout(seat.size, label_attributes, names.file_of(label).key_points)
        for number, line in lines:
            cell = _read_line(line, layout)
            if isinstance(cell, str):
                raw.drop(file, cell, f"{label} line {number}: {line.strip()[:80]}")
                continue
            class_id, cell = cell
            code = names.of(label, class_id) if isinstance(class_id, int) else class_id  # some write the name itself
            cells.append(_named(cell, code, cell_extras.pop((label, number, line.strip()), None)))
        intake.take(seat, cells, split=splits.get(file), extras=field_extras.pop(file, None))
    for label in _label_files(root, texts):
        if label not in used:
            n = len(_label_lines(f"{root}/{label}"))
            raw.n_objects += n
            raw.without_image(label, n)
    if not used:
        raise DataError(
            f"{root} is not a YOLO data set: expected a .txt file for each picture, in labels/ or beside it; "
            f"got {len(index.files)} pictures and no label; check the path and the format"
        )
    _note(raw, names, field_extras, cell_extras)
    return intake.finish()


def _note(
    result: RawSet, names: ClassNames, field_extras: dict[str, FieldExtras], cell_extras: dict[tuple, CellExtras]
) -> None:
    """List what is true of the whole set: class orders that differ, rows of the side tables that match nothing."""
    names.note_differences(result)
    for what, left in (("field", field_extras), ("cell", cell_extras)):
        if left:
            first = next(iter(left))
            detail = (
                f"{len(left)} rows, the first {first if isinstance(first, str) else ' line '.join(map(str, first[:2]))}"
            )
            result.note("", f"{what} of the side table is not in the labels", detail)


def _named(cell: RawCell, code: str, extras: CellExtras | None) -> RawCell:
    if extras is None:
        return RawCell(cell.box, code, cell.contour, None, cell.attributes, cell.predicted)
    return RawCell(extras.box or cell.box, code, cell.contour, extras.source_code, extras.attributes, cell.predicted)


def _label_file(image: str) -> str:
    """Where a picture's label file belongs: the last folder `images` becomes `labels`, the suffix .txt."""
    folders, _, name = ("/" + image).rpartition("/")
    before, images, after = (folders + "/").rpartition("/images/")
    place = f"{before}/labels/{after}" if images else folders + "/"
    return (place + splitext(name)[0] + ".txt")[1:]


def _label_lines(path: Path | str) -> list[tuple[int, str]]:
    """(line number, line) of the lines that hold anything."""
    return [(number, line) for number, line in enumerate(read_text(path).splitlines(), 1) if line.strip()]


def _label_files(root: Path, texts: list[str]) -> list[str]:
    """Text files that are labels: those under a folder `labels`, else those that hold label lines."""
    files = [f for f in texts if PurePosixPath(f).name.lower() not in NAME_FILES]
    in_labels = [f for f in files if "labels" in f.split("/")[:-1]]
    return in_labels or [f for f in files if _LABEL_LINE.match(read_text(root / f))]


@dataclass(frozen=True, slots=True)
class _Layout:
    """What the numbers of a label line are: the picture's size, attributes behind a box, (key points, numbers each)."""

    size: tuple[int, int]
    n_attributes: int
    key_points: tuple[int, int]


def _words(line: str) -> list[str]:
    """The words of a label line: commas stand between numbers, or in them as some languages write decimals."""
    words = line.split()
    if "," not in line and ";" not in line:
        return words
    if len(words) >= 5 and all(_DECIMAL_COMMA.match(w) or w in ("0", "1") for w in words[1:]):
        return [w.replace(",", ".") for w in words]
    return re.split(r"[\s,;]+", line.strip().strip(",;"))


def _read_line(line: str, layout: _Layout) -> tuple[int | str, RawCell] | str:
    """One label line as (class number or name, cell in px), or why it isn't one."""
    width, height = layout.size
    first, *numbers = _words(line)
    try:
        if any("_" in n for n in numbers):
            return "malformed line"  # Python reads 1_0 as ten
        class_id, values = _class_of(first), [float(v) for v in numbers]
    except ValueError:
        return "malformed line"
    attributes: tuple = ()
    if layout.n_attributes and len(values) == 4 + layout.n_attributes:
        attributes = tuple((f"a{i}", text) for i, text in enumerate(numbers[4:], 1))
        values = values[:4]
    elif layout.n_attributes and len(values) != 4:
        return "malformed line"
    n_points, each = layout.key_points
    if n_points and len(values) in (4 + n_points * each, 5 + n_points * each):
        values = values[:4] + values[4 + n_points * each :]  # a pose: its box, and the confidence where there is one
    elif n_points and len(values) > 5:
        return "malformed line: not the pose that kpt_shape states"
    # An outline is pairs and a box is four numbers: one more is the confidence of a model that wrote the file.
    predicted = f"confidence {numbers[-1]}" if len(values) >= 5 and len(values) % 2 else ""
    values = values[:-1] if predicted else values
    if len(values) < 4:
        return "malformed line"
    if max(values) > _MOST_SHARE and all(map(math.isfinite, values)):
        return "numbers over 1: px or a pose without kpt_shape, where YOLO has shares of the picture"
    if len(values) == 4:
        x, y, w, h = values
        box = ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
        return class_id, RawCell(box, "", None, None, attributes, predicted)
    contour = tuple((x * width, y * height) for x, y in zip(values[::2], values[1::2], strict=True))
    return class_id, RawCell(bounds(contour), "", contour, predicted=predicted)


def _class_of(word: str) -> int | str:
    """A class number, also as np.savetxt writes it (1.000e+00), or a class name; ValueError for neither."""
    if word.isdigit() and len(word) < 10:
        return int(word)
    try:
        value = float(word)
    except ValueError:
        if re.fullmatch(r"[^\W\d][\w-]*", word):
            return word
        raise
    if not value.is_integer() or abs(value) > 1e9:
        raise ValueError(word)
    return int(value)
