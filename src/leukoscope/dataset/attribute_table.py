"""A table of what else is said of each picture's cell (`--attributes`): one row a picture, one column an attribute."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from leukoscope.dataset.picture_index import ImageIndex
from leukoscope.dataset.raw import RawField, RawSet
from leukoscope.dataset.spreadsheet import read_table, shown
from leukoscope.dataset.table_columns import KNOWN_COLUMNS
from leukoscope.errors import InputError
from leukoscope.taxonomy import AttributeSet


def join_attributes(raw: RawSet, path: str | Path, known: AttributeSet | None) -> None:
    """Give each cell what its picture's row of the CSV file says; blank values are left out.

    known  whose attributes these are: values become ours, and what it has not is noted and left out. None: every
           column is kept as it stands

    A row can mean one cell only: pictures of several cells, or of none, keep what they had. Every row, column and value
    that was not used is noted. InputError where the table names no pictures, or one twice with other values.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no such file: {path}: expected a CSV with a column of picture names and one an attribute")
    rows = read_table(path)
    columns = list(rows[0])
    name_column = next((c for c in columns if c.lower() in KNOWN_COLUMNS["image"]), None)
    if name_column is None:
        raise InputError(
            f"{path} has no column of picture names: expected one of {', '.join(KNOWN_COLUMNS['image'])}; "
            f"got {shown(columns)}"
        )
    attributes = [c for c in columns if c != name_column and (known is None or known.get(c))]
    for column in columns:
        if column != name_column and column not in attributes:
            has = f"{known.name} has {', '.join(known.names)}"
            raw.note(path.name, "column is no attribute", f"{column!r}: {has}")
    rows_of = _by_picture(rows, name_column, path, raw)
    unknown: Counter[tuple[str, str]] = Counter()
    raw.fields = [
        _described(f, rows_of[f.file], attributes, known, raw, unknown) if f.file in rows_of else f for f in raw.fields
    ]
    for (column, value), n in sorted(unknown.items()):
        allowed = ", ".join(known.get(column).source_words)
        raw.note(path.name, "unknown attribute value", f"{column} {value[:60]!r} in {n} rows; expected {allowed}", n)


def _by_picture(rows: list[dict[str, str]], name_column: str, path: Path, raw: RawSet) -> dict[str, dict[str, str]]:
    """{picture: row}; a row whose picture is not annotated here is noted."""
    annotated = {f.file for f in raw.fields}
    index = ImageIndex(raw.root, [*annotated, *raw.images_without_annotation])
    attributes: dict[str, dict[str, str]] = {}
    for number, row in enumerate(rows, 2):
        file = index.find(row[name_column])
        if file not in annotated:
            missing = "that is not here" if file is None else "nobody annotated"
            raw.note(row[name_column], f"attributes of a picture {missing}", f"{path.name} row {number}")
        elif attributes.setdefault(file, row) != row:
            raise InputError(
                f"{path} row {number} names {row[name_column]!r} a second time with other values; "
                "keep one row a picture"
            )
    return attributes


def _described(
    field: RawField,
    row: dict[str, str],
    attributes: list[str],
    known: AttributeSet | None,
    raw: RawSet,
    unknown: Counter,
) -> RawField:
    if len(field.cells) != 1:
        raw.note(field.file, "attributes not used", f"{len(field.cells)} cells: a row can mean one only")
        return field
    said = {}
    for column in attributes:
        value = row[column] if known is None or not row[column] else known.get(column).value_of(row[column])
        if value is None:
            unknown[column, row[column]] += 1
        elif value:
            said[column] = value
    cell = field.cells[0]
    return replace(field, cells=(replace(cell, attributes=tuple((dict(cell.attributes) | said).items())),))
