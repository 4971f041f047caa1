"""The paper's single-cell set: each annotated cell cut out of its photograph with 50 px around its box.

PCM, section 2.3.2: "cropped from the bounding boxes and padded with a 50-pixel margin on all sides to preserve
context". The crops are not resized: a pixel stays a pixel of the photograph.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from leukoscope.dataset.manifest import Dataset, TruthField, read_dataset
from leukoscope.errors import DataError, ImageError, InputError
from leukoscope.files import write_json, write_rows, write_text, write_whole
from leukoscope.images import background_color, read_image
from leukoscope.progress import Progress, no_progress

PAD_PX = 50
EDGES = ("cut", "fill")
NO_TYPE = "unstated"  # the folder of cells without a class
PROVENANCE, SOURCE, SETTINGS = "crops.csv", "source.toml", "crops.json"
COLUMNS = (
    "file", "class", "x0", "y0", "x1", "y1", "patient_id", "smear_id", "center", "specimen", "split", "um_per_px",
    "source_file", "source_sha256", "source_x0", "source_y0", "source_x1", "source_y1", "source_code", "field_id",
    "reaches_edge",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CropsReport:
    """What was written: cells by class, how many were there already, how many reach over their picture's edge, and
    photographs that could not be read as (file, reason). `um_per_px`: the scales, "unknown" among them."""

    n_crops: int
    n_kept: int
    by_class: dict[str, int]
    n_at_edge: int
    um_per_px: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]


def export_crops(
    dataset: str | Path | Dataset,
    out: str | Path,
    *,
    pad_px: int = PAD_PX,
    um_per_px: float | None = None,
    edge: str = "cut",
    progress: Progress = no_progress,
) -> CropsReport:
    """Write DST/<class>/<picture>_<n>.png for every annotated cell, with crops.csv, crops.json and source.toml.

    pad_px     pixels of the photograph around the box on all four sides
    um_per_px  micrometres a pixel of the photographs that do not state it; no crop is rescaled. A photograph that
               states another scale is an InputError: nobody can tell which is right
    edge       a crop that would reach over its picture: "cut" ends it there, so it is smaller and the cell off its
               middle; "fill" paints what is missing in the colour of the picture's empty background
    progress   called with (done, total) after each photograph

    A second call with the same settings goes on where the first was stopped: crops that are there are kept. InputError
    for a folder that holds something else or other settings, DataError when no photograph could be read.
    """
    dataset = dataset if isinstance(dataset, Dataset) else read_dataset(dataset)
    out = Path(out)
    _check(dataset, pad_px, um_per_px, edge)
    settings = {"fields_sha256": dataset.sha256(), "pad_px": pad_px, "um_per_px": um_per_px, "edge": edge}
    _claim(out, dataset, settings)
    names = _crop_names(dataset)
    rows: list[dict] = []
    n_kept, failed = 0, []
    for number, field in enumerate(dataset.fields, 1):
        try:
            kept = _cut_field(dataset, field, out, names[field.key.field_id], pad_px=pad_px, edge=edge)
        except ImageError as error:
            failed.append((field.file, error.reason))
        else:
            n_kept += kept
            scale = field.um_per_px if field.um_per_px is not None else um_per_px
            rows += _rows(field, names[field.key.field_id], pad_px=pad_px, edge=edge, um_per_px=scale)
        progress(number, len(dataset.fields))
    if not rows:
        raise DataError(f"data set {dataset.name!r} gave no crops: it has no annotated cell in a readable photograph")
    scales = tuple(sorted({r["um_per_px"] for r in rows}))
    _write_tables(out, dataset, rows, settings, scales)
    return CropsReport(
        n_crops=len(rows),
        n_kept=n_kept,
        by_class=dict(sorted(Counter(r["class"] for r in rows).items())),
        n_at_edge=sum(r["reaches_edge"] == "yes" for r in rows),
        um_per_px=scales,
        failed=tuple(failed),
    )


def padded_box(box: tuple[float, float, float, float], pad_px: int) -> tuple[int, int, int, int]:
    """The whole pixels that a box with its margin covers: xyxy, half-open; may reach over the picture."""
    x0, y0, x1, y1 = box
    return (
        int(np.floor(x0)) - pad_px,
        int(np.floor(y0)) - pad_px,
        int(np.ceil(x1)) + pad_px,
        int(np.ceil(y1)) + pad_px,
    )


def _check(dataset: Dataset, pad_px: int, um_per_px: float | None, edge: str) -> None:
    if pad_px < 0:
        raise InputError(f"pad_px must be 0 or more pixels, got {pad_px}")
    if edge not in EDGES:
        raise InputError(f"edge must be one of {', '.join(EDGES)}, got {edge!r}")
    if um_per_px is None:
        return
    if not 0 < um_per_px < 100:
        raise InputError(f"um_per_px must be between 0 and 100 micrometres a pixel, got {um_per_px}")
    other = [f for f in dataset.fields if f.um_per_px is not None and abs(f.um_per_px - um_per_px) > 1e-9]
    if other:
        raise InputError(
            f"{other[0].file} states {other[0].um_per_px:g} micrometres a pixel, --um-per-px {um_per_px:g}: expected "
            f"one scale; leave --um-per-px out to take what the data set states"
        )


def _claim(out: Path, dataset: Dataset, settings: dict) -> None:
    """Take an empty folder, or go on in one that was begun with the same settings."""
    begun = out / SETTINGS
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: expected a folder for the crops; name another")
    if begun.is_file():
        try:
            before = json.loads(begun.read_text("utf-8"))
        except ValueError:
            before = {}
        differ = [k for k, v in settings.items() if before.get(k) != v]
        if differ:
            raise InputError(
                f"{out} holds crops made with other settings ({', '.join(differ)} differ): name another folder"
            )
        return
    if out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out} is not empty and holds no crops of this command: name a new folder")
    inside = out.resolve()
    root = dataset.image_root.resolve()
    if inside == root or root in inside.parents:
        raise InputError(
            f"{out} lies among the pictures of {dataset.name!r}: crops there would be imported with them; name another"
        )
    out.mkdir(parents=True, exist_ok=True)
    write_json(begun, settings)


def _crop_names(dataset: Dataset) -> dict[str, list[str]]:
    """{field id: the crops' paths}: <class>/<field id, its slashes as __>_<row>.png; names are unique in the set."""
    names, taken = {}, set()
    for field in dataset.fields:
        stem = re.sub(r"[^\w.-]+", "_", field.key.field_id.replace("/", "__"))
        while stem.lower() in taken:
            stem += "_"
        taken.add(stem.lower())
        names[field.key.field_id] = [
            f"{_folder(cell.class_name)}/{stem}_{row:03d}.png" for row, cell in enumerate(field.cells)
        ]
    return names


def _folder(class_name: str | None) -> str:
    return re.sub(r"[^\w.-]+", "_", class_name) if class_name else NO_TYPE


def _cut_field(dataset: Dataset, field: TruthField, out: Path, names: list[str], *, pad_px: int, edge: str) -> int:
    """Cut the cells of one photograph; returns how many crops were there already. ImageError if it can't be read."""
    missing = [row for row, name in enumerate(names) if not (out / name).is_file()]
    if missing:
        pixels = read_image(dataset.path(field))
        if pixels.shape[:2] != (field.height, field.width):
            raise ImageError("changed", f"{field.file} has another size than when it was imported: import it again")
        ground = background_color(pixels) if edge == "fill" else None
        for row in missing:
            crop = _cut(pixels, padded_box(field.cells[row].box, pad_px), ground)
            path = out / names[row]
            path.parent.mkdir(parents=True, exist_ok=True)
            with write_whole(path, "wb") as file:
                Image.fromarray(crop).save(file, "PNG")
    return len(names) - len(missing)


def _cut(pixels: np.ndarray, region: tuple[int, int, int, int], ground: np.ndarray | None) -> np.ndarray:
    """Region xyxy of a picture (H, W, 3): ended at the picture's edge, or filled with colour `ground` beyond it."""
    height, width = pixels.shape[:2]
    x0, y0, x1, y1 = region
    left, top, right, bottom = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
    inside = np.ascontiguousarray(pixels[top:bottom, left:right])
    if ground is None or inside.shape[:2] == (y1 - y0, x1 - x0):
        return inside
    crop = np.empty((y1 - y0, x1 - x0, 3), np.uint8)
    crop[:] = np.rint(ground)
    crop[top - y0 : bottom - y0, left - x0 : right - x0] = inside
    return crop


def _rows(field: TruthField, names: list[str], *, pad_px: int, edge: str, um_per_px: float | None) -> list[dict]:
    """The provenance of a photograph's crops; x0 to y1 is the cell's box in its crop."""
    rows = []
    for name, cell in zip(names, field.cells, strict=True):
        left, top, right, bottom = padded_box(cell.box, pad_px)
        reaches = left < 0 or top < 0 or right > field.width or bottom > field.height
        start = (max(left, 0), max(top, 0)) if edge == "cut" else (left, top)
        inner = [v - s for v, s in zip(cell.box, start * 2, strict=True)]
        key = field.key
        rows.append(
            {
                "file": name,
                "class": cell.class_name or NO_TYPE,
                **{c: f"{v:.3f}" for c, v in zip(("x0", "y0", "x1", "y1"), inner, strict=True)},
                "patient_id": key.patient_id,
                "smear_id": key.smear_id,
                "center": key.center,
                "specimen": key.specimen,
                "split": field.split or "",
                "um_per_px": "unknown" if um_per_px is None else f"{um_per_px:g}",
                "source_file": field.file,
                "source_sha256": field.sha256,
                **{f"source_{c}": f"{v:.3f}" for c, v in zip(("x0", "y0", "x1", "y1"), cell.box, strict=True)},
                "source_code": cell.source_code,
                "field_id": key.field_id,
                "reaches_edge": "yes" if reaches else "no",
            }
        )
    return rows


def _write_tables(out: Path, dataset: Dataset, rows: list[dict], settings: dict, scales: tuple[str, ...]) -> None:
    write_rows(out / PROVENANCE, [COLUMNS, *([row[column] for column in COLUMNS] for row in rows)])
    # `dataset import csv DST --source DST/source.toml` and `import folders` read the crops back with this.
    classes = sorted({r["class"] for r in rows})
    specimens = sorted({f.key.specimen for f in dataset.fields})
    lines = [
        f"# Crops of {json.dumps(dataset.name)}: {settings['pad_px']} px around each box; at a picture's edge: "
        f"{settings['edge']}; micrometres a pixel: {', '.join(scales)}.",
        f"name = {json.dumps(dataset.name + ' crops')}",
        f"licence = {json.dumps(dataset.licence)}",
        f"citation = {json.dumps(dataset.citation)}",
        f"specimen = {json.dumps(specimens[0])}"
        if len(specimens) == 1
        else "# blood and marrow are mixed (see crops.csv): an import needs them apart",
        f"table = {json.dumps(PROVENANCE)}",
    ]
    if len(scales) == 1 and scales[0] != "unknown":
        lines.append(f"um_per_px = {scales[0]}")
    lines += ["", "[codes]"]
    for name in classes:
        lines.append(f"{json.dumps(name)} = {json.dumps('white_cell' if name == NO_TYPE else name)}")
    write_text(out / SOURCE, "\n".join(lines) + "\n")
