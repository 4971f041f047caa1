"""How every reader takes a picture: its name resolved, annotated once only, opened, and its size remembered."""

import posixpath
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from os.path import splitext
from pathlib import Path

from leukoscope.dataset.extras import FieldExtras, with_extras
from leukoscope.dataset.names import nfc
from leukoscope.dataset.picture_index import ImageIndex
from leukoscope.dataset.raw import Picture, RawCell, RawField, RawSet, number, source_folder, split_of, take_picture
from leukoscope.dataset.text import read_json_files
from leukoscope.errors import DataError


@dataclass(frozen=True, slots=True)
class Seat:
    """A picture that is here and that one annotation describes."""

    file: str
    picture: Picture
    n_objects: int
    stated_size: tuple[float, float] | None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) px as seen."""
        return self.picture.width, self.picture.height

    @property
    def stated(self) -> tuple[float, float]:
        """(width, height) px that the annotation's coordinates are of: what it states, else the size as seen."""
        return self.stated_size or self.size


class Intake:
    """What a reader gathers into: `raw`, and the pictures of the source that are not annotated yet."""

    def __init__(self, src: str | Path, *, leave_out: tuple[str, ...] = ()) -> None:
        """Lists the pictures under `src`; InputError where there is none, or no such folder."""
        root = source_folder(src)
        self.index = ImageIndex(root, leave_out=leave_out)
        self.raw = RawSet(root)
        self._owners: dict[str, str] = {}

    def seat(
        self,
        stated: str,
        where: str,
        n_objects: int,
        *,
        known: str | None = None,
        size: tuple | None = None,
        split: str | None = None,
    ) -> Seat | None:
        """The picture that an annotation names, None where it isn't here or can't be read: then listed.

        where      the annotation, in words; DataError where another one describes the same picture
        n_objects  the objects that it states
        known      the picture, where the reader knows better than the name alone
        size       (width, height) as the annotation states it, numbers or texts
        split      the split that it states; a picture in the folder of another split is another picture
        """
        file = known or self.index.find(stated)
        if file is not None and split and split_of(file) not in (None, split):
            self.raw.without_image(stated[:200], n_objects, f"stated in {split}, but here only {file}: another split")
            return None
        if file is None:
            self.raw.without_image(stated[:200], n_objects, self.index.why_not(stated))
            return None
        self.claim(file, where)
        picture = take_picture(self.raw, file, n_objects)
        return None if picture is None else Seat(file, picture, n_objects, stated_size(size))

    def beside(self, name: str, stated: str) -> str | None:
        """The picture of an annotation file that is named after it, None where there is none.

        Where the stated name and the file's own are two pictures, the file's own is right: both files were renamed
        together, and nobody opened the annotation. DataError where it could be several.
        """
        stem, folder = nfc(splitext(name)[0]), name.rpartition("/")[0]
        stated = stated.strip().replace("\\", "/")
        by_stem, by_name = self.index.candidates(stem), []
        near = nfc(posixpath.normpath(posixpath.join(folder, stated)))
        if stated and near in self.index.exact:
            by_name = [self.index.exact[near]]
        elif stated and "/" not in stated and folder:  # a bare name is one of the annotation's own folder
            by_name = self.index.candidates(near)
            if len(by_name) == 1:
                self.index.remember(stated, stated, by_name[0])
            by_name = by_name or self.index.named(near)
        elif stated:
            by_name = self.index.named(stated)
        both = [f for f in by_name if f in by_stem]
        chosen = both or by_stem or by_name
        if len(chosen) > 1:
            raise DataError(
                f"{name}: {stated or stem!r} could be any of {', '.join(chosen[:3])}: expected one picture "
                f"of that name; put the annotation beside its picture"
            )
        if by_stem and by_name and not both:
            detail = f"stated as {stated[:80]}, taken {chosen[0]}"
            self.raw.note(name, "the stated picture is not the file's own: its own name taken", detail)
        return chosen[0] if chosen else None

    def claim(self, file: str, where: str) -> None:
        """Remember which annotation describes a picture; DataError where another one does."""
        if file in self._owners:
            raise DataError(
                f"{where} and {self._owners[file]} both annotate {file}: expected one annotation a picture; "
                f"remove one of them"
            )
        self._owners[file] = where

    def take(
        self,
        seat: Seat,
        cells: Iterable[RawCell | None],
        *,
        split: str | None = None,
        extras: FieldExtras | None = None,
    ) -> None:
        """Keep a picture with those of its cells that could be read; its split, where not stated, is its folder's."""
        field = RawField(
            seat.file,
            *seat.size,
            tuple(c for c in cells if c is not None),
            split=split or split_of(seat.file),
            sha256=seat.picture.sha256,
            n_objects=seat.n_objects,
            stated_size=seat.stated_size,
            orientation=seat.picture.orientation,
        )
        self.raw.fields.append(with_extras(field, extras))

    def finish(self) -> RawSet:
        """The set, with the pictures that nobody annotated listed."""
        self.index.note_elsewhere(self.raw)
        self.raw.images_without_annotation = [f for f in self.index.files if f not in self._owners]
        return self.raw


def stated_size(size: tuple | None) -> tuple[float, float] | None:
    """A stated size in numbers, None where it is no size: 0x0 is "nobody filled it in"."""
    if size is None:
        return None
    try:
        width, height = (number(v) for v in size)
    except (ValueError, TypeError):
        return None
    return (width, height) if 0 < width < 1e9 and 0 < height < 1e9 else None


def read_json_pictures(
    src: str | Path, listed: str, read_file: Callable, *, what: str, expected: str, has: str = "", beside: tuple = ()
) -> RawSet:
    """A set of one JSON file a picture, an object with its shapes in the list `listed`, and with the key `has`.

    read_file  (file, content, intake, is_classified) → None takes one; is_classified: no file of the set has a shape
    beside     names of files that are expected there and hold no shapes; DataError where no file is one
    """
    intake = Intake(src)

    def is_one(content: object) -> bool:
        return isinstance(content, dict) and isinstance(content.get(listed), list) and (not has or has in content)

    files = annotation_files(intake.raw, is_one, what=what, expected=expected, beside=beside)
    is_classified = not any(content[listed] for content in files.values())
    for file, content in files.items():
        read_file(file, content, intake, is_classified=is_classified)
    return intake.finish()


def annotation_files(
    raw: RawSet, is_one: Callable[[object], bool], *, what: str, expected: str, beside: tuple[str, ...] = ()
) -> dict[str, dict]:
    """{file: content} of the JSON files that are annotations; others are listed, but for those of the names `beside`.

    DataError where there is none.
    """
    files: dict[str, dict] = {}
    for file, content in read_json_files(raw.root):
        if is_one(content):
            files[file] = content
        elif file.rpartition("/")[2] not in beside:
            raw.note(file, f"not read: no {what}", f"expected {expected}")
    if not files:
        raise DataError(
            f"{raw.root} holds no {what}: expected {expected} in a .json file; got none; check the path and the format"
        )
    return files
