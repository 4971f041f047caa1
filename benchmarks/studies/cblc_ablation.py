"""Each component of the marrow pipeline on and off, on real contours with real types (bccd), over five seeds.

    for fold in 0 1 2: python -m benchmarks.models.outlines --sets data --runs runs/outliner-folds --fold $fold
    python -m benchmarks.studies.cblc_ablation --outliners runs/outliner-folds --work runs/ablation [--only SEED]

Seed s trains on two thirds of the photographs and is measured on fold s modulo 3: 341 typed cells in all, of which two
are basophils and twenty monocytes. Every variant is the plain two-stage training and one component; "all" has weights
by effective number, swapped borders and morphology. Measured on the left-out cells by their predicted contours, as
analysis sees them. Effect: variant minus plain, paired by seed; limits: Student's t over the seeds, so they hold the
chance of training and of the fold, not that of other laboratories. Nothing was chosen on these numbers; the settings
are bccd_cells.py's, swap at the weight that it had before planted_neighbours.py (0.5). A trained variant is not trained
again. Writes benchmarks/results/cblc_ablation.csv.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.harness import Args, Rows, benchmark, option
from benchmarks.models.bccd_cells import (
    FIVE,
    N_FOLDS,
    OPTIONS,
    PLAIN,
    SEEDS,
    VARIANTS,
    Cells,
    load_cells,
    train_variant,
)
from leukoscope.evaluate.classes import accuracy, confusion_matrix, macro_f1, weighted_f1
from leukoscope.experiments.cblc.members import Member
from leukoscope.intervals import student_t
from leukoscope.models.probabilities import softmax
from leukoscope.train.crops.data import CropSet
from leukoscope.train.crops.ensemble import average_probs
from leukoscope.train.crops.predict import predict_logits

MEASURES = ("weighted F1", "macro F1 of four types", "accuracy")
MEMBERS = (0, 100, 200)  # added to the seed: the ensemble's


def main(args: Args) -> Rows:
    scores: dict[str, dict[int, dict[str, float]]] = {}
    for seed in SEEDS if args.only is None else [args.only]:
        for name, found in seed_scores(args, seed).items():
            scores.setdefault(name, {})[seed] = found
    if args.only is not None:
        return
    rows = effect_rows(scores)
    yield from rows
    return {"limits": "95 %, Student's t over seeds", "seeds": len(SEEDS)}


def seed_scores(args: Args, seed: int) -> dict[str, dict[str, float]]:
    """{system: scores} of one seed on its left-out fold."""
    cells = load_cells(args, seed % N_FOLDS)
    test = cells.predicted_test
    found, plain = {}, []
    for name, config in VARIANTS.items():
        member = train_variant(args, cells, name, config, seed=seed)
        probs = softmax(predict_logits(member.last, test.crops))
        found[name] = score(test, probs)
        print(f"seed {seed}, {name}: {found[name]}", flush=True)
        if name == "plain":
            found["GT to YOLO only"] = score(test, softmax(predict_logits(member.first, test.crops)))
            plain.append(probs)
    found["YOLO to YOLO from ImageNet"] = score(test, _without_first(args, cells, seed, test))
    for more in MEMBERS[1:]:
        member = train_variant(args, cells, "plain", PLAIN, seed=seed + more)
        plain.append(softmax(predict_logits(member.last, test.crops)))
    found["ensemble of three"] = score(test, average_probs(plain))
    return found


def _without_first(args: Args, cells: Cells, seed: int, test: CropSet) -> np.ndarray:
    """Probabilities of a network that saw predicted contours only, for as many epochs as both stages have."""
    swapped = replace(cells, expert_train=cells.predicted_train)
    member: Member = train_variant(args, swapped, "predicted contours only", PLAIN, seed=seed)
    return softmax(predict_logits(member.last, test.crops))


def score(test: CropSet, probs: np.ndarray) -> dict[str, float]:
    """The measures of matched left-out cells."""
    matrix = confusion_matrix(test.labels, probs.argmax(1), n_classes=len(FIVE.names))
    values = (weighted_f1(matrix), macro_f1(matrix, range(4)), accuracy(matrix))
    return {name: round(float(v), 4) for name, v in zip(MEASURES, values, strict=True)}


def effect_rows(scores: dict[str, dict[int, dict[str, float]]]) -> list[dict]:
    """Each system's mean, and its difference from the plain training with limits."""
    rows = []
    for name, by_seed in scores.items():
        for measure in MEASURES:
            values = np.array([by_seed[s][measure] for s in sorted(by_seed)])
            plain = np.array([scores["plain"][s][measure] for s in sorted(by_seed)])
            rows.append(_row("bccd", f"{measure}: {name}", values, n=len(values)))
            if name != "plain":
                rows.append(_row("bccd", f"{measure}: {name} minus plain", values - plain, n=len(values)))
    return rows


def _row(set_name: str, measure: str, values: np.ndarray, *, n: int) -> dict:
    half = float(student_t(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
    mean = float(values.mean())
    return {
        "set": set_name, "measure": measure, "value": round(mean, 4), "low": round(mean - half, 4),
        "high": round(mean + half, 4), "values": " ".join(f"{v:.4f}" for v in values),
    }  # fmt: skip


if __name__ == "__main__":
    benchmark(
        main, *OPTIONS,
        option("--outliners", required=True, help="folder of the folds' runs, made by outlines.py --fold"),
        option("--only", type=int, choices=SEEDS, help="train this seed and stop"),
    )  # fmt: skip
