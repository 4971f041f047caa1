"""LP+FT of the bundled classifier on a tenth of a site's cells: the fine-tuned row of adaptation.py, which reads these.

    python -m benchmarks.sites.adaptation_tuning --cache FOLDER --out FOLDER [--draws 5]

The same stratified draws as adaptation.py. Settings were set before any result was seen, and none was tried beside
them: 40 steps of the last layer, 60 of the last five blocks too, 32 cells a step of which 40 % are source cells (30 of
each type), AdamW at 2e-4 (the last layer ten times that), mild jitter. A run of a site and draw takes about half a
minute on one core, is kept in OUT/SITE_SEED.npz, and is not made twice.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.harness import DATA, Args, option, parse
from benchmarks.sites.adaptation_sets import SITES, draw_tenth, embedded, type_columns
from leukoscope.models.bundle import find_model
from leukoscope.models.probabilities import softmax
from leukoscope.train.adapt.finetune import SiteCells, SiteTuning, TuningCells, tune_to_site
from leukoscope.train.adapt.network import read_network
from leukoscope.train.adapt.site_head import last_features

SETTINGS = SiteTuning(head_steps=40, steps=60, batch_size=32, learning_rate=2e-4, views=9)
SOURCE_EACH = 30


def main() -> None:
    args = _arguments()
    torch.set_num_threads(1)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    bundle = find_model("blood")["classify"]
    network, density = read_network(bundle), bundle.card.crop.nucleus_density
    columns = type_columns(bundle.card.taxonomy)
    with tempfile.TemporaryDirectory() as work:
        sets = {name: embedded(name, args.data, Path(args.cache), work) for name in (*SITES, "pbc")}
    source = tuning_cells(sets["pbc"], source_rows(sets["pbc"]["labels"]), columns)
    for seed in range(args.draws):
        for site in SITES:
            path = out / f"{site}_{seed}.npz"
            if path.is_file():
                continue
            cells = sets[site]
            mask = draw_tenth(cells["labels"], 0.1, seed=seed, stratified=True)
            labelled = tuning_cells(cells, np.flatnonzero(mask), columns)
            tuned = tune_to_site(network, SiteCells(labelled, source), replace(SETTINGS, seed=seed), density=density)
            _, logits = last_features(tuned, cells["crops"], cells["diameters"], density=density)
            probs = softmax(logits) @ columns.T
            np.savez(path.with_suffix(".part.npz"), probs=probs)
            path.with_suffix(".part.npz").rename(path)
            right = (probs.argmax(1) == cells["labels"])[~mask].mean()
            print(f"{site} draw {seed}: {right:.4f} on the rest", flush=True)


def source_rows(labels: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.concatenate([rng.permutation(np.flatnonzero(labels == c))[:SOURCE_EACH] for c in range(5)])


def tuning_cells(cells: dict, rows: np.ndarray, columns: np.ndarray) -> TuningCells:
    """Some cells with the model's classes that their type may be."""
    targets = columns[cells["labels"][rows]].astype(np.float32)
    return TuningCells(cells["crops"][rows], cells["diameters"][rows], targets)


def _arguments() -> Args:
    return parse(
        __doc__,
        DATA,
        option("--cache", required=True, help="folder for features, made once"),
        option("--out", required=True, help="folder for the probabilities of each run"),
        option("--draws", type=int, default=5),
    )


if __name__ == "__main__":
    main()
