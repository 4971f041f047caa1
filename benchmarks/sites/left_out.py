"""The shipped recipe with one laboratory left out of training, and a third of C-NMC's patients with it: measured there.

    python -m benchmarks.sites.left_out --store a.npz b.npz --runs FOLDER [--steps N] [--only raabin …] [--dry-run]

The stores are benchmarks/sites/pack.py's. Three runs of the colour trunk (configs/classifier.toml), SHORTER than the
one that ships: 240 steps of 128 cells (the last 160) in the place of 900, one laboratory fewer, one trunk in the place
of two, and each without another third of C-NMC's patients, so that the three are its folds as well.
Prior and temperature are those of configs/classifier-joined.toml. Half an hour of one core a run. A run goes on from
its checkpoint; a finished one is not trained again, and what it hears of the cells that measure stays in
FOLDER/NAME.npz.
A profile is that of the set's own cells without their labels; lmu's are no ordinary blood, and `adapt` would refuse it.
Writes benchmarks/results/left_out.csv.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.harness import Args, Rows, benchmark, option
from benchmarks.sites.new_laboratories import BLASTS, NORMAL, NOT_NORMAL, settled
from benchmarks.sites.recipes import ROOT, TRAIN, fold_numbers, job_config, joined, training_rows
from benchmarks.sites.store_file import read_store
from leukoscope.evaluate.calibration import expected_calibration_error
from leukoscope.evaluate.classes import roc_auc
from leukoscope.evaluate.coarse import TYPES, strict_types, type_of
from leukoscope.models.probabilities import softmax
from leukoscope.models.torch_classifier import TEXTURE, CellClassifier
from leukoscope.taxonomy import Taxonomy, read_taxonomy
from leukoscope.train.adapt.heads import with_one
from leukoscope.train.adapt.profile import Reference, measure_reference
from leukoscope.train.classifier.bundle import read_classifier, scale_of
from leukoscope.train.classifier.data import CellStore, class_targets
from leukoscope.train.classifier.dress import Wardrobe
from leukoscope.train.classifier.task import train_store
from leukoscope.train.config import read_toml
from leukoscope.train.run_folder import read_run as read_record

# What is left out, in the order of training, each with a fold of C-NMC, and for how many steps it trains.
STEPS = {"lmu": 240, "raabin": 240, "pbc": 160}
LEFT_OUT = tuple(STEPS)
NEW = ("bccd", "jtsc", "cellavision")
MEASURED = ("lmu", "pbc", "raabin")  # their fields that no run trained on
A_LOOK = 128  # cells
LEAST_AUROC, LEAST_FOLDS, LEAST_POOLED = 0.93, 0.93, 0.88


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """Cells as a run heard them, row-aligned: features (N, F), data set, class, split, patient and diameter in µm."""

    features: np.ndarray
    sets: np.ndarray
    classes: np.ndarray
    splits: np.ndarray
    patients: np.ndarray
    diameters: np.ndarray

    def of(self, rows: np.ndarray) -> Heard:
        return Heard(**{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A finished run: its last layer (F + 1, C) with the shipped prior in it, the temperature, what it heard of cells
    as analysis crops them and of its fold of C-NMC on smear, and the reference of the laboratories it knows.

    targets, nearness  (N, C) bool: the classes that each cell may be; the shipped settings of how near is sure
    """

    without: str
    steps: int
    layer: np.ndarray
    temperature: float
    cells: Heard
    fold: Heard
    reference: Reference
    targets: np.ndarray
    nearness: dict[str, float]

    def probs(self, features: np.ndarray, layer: np.ndarray | None = None) -> np.ndarray:
        """(N, C) probabilities; `layer`: another than the run's own."""
        return softmax(with_one(features) @ (self.layer if layer is None else layer) / self.temperature)


def main(args: Args) -> Rows:
    for name in args.only or LEFT_OUT:
        train(name, args)
        hear(name, args)
    runs = [read_run(name, args) for name in LEFT_OUT if (args.runs / f"{name}.npz").is_file()]
    for run in runs:
        yield from laboratory_rows(run)
        yield from blast_rows(run)
        yield from nearness_rows(run)
    yield from fold_rows(runs)
    return {"trunk": "colour alone"}


