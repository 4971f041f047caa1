"""YOLO: one text file a picture, a line a box: class, centre x, centre y, width, height as shares of the picture.

A line of more than five numbers is an outline (class, then x y pairs). A picture whose label file is empty was
looked at and holds no cell; a picture without a label file was not annotated: it is reported and left out.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from leukoscope.dataset.raw import (
    SPLIT_NAMES,
    ImageIndex,
    Issue,
    RawCell,
    RawField,
    RawSet,
    image_size,
    read_text,
    source_folder,
    split_of,
)
from leukoscope.errors import DataError

_NAME_FILES = ("classes.txt", "obj.names", "_darknet.labels")


def read_yolo(src: str | Path) -> RawSet:
    """Read a YOLO folder: `train/images` beside `train/labels`, `images/train`, flat, or labels beside the pictures."""
    root = source_folder(src)
    index = ImageIndex(root)
    names, listed = _class_names(root), _listed_splits(root, index)
    result = RawSet(root)
    used = set()
    for file in index.files:
        label = _label_file(file)
        if not (root / label).is_file():
            result.images_without_annotation.append(file)
            continue
        used.add(label)
        try:
            width, height = image_size(root / file)
        except DataError as error:
            result.issues.append(Issue(file, "dropped", "unreadable picture", str(error)))
            continue
        cells = []
        for number, line in enumerate(read_text(root / label).splitlines(), 1):
            if not line.strip():
                continue
            cell = _read_line(line, names, (width, height))
            if cell is None:
                detail = f"{label} line {number}: {line.strip()[:80]}"
                result.issues.append(Issue(file, "dropped", "malformed line", detail))
            else:
                cells.append(cell)
        result.fields.append(RawField(file, width, height, tuple(cells), listed.get(file) or split_of(file)))
    result.annotations_without_image = [label for label in _label_files(root) if label not in used]
    if not used:
        raise DataError(
            f"{root} is not a YOLO data set: expected a .txt file for each picture, in labels/ or beside it; "
            f"got {len(index.files)} pictures and no label; check the path and the format"
        )
    return result


def _label_file(image: str) -> str:
    """Where a picture's label file belongs: the last folder `images` becomes `labels`, the suffix .txt."""
    parts = list(PurePosixPath(image).with_suffix(".txt").parts)
    for position in range(len(parts) - 2, -1, -1):
        if parts[position] == "images":
            parts[position] = "labels"
            break
    return str(PurePosixPath(*parts))


def _label_files(root: Path) -> list[str]:
    """Text files that are labels: those under a folder `labels`, else those that hold label lines."""
    files = sorted(p for p in root.rglob("*.txt") if p.name.lower() not in _NAME_FILES)
    in_labels = [p for p in files if "labels" in p.relative_to(root).parts[:-1]]
    if not in_labels:
        in_labels = [p for p in files if re.match(r"\s*\d+(\s+[-+.\deE]+){4,}\s*(\n|$)", read_text(p))]
    return [p.relative_to(root).as_posix() for p in in_labels]


def _read_line(line: str, names: dict[int, str], size: tuple[int, int]) -> RawCell | None:
    """One label line in px, or None where it isn't one."""
    width, height = size
    try:
        class_id, *numbers = line.split()
        values = [float(v) for v in numbers]
        code = names.get(int(class_id), class_id)
    except ValueError:
        return None
    if len(values) == 4:
        x, y, w, h = values
        return RawCell(((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height), code)
    if len(values) >= 6 and len(values) % 2 == 0:
        contour = tuple((x * width, y * height) for x, y in zip(values[::2], values[1::2], strict=True))
        xs, ys = zip(*contour, strict=True)
        return RawCell((min(xs), min(ys), max(xs), max(ys)), code, contour)
    return None


def _class_names(root: Path) -> dict[int, str]:
    """Class names from data.yaml or classes.txt; {} where the source has neither (the codes are then the numbers)."""
    for name in ("data.yaml", "data.yml", "dataset.yaml"):
        if (root / name).is_file():
            return _names_from_yaml(root / name)
    for name in _NAME_FILES:
        if (root / name).is_file():
            return {i: line.strip() for i, line in enumerate(read_text(root / name).splitlines()) if line.strip()}
    return {}


def _names_from_yaml(path: Path) -> dict[int, str]:
    """`names:` of a YOLO data.yaml, in the three ways it is written: [A, B], a dash list, or number: name lines.

    Only this key is needed, so no YAML library is.
    """
    text = re.sub(r"(?m)(^|\s)#.*$", "", read_text(path))
    found = re.search(r"(?m)^names[ \t]*:", text)
    rest = text[found.end() :].lstrip(" \t") if found else ""
    if rest[:1] in ("[", "{"):
        inside = re.match(r"[\[{]([^\]}]*)[\]}]", rest)
        entries = inside.group(1).replace("\n", " ").split(",") if inside else []
    else:
        # Indented or dashed lines, up to the next key.
        block = re.match(r"\n((?:[ \t-][^\n]*\n?|\n)*)", rest)
        entries = [re.sub(r"^\s*-\s*", "", line) for line in block.group(1).splitlines()] if block else []
    if not any(e.strip() for e in entries):
        raise DataError(
            f"{path} has no names: expected a line `names: [first, second]`, in the order of the class numbers; "
            f"got none; add it"
        )
    names: dict[int, str] = {}
    for entry in (e.strip() for e in entries):
        if not entry:
            continue
        numbered = re.match(r"(\d+)\s*:\s*(.+)$", entry)
        key, value = (int(numbered[1]), numbered[2]) if numbered else (len(names), entry)
        names[key] = value.strip().strip("'\"")
    return names


def _listed_splits(root: Path, index: ImageIndex) -> dict[str, str]:
    """Splits given as lists of pictures (train.txt, val.txt, test.txt at the top)."""
    splits = {}
    for name, split in SPLIT_NAMES.items():
        listing = root / f"{name}.txt"
        if not listing.is_file():
            continue
        for line in read_text(listing).splitlines():
            file = index.find(line) if Path(line.strip()).suffix else None
            if file:
                splits[file] = split
    return splits
