"""What a converter reads before anything is judged: boxes in the source's own codes, and what went wrong.

The four readers (yolo, voc, folders, table) all return a `RawSet`; `importer` checks the boxes, translates the
codes and writes the manifest, so every format is held to the same rules.
"""

from __future__ import annotations

import csv
import io
import warnings
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from PIL import Image, UnidentifiedImageError

from leukoscope.errors import DataError, InputError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
SPLIT_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True, slots=True)
class RawCell:
    """One annotation as the source states it: box px xyxy (not checked yet), the source's code, an outline in px."""

    box: tuple[float, float, float, float]
    code: str
    contour: tuple[tuple[float, float], ...] | None = None


@dataclass(frozen=True, slots=True)
class RawField:
    """One annotated picture; `file` is relative to the source folder, forward slashes. "" means not stated."""

    file: str
    width: int
    height: int
    cells: tuple[RawCell, ...]
    split: str | None = None
    patient_id: str = ""
    smear_id: str = ""
    center: str = ""


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing the import did not take as it stood. action: "dropped", "repaired" or "noted"."""

    file: str
    action: str
    reason: str
    detail: str = ""


@dataclass(slots=True)
class RawSet:
    """What a reader found: annotated pictures, pictures without annotation, annotations without picture."""

    root: Path
    fields: list[RawField] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)
    images_without_annotation: list[str] = field(default_factory=list)
    annotations_without_image: list[str] = field(default_factory=list)


class ImageIndex:
    """The pictures under a folder, found by relative path, by file name or by stem, whatever the slashes."""

    def __init__(self, root: Path, files: list[str] | None = None, *, leave_out: tuple[str, ...] = ()) -> None:
        """files: the pictures, relative to root; None: all under root but in folders named in `leave_out`."""
        self.root = root
        self.files = _image_files(root, leave_out) if files is None else files
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for file in self.files:
            path = PurePosixPath(file)
            for name in {file.lower(), path.name.lower(), path.stem.lower()}:
                self._by_name[name].append(file)

    def find(self, name: str) -> str | None:
        """The one picture a table or an annotation names; None where there is none, DataError where there are two."""
        wanted = PurePosixPath(name.strip().replace("\\", "/"))
        keys = [str(wanted), wanted.name]
        if wanted.suffix.lower() in IMAGE_SUFFIXES:
            keys.append(wanted.stem)  # the table says .bmp, the picture was saved as .png
        for key in keys:
            found = self._by_name.get(key.lower(), [])
            if len(found) == 1:
                return found[0]
            if len(found) > 1:
                raise DataError(
                    f"{name!r} could be any of {', '.join(found[:3])} under {self.root}: "
                    f"expected one picture of that name; write the path relative to the folder"
                )
        return None


def _image_files(root: Path, leave_out: tuple[str, ...]) -> list[str]:
    files = sorted(
        p.relative_to(root).as_posix()
        for p in root.rglob("*")
        if p.suffix.lower() in IMAGE_SUFFIXES
        and p.is_file()
        and not any(part.startswith(".") or part in leave_out for part in p.relative_to(root).parts)
    )
    if not files:
        raise InputError(
            f"no pictures under {root}: expected files ending in {', '.join(IMAGE_SUFFIXES)}; got none; "
            f"check the path, or unpack the archive first"
        )
    return files


def source_folder(src: str | Path) -> Path:
    """The folder a data set is read from; InputError when it is not one."""
    root = Path(src)
    if not root.exists():
        raise InputError(f"no such folder: {root}: expected the data set's folder; check the path")
    if not root.is_dir():
        raise InputError(f"{root} is a file: expected the data set's folder; unpack it, or name the folder it is in")
    return root


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) in px as the picture is seen, EXIF rotation applied; reads the header only.

    Raises DataError with the reason when the file is no picture.
    """
    try:
        with warnings.catch_warnings(), Image.open(path) as picture:
            warnings.simplefilter("ignore")  # a large field is no bomb before it is decoded
            width, height = picture.size
            turned = picture.getexif().get(_EXIF_ORIENTATION, 1) >= 5
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} can't be read as a picture ({error})") from None
    return (height, width) if turned else (width, height)


def split_of(file: str) -> str | None:
    """The split that a path's folders name ("train/images/a.jpg"), else None."""
    for part in PurePosixPath(file).parts[:-1]:
        if part.lower() in SPLIT_NAMES:
            return SPLIT_NAMES[part.lower()]
    return None


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file by column name: byte order mark, Windows line ends, comma, semicolon or tab are all fine."""
    text = read_text(path)
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise DataError(f"{path} is not a CSV table ({error}): save it as CSV again") from None
    rows = [[value.strip() for value in row] for row in rows if any(value.strip() for value in row)]
    if len(rows) < 2:
        raise DataError(f"{path} has no rows: expected a header line and at least one line below it")
    header = rows[0]
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(header):
            raise DataError(
                f"{path} row {number} has {len(row)} values: expected {len(header)}, "
                f"one for each of {', '.join(header)}"
            )
    return [dict(zip(header, row, strict=True)) for row in rows[1:]]


def read_text(path: Path) -> str:
    """A text file as UTF-8 with or without a byte order mark; DataError otherwise."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}): save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}") from None
