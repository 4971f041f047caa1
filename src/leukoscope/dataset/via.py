"""VGG Image Annotator (VIA 1 and 2): its project, its JSON and its CSV, regions with attributes of the user's own."""

import math
from functools import partial
from pathlib import Path

from leukoscope.dataset.extras import with_attributes
from leukoscope.dataset.files import files_under
from leukoscope.dataset.intake import Intake, Seat
from leukoscope.dataset.raw import RawCell, RawSet, number
from leukoscope.dataset.shapes import drawn_cell, ellipse, polygon, whole_picture
from leukoscope.dataset.spreadsheet import read_table
from leukoscope.dataset.text import parse_json, read_json_files
from leukoscope.errors import DataError

_USUAL = ("class", "label", "type", "name", "cell", "cell_type", "category")
_COLUMNS = {"filename", "region_shape_attributes", "region_attributes"}
_OTHER_SHAPES = ("point", "polyline")


def read_via(src: str | Path, *, code_attribute: str | None = None) -> RawSet:
    """Read a folder of pictures and VIA files.

    code_attribute  the attribute that holds the class; None: the only one, or the only one with a usual name
    """
    intake = Intake(src)
    raw = intake.raw
    entries: list[tuple[str, dict]] = []
    read = [(file, _of_json(content, file)) for file, content in read_json_files(raw.root)]
    read += [(file, _of_csv(raw.root / file)) for file in files_under(raw.root, (".csv",))]
    for file, of_picture in read:
        if not of_picture:
            raw.note(file, "not read: no VIA file", "expected pictures with a filename and regions")
        entries += [(f"{file} entry {n}", entry) for n, entry in enumerate(of_picture)]
    if not entries:
        raise DataError(
            f"{raw.root} is not a VIA set: expected its project, or its annotations as JSON or CSV; got none; "
            f"check the path and the format"
        )
    regions = [r for _, entry in entries for r in entry["regions"]]
    said = [r["region_attributes"] for r in regions] if regions else [entry["file_attributes"] for _, entry in entries]
    key = code_attribute or _class_key(said)
    for where, entry in entries:
        _read_entry(entry, where, key, intake, is_classified=not regions, keeps=bool(code_attribute))
    return intake.finish()


def _of_json(content: object, file: str) -> list[dict]:
    """Entries of a project or an export, each with lists and objects where VIA has them; [] for another file.

    DataError for a file of which only some entries are VIA's.
    """
    if not isinstance(content, dict):
        return []
    listed = content.get("_via_img_metadata", content)
    entries = list(listed.values()) if isinstance(listed, dict) else []
    is_via = [isinstance(e, dict) and isinstance(e.get("filename"), str) for e in entries]
    if not any(is_via):
        return []
    if not all(is_via):
        raise DataError(
            f"{file}: entry {is_via.index(False)} has no filename: expected one for each picture; correct it"
        )
    read = []
    for entry in entries:
        regions = entry.get("regions", [])
        regions = list(regions.values()) if isinstance(regions, dict) else regions  # VIA 1 numbers them
        if not isinstance(regions, list):
            raise DataError(f"{file}: the regions of {entry['filename'][:80]} are no list: export it again")
        read.append(_entry(entry["filename"], entry.get("file_attributes"), regions))
    return read


def _of_csv(path: Path) -> list[dict]:
    """Entries of VIA's CSV, one for each picture; [] for another table."""
    try:
        rows = read_table(path)
    except DataError:
        return []
    columns = {c.lstrip("#").strip(): c for c in rows[0]}
    if not set(columns) >= _COLUMNS:
        return []
    entries: dict[str, dict] = {}
    for n, row in enumerate(rows, 2):
        value = {ours: row[theirs] for ours, theirs in columns.items()}
        shape, said, of_file = (
            parse_json(value.get(k) or "{}", f"{path} row {n}: {k}")
            for k in ("region_shape_attributes", "region_attributes", "file_attributes")
        )
        entry = entries.setdefault(value["filename"], _entry(value["filename"], of_file, []))
        if shape:
            region = {"shape_attributes": shape, "region_attributes": said}
            entry["regions"] += _entry("", {}, [region])["regions"]
    return list(entries.values())


