"""White cells located: average precision of a model's locator on bccd's test split and on draaslan.

    python -m benchmarks.models.locate_accuracy [--model blood] [--data FOLDER]

draaslan was never trained on, so all its fields are used. Limits: photographs resampled (no patients are known).
Four photographs of bccd's test split show a white cell and have no box for it; what is asked for is compared with the
labels as published, and a second set of rows, without those four, says how much they cost. They were found by looking
at the locator's false boxes, so those rows are no independent measure.
Writes benchmarks/results/locate_accuracy.csv.
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

ASKED = {("bccd", "test"): (0.80, 0.98), ("draaslan", "all"): (0.75, 0.97)}  # AP50-95, AP50
ASKED_WITHOUT = (0.82, None)  # of bccd without the photographs that lack a box
UNANNOTATED = ("BloodImage_00135", "BloodImage_00171", "BloodImage_00178", "BloodImage_00327")  # of bccd, test split


def main(args: Args) -> Rows:
    locator = {"locate": find_model(args.model)["locate"]}
    rows = []
    with tempfile.TemporaryDirectory() as work:
        details = Path(args.details or work)
        for (name, split), (ap, ap50) in ASKED.items():
            dataset = import_public(name, args.data, work)
            rows += score_set(locator, dataset, split, details, name=name, asked=(ap, ap50))
            if name == "bccd":
                fields = tuple(f for f in dataset.fields if Path(f.file).stem not in UNANNOTATED)
                seen = replace(dataset, fields=fields)
                without = "bccd, four photographs without their box left out"
                rows += score_set(locator, seen, split, details, name=without, asked=ASKED_WITHOUT)
    yield from rows
    return {"onnx_sha256": locator["locate"].card.onnx_sha256[:12], "limits": "95 %, photographs"}


def score_set(
    locator: dict[str, Bundle],
    dataset: Dataset,
    split: str,
    details: Path,
    *,
    name: str,
    asked: tuple[float | None, float | None] = (None, None),
) -> list[dict]:
    """The rows of one set; `asked`: AP50-95 and AP50 at least."""
    result = evaluate_model(locator, dataset, split, details / f"locate-{name.split(',')[0]}-{len(dataset.fields)}")
    found, data = result["location"], result["data"]
    known = {"split": split, "fields_sha256": data["fields_sha256"][:12]}
    known |= {"n_fields": data["n_fields"], "n_cells": found["n_truth"]}
    threshold = f"score {found['threshold']}"
    return [
        row(name, "AP50-95", found["ap50_95"], least=asked[0]) | known,
        row(name, "AP50", found["ap50"], least=asked[1]) | known,
        row(name, f"recall at IoU 0.5, {threshold}", found["recall_at_threshold"]) | known,
        row(name, f"false boxes a field, {threshold}", found["false_per_field_at_threshold"]) | known,
    ]


if __name__ == "__main__":
    benchmark(main, DATA, MODEL, DETAILS)
