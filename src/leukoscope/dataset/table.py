"""CSV: one row a cell or a picture, with column names that the source or the user states.

With box columns, each row is a box. Without, each row is a picture of one cell: its box is its mask's where the
source has masks, else the whole frame.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from leukoscope.dataset.files import ImageIndex, read_table
from leukoscope.dataset.masks import mask_box, mask_outline, read_mask
from leukoscope.dataset.raw import RawCell, RawField, RawSet, number, source_folder, split_named, split_of, take_picture
from leukoscope.errors import DataError

# What each of our columns may be called where the source doesn't say; compared in lower case.
KNOWN_COLUMNS = {
    "image": ("file", "image", "filename", "file_name", "image_name", "img_name", "path", "image_path"),
    "label": ("label", "class", "class_name", "category", "cell_type"),
    "x0": ("x0", "xmin", "x_min", "left"),
    "y0": ("y0", "ymin", "y_min", "top"),
    "x1": ("x1", "xmax", "x_max", "right"),
    "y1": ("y1", "ymax", "y_max", "bottom"),
    "split": ("split", "set", "subset"),
    "patient_id": ("patient_id", "patient", "subject"),
    "smear_id": ("smear_id", "smear", "slide"),
    "center": ("center", "centre", "site"),
}
_CORNERS = ("x0", "y0", "x1", "y1")
COORDINATES = ("pixels", "relative")


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
    root = source_folder(src)
    path = _table_file(root, table)
    rows = read_table(path)
    names = match_columns(list(rows[0]), columns or {}, path)
    masks = PurePosixPath(mask_name or "").parts[:-1]
    index = ImageIndex(root, leave_out=masks[-1:])
    result = RawSet(root)
    by_file: dict[str, list[dict[str, str]]] = {}
    lost: Counter[str] = Counter()
    result.n_objects = len(rows)
    for row in rows:
        value = {ours: row[theirs] for ours, theirs in names.items()}
        named = image_name.format(value["image"])
        file = index.find(named)
        if file is None:
            lost[named] += 1
            continue
        by_file.setdefault(file, []).append(value)
    for named, n in lost.items():
        result.without_image(named, n)
    index.note_elsewhere(result)
    if coordinates == "pixels" and "x0" in names:
        _refuse_shares(rows, names, path)
    read_cells = _cell_reader(names, coordinates, mask_name)
    for file in index.files:
        if file in by_file:
            field = _read_field(file, by_file[file], read_cells, result)
            if field is not None:
                result.fields.append(field)
        else:
            result.images_without_annotation.append(file)
    if not by_file:
        raise DataError(
            f"{path}: none of its {len(rows)} rows names a picture under {root}: expected file names in column "
            f"{names['image']!r}; got {rows[0][names['image']]!r}; state the right column or the right folder"
        )
    return result


def match_columns(header: list[str], stated: dict[str, str], path: Path) -> dict[str, str]:
    """{our column: the table's}, from what is stated and else from KNOWN_COLUMNS; `image` and `label` are needed."""
    unknown = sorted(set(stated) - set(KNOWN_COLUMNS))
    if unknown:
        raise DataError(f"columns can't state {', '.join(unknown)}: expected some of {', '.join(KNOWN_COLUMNS)}")
    absent = sorted(set(stated.values()) - set(header))
    if absent:
        raise DataError(f"{path} has no column {', '.join(absent)}: it has {', '.join(header)}; state one of those")
    names = dict(stated)
    for ours, candidates in KNOWN_COLUMNS.items():
        found = [h for h in header if h.lower() in candidates and h not in stated.values()]
        if ours in names or not found:
            continue
        if len(found) > 1:
            listed = " or ".join(found)
            raise DataError(f"{path}: {ours} could be column {listed}; state which in the source's [columns]")
        names[ours] = found[0]
    missing = [c for c in ("image", "label") if c not in names]
    corners = [c for c in _CORNERS if c in names]
    if missing or (corners and len(corners) < 4):
        missing = missing or [c for c in _CORNERS if c not in names]
        raise DataError(
            f"{path} has no column for {', '.join(missing)}: it has {', '.join(header)}; "
            f"state which in the source's [columns]"
        )
    return names


def _table_file(root: Path, table: str | None) -> Path:
    if table is not None:
        if not (root / table).is_file():
            raise DataError(f"{root} has no {table}: expected the table of labels there; check the path and the source")
        return root / table
    tables = sorted(root.glob("*.csv"))
    if len(tables) != 1:
        got = ", ".join(t.name for t in tables) or "none"
        raise DataError(
            f"{root}: expected one .csv file with the labels, got {got}; name it as `table` in the source's TOML file"
        )
    return tables[0]


CellReader = Callable[[dict[str, str], Path, str, tuple[int, int]], RawCell]


def _refuse_shares(rows: list[dict[str, str]], names: dict[str, str], path: Path) -> None:
    """DataError when no corner of the whole table lies outside 0 to 1: those are shares of the picture, not px."""
    try:
        shares = all(0 <= number(row[names[c]]) <= 1 for row in rows for c in _CORNERS)
    except ValueError:
        return  # a row without numbers is reported when its picture is read
    if shares:
        raise DataError(
            f"{path}: every corner lies in 0 to 1, which looks like shares of the picture: expected px; "
            f"state coordinates = 'relative' in the source's TOML file"
        )


def _cell_reader(names: dict[str, str], coordinates: str, mask_name: str | None) -> CellReader:
    """The function that turns one row into a cell: from corners, from a mask, or the whole frame."""
    if coordinates not in COORDINATES:
        raise DataError(f"coordinates must be {' or '.join(COORDINATES)}, got {coordinates!r}")

    def corners(value: dict[str, str], root: Path, file: str, size: tuple[int, int]) -> RawCell:
        try:
            box = [number(value[c]) for c in _CORNERS]
        except ValueError:
            raise DataError(f"box without four numbers: {', '.join(value[c] for c in _CORNERS)}") from None
        if coordinates == "relative":
            box = [box[0] * size[0], box[1] * size[1], box[2] * size[0], box[3] * size[1]]
        return RawCell(tuple(box), value["label"])

    def masked(value: dict[str, str], root: Path, file: str, size: tuple[int, int]) -> RawCell:
        mask_file = root / mask_name.format(value["image"])
        if not mask_file.is_file():
            raise DataError(f"no mask {mask_name.format(value['image'])}")
        mask = read_mask(mask_file)
        if mask.shape != (size[1], size[0]):
            raise DataError(f"mask of {mask.shape[1]}x{mask.shape[0]} px, picture of {size[0]}x{size[1]}")
        box = mask_box(mask)
        if box is None:
            raise DataError("empty mask")
        return RawCell(box, value["label"], mask_outline(mask))

    def whole(value: dict[str, str], root: Path, file: str, size: tuple[int, int]) -> RawCell:
        return RawCell((0.0, 0.0, float(size[0]), float(size[1])), value["label"])

    if "x0" in names:
        return corners
    return masked if mask_name else whole


def _read_field(file: str, rows: list[dict[str, str]], read_cell: CellReader, result: RawSet) -> RawField | None:
    picture = take_picture(result, file, len(rows))
    if picture is None:
        return None
    cells = []
    for value in rows:
        try:
            cells.append(read_cell(value, result.root, file, (picture.width, picture.height)))
        except DataError as error:
            result.drop(file, "unreadable box", str(error))
    stated = {column: _one_value(rows, column, file) for column in ("split", "patient_id", "smear_id", "center")}
    split = split_named(stated.pop("split"), file) or split_of(file)
    return RawField(file, picture.width, picture.height, tuple(cells), split, **stated, sha256=picture.sha256)


def _one_value(rows: list[dict[str, str]], column: str, file: str) -> str:
    """What the rows of one picture say of it; DataError where they disagree."""
    values = sorted({row.get(column, "") for row in rows})
    if len(values) > 1:
        raise DataError(
            f"{file}: its rows state {column} {' and '.join(repr(v[:40]) for v in values[:3])}: expected one value"
        )
    return values[0]
