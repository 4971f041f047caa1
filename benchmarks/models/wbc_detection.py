"""White cells found: AP of the bundled locator, RT-DETRv2 trained as DEIM trains it, and YOLO11n, on the same fields.

    python -m benchmarks.models.wbc_detection --work FOLDER [--only SYSTEM] [--data FOLDER]

All are trained on pbc and bccd, splits train, and measured on bccd's test split and on draaslan, which none has seen.
The locator is the bundle that ships. The other two are small runs for two cores (configs/pcm-small/*-wbc.toml): all of
bccd's training fields and 150 of pbc's, minutes each; they show that the systems work, not what they can reach.
RT-DETRv2's backbone starts from ImageNet (EfficientNet-Lite0), all else from random weights. "a second look" shows the
locator each cell once more from near and averages the boxes (`locate_closely`, chosen on the two sets' splits val).
A system's run folder below --work is gone on with, and not trained again when it is finished. Limits: photographs
resampled. Writes benchmarks/results/wbc_detection_SYSTEM.csv, a file a system, so that each may run when there is time.
"""

from __future__ import annotations

import importlib.util
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.harness import DATA, Args, Rows, benchmark, option
from benchmarks.provenance import ROOT
from benchmarks.public_sets import import_public, row
from leukoscope.dataset.detection import WBC_OTHER, label_fields
from leukoscope.dataset.manifest import Dataset
from leukoscope.evaluate.boxes import FieldBoxes, average_precision, match_boxes
from leukoscope.evaluate.predict import LOWEST_SCORE
from leukoscope.evaluate.readings import with_limits
from leukoscope.images import read_field
from leukoscope.locate import locate, locate_closely
from leukoscope.models.bundle import find_model
from leukoscope.models.runtime import Session
from leukoscope.types import Cells, Field

SYSTEMS = {  # name of the file: what stands in its rows, and what trains it
    "locator": ("locator, bundled", None),
    "locator_closely": ("locator, bundled, a second look", None),
    "deim": ("DEIM-RT-DETRv2 (Lite0), small run", "deim-rtdetrv2-wbc.toml"),
    "yolo": ("YOLO11n, small run (AGPL-3.0)", "yolo11m-wbc.toml"),
}
LOCATORS = {"locator": locate, "locator_closely": locate_closely}
ASKED = {("bccd", "test"): 0.80, ("draaslan", None): 0.66}
PBC_FIELDS = 150
WHITE = WBC_OTHER.index("white_cell")


def main(args: Args) -> Rows:
    chosen = {key: SYSTEMS[key] for key in args.only or SYSTEMS}
    with tempfile.TemporaryDirectory() as work:
        trains = any(config for _, config in chosen.values())
        names = ("pbc", "bccd", "draaslan") if trains else ("bccd", "draaslan")
        sets = {name: import_public(name, args.data, work) for name in names}
        for key, (system, _) in chosen.items():
            if key == "yolo" and importlib.util.find_spec("ultralytics") is None:
                print(f"{system}: left out, ultralytics is not installed (pip install 'leukoscope[yolo]', AGPL-3.0)")
                continue
            rows = measure(key, sets, Path(args.work), val=args.val)
            if args.val:
                print(*rows, sep="\n")
            else:
                yield from ((f"wbc_detection_{key}", row) for row in rows)
    return {"limits": "95 %, photographs"}


def measure(key: str, sets: dict[str, Dataset], work: Path, *, val: bool) -> list[dict]:
    """The rows of one system, trained first where it has to be."""
    system, config = SYSTEMS[key]
    known = {"system": system, "trained_on": "pbc and bccd, splits train"}
    if config is None:
        card = find_model("blood")["locate"].card
        known |= {"weights": card.onnx_sha256[:12], "licence": card.licence, "train_minutes": ""}
        finder = None
    else:
        finder, about = trained(config, sets, work)
        known |= about
    asked = {("bccd", "val"): None} if val else ASKED
    rows = []
    for (name, split), least in asked.items():
        dataset = sets[name].subset(split) if split else sets[name]
        found = with_locator(dataset, LOCATORS[key]) if finder is None else with_run(finder, dataset)
        about = known | {"split": split or "all", "fields_sha256": dataset.sha256()[:12]}
        rows += score(name, dataset, found, least=least, known=about)
    return rows


