"""White cells located: average precision of a model's locator on bccd's test split and on draaslan.

    python benchmarks/locate_accuracy.py [--model blood] [--data FOLDER]

draaslan was never trained on, so all its fields are used. Limits: photographs resampled (no patients are known).
Writes benchmarks/results/locate_accuracy.csv.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from provenance import write_results
from public_sets import import_public, parse_arguments, row

from leukoscope.evaluate import evaluate_model
from leukoscope.models.bundle import find_model

ASKED = {("bccd", "test"): (0.80, 0.98), ("draaslan", "all"): (0.66, 0.97)}  # AP50-95, AP50


def main() -> None:
    args = parse_arguments(__doc__)
    locator = {"locate": find_model(args.model)["locate"]}
    rows = []
    with tempfile.TemporaryDirectory() as work:
        for (name, split), (ap, ap50) in ASKED.items():
            dataset = import_public(name, args.data, work)
            out = Path(args.details or work) / f"locate-{name}"
            result = evaluate_model(locator, dataset, split, out)
            found, known = result["location"], {"split": split, "fields_sha256": result["data"]["fields_sha256"][:12]}
            known |= {"n_fields": result["data"]["n_fields"], "n_cells": found["n_truth"]}
            threshold = f"score {found['threshold']}"
            rows += [
                row(name, "AP50-95", found["ap50_95"], least=ap) | known,
                row(name, "AP50", found["ap50"], least=ap50) | known,
                row(name, f"recall at IoU 0.5, {threshold}", found["recall_at_threshold"]) | known,
                row(name, f"false boxes a field, {threshold}", found["false_per_field_at_threshold"]) | known,
            ]
    for line in rows:
        print({k: line[k] for k in ("set", "measure", "value", "low", "high", "threshold", "met")})
    if not args.dry_run:
        write_results(
            "locate_accuracy", rows, onnx_sha256=locator["locate"].card.onnx_sha256[:12], limits="95 %, photographs"
        )


if __name__ == "__main__":
    main()
