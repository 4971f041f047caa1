"""The locator at any scale: public fields made smaller and larger, located as `analyze` does it, without any option.

    python -m benchmarks.models.locate_scale [--model blood] [--data FOLDER] [--factors 0.25 0.5 1 2 4]

bccd's test split, draaslan and bionet are development sets: looked at often, never quoted as unseen. One photograph of
bionet, whose red cells are boxed as white ones, is left out, and so are the four of bccd that lack a box. Each set
counts as one smear; its ruler is the median of the first five fields.
Writes benchmarks/results/locate_scale.csv.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from benchmarks.harness import DATA, MODEL, Args, Rows, benchmark, option
from benchmarks.models.locate_accuracy import UNANNOTATED
from benchmarks.public_sets import import_public
from leukoscope.evaluate.boxes import average_precision, match_boxes
from leukoscope.images import read_image
from leukoscope.locate import fitting_tile_px, locate_balanced, prepare
from leukoscope.models.bundle import find_model
from leukoscope.models.runtime import Session
from leukoscope.pipeline.ruler import POOLED
from leukoscope.scale import red_cell_px
from leukoscope.train.locator.data import is_white
from leukoscope.types import Field, FieldKey

KEY = FieldKey("f", "s", "p", "c", "blood")
LOW_SCORE = 0.02


def photographs(name: str, data: Path, work: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pixels and white cells' boxes (N, 4) of a set's fields."""
    if name == "bionet":
        boxes = defaultdict(list)
        with open(data / "bionet" / "boxes.csv", encoding="utf-8", newline="") as file:
            for line in csv.DictReader(file):
                boxes[line["file"]] += [[float(line[k]) for k in ("x0", "y0", "x1", "y1")]] * (line["label"] == "wbc")
        # One photograph's labels are swapped: 90 red cells are called white.
        return [(read_image(data / "bionet" / f), _rows(b)) for f, b in boxes.items() if len(b) < 50]
    dataset = import_public(name, data, work)
    fields = [f for f in dataset.fields if f.split in ("test", None) and Path(f.file).stem not in UNANNOTATED]
    return [(read_image(dataset.path(f)), _rows([c.box for c in f.cells if is_white(c)])) for f in fields]


def _rows(boxes: list) -> np.ndarray:
    return np.array(boxes, np.float64).reshape(-1, 4)


def resized(pixels: np.ndarray, factor: float) -> np.ndarray:
    """The picture `factor` times as large."""
    size = tuple(max(1, round(side * factor)) for side in pixels.shape[1::-1])
    return pixels if factor == 1 else np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def score(shown: list[tuple[np.ndarray, np.ndarray]], locator: Session, factor: float, threshold: float) -> dict:
    """AP50, cells counted and false boxes a field at `threshold`, of photographs made `factor` times as large."""
    views = [prepare(Field(KEY, resized(pixels, factor)), locator.card) for pixels, _ in shown]
    measured = [d for d in (red_cell_px(v.pixels) for v in views[:POOLED]) if d is not None]
    red_px = float(np.median(measured)) if measured else None
    matches, counted, false = [], 0, 0
    for view, (_, truth) in zip(views, shown, strict=True):
        cells = locate_balanced(view, locator, tile_px=fitting_tile_px(view, locator, red_px=red_px))
        matches.append(match_boxes(truth * factor, cells.boxes, cells.scores))
        sure = cells.scores >= threshold
        counted += int(sure.sum())
        false += int(sure.sum()) - int(match_boxes(truth * factor, cells.boxes[sure], cells.scores[sure]).hit[0].sum())
    ap50 = float(average_precision(matches)[0])
    return {"ap50": ap50, "counted": counted, "false": false / len(shown), "red_px": red_px}


def main(args: Args) -> Rows:
    locator = Session(find_model(args.model)["locate"])
    threshold = locator.card.thresholds["score"]
    locator.card.thresholds["score"] = LOW_SCORE
    rows = []
    with TemporaryDirectory() as work:
        for name in ("bccd", "draaslan", "bionet"):
            shown = photographs(name, args.data, work)
            native = None
            for factor in args.factors:
                got = score(shown, locator, factor, threshold)
                native = native or got
                rows += _result_rows(name, factor, got, native, len(shown))
                print(name, factor, got, flush=True)
    yield from rows
    return {"onnx_sha256": locator.card.onnx_sha256[:12], "limits": "none: development sets"}


def _result_rows(name: str, factor: float, got: dict, native: dict, n_fields: int) -> list[dict]:
    off, more = abs(got["ap50"] - native["ap50"]), abs(got["counted"] / native["counted"] - 1)
    of_native = got is native

    def line(measure: str, value: float, threshold: str, met: bool) -> dict:
        said = {"threshold": threshold, "met": ("yes" if met else "no") if threshold else ""}
        return {"set": name, "measure": measure, "value": round(value, 4), **said, "n_fields": n_fields}

    rows = [
        line(f"AP50, x{factor:g}", got["ap50"], "" if of_native else "within 0.02 of x1", off <= 0.02),
        line(f"cells counted, x{factor:g}", got["counted"], "" if of_native else "within 3 % of x1", more <= 0.03),
        line(f"diameter of the red cells, px, x{factor:g}", got["red_px"] or float("nan"), "", True),
    ]
    if of_native and name == "bionet":
        rows += [
            line("AP50, 139 fields", got["ap50"], ">= 0.95", got["ap50"] >= 0.95),
            line("false boxes a field", got["false"], "<= 0.1", got["false"] <= 0.1),
        ]
    return rows


if __name__ == "__main__":
    benchmark(main, DATA, MODEL, option("--factors", type=float, nargs="*", default=[1, 0.25, 0.5, 2, 4]))