def cells_of(args: Args) -> CellStore:
    return joined([read_store(path) for path in args.store])


def training_cells(name: str, store: CellStore) -> CellStore:
    """What the run without data set `name` may see."""
    seen = training_rows(store, without=[name])
    seen &= ~((store.sets == "cnmc") & (fold_numbers(store) == LEFT_OUT.index(name)))
    return store.subset(seen).grounds_of([s for s in TRAIN if s != name])


def train(name: str, args: Args) -> None:
    """Train the run without data set `name`, or go on with it."""
    run, steps = args.runs / name, args.steps or STEPS[name]
    if (run / "finished").is_file():
        return
    own = training_cells(name, cells_of(args))
    job = {"settings": {"attributes": ""} if name == "pbc" else {}}  # no other set states any
    config = replace(job_config(job, steps=steps), name=f"left-out-{name}")
    counts = Counter(own.sets.tolist())
    print(f"without {name}: {len(own)} cells, {dict(counts)}", flush=True)
    train_store(
        config, own, run, data=[{"name": n, "n_cells": c} for n, c in counts.items()],
        fingerprint=f"{name}-{steps}-{len(own)}",
        progress=lambda done, total: print(f"{name}: step {done} of {total}", flush=True) if done % 10 == 0 else None,
    )  # fmt: skip
    (run / "finished").touch()


def measuring_rows(name: str, store: CellStore) -> dict[str, np.ndarray]:
    """Rows of the store: sets that only measure, fields left out, the laboratory left out; its fold of C-NMC."""
    held = np.isin(store.sets, MEASURED) & np.isin(store.splits, ["val", "test"])
    cells = np.isin(store.sets, (*NEW, "bionet")) | held | (store.sets == name)
    fold = (store.sets == "cnmc") & (fold_numbers(store) == LEFT_OUT.index(name))
    return {"cells": np.flatnonzero(cells), "fold": np.flatnonzero(fold)}


@torch.no_grad()
def hear(name: str, args: Args) -> None:
    """Show the run its measuring cells; keep what its last layer hears, the layer, and what is known of the cells."""
    path = args.runs / f"{name}.npz"
    if path.is_file():
        return
    model, record = read_classifier(args.runs / name)
    store, config = cells_of(args), record["config"]
    wardrobe = Wardrobe(store, "cpu")
    layer = torch.cat([model.fc.weight.T, model.fc.bias[None]]).numpy()
    out = {"layer": layer}
    for kind, rows in measuring_rows(name, store).items():
        parts = []
        for start in range(0, len(rows), A_LOOK):
            some = rows[start : start + A_LOOK]
            frame = (some, config["size"], config["pad_fraction"])
            crops = wardrobe.plain(*frame) if kind == "cells" else wardrobe.on_smear(*frame, start)
            parts.append(features_of(model, crops, store.diameters[some]))
        known = {n: getattr(store, n)[rows] for n in Heard.__dataclass_fields__ if n != "features"}
        out |= {f"{kind}_{n}": column for n, column in (known | {"features": np.concatenate(parts)}).items()}
    cells = store.subset(measuring_rows(name, store)["cells"])
    np.savez(path, targets=class_targets_or_none(cells, config), **out)


def class_targets_or_none(cells: CellStore, config: dict) -> np.ndarray:
    """(N, C) bool: the classes that each cell may be; none for a class that the taxonomy has nothing for."""
    taxonomy, known = read_taxonomy(config["taxonomy"]), config["class_sets"]
    others = {n: () for n in np.unique(cells.classes).tolist() if n not in taxonomy.names and n not in known}
    return class_targets(cells, taxonomy, known | others)


def features_of(model: CellClassifier, crops: torch.Tensor, diameters: np.ndarray) -> np.ndarray:
    """(N, F) of crops (N, 3, S, S) in [0, 1], rounded as a photograph's pixels are."""
    pixels = (crops * 255).round().permute(0, 2, 3, 1).contiguous()
    return model.hear(pixels, torch.from_numpy(diameters)).numpy()