def _entry(filename: str, file_attributes: object, regions: list) -> dict:
    def plain(value: object) -> dict:
        return value if isinstance(value, dict) else {}

    return {
        "filename": filename,
        "file_attributes": {str(k): _text(v) for k, v in plain(file_attributes).items()},
        "regions": [
            {
                "shape_attributes": plain(plain(r).get("shape_attributes")),
                "region_attributes": {str(k): _text(v) for k, v in plain(plain(r).get("region_attributes")).items()},
            }
            for r in regions
        ],
    }


def _text(value: object) -> str:
    """An attribute's value; of check boxes ({"lymphocyte": true}) the ticked ones."""
    if isinstance(value, dict):
        return "; ".join(str(k) for k, on in value.items() if on)
    return "" if value is None else str(value).strip()


def _class_key(said: list[dict[str, str]]) -> str:
    """The attribute that holds the class; DataError where several could."""
    keys = list(dict.fromkeys(k for attributes in said for k, v in attributes.items() if v))
    usual = [k for k in keys if k.lower() in _USUAL]
    if len(keys) > 1 and len(usual) != 1:
        raise DataError(
            f"regions have the attributes {', '.join(keys)[:200]}: state with --code-attribute which holds the class"
        )
    return (usual or keys or [""])[0]


def _read_entry(entry: dict, where: str, key: str, intake: Intake, *, is_classified: bool, keeps: bool) -> None:
    raw = intake.raw
    word = entry["file_attributes"].get(key, "") if is_classified else ""
    classes = [word] if word else []
    n_objects = len(entry["regions"]) + len(classes)
    raw.n_objects += n_objects
    seat = intake.seat(entry["filename"], where, n_objects)
    if seat is None:
        return
    cells = [
        _read_region(r, f"{where} region {n}", key, seat, raw, keeps=keeps) for n, r in enumerate(entry["regions"])
    ]
    intake.take(seat, cells + whole_picture(classes, where, seat, raw))


def _read_region(region: dict, where: str, key: str, seat: Seat, raw: RawSet, *, keeps: bool) -> RawCell | None:
    """One region in px, or None where it can't be one cell: listed then. keeps: its class stays an attribute too."""
    shape, said = region["shape_attributes"], region["region_attributes"]
    kind, code = str(shape.get("name")), said.get(key, "")
    read, place = partial(_shape, kind, shape, code), (raw, seat.file, where)
    cell = drawn_cell(
        kind, code, read, is_outline=kind not in _OTHER_SHAPES, unnamed="region without a class", place=place
    )
    if cell is None:
        return None
    return with_attributes(cell, {k: v for k, v in said.items() if v and (keeps or k != key)})


def _shape(kind: str, shape: dict, code: str) -> RawCell:
    def get(*names: str) -> list[float]:
        return [number(shape.get(n)) for n in names]

    if kind == "rect":
        x, y, w, h = get("x", "y", "width", "height")
        return RawCell((x, y, x + w, y + h), code)
    if kind == "circle":
        x, y, r = get("cx", "cy", "r")
        return ellipse((x, y), (r, r), code)
    if kind == "ellipse":
        x, y, rx, ry = get("cx", "cy", "rx", "ry")
        return ellipse((x, y), (rx, ry), code, degrees=math.degrees(number(shape.get("theta") or 0)))
    if kind == "polygon":
        xs, ys = shape.get("all_points_x"), shape.get("all_points_y")
        if not isinstance(xs, list) or not isinstance(ys, list) or len(xs) != len(ys):
            raise ValueError("expected as many x as y")
        return polygon(list(zip(xs, ys, strict=True)), code)
    raise ValueError(f"no such shape: {kind[:30]}")
