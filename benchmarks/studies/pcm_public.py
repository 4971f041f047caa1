"""The PCM study on real cells: pbc, raabin, lmu and cnmc as one set, tested inside and on other laboratories.

    python -m benchmarks.studies.pcm_public WORK [--data FOLDER] [--cells N] [--only ROW]… [--dry-run]

At most N cells of a class and source are trained on (a third as many validate, two thirds test; 120 unless given), and
no slide, cluster of near duplicates or subject stands in two splits; pbc, which states neither, keeps its own splits,
less what the audit finds in two. `leukoscope study pcm` runs on it with configs/pcm-public; bccd and cellavision are
external, jtsc is the target. A second call goes on where the first stopped. Eight of PCM's nine classes: APL has none.
Writes benchmarks/results/pcm_public.csv; the study's page is WORK/study.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.harness import DATA, ONLY, Args, Rows, benchmark, option
from benchmarks.provenance import ROOT
from benchmarks.public_sets import LEFT_OUT
from benchmarks.sites.laboratories import build
from benchmarks.studies.pcm_small import result_rows
from leukoscope.dataset.manifest import Dataset, TruthField, read_dataset, write_dataset
from leukoscope.dataset.splits import split_by_patient
from leukoscope.experiments.pcm.data import Folders
from leukoscope.experiments.pcm.study import run_study

SOURCES = ("pbc", "raabin", "lmu", "cnmc")
OTHERS = ("bccd", "cellavision", "jtsc")
SHARES = {"train": 0.6, "val": 0.15, "test": 0.25}
CELLS = 120
OF_TRAIN = {"train": 1.0, "val": 1 / 3, "test": 2 / 3}


def main(args: Args) -> Rows:
    """Put together, run, write."""
    folder = args.work / f"pcm-public-{args.cells}"
    if not (folder / "dataset.json").is_file():
        write_dataset(put_together(args.data.resolve(), args.work / "data", args.cells), folder)
    for name in OTHERS:
        build(name, args.data, args.work / "data")
    external, target = (args.work / "data" / "bccd", args.work / "data" / "cellavision"), args.work / "data" / "jtsc"
    run = run_study(
        ROOT / "configs" / "pcm-public", Folders(folder, external, target), args.work / f"study-{args.cells}",
        only=args.only, resume=True, say=lambda line: print(line, flush=True),
    )  # fmt: skip
    digests = {f.name.split("-")[0]: read_dataset(f).sha256()[:12] for f in (folder, *external, target)}
    rows = [r for plan in run.config.rows for r in result_rows(run, plan.name)]
    yield from rows
    return {"cells_of_a_class": args.cells, **digests}


def put_together(data: Path, work: Path, cells: int) -> Dataset:
    """The four sets as one, split and thinned; each field keeps its source's name as its centre."""
    fields: list[TruthField] = []
    for name in SOURCES:
        dataset = split(build(name, data, work))
        rng = np.random.default_rng(0)
        taken: Counter = Counter()
        for i in rng.permutation(len(dataset.fields)):
            field = dataset.fields[i]
            typed = [c.class_name for c in field.cells if c.class_name]
            if not typed or any(c in LEFT_OUT for c in typed):
                continue
            kind = (kind_of(typed[0]), field.split)
            if taken[kind] < round(cells * OF_TRAIN[field.split]):
                taken[kind] += 1
                fields.append(from_root(field, dataset, data))
        print(name, dict(sorted(taken.items())), flush=True)
    fields.sort(key=lambda f: f.file)
    return Dataset("pcm-public", data, tuple(fields), "as the four sets'", "see docs/model-cards", "composed")


def kind_of(name: str) -> str:
    """What is counted together: the three ways in which sources say neutrophil."""
    return "neutrophil" if name.endswith("neutrophil") else name


def split(dataset: Dataset) -> Dataset:
    """pbc as published; the others by slide, cluster or subject, healthy and leukaemic subjects apart."""
    if dataset.name == "pbc":
        return dataset
    free = [replace(f, split=None) for f in dataset.fields]
    groups = {c.class_name for f in free for c in f.cells} if dataset.name == "cnmc" else {None}
    done: list[TruthField] = []
    for kind in sorted(groups, key=str):
        part = tuple(f for f in free if kind is None or f.cells[0].class_name == kind)
        done += split_by_patient(replace(dataset, fields=part), SHARES, seed=1, group=_group).fields
    return replace(dataset, fields=tuple(done))


def _group(field: TruthField) -> str:
    return field.key.patient_id or field.key.smear_id


def from_root(field: TruthField, dataset: Dataset, data: Path) -> TruthField:
    """The field with its file told from the folder of all sets, under its source's name."""
    file = str(dataset.path(field).resolve().relative_to(data))
    key = replace(field.key, field_id=f"{dataset.name}/{field.key.field_id}", center=dataset.name)
    return replace(field, key=key, file=file)


if __name__ == "__main__":
    benchmark(
        main, option("work", type=Path), DATA,
        option("--cells", type=int, default=CELLS, help="of a class and source, to train on"), ONLY,
    )  # fmt: skip
