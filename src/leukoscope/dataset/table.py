"""CSV: one row a cell or a picture, with column names that the source or the user states.

With box columns, each row is a box. Without, each row is a picture of one cell: its box is its mask's where the
source has masks, else the whole frame.
"""

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from leukoscope.dataset.extras import FieldExtras
from leukoscope.dataset.intake import Intake, Seat
from leukoscope.dataset.masks import mask_box, mask_outline, read_mask
from leukoscope.dataset.raw import RawCell, RawSet, number, source_folder, split_named
from leukoscope.dataset.sources import COORDINATES
from leukoscope.dataset.spreadsheet import read_rows, read_table
from leukoscope.dataset.table_columns import BOX_FORMS, box_form, header_of, match_columns
from leukoscope.errors import DataError

_OF_A_PICTURE = ("split", "patient_id", "smear_id", "center")


@dataclass(frozen=True, slots=True)
class _Form:
    """How a row states its cell: the form of its box ("" for none), its columns, and what its numbers are of."""

    box: str
    names: dict[str, str]
    coordinates: str
    mask_name: str | None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that hold the box."""
        return BOX_FORMS.get(self.box, ())


def read_csv(
    src: str | Path,
    *,
    table: str | None = None,
    columns: dict[str, str] | None = None,
    coordinates: str = "pixels",
    image_name: str = "{}",
    mask_name: str | None = None,
) -> RawSet:
    """Read a folder of pictures with a table of labels.

    table        the CSV file in the folder; None: the only one there
    columns      our column -> the table's column, for what KNOWN_COLUMNS does not find
    coordinates  "pixels", or "relative": shares of the picture's width and height
    image_name   how the image column's value becomes a file's name, for example "images/{:0>3}.png"
    mask_name    the same for its mask, in which case the box is the mask's
    """
    if coordinates not in COORDINATES:
        raise DataError(f"coordinates must be {' or '.join(COORDINATES)}, got {coordinates!r}")
    root = source_folder(src)
    masks = PurePosixPath(mask_name or "").parts[:-1]
    path = _table_file(root, table)
    header = header_of(read_rows(path), path)
    rows = read_table(path, header)
    names = match_columns(list(rows[0]), columns or {}, path)
    form, names = box_form(names, list(rows[0]), path, has_masks=mask_name is not None)
    layout = _Form(form, names, coordinates, mask_name)
    intake = Intake(src, leave_out=masks[-1:])
    raw = intake.raw
    raw.in_px = coordinates == "pixels" and bool(form)
    by_file: dict[str, list[dict[str, str]]] = {}
    lost: Counter[str] = Counter()
    for row in rows:
        value = {ours: row[theirs] for ours, theirs in names.items()}
        named = image_name.format(value["image"])
        raw.n_objects += not _is_blank(value, layout)
        file = intake.index.find(named)
        if file is None:
            lost[named] += not _is_blank(value, layout)
        else:
            by_file.setdefault(file, []).append(value)
    for named, n in lost.items():
        raw.without_image(named, n, intake.index.why_not(named))
    unused = [h for h in rows[0] if h not in names.values()]
    if unused:
        raw.note(path.name, "columns not used", ", ".join(unused)[:200])
    for file in (f for f in intake.index.files if f in by_file):
        _read_field(file, by_file[file], layout, intake)
    if not by_file:
        raise DataError(
            f"{path}: none of its {len(rows)} rows names a picture under {raw.root}: expected file names in column "
            f"{names['image']!r}; got {rows[0][names['image']]!r}; state the right column or the right folder"
        )
    _refuse_picture_sizes(raw, form, path)
    return intake.finish()


def _is_blank(value: dict[str, str], layout: _Form) -> bool:
    """Whether a row says only that somebody looked at its picture: no class and no box (keras-retinanet's way)."""
    return bool(layout.box) and not value["label"] and not any(value[c] for c in layout.columns)


def _table_file(root: Path, table: str | None) -> Path:
    if table is not None:
        if not os.path.isfile(root / table):
            raise DataError(f"{root} has no {table}: expected the table of labels there; check the path and the source")
        return root / table
    tables = sorted(root.glob("*.csv"))
    if len(tables) != 1:
        got = ", ".join(t.name for t in tables) or "none"
        raise DataError(
            f"{root}: expected one .csv file with the labels, got {got}; name it as `table` in the source's TOML file"
        )
    return tables[0]


def _refuse_picture_sizes(raw: RawSet, form: str, path: Path) -> None:
    """DataError where every box is as large as its picture and begins elsewhere: width and height are the picture's."""
    if form not in ("corner and size", "centre and size"):
        return
    cells = [(f, c) for f in raw.fields for c in f.cells]
    sized = [abs(c.box[2] - c.box[0] - f.width) < 1 and abs(c.box[3] - c.box[1] - f.height) < 1 for f, c in cells]
    if sized and all(sized) and any(min(c.box[:2]) > 0 for _, c in cells):
        raise DataError(
            f"{path}: width and height are those of the pictures, not of boxes: expected the box's; "
            f"state the columns with --columns w=…,h=…"
        )


def _box(value: dict[str, str], layout: _Form, size: tuple[int, int]) -> tuple[float, ...]:
    """The box of one row in px; DataError where it isn't four numbers."""
    words = [value[c] for c in layout.columns]
    if len(words) == 1:
        words = [w for w in re.split(r"[\s\[\](),;]+", words[0]) if w]
    try:
        a, b, c, d = (number(w) for w in words)
    except ValueError:
        raise DataError(f"box without four numbers: {', '.join(words)[:80]}") from None
    if layout.box in ("corner and size", "one column of x, y, width, height"):
        c, d = a + c, b + d
    elif layout.box == "centre and size":
        a, b, c, d = a - c / 2, b - d / 2, a + c / 2, b + d / 2
    if layout.coordinates == "relative":
        return a * size[0], b * size[1], c * size[0], d * size[1]
    return a, b, c, d


def _masked(value: dict[str, str], layout: _Form, root: Path, size: tuple[int, int]) -> RawCell:
    mask_file = root / layout.mask_name.format(value["image"])
    if not mask_file.is_file():
        raise DataError(f"no mask {layout.mask_name.format(value['image'])}")
    mask = read_mask(mask_file)
    if mask.shape != (size[1], size[0]):
        raise DataError(f"mask of {mask.shape[1]}x{mask.shape[0]} px, picture of {size[0]}x{size[1]}")
    box = mask_box(mask)
    if box is None:
        raise DataError("empty mask")
    return RawCell(box, value["label"], mask_outline(mask))


def _read_cell(value: dict[str, str], layout: _Form, root: Path, seat: Seat) -> RawCell:
    """The cell of one row: from its box, from a mask, or the whole frame; DataError where it can't be read."""
    if not layout.box and layout.mask_name:
        return _masked(value, layout, root, seat.size)
    box = _box(value, layout, seat.size) if layout.box else (0.0, 0.0, *map(float, seat.size))
    score, attributes = value.get("score", ""), ()
    try:
        predicted = f"score {number(score):g}" if score else ""
    except ValueError:  # a person's word for how sure they were
        predicted, attributes = "", ((layout.names["score"], score),)
    return RawCell(box, value["label"], attributes=attributes, predicted=predicted)


def _read_field(file: str, rows: list[dict[str, str]], layout: _Form, intake: Intake) -> None:
    stated = {column: _one_value(rows, column, file) for column in _OF_A_PICTURE}
    sizes = {(row.get("image_width", ""), row.get("image_height", "")) for row in rows}
    cells = [row for row in rows if not _is_blank(row, layout)]
    size = sizes.pop() if len(sizes) == 1 and layout.box else None
    seat = intake.seat(file, file, len(cells), known=file, size=size)
    if seat is None:
        return
    read = []
    for value in cells:
        try:
            read.append(_read_cell(value, layout, intake.raw.root, seat))
        except DataError as error:
            intake.raw.drop(file, "unreadable box", str(error))
    split = split_named(stated.pop("split"), file)
    intake.take(seat, read, split=split, extras=FieldExtras(**stated))


def _one_value(rows: list[dict[str, str]], column: str, file: str) -> str:
    """What the rows of one picture say of it; DataError where they disagree."""
    values = sorted({row.get(column, "") for row in rows})
    if len(values) > 1:
        raise DataError(
            f"{file}: its rows state {column} {' and '.join(repr(v[:40]) for v in values[:3])}: expected one value"
        )
    return values[0]
