"""Fine-tuned crop classifiers on pbc's test split: their own classes, and the five types.

    leukoscope train configs/pcm-small/efficientnet-lite0.toml --data DATA/pbc --out RUN
    python -m benchmarks.models.finetuned NAME=RUN/bundle… [--data FOLDER]

Each bundle as analysis would use it, on true boxes. Also without the pictures that stand, byte for byte, in pbc's train
or val split. Limits: photographs resampled (no patients are known).
Writes benchmarks/results/finetuned.csv.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.harness import DATA, Args, Rows, benchmark, option
from benchmarks.public_sets import import_public, row
from leukoscope.dataset.manifest import Dataset
from leukoscope.evaluate import evaluate_model
from leukoscope.models.bundle import Bundle, find_model, part_of_model

MEASURES = {"accuracy": "accuracy", "macro_f1": "macro-F1", "ece": "ECE"}
READINGS = {"as_labelled": "own classes", "five_types_strict": "five types, strict"}


def main(args: Args) -> Rows:
    rows = []
    with tempfile.TemporaryDirectory() as work:
        dataset = import_public("pbc", args.data, work)
        elsewhere = {f.sha256 for f in dataset.fields if f.split != "test"}
        kept = [f for f in dataset.fields if f.split == "test" and f.sha256 not in elsewhere]
        apart = replace(dataset, fields=tuple(kept))
        for text in args.bundles:
            name, _, path = text.partition("=")
            bundle = part_of_model(find_model(Path(path)), "classify")
            for label, part in (("pbc", dataset), ("pbc, no copies", apart)):
                rows += score(name, label, bundle, part, Path(work) / "scores")
    yield from rows
    return {"limits": "95 %, photographs"}


def score(name: str, label: str, bundle: Bundle, dataset: Dataset, out: Path) -> list[dict]:
    """Rows of one bundle on the test split of a data set."""
    result = evaluate_model({"classify": bundle}, dataset, "test", out)
    config = bundle.card.training["config"]
    known = {"system": name, "arch": config["arch"], "onnx_sha256": bundle.card.onnx_sha256[:12]}
    known |= {"fields_sha256": result["data"]["fields_sha256"][:12], "seed": config["seed"]}
    rows = []
    for reading, words in READINGS.items():
        scores = result["classification"]["readings"].get(reading)
        for key, measure in MEASURES.items() if scores else ():
            rows.append(row(label, f"{measure}, {words}", scores[key]) | known | {"n_cells": scores["n_cells"]})
    return rows


if __name__ == "__main__":
    benchmark(main, option("bundles", nargs="+", metavar="NAME=BUNDLE"), DATA)
