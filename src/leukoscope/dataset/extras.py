"""What an export keeps beside a format that can't hold it: side tables, and the names that carry it in the others.

`leukoscope-fields.csv` has a row for each picture, `leukoscope-cells.csv` one for each cell of which there is more to
say than its format holds. Values are kept as they are, spaces too, so these are read by their own function.
"""

import csv
import io
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

from leukoscope.dataset.raw import Box, FieldExtras, RawCell, RawField, number, split_named
from leukoscope.dataset.text import read_json, read_text
from leukoscope.errors import DataError
from leukoscope.files import unguarded

HEAD_FILE, HEAD_KEYS = "leukoscope.json", ("name", "licence", "citation")
FIELDS_TABLE, CELLS_TABLE = "leukoscope-fields.csv", "leukoscope-cells.csv"
FIELD_COLUMNS = ("file", "field_id", "smear_id", "patient_id", "center", "specimen", "um_per_px", "split")
CELL_COLUMNS = ("label_file", "line", "text", "source_code", "exact_box", "attributes")
# Attributes of a cell that are no attributes: an export writes them so that nothing is lost.
SOURCE_CODE, EXACT_BOX = "source_code", "exact_box"
FIELD_LABEL = "field"  # the tag that carries a picture's patient and smear in CVAT


@dataclass(frozen=True, slots=True)
class CellExtras:
    """What is known of a cell beside its class and shape; None: as the annotation itself says."""

    source_code: str | None
    box: Box | None
    attributes: tuple[tuple[str, str], ...]


def field_extras(values: dict[str, object], where: str) -> FieldExtras:
    """Extras from a row, a tag's attributes or a JSON object; DataError for a scale or a split that is none."""
    texts = {k: str(values[k]) for k in FIELD_COLUMNS if values.get(k) not in (None, "") and k in _TEXTS}
    scale = None
    if values.get("um_per_px") not in (None, ""):
        try:
            scale = number(values["um_per_px"])
        except ValueError:
            scale = math.nan
        if not 0 < scale < math.inf:
            raise DataError(f"{where}: um_per_px must be a positive number, got {str(values['um_per_px'])[:40]!r}")
    split = str(values.get("split") or "")
    return FieldExtras(**texts, um_per_px=scale, split=split_named(split, where) if split else "")


_TEXTS = ("field_id", "smear_id", "patient_id", "center", "specimen")


def with_extras(field: RawField, extras: FieldExtras | None) -> RawField:
    """The field with what the extras say."""
    if extras is None:
        return field
    stated = {k: getattr(extras, k) for k in (*_TEXTS, "um_per_px") if getattr(extras, k)}
    return replace(field, **stated, split=field.split if extras.split == "" else extras.split)


def with_attributes(cell: RawCell, attributes: dict[str, str]) -> RawCell:
    """The cell with its attributes, those that an export of ours wrote taken for what they mean."""
    if not attributes:
        return cell
    source_code, exact = attributes.get(SOURCE_CODE), attributes.get(EXACT_BOX)
    box = _box(exact) if exact else None
    ours = (SOURCE_CODE, EXACT_BOX) if box else (SOURCE_CODE,)
    rest = tuple(pair for pair in attributes.items() if pair[0] not in ours)
    return RawCell(box or cell.box, cell.code, cell.contour, source_code, cell.attributes + rest, cell.predicted)


def box_text(box: Box) -> str:
    """A box as an attribute's value."""
    return " ".join(f"{v:.12g}" for v in box)


def _box(text: str) -> Box | None:
    try:
        values = tuple(float(v) for v in text.split())
    except ValueError:
        return None
    return values if len(values) == 4 else None


def read_head(root: Path) -> dict[str, str]:
    """Name, licence and citation that an export wrote; {} where there are none."""
    if not (root / HEAD_FILE).is_file():
        return {}
    values = read_json(root / HEAD_FILE)
    if not isinstance(values, dict) or not all(isinstance(values.get(k, ""), str) for k in HEAD_KEYS):
        raise DataError(f"{root / HEAD_FILE} is damaged: expected texts {', '.join(HEAD_KEYS)}")
    return {k: values[k] for k in HEAD_KEYS if values.get(k)}


def read_field_extras(root: Path) -> dict[str, FieldExtras]:
    """{picture: extras} of the side table; {} where there is none."""
    return {
        row["file"]: field_extras(row, f"{root / FIELDS_TABLE} row {n}")
        for n, row in enumerate(_rows(root / FIELDS_TABLE, FIELD_COLUMNS), 2)
    }


def read_cell_extras(root: Path) -> dict[tuple[str, int, str], CellExtras]:
    """{(label file, line number, line): extras} of the side table: a line that was edited since has none."""
    extras = {}
    for position, row in enumerate(_rows(root / CELLS_TABLE, CELL_COLUMNS), 2):
        try:
            attributes = json.loads(row["attributes"]) if row["attributes"] else {}
            line = int(row["line"])
            fine = isinstance(attributes, dict)
        except ValueError:
            fine = False
        if not fine:
            raise DataError(f"{root / CELLS_TABLE} row {position} is damaged: expected what the export wrote")
        pairs = tuple((str(k), str(v)) for k, v in attributes.items())
        extras[row["label_file"], line, row["text"]] = CellExtras(row["source_code"], _box(row["exact_box"]), pairs)
    return extras


def _rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    try:
        rows = list(csv.reader(io.StringIO(read_text(path), newline=""), strict=True))
    except csv.Error as error:
        raise DataError(f"{path} is not a CSV table ({error}): expected what the export wrote") from None
    if not rows or tuple(rows[0]) != columns or any(len(row) != len(columns) for row in rows):
        raise DataError(f"{path} is damaged: expected columns {', '.join(columns)} and as many values in each row")
    return [dict(zip(columns, map(unguarded, row), strict=True)) for row in rows[1:]]
