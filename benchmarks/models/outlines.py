"""Outlines of white cells and of their nuclei against masks drawn by people.

    python -m benchmarks.models.outlines --sets data --runs runs/outliner-folds --outliner runs/outliner/bundle
        [--sheets DIR]

--sets: a folder with the data sets that configs/outliner.toml names (bccd, pbc and marrow, made by the commands at its
top). bccd is measured in three folds by image: for each a network is trained on the other two thirds (--fold 0, 1, 2
trains one and stops; a run that is there is taken as it is), with pbc and the rendered cells as in the configuration.
jtsc and cellavision are measured with --outliner; nothing was trained or chosen on them. Boxes are those of the
bundled locator, which saw bccd's train split: rows for its test split alone stand beside. On jtsc and cellavision the
central cell is measured: the located box nearest to the picture's middle, and 0 where none was found.
A set's rows are kept below --runs (rows-*.json; remove them to measure again), so that the sets can be measured apart.
Limits: photographs resampled. Writes benchmarks/results/outlines.csv; --sheets: the worst cells as pictures.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.harness import DATA, Args, Rows, benchmark, option
from benchmarks.provenance import commit
from benchmarks.public_sets import import_public
from leukoscope.crop import resample_square
from leukoscope.dataset.manifest import Dataset, TruthField, read_dataset
from leukoscope.dataset.masks import mask_name, mask_outline, mask_outlines, read_mask_values
from leukoscope.evaluate.contours import FieldContours, compare_contours, summarise_contours
from leukoscope.images import read_field
from leukoscope.locate import locate
from leukoscope.models.bundle import find_model, read_bundle
from leukoscope.models.runtime import Session
from leukoscope.outline import Outlines, outline
from leukoscope.train.config import build_config, read_toml
from leukoscope.train.outliner.bundle import LOOSE, export_outliner, pixel_iou
from leukoscope.train.outliner.config import OutlinerConfig
from leukoscope.train.outliner.data import Outlined, outlines_of_mask
from leukoscope.train.outliner.task import train_outliner
from leukoscope.types import Cells, Field

ROOT = Path(__file__).resolve().parents[2]
SETS = ("bccd", "jtsc", "cellavision")
N_FOLDS = 3
N_DRAWS = 1000
BCCD_MASKS = "masks/BloodImage_Mask_{number}.png"
ASKED = {
    ("bccd", "contour AP50"): 0.95,
    ("bccd", "mean IoU of matched cells"): 0.85,
    ("jtsc", "IoU of the nucleus"): 0.80,
    ("jtsc", "IoU of the whole cell"): 0.80,
    ("cellavision", "IoU of the nucleus"): 0.80,
    ("cellavision", "IoU of the whole cell"): 0.80,
}


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A cell that was drawn, for the contact sheet: its IoU and what to show."""

    iou: float
    name: str
    pixels: np.ndarray
    truth: Outlined
    outlines: Outlines
    row: int


def main(args: Args) -> Rows:
    bccd = read_dataset(Path(args.sets) / "bccd")
    if args.fold is not None:
        fold_bundle(args, bccd, args.fold)
        return
    locator = Session(find_model("blood")["locate"])
    for name in args.only:
        part = Path(args.runs) / f"rows-{name}.json"
        if part.is_file():
            continue
        if name == "bccd":
            rows, drawn = measure_bccd(args, bccd, locator)
        else:
            bundle = read_bundle(args.outliner)
            dataset = import_public(name, args.data, Path(args.runs) / "sets")
            rows, drawn = measure_crops(name, dataset, locator, Session(bundle))
            rows = [r | {"onnx_sha256": bundle.card.onnx_sha256[:12]} for r in rows]
        for row_ in rows:
            print({k: row_[k] for k in ("set", "measure", "value", "low", "high", "threshold", "met")}, flush=True)
        part.write_text(json.dumps(rows, indent=1), "utf-8")
        if args.sheets:
            write_sheet(Path(args.sheets) / f"{name}.png", drawn)
    parts = [Path(args.runs) / f"rows-{name}.json" for name in SETS]
    if tuple(args.only) == SETS:
        rows = [r for p in parts for r in json.loads(p.read_text("utf-8"))]
        yield from rows
        return {"limits": "95 %, photographs", "seed": 0}


def fold_of(field: TruthField) -> int:
    """The fold of a photograph, by its name: the same for ever."""
    return int(hashlib.sha256(field.key.field_id.encode()).hexdigest(), 16) % N_FOLDS


