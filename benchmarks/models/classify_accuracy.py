"""Cells named: a model's classifier on true boxes of pbc's test split and of three sets it never saw.

    python -m benchmarks.models.classify_accuracy [--model blood] [--data FOLDER]

bccd, jtsc and cellavision state five types. "strict": a call outside them is an error; "restricted": the model is
told that nothing else occurs (leukoscope.evaluate.coarse). What is asked for is compared with the strict reading.
bccd: only photographs whose one white cell has one type. Of pbc's test split also without the pictures that stand,
byte for byte, in its train or val split. Limits: photographs resampled (no patients are known).
Writes benchmarks/results/classify_accuracy.csv.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.harness import DATA, DETAILS, MODEL, Args, Rows, benchmark
from benchmarks.public_sets import import_public, row
from leukoscope.dataset.manifest import Dataset
from leukoscope.evaluate import evaluate_model
from leukoscope.models.bundle import Bundle, find_model

NEW_SITES = {"bccd": 0.80, "jtsc": 0.87, "cellavision": 0.92}  # accuracy asked for
HOME_F1, HOME_ECE, NEW_SITE_ECE, CALLED_BLAST = 0.91, 0.03, 0.06, 0.03


def main(args: Args) -> Rows:
    classifier = {"classify": find_model(args.model)["classify"]}
    with tempfile.TemporaryDirectory() as work:
        details = Path(args.details or work)
        rows = score_home(classifier, import_public("pbc", args.data, work), details)
        for name, accuracy in NEW_SITES.items():
            rows += score_new_site(classifier, import_public(name, args.data, work), accuracy, details)
    digest = classifier["classify"].card.onnx_sha256[:12]
    yield from rows
    return {"onnx_sha256": digest, "limits": "95 %, photographs"}


def score_home(classifier: dict[str, Bundle], dataset: Dataset, details: Path) -> list[dict]:
    """Ten subtypes on pbc's test split, as published and without copies of what was trained on."""
    elsewhere = {f.sha256 for f in dataset.fields if f.split != "test"}
    apart = replace(dataset, fields=tuple(f for f in dataset.fields if f.split == "test" and f.sha256 not in elsewhere))
    rows = []
    for name, fields, asked in (("pbc", dataset, True), ("pbc, no copies", apart, False)):
        result = evaluate_model(
            classifier, fields, "test", details / f"classify-{name.replace(', ', '-').replace(' ', '-')}"
        )
        reading = result["classification"]["readings"]["as_labelled"]
        known = _known(result, reading)
        rows += [
            row(name, "macro-F1, ten subtypes", reading["macro_f1"], least=HOME_F1 if asked else None) | known,
            row(name, "accuracy, ten subtypes", reading["accuracy"]) | known,
            row(name, "ECE, ten subtypes", reading["ece"], most=HOME_ECE if asked else None) | known,
        ]
        strict = result["classification"]["readings"]["five_types_strict"]
        rows.append(row(name, "accuracy, five types, strict", strict["accuracy"]) | _known(result, strict))
        rows.append(_called_blast(name, result))
    return rows


def score_new_site(classifier: dict[str, Bundle], dataset: Dataset, accuracy: float, details: Path) -> list[dict]:
    """Five types, both readings, calibration, and normal cells called lymphoblast."""
    name, rows = dataset.name, []
    result = evaluate_model(classifier, dataset, "all", details / f"classify-{name}")
    for kind in ("strict", "restricted"):
        reading = result["classification"]["readings"][f"five_types_{kind}"]
        known, asked = _known(result, reading), kind == "strict"
        rows += [
            row(name, f"accuracy, five types, {kind}", reading["accuracy"], least=accuracy if asked else None) | known,
            row(name, f"macro-F1, five types, {kind}", reading["macro_f1"]) | known,
            row(name, f"ECE, five types, {kind}", reading["ece"], most=NEW_SITE_ECE if asked else None) | known,
        ]
    return [*rows, _called_blast(name, result, most=CALLED_BLAST)]


def _called_blast(name: str, result: dict, *, most: float | None = None) -> dict:
    blast = result["classification"]["called_blast"]
    known = _known(result, {"n_cells": blast["n_normal_cells"]})
    return row(name, "normal cells called lymphoblast", blast["lymphoblast"], most=most) | known


def _known(result: dict, reading: dict) -> dict:
    data = result["data"]
    return {"split": data["split"], "n_cells": reading["n_cells"], "fields_sha256": data["fields_sha256"][:12]}


if __name__ == "__main__":
    benchmark(main, DATA, MODEL, DETAILS)
