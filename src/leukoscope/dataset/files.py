"""The files of a source: which pictures it holds, found however an annotation spells them; text, tables and JSON."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import defaultdict
from pathlib import Path

from leukoscope.dataset.raw import RawSet
from leukoscope.errors import DataError, InputError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif")


class ImageIndex:
    """The pictures under a folder, found by relative path, by file name or by stem, whatever the slashes."""

    def __init__(self, root: Path, files: list[str] | None = None, *, leave_out: tuple[str, ...] = ()) -> None:
        """files: the pictures, relative to root; None: all under root but in folders named in `leave_out`."""
        self.root = root
        self.files = _image_files(root, leave_out) if files is None else files
        self.exact = set(self.files)
        self._by_name: dict[str, list[str]] = defaultdict(list)
        self._elsewhere: dict[str, str] = {}
        for file in self.files:
            name = file.rsplit("/", 1)[-1].lower()
            self._by_name[name].append(file)
            stem = os.path.splitext(name)[0]
            if stem != name:
                self._by_name[stem].append(file)

    def find(self, name: str) -> str | None:
        """The one picture a table or an annotation names; None where there is none, DataError where there are two.

        The stated folders choose between pictures of one name; a picture found elsewhere than stated, or under
        another suffix, is remembered for `note_elsewhere`.
        """
        wanted = name.strip().replace("\\", "/")
        if wanted in self.exact:
            return wanted
        parts = [p for p in wanted.lower().split("/") if p not in ("", ".")]
        if not parts:
            return None
        stem, suffix = os.path.splitext(parts[-1])
        # The table says .bmp, the picture was saved as .png.
        for key in (parts[-1], stem) if suffix in IMAGE_SUFFIXES else (parts[-1],):
            found = _closest(self._by_name.get(key, []), parts)
            if len(found) > 1:
                raise DataError(
                    f"{name!r} could be any of {', '.join(found[:3])} under {self.root}: "
                    f"expected one picture of that name; write the path relative to the folder"
                )
            if found:
                if not _same_place(found[0].lower(), "/".join(parts), whole=bool(suffix)):
                    self._elsewhere.setdefault(wanted, found[0])
                return found[0]
        return None

    def note_elsewhere(self, raw: RawSet) -> None:
        """List, on one line, the pictures that were found in another folder or under another suffix than stated."""
        if self._elsewhere:
            stated, found = next(iter(self._elsewhere.items()))
            raw.note(
                found, "picture in another folder or of another suffix than stated",
                f"{len(self._elsewhere)} pictures, the first stated as {stated}",
            )  # fmt: skip


def _closest(found: list[str], parts: list[str]) -> list[str]:
    """Those of `found` whose path agrees with `parts` from its end for longest."""
    if len(found) < 2:
        return found
    agreement = {file: _agreement(file.lower().split("/")[:-1], parts[:-1]) for file in found}
    best = max(agreement.values())
    return [file for file in found if agreement[file] == best]


def _agreement(folders: list[str], stated: list[str]) -> int:
    n = 0
    while n < min(len(folders), len(stated)) and folders[-1 - n] == stated[-1 - n]:
        n += 1
    return n


def _same_place(file: str, stated: str, *, whole: bool) -> bool:
    """Whether one path ends in the other; not `whole`: the stated one has no suffix."""
    if not whole:
        file = os.path.splitext(file)[0]
    return f"/{file}".endswith(f"/{stated}") or f"/{stated}".endswith(f"/{file}")


def _image_files(root: Path, leave_out: tuple[str, ...]) -> list[str]:
    files = [f for f in files_under(root, IMAGE_SUFFIXES) if not set(f.split("/")) & set(leave_out)]
    if not files:
        raise InputError(
            f"no pictures under {root}: expected files ending in {', '.join(IMAGE_SUFFIXES)}; got none; "
            f"check the path, or unpack the archive first"
        )
    return files


def files_under(root: Path, suffixes: tuple[str, ...]) -> list[str]:
    """Files under a folder with one of these suffixes, sorted, relative, forward slashes; nothing hidden."""
    found = []
    for here, folders, names in os.walk(root, followlinks=True):
        folders[:] = [f for f in folders if not f.startswith(".")]
        place = os.path.relpath(here, root).replace(os.sep, "/")
        before = "" if place == "." else place + "/"
        if before.count("/") > 60:
            raise InputError(f"{root} has more than 60 folders in each other, or a link to itself: remove the link")
        found += [
            before + n for n in names if n.lower().endswith(suffixes) and n[0] != "." and os.path.isfile(f"{here}/{n}")
        ]
    # As paths sort: folder by folder, not by the slash's place among the characters.
    return sorted(found, key=lambda f: f.split("/"))


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file by column name: byte order mark, Windows line ends, comma, semicolon or tab are all fine."""
    text = read_text(path)
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise DataError(f"{path} is not a CSV table ({error}): save it as CSV again") from None
    rows = [[value.strip() for value in row] for row in rows if any(value.strip() for value in row)]
    if len(rows) < 2:
        raise DataError(f"{path} has no rows: expected a header line and at least one line below it")
    header = rows[0]
    if len(set(header)) != len(header):
        raise DataError(f"{path} names a column twice ({', '.join(header)}): expected each once; rename one")
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(header):
            raise DataError(
                f"{path} row {number} has {len(row)} values: expected {len(header)}, "
                f"one for each of {', '.join(header)}"
            )
    return [dict(zip(header, row, strict=True)) for row in rows[1:]]


def read_text(path: Path | str) -> str:
    """A text file as UTF-8 with or without a byte order mark, or UTF-16 with one; DataError otherwise."""
    try:
        with open(path, "rb") as file:
            data = file.read()
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return data.decode("utf-16")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}): save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}") from None


def read_json(path: Path) -> object:
    """A JSON file; DataError with the line and column of the fault."""
    text = read_text(path)
    try:
        value = json.loads(text)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path} is not JSON ({error.msg} at line {error.lineno}, column {error.colno}): export it again"
        ) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON ({str(error)[:80]}): export it again") from None
    return value
