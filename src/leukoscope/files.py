"""Files that appear whole or not at all, and tables that a spreadsheet opens as they are."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

# What a spreadsheet takes for a formula: these characters, also behind white space; the last four are what East Asian
# keyboards give for the first. An apostrophe before them is guarded like them, so that one can be taken off again.
_FORMULA = re.compile(r"'*[\s=+\-@＝＋－＠]")
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")


@contextmanager
def write_whole(path: str | Path, mode: str = "w", *, sync: bool = True, **how) -> Iterator[IO]:
    """Open a file for writing (`how` as for `open`) that takes the place of `path` once the block has ended well.

    Written beside it, brought to the disk, renamed, and the folder brought to the disk: after a crash or a power
    failure `path` is the old file or the new one. When the block fails, what was written is removed again.

    sync  False: one of very many files, which are worth nothing before a last one that is written after `settle`; a
          killed process still leaves each whole, a power failure may not
    """
    path = Path(path)
    partial = path.with_name(path.name + ".part")
    if "b" not in mode:  # half a character, as names of files have them, stands as \udc.., which JSON reads again
        how.setdefault("errors", "backslashreplace")
    try:
        with open(partial, mode, **how) as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    if sync:
        sync_folder(path.parent)


def write_text(path: str | Path, text: str, *, sync: bool = True) -> None:
    """A text file in UTF-8, line feeds as they are on every system; whole or not at all (`write_whole`)."""
    with write_whole(path, sync=sync, encoding="utf-8", newline="\n") as file:
        file.write(text)


def write_bytes(path: str | Path, data: bytes, *, sync: bool = True) -> None:
    """A file of these bytes, whole or not at all (`write_whole`)."""
    with write_whole(path, "wb", sync=sync) as file:
        file.write(data)


def write_json(path: str | Path, value: object, *, indent: int | None = 1, sync: bool = True, **how) -> None:
    """`value` as JSON (`how` as for `json.dumps`) in UTF-8 with a line feed at the end, whole or not at all."""
    write_text(path, json.dumps(value, indent=indent, **{"ensure_ascii": False} | how) + "\n", sync=sync)


def save_arrays(path: str | Path, **arrays) -> None:
    """A compressed npz of named numpy arrays, whole or not at all."""
    import numpy as np

    with write_whole(path, "wb") as file:
        np.savez_compressed(file, **arrays)


def file_digest(path: str | Path) -> str:
    """The SHA-256 of a file, read in pieces. OSError where it can't be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy_folder(source: Path, target: Path) -> None:
    """The files of a folder (no folders within it) beside those that `target` has, each whole or not at all."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(p for p in Path(source).iterdir() if p.is_file()):
        with open(path, "rb") as old, write_whole(target / path.name, "wb") as new:
            shutil.copyfileobj(old, new)


def settle() -> None:
    """Bring all that was written with `sync=False` to the disk; nothing where the system can't (Windows)."""
    if hasattr(os, "sync"):
        os.sync()


def sync_folder(folder: Path) -> None:
    """Bring a folder's list of names to the disk; nothing where the system can't (Windows, some network drives)."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def write_table(path: str | Path) -> Iterator[TableWriter]:
    """A CSV file for people's spreadsheets, whole or not at all: UTF-8 with a byte order mark (without one Excel takes
    it for the system's old code page), commas, "\\n" line ends, and no cell that is taken for a formula."""
    with write_whole(path, encoding="utf-8-sig", newline="") as file:
        yield TableWriter(file)


def write_rows(path: str | Path, rows: Iterable[Iterable], *, exact: bool = False) -> None:
    """A CSV file for programs, whole or not at all: UTF-8 without a mark; the first row has the headings."""
    with write_whole(path, encoding="utf-8", newline="") as file:
        table = TableWriter(file, exact=exact)
        for row in rows:
            table.writerow(row)


def table_bytes(rows: Iterable[Iterable]) -> bytes:
    """The bytes of such a file, for who sends it instead."""
    text = io.StringIO()
    table = TableWriter(text)
    for row in rows:
        table.writerow(row)
    return text.getvalue().encode("utf-8-sig", "backslashreplace")


class TableWriter:
    """The one writer of CSV: text that begins like a formula gets an apostrophe in front, numbers are as they are.

    exact  text is kept to the byte, carriage returns too (quoted), for what `unguarded` reads again; else they are
           written out, for some spreadsheets end a row there
    """

    def __init__(self, file: IO[str], *, exact: bool = False) -> None:
        self._text = guarded if exact else plain_text
        self._rows = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL if exact else csv.QUOTE_MINIMAL)

    def writerow(self, values: Iterable) -> None:
        """One row."""
        self._rows.writerow([self._text(v) if isinstance(v, str) else v for v in values])


def plain_text(value: str) -> str:
    """`value` guarded, without carriage returns."""
    return guarded(value.replace("\r", "\\r"))


def guarded(value: str) -> str:
    """`value` with an apostrophe in front where a spreadsheet would take it for a formula; a number is none."""
    return "'" + value if _FORMULA.match(value) and not _NUMBER.fullmatch(value) else value


def unguarded(value: str) -> str:
    """What was written as `value`: the inverse of `guarded`, for whoever reads a table."""
    return value[1:] if value.startswith("'") and _FORMULA.match(value) else value
