"""A study's tables: one record, written as CSV and shown on the page, so that the two can't differ."""

import math
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from leukoscope.experiments.intervals import Estimate
from leukoscope.files import write_rows
from leukoscope.report.words import escape

Value = str | int | float | Estimate | None


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its heading, and how its numbers are shown.

    as_percent  a share in [0, 1] is shown, and written, as percent (as the papers' tables do)
    digits      decimals on the page; CSV files have four
    in_page     False: in the CSV file only
    """

    heading: str
    as_percent: bool = False
    digits: int = 1
    in_page: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of values in the order of the columns. `name` is the CSV's file name without its ending."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    note: str = ""

    def __post_init__(self) -> None:
        wrong = [len(r) for r in self.rows if len(r) != len(self.columns)]
        if wrong:
            raise ValueError(f"table {self.name}: rows need {len(self.columns)} values, got {wrong[0]}")


def texts(*headings: str) -> tuple[Column, ...]:
    """Columns of words and counts."""
    return tuple(Column(h) for h in headings)


@cache
def _heads(file: str) -> dict[str, dict]:
    return tomllib.loads((files("leukoscope.experiments") / file).read_text("utf-8"))


def study_table(
    place: str, rows: Iterable[Sequence[Value]], *, name: str = "", more: str = "", **words: object
) -> Table:
    """A table whose title, columns and note stand in a TOML file below `leukoscope.experiments`.

    place  "pcm/tables.toml:table6": the file, and what is said of the table; name: of its CSV, where it is another
    more   sentences that only this run's note has
    words  what stands in braces there; a heading "{key}" alone becomes as many as the tuple `key` has
    """
    file, key = place.split(":")
    head, columns = _heads(file)[key], []
    for group in head["columns"]:
        (kind,) = set(group) & {"text", "number", "percent"}
        how = {"digits": group.get("digits", 1), "in_page": group.get("in_page", True)}
        for heading in group[kind]:
            several = words.get(heading[1:-1]) if heading[:1] == "{" else None
            said = several if isinstance(several, tuple) else (heading.format(**words),)
            columns += [Column(h, kind == "percent", **how) for h in said]
    note = " ".join(filter(None, (head.get("note", "").format(**words), more)))
    return Table(name or key, head["title"].format(**words), tuple(columns), tuple(map(tuple, rows)), note)


def write_table(table: Table, folder: str | Path) -> Path:
    """Write `folder`/NAME.csv. A column that holds an Estimate becomes five: value, low, high, groups, unit."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{table.name}.csv"
    wide = [any(isinstance(row[c], Estimate) for row in table.rows) for c in range(len(table.columns))]
    rows = [[h for column, w in zip(table.columns, wide, strict=True) for h in _headings(column, w)]]
    for row in table.rows:
        cells = zip(row, table.columns, wide, strict=True)
        rows.append([v for value, column, w in cells for v in _csv_values(value, column, w)])
    write_rows(path, rows)
    return path


def table_html(table: Table) -> str:
    """The table as HTML, its note below; wide ones scroll in their own box. Limits stand below their number."""
    note = f'<p class="hint">{escape(table.note)}</p>' if table.note else ""
    if not table.rows:
        return f'<h3>{escape(table.title)}</h3><p class="empty">No row has a result yet.</p>{note}'
    shown = [c for c, column in enumerate(table.columns) if column.in_page]
    kinds = {c: _kind([row[c] for row in table.rows]) for c in shown}
    heads = "".join(f'<th scope="col" class="{kinds[c]}">{escape(_head(table.columns[c]))}</th>' for c in shown)
    rows = ("".join(_cell(row[c], table.columns[c], kinds[c], c) for c in shown) for row in table.rows)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return (
        f'<h3>{escape(table.title)}</h3><div class="scroll" tabindex="0"><table class="results">'
        f'<caption class="hidden">{escape(table.title)}</caption><thead><tr>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>{note}"
    )


def words(value: Value, column: Column) -> str:
    """One cell as plain text: "80.8 (78.1–83.0)"."""
    text, limits = _parts(value, column)
    return f"{text} ({limits})" if limits else text


def _kind(values: Sequence[Value]) -> str:
    """The class of a column: numbers, short words, or remarks that want room."""
    if not any(isinstance(v, str) and v for v in values):
        return "number"
    return "remark" if max(len(v) for v in values if isinstance(v, str)) > 34 else "text"


def _cell(value: Value, column: Column, kind: str, place: int) -> str:
    text, limits = _parts(value, column)
    below = f"<small>{escape(limits)}</small>" if limits else ""
    tag = 'th scope="row"' if place == 0 else "td"
    return f'<{tag} class="{kind}">{escape(text)}{below}</{tag[:2]}>'


def _parts(value: Value, column: Column) -> tuple[str, str]:
    """A cell's text and its limits."""
    if isinstance(value, Estimate):
        if not (math.isfinite(value.low) and math.isfinite(value.high)):
            return _number(value.value, column), ""
        between = " to " if value.low < 0 else "–"
        return _number(value.value, column), between.join(_number(v, column) for v in (value.low, value.high))
    if isinstance(value, float):
        return _number(value, column), ""
    return ("–" if value is None else f"{value:,}" if isinstance(value, int) else value), ""


def _head(column: Column) -> str:
    return column.heading + (" (%)" if column.as_percent else "")


def _number(value: float, column: Column) -> str:
    if not math.isfinite(value):
        return "–"
    return f"{value * (100 if column.as_percent else 1):.{column.digits}f}"


def _headings(column: Column, is_wide: bool) -> Sequence[str]:
    head = _head(column)
    return (head, f"{head} low", f"{head} high", f"{head} groups", f"{head} unit") if is_wide else (head,)


def _csv_values(value: Value, column: Column, is_wide: bool) -> Sequence[object]:
    if isinstance(value, Estimate):
        numbers = [_csv_number(v, column) for v in (value.value, value.low, value.high)]
        return (*numbers, value.n_groups, value.unit)
    single = _csv_number(value, column) if isinstance(value, float) else "" if value is None else value
    return (single, "", "", "", "") if is_wide else (single,)


def _csv_number(value: float, column: Column) -> str:
    return f"{value * (100 if column.as_percent else 1):.4f}" if math.isfinite(value) else ""
