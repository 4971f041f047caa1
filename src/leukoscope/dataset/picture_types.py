"""A table that types the pictures, not the cells (BCCD): used only where it can mean one cell."""

from dataclasses import replace
from pathlib import PurePosixPath

from leukoscope.dataset.raw import Issue, RawCell, RawField, RawSet
from leukoscope.dataset.sources import Source
from leukoscope.dataset.spreadsheet import read_table, shown
from leukoscope.errors import DataError

IMAGE_COLUMN, TYPE_COLUMN = "Image", "Category"


def apply_picture_types(raw: RawSet, source: Source) -> None:
    """Give the one white cell of a picture the type its row states; every picture where that can't be done is noted.

    A picture of several white cells, or none, or a row of several types or none, leaves the cells untyped.
    """
    path = raw.root / source.type_table
    if not path.is_file():
        raw.issues.append(Issue(source.type_table, "noted", "no table of types", "white cells stay untyped"))
        return
    rows = read_table(path)
    if not {IMAGE_COLUMN, TYPE_COLUMN} <= set(rows[0]):
        raise DataError(f"{path}: expected columns {IMAGE_COLUMN} and {TYPE_COLUMN}, got {shown(rows[0])}")
    types = {source.type_image.format(row[IMAGE_COLUMN]): row[TYPE_COLUMN] for row in rows}
    raw.fields = [_typed(f, types.get(PurePosixPath(f.file).stem, ""), source, raw.issues) for f in raw.fields]


def _typed(field: RawField, stated: str, source: Source, issues: list[Issue]) -> RawField:
    white = [i for i, c in enumerate(field.cells) if c.code == source.type_code]
    kinds = [kind.strip() for kind in stated.split(",") if kind.strip()]
    if len(white) != 1 or len(kinds) != 1:
        if white or kinds:
            detail = f"{len(white)} white cells, type {stated or 'blank'}"
            issues.append(Issue(field.file, "noted", "picture's type not used", detail))
        return field
    cells = list(field.cells)
    cells[white[0]] = RawCell(cells[white[0]].box, kinds[0], cells[white[0]].contour)
    return replace(field, cells=tuple(cells))
