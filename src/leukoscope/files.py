"""Files that appear whole or not at all, and tables that a spreadsheet opens as they are."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

# What a spreadsheet takes for the start of a formula; the last four are what East Asian keyboards give for the first.
_FORMULA_STARTS = tuple("=+-@\t\n＝＋－＠")


@contextmanager
def write_whole(path: str | Path, mode: str = "w", **how) -> Iterator[IO]:
    """Open a file for writing (`how` as for `open`) that takes the place of `path` once the block has ended well.

    Written beside it, brought to the disk, renamed, and the folder brought to the disk: after a crash or a power
    failure `path` is the old file or the new one. When the block fails, what was written is removed again.
    """
    path = Path(path)
    partial = path.with_name(path.name + ".part")
    try:
        with open(partial, mode, **how) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


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
    # A file name that is not UTF-8 keeps its odd bytes as \udc.. rather than stopping the run.
    with write_whole(path, encoding="utf-8-sig", errors="backslashreplace", newline="") as file:
        yield TableWriter(file)


class TableWriter:
    """Writes rows; text that begins like a formula gets an apostrophe in front, which spreadsheets don't show."""

    def __init__(self, file: IO[str]) -> None:
        self._rows = csv.writer(file, lineterminator="\n")

    def writerow(self, values: Iterable) -> None:
        """One row; numbers are written as they are."""
        self._rows.writerow([plain_text(v) if isinstance(v, str) else v for v in values])


def plain_text(value: str) -> str:
    """`value` with an apostrophe in front where a spreadsheet would take it for a formula, and no carriage return,
    which would end the row."""
    value = value.replace("\r", "\\r")
    return "'" + value if value.startswith(_FORMULA_STARTS) else value