def fold_bundle(args: Args, bccd: Dataset, fold: int) -> Session:
    """The outliner that never saw the fold's photographs; trained when it isn't there."""
    run = Path(args.runs) / f"fold{fold}"
    if not (run / "bundle" / "card.json").is_file():
        values = read_toml(args.config)
        values.pop("task")
        config = build_config(OutlinerConfig, values, args.config)
        seen = tuple(replace(f, split="test" if fold_of(f) == fold else "train") for f in bccd.fields)
        names = [n for n in dict.fromkeys((*config.masks, *config.shares)) if n != "bccd"]
        others = [read_dataset(Path(args.sets) / n) for n in names]
        train_outliner(config, [replace(bccd, fields=seen), *others], run, resume=True, progress=say)
        export_outliner(run, run / "bundle", validation=[], command=f"outlines.py --fold {fold}", commit=commit())
    return Session(read_bundle(run / "bundle"))


def say(done: int, total: int) -> None:
    if done % 100 == 0:
        print(f"step {done} of {total}", flush=True)


def measure_bccd(args: Args, bccd: Dataset, locator: Session) -> tuple[list[dict], list[Drawn]]:
    """Rows of all folds together, each photograph drawn by the network that did not see it."""
    truth, pred, loose, drawn, of_test = [], [], [], [], []
    for fold in args.folds:
        outliner = fold_bundle(args, bccd, fold)
        for truth_field in bccd.fields:
            path = bccd.image_root / mask_name(truth_field, BCCD_MASKS)
            if fold_of(truth_field) != fold or not path.is_file():
                continue
            white = [c.box for c in truth_field.cells if c.class_name not in ("red_cell", "platelet")]
            expert = outlines_of_mask(read_mask_values(path), np.array(white))
            field = read_field(bccd.path(truth_field), truth_field.key)
            found = outline(field, locate(field, locator), outliner)
            truth.append(FieldContours([expert_contour(e) for e in expert]))
            pred.append(FieldContours(found.cells.contours, found.cells.scores))
            of_test.append(truth_field.split == "test")
            overlaps, given = draw_given(field, expert, outliner)
            loose.append(overlaps)
            drawn += [Drawn(o[0], truth_field.key.field_id, field.pixels, e, given, i)
                      for i, (o, e) in enumerate(zip(overlaps, expert, strict=True))]  # fmt: skip
    compared = compare_contours(truth, pred)
    rows = contour_rows("bccd", compared)
    rows += contour_rows("bccd, test split", [c for c, t in zip(compared, of_test, strict=True) if t])
    rows += pixel_rows("bccd, given a loose box", loose)
    return [r | {"folds": f"{', '.join(map(str, args.folds))} of {N_FOLDS}"} for r in rows], drawn


def contour_rows(name: str, compared: list) -> list[dict]:
    """AP50 and mean IoU with limits by photograph."""
    whole = summarise_contours(compared)
    rng = np.random.default_rng(0)
    draws = [summarise_contours([compared[i] for i in rng.integers(0, len(compared), len(compared))])
             for _ in range(N_DRAWS)]  # fmt: skip
    rows = []
    known = {k: whole[k] for k in ("n_truth", "n_matched", "n_missed", "n_extra")} | {"n_fields": len(compared)}
    measures = {"ap50": "contour AP50", "mean_iou": "mean IoU of matched cells", "ap50_95": "contour AP50-95"}
    for key, measure in measures.items():
        rows.append(row(name, measure, whole[key], [d[key] for d in draws]) | known)
    return rows


def measure_crops(name: str, dataset: Dataset, locator: Session, outliner: Session) -> tuple[list[dict], list[Drawn]]:
    """Rows of a set of single-cell pictures: the locator's box of the central cell, and the mask's own, loosened."""
    located, loose, drawn = [], [], []
    for truth_field in dataset.fields:
        values = read_mask_values(dataset.image_root / "masks" / f"{Path(truth_field.file).stem}.png")
        cell = truth_field.cells[0]
        (expert,) = outlines_of_mask(values, np.array([cell.box]))
        field = read_field(dataset.path(truth_field), truth_field.key)
        cells = locate(field, locator)
        overlap = (0.0, 0.0)
        if len(cells):
            height, width = field.pixels.shape[:2]
            away = np.hypot(*((cells.boxes[:, :2] + cells.boxes[:, 2:]) / 2 - (width / 2, height / 2)).T)
            row_ = int(away.argmin())
            found = outline(field, cells, outliner)
            overlap = pixel_iou(found.cells.contours[row_], found.nuclei[row_], expert)
            drawn.append(Drawn(overlap[0], truth_field.key.field_id, field.pixels, expert, found, row_))
        located.append([overlap])
        loose.append(draw_given(field, [expert], outliner)[0])
    return pixel_rows(name, located) + pixel_rows(f"{name}, given a loose box", loose), drawn


