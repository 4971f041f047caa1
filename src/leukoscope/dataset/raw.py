"""What a converter reads before anything is judged: boxes in the source's own codes, and what went wrong.

The readers (one file a format) all return a `RawSet`; `importer` checks the boxes, translates the codes and writes
the manifest, so every format is held to the same rules.
"""

import hashlib
import io
import math
import warnings
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from leukoscope.errors import DataError, InputError

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training", "obj_train_data"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "obj_val_data", "obj_valid_data", "obj_validation_data"), "val"),
    **dict.fromkeys(("test", "testing", "testa", "testb", "test-a", "test-b", "obj_test_data"), "test"),
}
UNTYPED = "untyped"  # how an export writes a cell whose type nobody stated
NEITHER_SPLIT = "default"  # how CVAT and an export name the part that is in no split
_EXIF_ORIENTATION = 0x0112

Box = tuple[float, float, float, float]
Contour = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class RawCell:
    """One annotation as the source states it: box px xyxy (not checked yet), the source's code, an outline in px.

    source_code  what an earlier source called it, where an export of ours carries that; None: `code` is all there is
    attributes   whatever else the source says of the cell, (name, value)
    predicted    how the source says that a model made it ("score 0.93"); "": a person did, or nobody says
    """

    box: Box
    code: str
    contour: Contour | None = None
    source_code: str | None = None
    attributes: tuple[tuple[str, str], ...] = ()
    predicted: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldExtras:
    """What is known of a picture; "" and None: not stated, but for `split`, where None is "in no split"."""

    field_id: str = ""
    smear_id: str = ""
    patient_id: str = ""
    center: str = ""
    specimen: str = ""
    um_per_px: float | None = None
    split: str | None = ""


@dataclass(frozen=True, slots=True)
class RawField(FieldExtras):
    """One annotated picture, and what is known of it; `file` is relative to the source folder, forward slashes.

    width, height  px as the picture is seen
    n_objects      objects that its annotation states, those included that could not be read
    stated_size    (width, height) px that the annotation's coordinates are of, None where it says nothing
    orientation    how EXIF turns the stored picture, 1 to 8; 1: not at all
    """

    file: str
    width: int
    height: int
    cells: tuple[RawCell, ...]
    sha256: str = ""
    n_objects: int = 0
    stated_size: tuple[float, float] | None = None
    orientation: int = 1


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing the import did not take as it stood. action: "dropped", "repaired" or "noted".

    n  annotated objects that the line speaks of; for "dropped", those that are not in the manifest
    """

    file: str
    action: str
    reason: str
    detail: str = ""
    n: int = 1


@dataclass(slots=True)
class RawSet:
    """What a reader found: annotated pictures, pictures without annotation, annotations without picture.

    n_objects is every annotated object met in the source, whatever becomes of it: those in `fields` and those that
    a "dropped" line of `issues` counts. in_px: the boxes are px as the source states them, so that they can be of
    another size than the picture's, or shares of it; else shares were multiplied by the size as seen.
    """

    root: Path
    fields: list[RawField] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)
    images_without_annotation: list[str] = field(default_factory=list)
    _absent: dict[str, None] = field(default_factory=dict)  # in order, each once
    n_objects: int = 0
    in_px: bool = True

    @property
    def annotations_without_image(self) -> list[str]:
        """Annotations, or the pictures that they name, for which no picture is here."""
        return list(self._absent)

    def drop(self, file: str, reason: str, detail: str = "", n: int = 1) -> None:
        """List `n` objects as not taken."""
        self.issues.append(Issue(file, "dropped", reason, detail, n))

    def note(self, file: str, reason: str, detail: str = "", n: int = 0) -> None:
        """List something that a reader should know and that changed nothing."""
        self.issues.append(Issue(file, "noted", reason, detail, n))

    def without_image(self, name: str, n: int, why: str = "") -> None:
        """List an annotation whose picture is not there, with the objects that it holds."""
        self._absent[name] = None
        if n or why:
            reason = "picture only in another folder than stated" if why else "picture not found"
            self.issues.append(Issue(name, "dropped", reason, why or f"{n} objects", n))


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture's size in px as it is seen (EXIF rotation applied), its file's digest, and its EXIF orientation."""

    width: int
    height: int
    sha256: str
    orientation: int = 1


def read_picture(path: Path | str) -> Picture:
    """Size and digest of a picture, the file read once and not decoded. DataError when it is no picture."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}") from None
    width, height, orientation = _size(io.BytesIO(data), path)
    return Picture(width, height, hashlib.sha256(data).hexdigest(), orientation)


def take_picture(raw: RawSet, file: str, n_objects: int) -> Picture | None:
    """The picture `file`, or None where it can't be read: then listed with the objects that are lost with it."""
    try:
        return read_picture(f"{raw.root}/{file}")
    except DataError as error:
        raw.drop(file, "unreadable picture", str(error), n_objects)
        return None


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) in px as the picture is seen, EXIF rotation applied; reads the header only.

    Raises DataError with the reason when the file is no picture.
    """
    return _size(path, path)[:2]


def _size(source: Path | io.BytesIO, path: Path | str) -> tuple[int, int, int]:
    """(width, height) as seen, and the EXIF orientation."""
    try:
        with warnings.catch_warnings(), Image.open(source) as picture:
            warnings.simplefilter("ignore")  # a large field is no bomb before it is decoded
            width, height = picture.size
            stated = picture.getexif().get(_EXIF_ORIENTATION, 1)
            orientation = stated if isinstance(stated, int) and 1 <= stated <= 8 else 1
    except (UnidentifiedImageError, OSError, ValueError, TypeError, SyntaxError, Image.DecompressionBombError) as error:
        why = "no picture format is known by its bytes" if isinstance(error, UnidentifiedImageError) else error
        raise DataError(f"{path} can't be read as a picture ({why})") from None
    return (height, width, orientation) if orientation >= 5 else (width, height, orientation)


def source_folder(src: str | Path) -> Path:
    """The folder a data set is read from; InputError when it is not one."""
    root = Path(src)
    if not root.exists():
        raise InputError(f"no such folder: {root}: expected the data set's folder; check the path")
    if not root.is_dir():
        raise InputError(f"{root} is a file: expected the data set's folder; unpack it, or name the folder it is in")
    return root


def split_of(file: str) -> str | None:
    """The split that a path's folders name ("train/images/a.jpg"), else None."""
    for part in file.lower().split("/")[:-1]:
        if part in SPLIT_NAMES:
            return SPLIT_NAMES[part]
    return None


def split_named(text: str, where: str) -> str | None:
    """The split that a source's word means; None for no word or "default"; DataError for a word nobody knows."""
    word = text.strip().lower()
    if word in ("", NEITHER_SPLIT):
        return None
    if word not in SPLIT_NAMES:
        raise DataError(f"{where}: split must be one of {', '.join(SPLIT_NAMES)}, got {text[:60]!r}")
    return SPLIT_NAMES[word]


def number(value: object) -> float:
    """A number as a source writes it, text or not; ValueError for anything else, NaN and infinity pass.

    An underscore is no part of a number: Python would read 1_0 as ten.
    """
    if type(value) is float:
        return value
    if type(value) is str and "_" not in value:
        return float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float, str)) or "_" in str(value):
        raise ValueError(f"not a number: {value!r}"[:80])
    try:
        return float(value)
    except OverflowError:
        return math.inf


def bounds(contour: Contour) -> Box:
    """The smallest box around an outline."""
    xs, ys = zip(*contour, strict=True)
    return min(xs), min(ys), max(xs), max(ys)
