"""Lymphoblasts against normal lymphoid precursors of C-NMC, in folds disjoint by subject, one healthy subject each.

Every fold starts from the run of configs/classifier-normal.toml, which has seen no cell of C-NMC, and goes on by
configs/classifier.toml without the fold's subjects. Their cells are then scored as published (on black) and put on
real smear background that no training saw (the published test split of pbc). The score is P(lymphoblast) over
P(lymphoblast) + P(lymphocyte): the set holds nothing else.

    python benchmarks/cnmc_folds.py --pbc DATA/pbc --cnmc DATA/cnmc --runs runs --steps 250

Writes benchmarks/results/cnmc_folds.csv. Resumable: a finished fold is not trained again.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from provenance import write_results

from leukoscope.crop import match_nuclei
from leukoscope.dataset.manifest import Dataset, read_dataset
from leukoscope.dataset.splits import blast_stratum, fold_datasets, folds_by_subject
from leukoscope.evaluate.calibration import expected_calibration_error
from leukoscope.evaluate.classes import roc_auc
from leukoscope.taxonomy import read_taxonomy
from leukoscope.train.classifier import ClassifierConfig, train_classifier
from leukoscope.train.classifier_data import WINDOW_PAD, ColourMatch, load_cells, on_black, on_smear
from leukoscope.train.classifier_export import read_classifier
from leukoscope.train.config import build_config, read_toml

CONFIG = Path(__file__).parents[1] / "configs" / "classifier.toml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pbc", required=True)
    parser.add_argument("--cnmc", required=True)
    parser.add_argument("--runs", required=True, help="holds `normal`; the folds go beside it")
    parser.add_argument("--steps", type=int, default=250, help="steps of a fold (the shipped run has more)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", type=int, help="train this fold only and write no results")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    pbc, cnmc = read_dataset(args.pbc), read_dataset(args.cnmc)
    values = read_toml(CONFIG)
    del values["task"]
    base = build_config(ClassifierConfig, values, CONFIG)
    base = replace(base, steps=args.steps, init_from=str(Path(args.runs) / "normal"))
    scores = []
    for number, fold in enumerate(folds_by_subject(cnmc, 3, seed=0, stratum=blast_stratum)):
        if args.only not in (None, number):
            continue
        run = Path(args.runs) / f"fold{number}"
        config = replace(base, holdout_patients=fold.test)
        train_classifier(config, [pbc, cnmc], run, resume=True)
        print(f"fold {number}: tests {', '.join(fold.test)}", flush=True)
        if args.only is None:
            scores.append(score_fold(run, config, fold_datasets(cnmc, fold)[1], pbc.subset("test")))
    if args.only is None:
        write_results("cnmc_folds", table(scores), seed=0)


@torch.no_grad()
def score_fold(run: Path, config: ClassifierConfig, held_out: Dataset, smears: Dataset) -> dict[str, np.ndarray]:
    """Truth (N,) bool and P(lymphoblast) (N,) of a fold's held-out cells, by how they are shown."""
    model, record = read_classifier(run)
    taxonomy = read_taxonomy(config.taxonomy)
    settings = {"class_sets": config.class_sets, "um_per_px": config.um_per_px, "seed": 0, "artefacts": False}
    store = load_cells([held_out], taxonomy, **settings)
    backgrounds = load_cells([smears], taxonomy, **settings).backgrounds
    store = replace(store, backgrounds=backgrounds)
    match = ColourMatch(**{k: tuple(v) for k, v in record["colour_match"].items()})
    rng = np.random.default_rng(0)
    shown = {
        "on black": [on_black(store, i, None) for i in range(len(store.windows))],
        "on smear": [on_smear(store, i, match, rng) for i in range(len(store.windows))],
    }
    blast, normal = taxonomy.index("lymphoblast"), taxonomy.index("lymphocyte")
    out = {"truth": store.targets[:, blast], "diameter": store.diameters}
    for name, windows in shown.items():
        crops = match_nuclei(np.stack([centre(w, config) for w in windows]), config.nucleus_density)
        for scale, diameters in (("scale known", store.diameters), ("scale unknown", np.zeros(len(crops)))):
            logits = [
                model(torch.from_numpy(crops[i : i + 64]), torch.from_numpy(diameters[i : i + 64]).float())
                for i in range(0, len(crops), 64)
            ]
            odds = torch.cat([batch[:, blast] - batch[:, normal] for batch in logits])
            out[f"{name}, {scale}"] = torch.sigmoid(odds).numpy()
    return out


def centre(window: np.ndarray, config: ClassifierConfig) -> np.ndarray:
    """The classifier's crop out of the middle of a window."""
    side = len(window) * (1 + 2 * config.pad_fraction) / (1 + 2 * WINDOW_PAD)
    low, high = (len(window) - side) / 2, (len(window) + side) / 2
    box = (low, low, high, high)
    return np.asarray(Image.fromarray(window).resize((config.size, config.size), Image.Resampling.BILINEAR, box=box))


def table(scores: list[dict[str, np.ndarray]]) -> list[dict]:
    """Rows of the result table: mean over folds, and pooled over all held-out cells."""
    rows = []
    ways = [k for k in scores[0] if k != "truth"]
    for way in ways:
        each = [roc_auc(s["truth"], s[way]) for s in scores]
        truth, prob = (np.concatenate([s[k] for s in scores]) for k in ("truth", way))
        name = "cell size alone" if way == "diameter" else way
        asked = way == "on black, scale known"
        rows.append(_row(name, "mean AUROC", float(np.mean(each)), 0.94 if asked else None))
        rows += [_row(name, f"AUROC of fold {i}", float(v), None) for i, v in enumerate(each)]
        rows.append(_row(name, "pooled AUROC", roc_auc(truth, prob), 0.90 if asked else None))
        if way != "diameter":
            called = np.where(prob >= 0.5, prob, 1 - prob)
            error = expected_calibration_error(called, (prob >= 0.5) == truth)
            rows.append(_row(name, "ECE, lymphoblast or not", error, None))
    value = {(r["set"], r["measure"]): r["value"] for r in rows}
    for scale in ("scale known", "scale unknown"):
        for measure in ("mean AUROC", "pooled AUROC"):
            lost = value[f"cnmc, {'on black'}, {scale}", measure] - value[f"cnmc, {'on smear'}, {scale}", measure]
            row = _row(f"on black less on smear, {scale}", measure, abs(lost), None)
            row |= {"threshold": "<= 0.03", "met": "yes" if abs(lost) <= 0.03 else "no"}
            rows.append(row)
    return rows


def _row(name: str, measure: str, value: float, least: float | None) -> dict:
    met = "" if least is None else "yes" if value >= least else "no"
    return {
        "set": f"cnmc, {name}",
        "measure": measure,
        "value": round(value, 4),
        "threshold": "" if least is None else f">= {least}",
        "met": met,
    }


if __name__ == "__main__":
    main()