def read_run(name: str, args: Args) -> Run:
    """A finished run, as `hear` left it."""
    steps = read_record(args.runs / name, "classify")["config"]["steps"]
    with np.load(args.runs / f"{name}.npz") as kept:
        heard = {
            kind: Heard(**{n: kept[f"{kind}_{n}"] for n in Heard.__dataclass_fields__}) for kind in ("cells", "fold")
        }
        layer, targets = kept["layer"].astype(np.float64), kept["targets"]
    shipped, taxonomy = read_toml(ROOT / "configs" / "classifier-joined.toml"), blood()
    cells = heard["cells"]
    learnt = (cells.sets != name) & (cells.splits == "val") & np.isin(cells.sets, MEASURED) & targets.any(1)
    logits = with_one(cells.features[learnt]) @ layer
    labels = np.where(targets[learnt], logits, -np.inf).argmax(1)
    reference = measure_reference(cells.features[learnt], labels, len(taxonomy.names))
    for kind, shift in shipped["prior"].items():
        layer[-1, taxonomy.index(kind)] += shift
    told = {"reference": reference, "targets": targets, "nearness": shipped["nearness"]}
    return Run(name, steps, layer, shipped["temperature"], **heard, **told)


def blood() -> Taxonomy:
    return read_taxonomy("blood-14")


def types_or_blast(classes: np.ndarray) -> np.ndarray:
    """(N,) place of each class in TYPES, len(TYPES) + 1 for a blast, -1 for what is neither."""
    place = {n: len(TYPES) + 1 for n in BLASTS} | {n: type_of(n) for n in classes.tolist() if type_of(n) is not None}
    return np.array([place.get(n, -1) for n in classes.tolist()])


def laboratory_rows(run: Run) -> Rows:
    """Five types or blast, strict, at the laboratory left out and on development sets: as it is, with a profile."""
    taxonomy = blood()
    blasts = taxonomy.columns(taxonomy.blasts)
    for name in (run.without, *NEW):
        truth = types_or_blast(run.cells.classes)
        rows = np.flatnonzero((run.cells.sets == name) & (truth >= 0))
        features, truth = run.cells.features[rows], truth[rows]
        profiled = settled(features, run.layer, run.reference, temperature=run.temperature)
        for words, layer in (("as it is", run.layer), ("with a profile", profiled)):
            probs = run.probs(features, layer)
            calls, sure = strict_types(probs, taxonomy)
            is_blast = np.isin(probs.argmax(1), blasts)
            calls = np.where(is_blast, len(TYPES) + 1, calls)
            sure = np.where(is_blast, probs[:, blasts].sum(1), sure)
            right, ece = calls == truth, expected_calibration_error(sure, calls == truth)
            yield row(run, name, f"accuracy, five types or blast, strict, {words}", right.mean(), n=len(rows))
            yield row(run, name, f"ECE, five types or blast, strict, {words}", ece, n=len(rows))
            typed = truth < len(TYPES)
            if not typed.all():
                yield row(
                    run, name, f"accuracy, five types alone, strict, {words}", right[typed].mean(), n=int(typed.sum())
                )


def blast_rows(run: Run) -> Rows:
    """Normal cells called a blast, and lmu's blasts against all normal cells that the run did not train on."""
    taxonomy, cells = blood(), run.cells
    columns = taxonomy.columns(taxonomy.blasts)
    probs = run.probs(cells.features)
    blast, called = probs[:, columns].sum(1), np.isin(probs.argmax(1), columns)
    is_normal = np.isin(cells.sets, NORMAL) & ~np.isin(cells.classes, NOT_NORMAL)
    for name in NORMAL:
        own = is_normal & (cells.sets == name)
        yield row(run, name, "normal cells called a blast", called[own].mean(), n=int(own.sum()))
    is_blast = (cells.sets == "lmu") & (cells.classes == "myeloblast")
    area = roc_auc(is_blast[is_blast | is_normal], blast[is_blast | is_normal])
    said = "blasts against all normal cells, AUROC"
    least = {"threshold": f">= {LEAST_AUROC}"} if run.without == "lmu" else {}
    yield row(run, "lmu", said, area, n=int(is_blast.sum())) | least
    yield row(run, "lmu", "blasts called a blast", called[is_blast].mean(), n=int(is_blast.sum()))