def draw_given(field: Field, expert: list[Outlined], outliner: Session) -> tuple[list, Outlines | None]:
    """(IoU of cell, of nucleus) of each expert outline, drawn in a box that leaves room around it."""
    if not expert:
        return [], None
    boxes = np.array([e.box + LOOSE * np.tile(e.box[2:] - e.box[:2], 2) * (-1, -1, 1, 1) for e in expert], np.float32)
    found = outline(field, Cells(field.key, boxes, np.ones(len(boxes))), outliner)
    return [pixel_iou(found.cells.contours[i], found.nuclei[i], e) for i, e in enumerate(expert)], found


def pixel_rows(name: str, by_field: list[list[tuple[float, float]]]) -> list[dict]:
    """Mean IoU of cells and of nuclei over cells, limits by photograph; and the share of cells above 0.5."""
    rows, rng = [], np.random.default_rng(0)
    draws = rng.integers(0, len(by_field), (N_DRAWS, len(by_field)))
    for column, measure in ((1, "IoU of the nucleus"), (0, "IoU of the whole cell")):
        sums = np.array([np.nansum([o[column] for o in cells]) for cells in by_field])
        counts = np.array([np.sum(~np.isnan([o[column] for o in cells])) for cells in by_field])
        limits = sums[draws].sum(1) / np.maximum(counts[draws].sum(1), 1)
        values = np.array([o[column] for cells in by_field for o in cells])
        more = {"n_cells": int(counts.sum()), "median": round(float(np.nanmedian(values)), 4)}
        more["below_0.5"] = int((values < 0.5).sum())
        rows.append(row(name, measure, sums.sum() / counts.sum(), limits) | more)
    return rows


def row(name: str, measure: str, value: float, draws: object) -> dict:
    least = ASKED.get((name, measure))
    low, high = np.nanquantile(np.asarray(draws, float), (0.025, 0.975))
    return {
        "set": name,
        "measure": measure,
        "value": round(float(value), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
        "threshold": f">= {least}" if least else "",
        "met": ("yes" if value >= least else "no") if least else "",
    }


def expert_contour(expert: Outlined) -> np.ndarray:
    """The outer border of an expert's cell, in px of the field."""
    return np.array(mask_outline(expert.labels > 0)) + expert.origin


def write_sheet(path: Path, cells: list[Drawn], *, n: int = 24, side: int = 220) -> None:
    """The worst cells: the expert's outlines yellow (cell) and lime (nucleus), ours red and cyan."""
    sheet = Image.new("RGB", (6 * side, 4 * (side + 14)), "white")
    draw = ImageDraw.Draw(sheet)
    for k, cell in enumerate(sorted(cells, key=lambda c: c.iou)[:n]):
        place = ((k % 6) * side, (k // 6) * (side + 14))
        sheet.paste(draw_cell(cell, side), place)
        draw.text((place[0] + 2, place[1] + side), f"{cell.name[-22:]} {cell.iou:.2f}", fill="black")
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def draw_cell(cell: Drawn, side: int) -> Image.Image:
    """One cell with the expert's outlines and ours."""
    x0, y0, x1, y1 = cell.truth.box
    reach = 0.85 * max(x1 - x0, y1 - y0)
    middle = ((x0 + x1) / 2, (y0 + y1) / 2)
    picture = resample_square(cell.pixels, middle, 2 * reach, size=side, background=240)
    draw = ImageDraw.Draw(picture)
    expert = [(np.array(o) + cell.truth.origin, "yellow") for o in mask_outlines(cell.truth.labels > 0)]
    expert += [(np.array(o) + cell.truth.origin, "lime") for o in mask_outlines(cell.truth.labels == 2)]
    ours = [(cell.outlines.cells.contours[cell.row], "red")] + [(p, "cyan") for p in cell.outlines.nuclei[cell.row]]
    for contour, colour in (*expert, *ours):
        if len(contour):
            points = (contour - middle + reach) * (side / (2 * reach))
            draw.line([tuple(p) for p in (*points, points[0])], fill=colour, width=1)
    return picture


if __name__ == "__main__":
    benchmark(
        main, option("--sets", required=True, help="folder of the data sets to train the folds on"),
        option("--runs", required=True, help="folder of the folds' runs"),
        option("--config", default=ROOT / "configs" / "outliner.toml"),
        option("--fold", type=int, choices=range(N_FOLDS), help="train this fold and stop"),
        option("--outliner", help="bundle that jtsc and cellavision are measured with"), DATA,
        option("--folds", type=int, nargs="+", default=list(range(N_FOLDS)), help="of bccd, to measure"),
        option("--only", nargs="+", choices=SETS, default=SETS, help="measure these, keep the rows, stop"),
        option("--sheets", help="write the worst cells of each set into this folder"),
    )  # fmt: skip
