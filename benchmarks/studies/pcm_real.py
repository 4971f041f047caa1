"""The PCM study on real photographs, small: one stage beside two, on pbc and on bccd, adapted to jtsc.

    python -m benchmarks.studies.pcm_real WORK [--only ROW]… [--data FOLDER]

A part of pbc is drawn (FIELDS, by split; photographs of immature cells and erythroblasts, which PCM's nine classes have
no place for, are not), `leukoscope study pcm` runs on it with configs/pcm-small/study-real.toml, bccd is the external
set and jtsc the target. A second call goes on where the first stopped. Small runs of slim networks: what they show is
that the study works on real cells, and how one stage and two compare under the same few minutes of training.
The yolo row needs ultralytics (AGPL-3.0) beside torch; without it it says so. Writes benchmarks/results/pcm_real.csv.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.harness import DATA, ONLY, Args, Rows, benchmark, option
from benchmarks.provenance import ROOT
from benchmarks.public_sets import LEFT_OUT, import_public
from benchmarks.studies.pcm_small import result_rows
from leukoscope.dataset.manifest import Dataset, read_dataset, write_dataset
from leukoscope.experiments.pcm.data import Folders
from leukoscope.experiments.pcm.study import run_study

FIELDS = {"train": 600, "val": 120, "test": 240}


def main(args: Args) -> Rows:
    """Import, thin, run, write."""
    folders = {name: args.work / name for name in ("pbc", "bccd", "jtsc")}
    for name, folder in folders.items():
        if not (folder / "dataset.json").is_file():
            dataset = import_public(name, args.data, args.work)
            if name == "pbc":
                write_dataset(thinned(dataset), folder)
    run = run_study(
        ROOT / "configs" / "pcm-small" / "study-real.toml",
        Folders(folders["pbc"], (folders["bccd"],), folders["jtsc"]),
        args.work / "study",
        only=args.only,
        resume=True,
        say=lambda line: print(line, flush=True),
    )
    digests = {name: read_dataset(folder).sha256()[:12] for name, folder in folders.items()}
    yield from (r for plan in run.config.rows for r in result_rows(run, plan.name))
    return digests


def thinned(dataset: Dataset) -> Dataset:
    """FIELDS of each split, at random, among the photographs whose cells all have a place among the nine classes."""
    rng, kept = np.random.default_rng(0), []
    for split, n in FIELDS.items():
        usable = [f for f in dataset.fields if f.split == split and not any(c.class_name in LEFT_OUT for c in f.cells)]
        kept += [usable[i] for i in sorted(rng.permutation(len(usable))[:n])]
    return replace(dataset, fields=tuple(kept))


if __name__ == "__main__":
    benchmark(main, option("work", type=Path), DATA, ONLY)
