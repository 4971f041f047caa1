"""YOLO: one text file a picture, a line a box: class, centre x, centre y, width, height as shares of the picture.

A line of more than five numbers is an outline (class, then x y pairs). A picture whose label file is empty was
looked at and holds no cell; a picture without a label file was not annotated: it is reported and left out.
Layouts: Ultralytics (data.yaml, images/ and labels/ in either order with the splits), CVAT's YOLO 1.1
(obj.names, obj_train_data/, train.txt), flat.
"""

from __future__ import annotations

import re
from os.path import splitext
from pathlib import Path, PurePosixPath

from leukoscope.dataset.extras import CellExtras, FieldExtras, read_cell_extras, read_field_extras, with_extras
from leukoscope.dataset.files import ImageIndex, files_under, read_text
from leukoscope.dataset.raw import SPLIT_NAMES, RawCell, RawField, RawSet, bounds, source_folder, split_of, take_picture
from leukoscope.dataset.yolo_names import NAME_FILES, ClassNames
from leukoscope.errors import DataError

_LABEL_LINE = re.compile(r"\s*\d+(\s+[-+.\deE]+){4,}\s*(\n|$)")


def read_yolo(src: str | Path, *, label_attributes: int = 0) -> RawSet:
    """Read a YOLO folder: `train/images` beside `train/labels`, `images/train`, flat, or labels beside the pictures.

    label_attributes  numbers behind each box that are no outline but attributes of the cell, a1, a2, … (LeukemiaAttri)
    """
    root = source_folder(src)
    index = ImageIndex(root)
    result = RawSet(root)
    names, listed = ClassNames(root), _listed_splits(root, index)
    field_extras, cell_extras = read_field_extras(root), read_cell_extras(root)
    texts = files_under(root, (".txt",))
    present, used = {t.lower(): t for t in texts} | {t: t for t in texts}, set()
    for file in index.files:
        label = _label_file(file)
        label = present.get(label) or present.get(label.lower())
        if label is None:
            result.images_without_annotation.append(file)
            continue
        if label in used:
            raise DataError(f"{label} would label two pictures, {file} and another: expected one of each name")
        used.add(label)
        lines = _label_lines(f"{root}/{label}")
        result.n_objects += len(lines)
        picture = take_picture(result, file, len(lines))
        if picture is None:
            continue
        size = (picture.width, picture.height)
        cells = []
        for number, line in lines:
            cell = _read_line(line, size, label_attributes)
            if cell is None:
                result.drop(file, "malformed line", f"{label} line {number}: {line.strip()[:80]}")
                continue
            class_id, cell = cell
            cells.append(_named(cell, names.of(label, class_id), cell_extras.pop((label, number, line.strip()), None)))
        split = listed.get(file) or split_of(file)
        field = RawField(file, *size, tuple(cells), split, sha256=picture.sha256)
        result.fields.append(with_extras(field, field_extras.pop(file, None)))
    for label in _label_files(root, texts):
        if label not in used:
            n = len(_label_lines(root / label))
            result.n_objects += n
            result.without_image(label, n)
    if not used:
        raise DataError(
            f"{root} is not a YOLO data set: expected a .txt file for each picture, in labels/ or beside it; "
            f"got {len(index.files)} pictures and no label; check the path and the format"
        )
    _note(result, index, names, field_extras, cell_extras)
    return result


def _note(
    result: RawSet,
    index: ImageIndex,
    names: ClassNames,
    field_extras: dict[str, FieldExtras],
    cell_extras: dict[tuple, CellExtras],
) -> None:
    """List what is true of the whole set: class orders that differ, rows of the side tables that match nothing."""
    index.note_elsewhere(result)
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
        return RawCell(cell.box, code, cell.contour, None, cell.attributes)
    return RawCell(extras.box or cell.box, code, cell.contour, extras.source_code, extras.attributes)


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


def _read_line(line: str, size: tuple[int, int], n_attributes: int) -> tuple[int, RawCell] | None:
    """One label line as (class number, cell in px), or None where it isn't one."""
    width, height = size
    try:
        first, *numbers = line.split()
        if "_" in line:
            return None  # Python reads 1_0 as ten
        class_id, values = int(first), [float(v) for v in numbers]
    except ValueError:
        return None
    attributes = ()
    if n_attributes and len(values) == 4 + n_attributes:
        attributes = tuple((f"a{i}", text) for i, text in enumerate(numbers[4:], 1))
        values = values[:4]
    if len(values) == 4:
        x, y, w, h = values
        box = ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
        return class_id, RawCell(box, "", None, None, attributes)
    if len(values) >= 6 and len(values) % 2 == 0 and not n_attributes:
        contour = tuple((x * width, y * height) for x, y in zip(values[::2], values[1::2], strict=True))
        return class_id, RawCell(bounds(contour), "", contour)
    return None


def _listed_splits(root: Path, index: ImageIndex) -> dict[str, str]:
    """Splits given as lists of pictures (train.txt, val.txt, test.txt at the top)."""
    splits: dict[str, str] = {}
    for name, split in SPLIT_NAMES.items():
        listing = root / f"{name}.txt"
        if not listing.is_file():
            continue
        for line in read_text(listing).splitlines():
            file = index.find(line) if Path(line.strip()).suffix else None
            if file and splits.setdefault(file, split) != split:
                raise DataError(f"{listing} lists {file}, which is in {splits[file]} too: expected one split a picture")
    return splits
