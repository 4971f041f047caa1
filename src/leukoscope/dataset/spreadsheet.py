"""Tables as spreadsheets and scripts write them: three delimiters, Excel's own line, empty columns at the end."""

import csv
import io
import re
from collections.abc import Iterable
from pathlib import Path

from leukoscope.dataset.text import read_text
from leukoscope.errors import DataError, InputError
from leukoscope.files import unguarded

_SEPARATOR = re.compile(r"\A\s*\"?sep=(.)\"?\s*?(?:\r\n|\n|\r)", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"^-?\d+,\d+$")


def shown(names: Iterable[str]) -> str:
    """Names of columns for a message: one line, none longer than a reader takes in."""
    names = [" ".join(name.split())[:40] for name in names]
    return ", ".join(names[:40]) + (f" and {len(names) - 40} more" if len(names) > 40 else "")


def read_rows(path: Path) -> list[list[str]]:
    """The rows of a CSV file, as `rows_of` gives them.

    Where the delimiter is not a comma, `10,5` is ten and a half.
    """
    numbered, delimiter = rows_of(read_text(path), path)
    rows = [row for _, row in numbered]
    if delimiter != ",":
        rows = [[v.replace(",", ".") if _DECIMAL_COMMA.match(v) else v for v in row] for row in rows]
    return rows


def rows_of(text: str, path: Path | str) -> tuple[list[tuple[int, list[str]]], str]:
    """((line, its stripped values) of every row, delimiter) of a CSV text, empty rows and Excel's `sep=` line left out.

    line  of the file, where the row ends; path: the file, for the message of a DataError
    """
    stated = _SEPARATOR.match(text)
    text, n_before = (text[stated.end() :], text[: stated.end()].count("\n")) if stated else (text, 0)
    first = text.lstrip("\r\n").split("\n", 1)[0]
    delimiter = stated.group(1) if stated else max(",;\t", key=first.count)
    if "\0" in text:
        raise DataError(f"{path} is not a CSV table (it holds bytes of zero): save it as CSV again")
    try:
        reader = csv.reader(
            io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=delimiter != "\t"
        )
        rows = [(n_before + reader.line_num, [unguarded(value.strip()) for value in row]) for row in reader]
    except (csv.Error, TypeError, ValueError) as error:
        raise DataError(f"{path} is not a CSV table ({error}): save it as CSV again") from None
    return [(line, row) for line, row in rows if any(row)], delimiter


def read_table(path: Path, header: list[str] | None = None) -> list[dict[str, str]]:
    """Rows of a CSV file by column name. Columns without a name at the end are left out where they hold nothing.

    header  the columns' names where the file has no line of them
    """
    rows = read_rows(path)
    if header is not None:
        rows = [header, *rows]
    if len(rows) < 2:
        raise DataError(f"{path} has no rows: expected a header line and at least one line below it")
    width = max((n for row in rows for n, value in enumerate(row, 1) if value), default=0)
    names = [name or f"column {n}" for n, name in enumerate(rows[0][:width], 1)]
    if len(set(names)) != len(names):
        raise DataError(f"{path} names a column twice ({shown(names)}): expected each once; rename one")
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(rows[0]) and len(row[:width]) != len(names):
            raise DataError(
                f"{path} row {number} has {len(row)} values: expected {len(names)}, one for each of {shown(names)}"
            )
    return [dict(zip(names, row[:width], strict=True)) for row in rows[1:]]


def read_table_of(path: str | Path, needed: tuple[str, ...], *, may: str = "") -> list[dict[str, str]]:
    """Rows of a CSV that must have these columns; InputError where it is not there or lacks one.

    may  further columns, in words
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no such file: {path}: expected a CSV of {', '.join(needed)}{f', {may}' if may else ''}")
    rows = read_table(path)
    missing = [c for c in needed if c not in rows[0]]
    if missing:
        expected = ", ".join(needed) + (f" and maybe {may}" if may else "")
        raise InputError(f"{path} has no column {', '.join(missing)}: expected {expected}; got {shown(rows[0])}")
    return rows