def trained(config: str, sets: dict[str, Dataset], work: Path) -> tuple[Path, dict]:
    """The run folder of a configuration, finished; and what to say of it."""
    from leukoscope.train.detector.config import read_detector_config
    from leukoscope.train.detector.task import train_detector

    settings = read_detector_config(ROOT / "configs" / "pcm-small" / config)
    run = work / settings.name
    parts = [replace(thinned(sets["pbc"]), name="pbc"), sets["bccd"]]
    clock = run / "minutes.txt"
    started, before = time.monotonic(), float(clock.read_text()) if clock.exists() else 0.0

    def note(done: int, total: int) -> None:
        clock.write_text(f"{before + (time.monotonic() - started) / 60:.1f}")

    train_detector(settings, parts, run, resume=run.exists(), progress=note)
    about = {"weights": config, "licence": settings.licence.split(" ")[0], "train_minutes": clock.read_text()}
    return run, about | {"trained_on": f"bccd train and {PBC_FIELDS} fields of pbc train"}


def thinned(dataset: Dataset) -> Dataset:
    """PBC_FIELDS of its training fields; none of its split val: bccd's alone chooses the epoch."""
    fields = [f for f in dataset.fields if f.split == "train"]
    chosen = np.random.default_rng(0).permutation(len(fields))[:PBC_FIELDS]
    return replace(dataset, fields=tuple(fields[i] for i in sorted(chosen)))


def with_locator(dataset: Dataset, find: Callable[[Field, Session], Cells]) -> list[FieldBoxes]:
    """What the bundled locator finds by `locate` or its like, down to the lowest score."""
    bundle = find_model("blood")["locate"]
    thresholds = bundle.card.thresholds | {"score": LOWEST_SCORE}
    session = Session(replace(bundle, card=replace(bundle.card, thresholds=thresholds)))
    found = []
    for truth in dataset.fields:
        field = read_field(dataset.path(truth), truth.key, um_per_px=truth.um_per_px)
        cells = find(field, session)
        found.append(FieldBoxes(cells.boxes, np.full(len(cells), WHITE), cells.scores))
    return found


def with_run(run: Path, dataset: Dataset) -> list[FieldBoxes]:
    """What a run's best weights find."""
    from leukoscope.train.detector.predict import detect

    return detect(run, dataset)


def score(name: str, dataset: Dataset, found: list[FieldBoxes], *, least: float | None, known: dict) -> list[dict]:
    """AP50-95 and AP50 of the white cells, with limits."""
    matches = []
    for labelled, boxes in zip(label_fields(dataset, WBC_OTHER), found, strict=True):
        white = boxes.class_ids == WHITE
        truth = labelled.boxes[labelled.labels == WHITE]
        matches.append(match_boxes(truth, boxes.boxes[white], boxes.scores[white]))
    fields, names = np.arange(len(matches)), np.array([f.file for f in dataset.fields])

    def ap(rows: np.ndarray, last: int | None) -> float:
        return float(average_precision([matches[r] for r in rows])[:last].mean())

    rows = [
        row(name, "AP50-95", with_limits(lambda r: ap(r, None), fields, names), least=least),
        row(name, "AP50", with_limits(lambda r: ap(r, 1), fields, names)),
    ]
    n_cells = sum(m.n_truth for m in matches)
    return [r | {**known, "n_fields": len(fields), "n_cells": n_cells} for r in rows]


if __name__ == "__main__":
    benchmark(
        main, DATA, option("--work", required=True, help="folder of the runs"),
        option("--only", choices=SYSTEMS, action="append", help="a system; may be given again"),
        option("--val", action="store_true", help="measure on bccd's split val instead; print, write nothing"),
    )  # fmt: skip
