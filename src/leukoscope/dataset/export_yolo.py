"""Write YOLO: `data.yaml`, `images/<split>`, `labels/<split>`, boxes or outlines, and side tables for the rest."""

import json
from dataclasses import asdict
from pathlib import Path

from leukoscope.dataset.extras import CELL_COLUMNS, CELLS_TABLE, FIELD_COLUMNS, FIELDS_TABLE, box_text
from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField
from leukoscope.dataset.raw import NEITHER_SPLIT, UNTYPED, bounds
from leukoscope.files import write_rows, write_text

# Shares of the picture: with twelve decimals a corner is true to a millionth of a px on any picture.
_DECIMALS = 12


def write_yolo(dataset: Dataset, out: Path, names: dict[str, str], classes: tuple[str, ...]) -> tuple[str, ...]:
    """Labels, data.yaml and the side tables for pictures that stand in `out` already; what is kept beside."""
    numbers = {name: i for i, name in enumerate(classes)}
    field_rows, cell_rows = [], []
    for field in dataset.fields:
        place = f"{field.split or NEITHER_SPLIT}/{names[field.file]}"
        label = f"labels/{place.rpartition('.')[0]}.txt"
        lines = [_line(cell, numbers, field) for cell in field.cells]
        for n, (cell, line) in enumerate(zip(field.cells, lines, strict=True), 1):
            cell_rows.append((label, n, line, cell.source_code, _exact_box(cell), _attributes(cell)))
        (out / label).parent.mkdir(parents=True, exist_ok=True)
        write_text(out / label, "".join(line + "\n" for line in lines), sync=False)
        field_rows.append((f"images/{place}", *field_values(field).values()))
    write_rows(out / FIELDS_TABLE, [FIELD_COLUMNS, *field_rows], exact=True)  # an id may hold a line end
    write_rows(out / CELLS_TABLE, [CELL_COLUMNS, *cell_rows], exact=True)  # an id may hold a line end
    splits = {f.split for f in dataset.fields}
    write_text(out / "data.yaml", _yaml(classes, splits))
    beside = [
        f"patient, smear, centre, specimen, scale and field id: {FIELDS_TABLE}",
        f"source codes, attributes, and boxes that are not their outline's: {CELLS_TABLE}",
    ]
    if any((c.contour is None) != (field.cells[0].contour is None) for field in dataset.fields for c in field.cells):
        beside.append("boxes and outlines are mixed in a label file: Ultralytics trains such a set as boxes only")
    return tuple(beside)


def field_values(field: TruthField) -> dict[str, str]:
    """What a format of pictures and boxes can't hold of a field, as text; "" for what is not stated."""
    return {
        **asdict(field.key),
        "um_per_px": "" if field.um_per_px is None else repr(float(field.um_per_px)),
        "split": field.split or NEITHER_SPLIT,
    }


def _line(cell: TruthCell, numbers: dict[str, int], field: TruthField) -> str:
    number = numbers[UNTYPED if cell.class_name is None else cell.class_name]
    if cell.contour is not None:
        values = [share for x, y in cell.contour for share in (x / field.width, y / field.height)]
    else:
        x0, y0, x1, y1 = cell.box
        width, height = field.width, field.height
        values = [(x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height]
    return " ".join([str(number), *(f"{v:.{_DECIMALS}f}" for v in values)])


def _exact_box(cell: TruthCell) -> str:
    return "" if cell.contour is None or bounds(cell.contour) == cell.box else box_text(cell.box)


def _attributes(cell: TruthCell) -> str:
    return json.dumps(dict(cell.attributes), ensure_ascii=False) if cell.attributes else ""


def _yaml(classes: tuple[str, ...], splits: set[str | None]) -> str:
    """A data file for Ultralytics; a set without splits is all of it training and validation."""
    only = f"images/{NEITHER_SPLIT}"
    lines = ["path: ."]
    for split in ("train", "val", "test"):
        if split in splits:
            lines.append(f"{split}: images/{split}")
        elif split != "test":
            lines.append(f"{split}: {only if None in splits else 'images/' + sorted(s for s in splits if s)[0]}")
    lines += [f"nc: {len(classes)}", "names:" if classes else "names: {}"]
    lines += [f"  {i}: {json.dumps(name, ensure_ascii=False)}" for i, name in enumerate(classes)]
    return "\n".join(lines) + "\n"
