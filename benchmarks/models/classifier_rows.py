"""Every crop classifier of the PCM study, at its real size, from manifest to scores in a few steps on a few cells.

    python -m benchmarks.models.classifier_rows [--only ROW]… [--large] [--weights FOLDER] [--keep FOLDER] [--data
        FOLDER]

Each row of configs/pcm is run as it stands but for its weights (none of these can be had offline but Lite0's, so random
unless FOLDER holds DinoBloom-S.pth and the like), a handful of photographs of pbc, and one short epoch a stage. What it
shows: the row is complete (crops, both stages, validation, the exported graph equal to torch's, evaluation); its
accuracy means nothing. DinoBloom-G runs with --large only, trains its head alone (its 1.1 billion weights with their
moments need 20 GB) and is not exported, for one ONNX file holds 2 GB. With --keep a row that is done is not run again.
Writes benchmarks/results/classifier_rows.csv.
"""

from __future__ import annotations

import gc
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.harness import DATA, Args, Rows, benchmark, option
from benchmarks.provenance import commit
from benchmarks.public_sets import import_public
from leukoscope.dataset.manifest import Dataset
from leukoscope.evaluate import evaluate_model
from leukoscope.models.bundle import find_model
from leukoscope.models.runtime import Session
from leukoscope.train.config import build_config, read_toml
from leukoscope.train.crops.bundle import export_finetuned
from leukoscope.train.crops.data import read_crop_set
from leukoscope.train.crops.finetune import FinetuneConfig, finetune, load_finetuned, predict_logits
from leukoscope.train.crops.job import training_crops

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "pcm"
A_CLASS = {"train": 2, "val": 1, "test": 2}  # photographs of each class
HEAD_ONLY = ("dinobloom-g-direct", "dinobloom-g-lpft")


def main(args: Args) -> Rows:
    stated = [f.stem for f in sorted(CONFIGS.glob("*.toml")) if 'task = "finetune"' in f.read_text("utf-8")]
    rows = args.only or [name for name in stated if args.large or name not in HEAD_ONLY]
    with tempfile.TemporaryDirectory() as work:
        dataset = few_fields(import_public("pbc", args.data, work))
        for name in rows:
            yield _kept(args.keep, name) or _run_and_keep(args, name, dataset)


def _kept(folder: Path | None, name: str) -> dict | None:
    """A row that an earlier call has left in the folder."""
    path = folder / f"{name}.json" if folder else None
    return json.loads(path.read_text("utf-8")) if path and path.is_file() else None


def _run_and_keep(args: Args, name: str, dataset: Dataset) -> dict:
    with tempfile.TemporaryDirectory() as folder:  # a large network's checkpoints are gigabytes
        result = run_row(name, dataset, args.weights, Path(folder)) | {"row_run_at": commit()}
    gc.collect()
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
        (args.keep / f"{name}.json").write_text(json.dumps(result), "utf-8")
    return result


def few_fields(dataset: Dataset) -> Dataset:
    """The first photographs of each class and split."""
    left = {(s, c.source_code): n for s, n in A_CLASS.items() for f in dataset.fields for c in f.cells}
    kept = []
    for f in dataset.fields:
        place = (f.split, f.cells[0].source_code) if f.cells else None
        if left.get(place, 0):
            left[place] -= 1
            kept.append(f)
    return replace(dataset, fields=tuple(kept))


def run_row(name: str, dataset: Dataset, weights: Path | None, work: Path) -> dict:
    """One row: fine-tune, export, compare, evaluate."""
    config = small_config(name, weights)
    started = time.monotonic()
    train, val = training_crops(config, [dataset])
    run = finetune(config, train, val, work / "run")
    network, _ = load_finetuned(run)
    n_parameters = sum(p.numel() for p in network.parameters())
    result = {"row": name, "arch": config.arch, "parameters": n_parameters, "weights": config.weights or "random"}
    result |= {"cells_trained_on": len(train), "head_epochs": config.head_epochs, "epochs": config.epochs}
    if name in HEAD_ONLY:
        test = read_crop_set(
            dataset, taxonomy=train.taxonomy, rule=config.crop_rule(), split="test", white_balance=config.white_balance
        ).typed()
        accuracy = float((predict_logits(network, test, 4).argmax(1) == test.labels).mean())
        result |= {"exported": "no: over 2 GB", "largest_logit_difference": "", "cells_tested": len(test)}
    else:
        bundle = export_finetuned(run, work / "bundle", validation=val)
        (got,) = Session(find_model(bundle)["classify"]).run(pixels=val.crops)
        difference = float(np.abs(got - predict_logits(network, val)).max())
        scores = evaluate_model(find_model(bundle), dataset, "test", work / "scores")
        reading = scores["classification"]["readings"]["five_types_strict"]
        accuracy = reading["accuracy"]["value"]
        result |= {"exported": "yes", "largest_logit_difference": f"{difference:.1e}"}
        result |= {"cells_tested": reading["n_cells"]}
    return result | {"accuracy_means_nothing": round(accuracy, 3), "seconds": round(time.monotonic() - started)}


def small_config(name: str, weights: Path | None) -> FinetuneConfig:
    """The row's configuration with few steps, and with weights only where they are at hand."""
    values = read_toml(CONFIGS / f"{name}.toml")
    values.pop("task")
    config = build_config(FinetuneConfig, values, name)
    own = config.weights
    if own and own != "imagenet":
        at_hand = weights / Path(own).name if weights else None
        own = str(at_hand) if at_hand and at_hand.exists() else None
    few = {"batch_size": 4, "accumulate": 2, "max_steps": 2, "workers": 0, "weights": own}
    if name in HEAD_ONLY:
        return replace(config, head_epochs=1, epochs=0, head_augment=False, **few)
    return replace(config, head_epochs=min(config.head_epochs, 1), epochs=1, **few)


if __name__ == "__main__":
    benchmark(
        main, DATA, option("--weights", type=Path, help="folder of published weights files"),
        option("--only", action="append", metavar="ROW", help="run this row (again for several)"),
        option("--large", action="store_true", help="DinoBloom-G too: 16 GB of memory and of disk"),
        option("--keep", type=Path, help="folder of finished rows, kept and taken from there"),
    )  # fmt: skip