def nearness_rows(run: Run) -> Rows:
    """ECE with one temperature, and surer near the known laboratories' cells as it ships: on half of their cells that
    no run trained on, the other half being the reference, and on the five types of the laboratory left out."""
    cells, places = run.cells, types_or_blast(run.cells.classes)
    known = np.flatnonzero(np.isin(cells.sets, MEASURED) & (cells.sets != run.without) & run.targets.any(1))
    away = np.flatnonzero((cells.sets == run.without) & (places >= 0) & (places < len(TYPES)))
    logits = with_one(cells.features) @ run.layer
    labels = np.where(run.targets, logits, -np.inf).argmax(1)
    reference = measure_reference(cells.features[known[::2]], labels[known[::2]], logits.shape[1])
    scale = scale_of(reference, run.nearness)
    texture = torch.from_numpy(cells.features[:, TEXTURE].astype(np.float32))
    for words, factor in (("one temperature", np.ones((len(logits), 1))), ("by nearness", scale(texture).numpy())):
        probs = softmax(logits * factor, run.temperature)
        rows = known[1::2]
        right = run.targets[rows, probs[rows].argmax(1)]
        ece = expected_calibration_error(probs[rows].max(1), right)
        yield row(run, "laboratories known", f"ECE, fields left out, {words}", ece, n=len(rows))
        calls, sure = strict_types(probs[away], blood())
        ece = expected_calibration_error(sure, calls == places[away])
        yield row(run, run.without, f"ECE, five types, strict, {words}", ece, n=len(away))


def fold_rows(runs: list[Run]) -> Rows:
    """C-NMC on smear grounds, patients left out: lymphoblasts against normal precursors, and by size alone."""
    taxonomy = blood()
    places = [taxonomy.index(n) for n in ("lymphoblast", "lymphocyte")]
    truth, scores = [], {"": [], ", by size alone": []}
    for run in runs:
        logits = with_one(run.fold.features) @ run.layer
        truth.append(run.fold.classes == "lymphoblast")
        scores[""].append(logits[:, places[0]] - logits[:, places[1]])
        scores[", by size alone"].append(run.fold.diameters)
        n = len(np.unique(run.fold.patients))
        yield row(
            run, "cnmc", f"AUROC on smear, {n} patients left out", roc_auc(truth[-1], scores[""][-1]), n=len(truth[-1])
        )
    if len(runs) < len(LEFT_OUT):
        return
    total = sum(map(len, truth))
    for words, found in scores.items():
        mean = float(np.mean([roc_auc(t, s) for t, s in zip(truth, found, strict=True)]))
        pooled = roc_auc(np.concatenate(truth), np.concatenate(found))
        for kind, value, least in (("mean of the folds", mean, LEAST_FOLDS), ("pooled", pooled, LEAST_POOLED)):
            asked = {"threshold": f">= {least}"} if not words else {}
            said = f"AUROC on smear, folds by patient, {kind}{words}"
            yield {
                "set": "cnmc",
                "measure": said,
                "value": round(value, 4),
                "without": "each in turn",
                "n_cells": total,
            } | asked


def row(run: Run, name: str, measure: str, value: float, *, n: int) -> dict:
    said = f"{measure}, without {run.without}"
    return {
        "set": name,
        "measure": said,
        "value": round(float(value), 4),
        "without": run.without,
        "steps": run.steps,
        "n_cells": n,
    }


if __name__ == "__main__":
    benchmark(
        main, option("--store", nargs="+", required=True), option("--runs", type=Path, required=True),
        option("--only", nargs="*", choices=LEFT_OUT),
        option("--steps", type=int, help="of every run, in place of STEPS"),
    )  # fmt: skip
