"""Recipes of the cell classifier compared: one laboratory left out in training, or a third of each, side by side.

    python -m benchmarks.sites.recipes --store a.npz b.npz --out FOLDER --jobs benchmarks/sites/recipes.toml [--workers
        8] [--steps N] [--only NAME …] [--minutes M]

The stores are benchmarks/sites/pack.py's. Each job is a configuration with overrides, and what it may not see:
`without` a data set, or `fold` k of 3 (patients of cnmc, slides of raabin, clusters of lmu). A job leaves NAME.npz with
float16 logits of every cell of the stores as analysis would crop it (`logits`; `on_smear`: cut-out cells on smear) and,
where weights = true, NAME.pt. On a GPU several jobs share the card; on a processor give --workers 1 and hours.
benchmarks/sites/recipe_rows.py turns the files into benchmarks/results/recipes.csv.
"""

from __future__ import annotations

import multiprocessing
import time
import tomllib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.harness import Args, option, parse
from benchmarks.sites.store_file import read_store
from leukoscope.models.torch_onnx import round_to_half
from leukoscope.train.augment import match_nuclei_of
from leukoscope.train.classifier.bundle import read_classifier
from leukoscope.train.classifier.config import ClassifierConfig
from leukoscope.train.classifier.data import MADE, CellStore
from leukoscope.train.classifier.dress import Wardrobe
from leukoscope.train.classifier.task import train_store
from leukoscope.train.config import build_config, read_toml

ROOT = Path(__file__).resolve().parents[2]
TRAIN = ("pbc", "raabin", "lmu", "cnmc")
FOLDED = ("raabin", "lmu", "cnmc")
N_FOLDS = 3


def main() -> None:
    args = parse(
        __doc__,
        option("--store", nargs="+", required=True),
        option("--out", type=Path, required=True),
        option("--jobs", type=Path, default=Path(__file__).with_name("recipes.toml")),
        option("--workers", type=int, default=1),
        option("--steps", type=int, help="of every job, in place of the configurations'"),
        option("--batch", type=int, help="cells a step, in place of the configurations'"),
        option("--only", nargs="*", help="names of the jobs to run"),
        option("--minutes", type=float, help="start no job after so many"),
        option("--cells", type=int, help="of the stores, drawn at random: for a try"),
    )
    args.out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    store = joined([read_store(path) for path in args.store])
    if args.cells:
        store = store.subset(np.sort(np.random.default_rng(0).permutation(len(store))[: args.cells]))
    print(f"{len(store)} cells read after {time.monotonic() - began:.0f} s", flush=True)
    jobs = tomllib.loads(args.jobs.read_text("utf-8"))
    names = [n for n in jobs if args.only is None or n in args.only]
    running: dict[str, multiprocessing.Process] = {}
    fork = multiprocessing.get_context("fork")  # the cells are read once; no process has touched the card yet
    while names or running:
        for name in [n for n, p in running.items() if not p.is_alive()]:
            code = running.pop(name).exitcode
            print(
                f"{name}: {'done' if code == 0 else f'failed, {code}'} at {time.monotonic() - began:.0f} s", flush=True
            )
        is_late = args.minutes is not None and time.monotonic() - began > 60 * args.minutes
        if names and is_late:
            print(f"not started for want of time: {', '.join(names)}", flush=True)
            names = []
        if names and len(running) < args.workers:
            name = names.pop(0)
            running[name] = fork.Process(target=run_job, args=(name, jobs[name], store, args))
            running[name].start()
            continue
        time.sleep(0.1)


def run_job(name: str, job: dict, store: CellStore, args: Args) -> None:
    """Train one job and score every cell."""
    torch.set_num_threads(max(1, torch.get_num_threads() // args.workers))
    config = job_config(job, steps=args.steps, batch=args.batch)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = False
    run = args.out / "runs" / name
    seen = training_rows(store, without=job.get("without", []), fold=job.get("fold"))
    sets = [s for s in TRAIN if s not in job.get("without", [])]
    own = store.subset(seen).grounds_of(sets)
    counts = Counter(own.sets.tolist())
    train_store(config, own, run, data=[{"name": n, "n_cells": c} for n, c in counts.items()], fingerprint=name)
    model, _ = read_classifier(run)
    round_to_half(model)
    np.savez(args.out / f"{name}.npz", **score(model, store, config))
    if job.get("weights"):
        half = {k: v.half() if v.dim() == 4 else v for k, v in model.state_dict().items()}
        torch.save({"model": half, "run": (run / "run.json").read_text()}, args.out / f"{name}.pt")
    steps = [row.split(",") for row in (run / "log.csv").read_text().splitlines()[1:]]
    spent = (int(steps[-1][2]) - int(steps[0][2])) / max(1, int(steps[-1][0]) - int(steps[0][0]))
    print(f"{name}: loss {steps[-1][1]}, {1000 * spent:.0f} ms a step", flush=True)


def job_config(job: dict, *, steps: int | None = None, batch: int | None = None) -> ClassifierConfig:
    """The job's configuration file with the job's own settings over it."""
    path = ROOT / "configs" / job.get("config", "classifier.toml")
    values = {k: v for k, v in read_toml(path).items() if k != "task"} | job.get("settings", {})
    config = build_config(ClassifierConfig, values, path)
    config = replace(config, steps=steps) if steps else config
    return replace(config, batch_size=batch) if batch else config


def joined(stores: list[CellStore]) -> CellStore:
    """All cells of several stores."""
    first, *others = stores
    for other in others:
        first = first.joined(other)
    return first


def fold_numbers(store: CellStore, *, seed: int = 0) -> np.ndarray:
    """(N,) fold of each cell of the sets in FOLDED, -1 elsewhere: whole patients, each class spread over the folds."""
    out = np.full(len(store), -1)
    rng = np.random.default_rng(seed)
    for name in FOLDED:
        rows = np.flatnonzero(store.sets == name)
        strata: dict[str, list[np.ndarray]] = {}
        for patient in rng.permutation(np.unique(store.patients[rows])).tolist():
            own = rows[store.patients[rows] == patient]
            most = Counter(store.classes[own].tolist()).most_common(1)[0][0]
            strata.setdefault(most, []).append(own)
        for groups in strata.values():
            held = np.zeros(N_FOLDS)
            for own in sorted(groups, key=len, reverse=True):
                fold = int(held.argmin())
                out[own], held[fold] = fold, held[fold] + len(own)
    return out


def training_rows(store: CellStore, *, without: list[str] = (), fold: int | None = None) -> np.ndarray:
    """(N,) bool: cells of training sets that a job may see, with the cells made of them."""
    rows = np.isin(store.sets, [s for s in TRAIN if s not in without])
    # Splits that only measure: pbc's validation and test; the others' validation unless folds do their part.
    rows &= (
        ~np.isin(store.splits, ["val", "test"])
        if fold is None
        else ~((store.sets == "pbc") & np.isin(store.splits, ["val", "test"]))
    )
    if fold is not None:
        rows &= fold_numbers(store) != fold
    origin = np.char.add(np.char.add(store.sets, "/"), store.patients)
    known = set(np.unique(origin[rows]).tolist()) | {""}
    return rows | ((store.sets == MADE) & np.isin(store.patients, sorted(known)))


@torch.no_grad()
def score(model: torch.nn.Module, store: CellStore, config: ClassifierConfig) -> dict[str, np.ndarray]:
    """float16 logits of every cell, with the diameter known and not, and of cut-out cells on smear."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = model.to(device).eval()
    wardrobe = Wardrobe(store, device)

    def logits(crops: torch.Tensor, diameters: np.ndarray) -> np.ndarray:
        pixels = (match_nuclei_of(crops, config.nucleus_density) * 255).round().permute(0, 2, 3, 1).contiguous()
        return model(pixels, torch.from_numpy(diameters).to(device)).half().cpu().numpy()

    out: dict[str, list] = {"logits": [], "no_diameter": [], "on_smear": []}
    for start in range(0, len(store), 256):
        rows = np.arange(start, min(start + 256, len(store)))
        crops = wardrobe.plain(rows, config.size, config.pad_fraction)
        sizes = store.diameters[rows]
        out["logits"].append(logits(crops, sizes))
        out["no_diameter"].append(logits(crops, 0 * sizes))
        cut = rows[store.masked[rows]]
        if len(cut):
            out["on_smear"].append(
                logits(wardrobe.on_smear(cut, config.size, config.pad_fraction, start), store.diameters[cut])
            )
    return {name: np.concatenate(parts) for name, parts in out.items() if parts}


if __name__ == "__main__":
    main()
