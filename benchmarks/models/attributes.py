"""Attributes told: the bundled classifier's words against majority and heads on frozen features, on pbc's test split.

Each of eleven attributes (pbc/attributes.csv) by macro-F1. Baselines see the same crops and diameters:
  majority      the commonest value of the train split
  type          the commonest value, in the train split, of the class that the model calls the cell
  ImageNet      logistic regression or one hidden layer on EfficientNet-Lite0's frozen features
  trunk         the same on the frozen features of runs/classifier, the colour trunk that ships (or one before it)
What is asked for is compared with majority and ImageNet; the trunk, which learnt these cells, is the harder peer.
A baseline's kind, strength and class weights are chosen for each attribute on the val split and fitted to train. Copies
of pictures in val or test are not trained on. Limits: photographs left out in turn (no patients are known), 95 %; for a
difference the same ones of both.

    python -m benchmarks.models.attributes --runs runs [--model FOLDER] [--split val] [--dry-run]

Writes benchmarks/results/attributes.csv. Features and crops are kept in --work and not computed twice.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.harness import DATA, MODEL, Args, Rows, benchmark, option
from leukoscope.classify import diameters_um
from leukoscope.crop import crop_cells, match_nuclei
from leukoscope.dataset.importer import import_dataset
from leukoscope.dataset.manifest import Dataset, read_dataset
from leukoscope.dataset.splits import drop_copies
from leukoscope.evaluate.attributes import attribute_f1, most_probable
from leukoscope.evaluate.classes import confusion_matrix, macro_f1
from leukoscope.evaluate.patients import ANY
from leukoscope.evaluate.readings import with_limits
from leukoscope.models.bundle import Bundle, find_model
from leukoscope.models.runtime import Session
from leukoscope.models.torch_classifier import SIZE_UNIT_UM
from leukoscope.models.torch_lite import Lite0Features, fold_norms, normalise
from leukoscope.scale import with_scale
from leukoscope.taxonomy import WBC_11
from leukoscope.train.classifier.bundle import read_classifier, run_named
from leukoscope.train.classifier.data import read_balanced, stated_values
from leukoscope.types import Cells, Field

LEAST_BETTER = 9  # of the eleven
SPLITS = ("train", "val", "test")


def main(args: Args) -> Rows:
    bundle = find_model(args.model)["classify"]
    work = Path(args.work)
    work.mkdir(parents=True, exist_ok=True)
    cells = {split: read_cells(split, args.data, bundle, work) for split in SPLITS}
    calls = {"head": head_calls(bundle, cells[args.split])}
    calls |= {"majority": majority(cells, args.split), "type": by_type(bundle, cells, args.split)}
    for name, compute in (("ImageNet", imagenet_features), ("trunk", lambda c: trunk_features(Path(args.runs), c))):
        features = {s: kept(work / f"{name}-{s}.npy", lambda s=s, c=compute: c(cells[s])) for s in SPLITS}
        calls[name] = frozen_calls(features, cells, work / f"{name}-calls")[args.split]
    rows = table(calls, cells[args.split], args.split) + shown_rows(bundle, cells[args.split], args.split)
    if args.split != "test":
        print(*rows, sep="\n")
        return {}
    yield from rows
    return {"onnx_sha256": bundle.card.onnx_sha256[:12], "limits": "95 %, photographs", "seed": 0}


def read_cells(split: str, data: str | Path, bundle: Bundle, work: Path) -> dict[str, np.ndarray]:
    """crops (N, S, S, 3) as the model sees them, diameters (N,) in µm, stated (N, 11), classes and files (N,)."""
    rule = bundle.card.crop
    saved = work / f"cells-{split}-{rule.size}.npz"
    if saved.exists():
        with np.load(saved) as arrays:
            return dict(arrays)
    dataset = described(data, work)
    chosen = dataset.subset(split)
    if split == "train":
        others = replace(dataset, fields=tuple(f for f in dataset.fields if f.split != "train"))
        chosen = drop_copies(chosen, others)
    crops, diameters, stated = [], [], []
    fields = [f for f in chosen.fields if len(f.cells) == 1 and f.cells[0].attributes]
    for field in fields:
        pixels, _ = read_balanced(chosen.path(field))
        boxes = np.array([field.cells[0].box])
        crops.append(crop_cells(pixels, boxes, rule, background=240))
        view = with_scale(Field(field.key, pixels, field.um_per_px), Cells(field.key, boxes, [1]))
        diameters.append(diameters_um(view, boxes))
        stated.append(stated_values(field.cells[0].attributes, WBC_11))
    arrays = {
        "crops": match_nuclei(np.concatenate(crops), rule.nucleus_density),
        "diameters": np.concatenate(diameters),
        "stated": np.stack(stated),
        "classes": np.array([f.cells[0].class_name for f in fields]),
        "files": np.array([f.file for f in fields]),
    }
    np.savez(saved.with_suffix(".part.npz"), **arrays)
    saved.with_suffix(".part.npz").replace(saved)
    return arrays


def described(data: str | Path, work: Path) -> Dataset:
    """pbc with its attributes."""
    pbc, out = Path(data) / "pbc", work / "pbc-attributes"
    if not (out / "dataset.json").is_file():
        import_dataset("yolo", pbc, out, source="pbc", attributes=pbc / "attributes.csv")
    return read_dataset(out)


def kept(path: Path, compute) -> np.ndarray:
    """An array that is computed once."""
    if not path.exists():
        partial = path.with_suffix(".part.npy")
        np.save(partial, compute())
        partial.replace(path)
    return np.load(path)


def head_calls(bundle: Bundle, cells: dict[str, np.ndarray]) -> np.ndarray:
    """(N, 11) values called by the model's second output."""
    return most_probable(run_named(Session(bundle), cells["crops"], cells["diameters"])["attributes"], WBC_11)


def majority(cells: dict[str, dict], split: str) -> np.ndarray:
    commonest = [np.bincount(column).argmax() for column in cells["train"]["stated"].T]
    return np.tile(commonest, (len(cells[split]["stated"]), 1))


def by_type(bundle: Bundle, cells: dict[str, dict], split: str) -> np.ndarray:
    """The commonest train value of the class that the model calls each cell; of all cells where it has none there."""
    session = Session(bundle)
    said = {s: run_named(session, cells[s]["crops"], cells[s]["diameters"]) for s in ("train", split)}
    called = {s: outputs["logits"].argmax(1) for s, outputs in said.items()}
    out = majority(cells, split)
    for column in np.unique(called["train"]):
        stated = cells["train"]["stated"][called["train"] == column]
        out[called[split] == column] = [np.bincount(values).argmax() for values in stated.T]
    return out


@torch.no_grad()
def imagenet_features(cells: dict[str, np.ndarray]) -> np.ndarray:
    """(N, 1394): Lite0's two pooled maps that the classifier has too, and the diameter's two numbers."""
    net = Lite0Features(pretrained=True, head=True)
    fold_norms(net)
    parts = []
    for i in range(0, len(cells["crops"]), 32):
        maps = net(normalise(torch.from_numpy(cells["crops"][i : i + 32])))
        parts.append(torch.cat([maps[4].mean((2, 3)), maps[2].mean((2, 3))], 1).numpy())
    sizes = cells["diameters"]
    known = sizes > 0
    logs = np.log(np.where(known, sizes, SIZE_UNIT_UM) / SIZE_UNIT_UM)
    return np.concatenate([np.concatenate(parts), np.stack([known, logs], 1)], 1).astype(np.float32)


@torch.no_grad()
def trunk_features(runs: Path, cells: dict[str, np.ndarray]) -> np.ndarray:
    """(N, 1424): what the last layer of the stage before hears, and the diameter's two numbers beside."""
    model, _ = read_classifier(runs / "classifier")
    parts = []
    for i in range(0, len(cells["crops"]), 32):
        sizes = torch.from_numpy(cells["diameters"][i : i + 32])
        maps = model.features(normalise(torch.from_numpy(cells["crops"][i : i + 32])))
        known = (sizes > 0).float()
        log = torch.log(torch.where(sizes > 0, sizes, SIZE_UNIT_UM) / SIZE_UNIT_UM)
        parts.append(torch.cat([model.pooled(maps, sizes), known[:, None], log[:, None]], 1).numpy())
    return np.concatenate(parts)


def heads() -> list:
    """The kinds of head that a frozen baseline may be, chosen on validation for each attribute."""
    strengths = (0.001, 0.01, 0.1)
    logistic = [
        make_pipeline(StandardScaler(), LogisticRegression(C=c, class_weight=w, max_iter=400))
        for c in strengths
        for w in (None, "balanced")
    ]
    hidden = MLPClassifier((64,), alpha=1.0, max_iter=60, early_stopping=True, random_state=0)
    return [*logistic, make_pipeline(StandardScaler(), hidden)]


def frozen_calls(features: dict[str, np.ndarray], cells: dict[str, dict], work: Path) -> dict[str, np.ndarray]:
    """Calls (N, 11) on val and test of the head that does best on val, fitted to train; one file an attribute."""
    work.mkdir(parents=True, exist_ok=True)
    columns: dict[str, list[np.ndarray]] = {"val": [], "test": []}
    for a, attribute in enumerate(WBC_11.attributes):
        saved = work / f"{attribute.name}.npz"
        if saved.exists():
            with np.load(saved) as arrays:
                for split, of_split in columns.items():
                    of_split.append(arrays[split])
            continue
        truth, n = cells["val"]["stated"][:, a], len(attribute.values)
        best, best_f1 = None, -1.0
        for head in heads():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                head.fit(features["train"], cells["train"]["stated"][:, a])
            f1 = macro_f1(confusion_matrix(truth, head.predict(features["val"]), n_classes=n))
            if f1 > best_f1:
                best, best_f1 = head, f1
        for split, of_split in columns.items():
            of_split.append(best.predict(features[split]))
        np.savez(saved, **{split: of_split[-1] for split, of_split in columns.items()})
        print(f"{attribute.name}: {best[-1]}, val {best_f1:.3f}", flush=True)
    return {split: np.stack(of_split, 1) for split, of_split in columns.items()}


def table(calls: dict[str, np.ndarray], cells: dict[str, np.ndarray], split: str) -> list[dict]:
    """A row an attribute, and how many are better than every baseline but the type's."""
    rows, stated, files = [], cells["stated"], cells["files"]
    judged = [name for name in calls if name not in ("head", "type")]
    for a, attribute in enumerate(WBC_11.attributes):
        n = len(attribute.values)

        def f1(name: str, rows: np.ndarray, a: int = a, n: int = n) -> float:
            present = np.unique(stated[stated[:, a] >= 0, a])
            return macro_f1(confusion_matrix(stated[rows, a], calls[name][rows, a], n_classes=n), present)

        whole = np.arange(len(files))
        entry = with_limits(lambda r, f1=f1: f1("head", r), whole, files)
        others = {name: round(f1(name, whole), 4) for name in calls if name != "head"}
        strongest = max(judged, key=others.get)
        apart = with_limits(lambda r, f1=f1, s=strongest: f1("head", r) - f1(s, r), whole, files, within=ANY)
        better = all(entry["value"] > others[name] for name in judged)
        rows.append(
            {
                "set": f"pbc {split}",
                "measure": f"macro-F1, {attribute.name}",
                **{k: round(v, 4) for k, v in entry.items()},
                **{f"baseline {name}": value for name, value in others.items()},
                **{f"difference {k}": round(v, 4) for k, v in apart.items()},
                "to": strongest,
                "better": "yes" if better else "no",
                "n_cells": int((stated[:, a] >= 0).sum()),
            }
        )
    n_better = sum(row["better"] == "yes" for row in rows)
    means = {name: float(attribute_f1(c, stated, WBC_11).mean()) for name, c in calls.items()}
    rows.append(
        {
            "set": f"pbc {split}",
            "measure": "macro-F1, mean of eleven",
            "value": round(means["head"], 4),
            **{f"baseline {name}": round(value, 4) for name, value in means.items() if name != "head"},
        }
    )
    plain = sum(row["value"] > max(row["baseline majority"], row["baseline ImageNet"]) for row in rows[:-1])
    met = "yes" if plain >= LEAST_BETTER else "no"
    asked = {"value": plain, "threshold": f">= {LEAST_BETTER}", "met": met}
    named = {"set": f"pbc {split}"}
    return [
        *rows,
        named | {"measure": "attributes better than majority and a head on ImageNet's frozen features", **asked},
        named | {"measure": "attributes better than those and a head on the trunk", "value": n_better},
    ]


def shown_rows(bundle: Bundle, cells: dict[str, np.ndarray], split: str) -> list[dict]:
    """Words as a report shows them: share of cells that get one, and of words that are right."""
    session, rule = Session(bundle), bundle.card.attributes
    names = bundle.card.taxonomy.names
    outputs = run_named(session, cells["crops"], cells["diameters"])
    logits, values = outputs["logits"], outputs["attributes"]
    said = rule.say(values, [names[c] for c in logits.argmax(1)])
    rows = []
    for a, attribute in enumerate(WBC_11.attributes):
        if attribute.name not in rule.shown:
            rows.append({"set": f"pbc {split}", "measure": f"words shown, {attribute.name}", "value": 0.0})
            continue
        has = np.array([attribute.name in words for words in said])
        places = [attribute.values.index(words[attribute.name]) for words in said if attribute.name in words]
        right = np.array(places) == cells["stated"][has, a]
        share = with_limits(lambda r, v=right: float(v[r].mean()), np.arange(len(right)), cells["files"][has])
        named, of_cells = {"set": f"pbc {split}"}, round(float(has.mean()), 4)
        rows.append(named | {"measure": f"words shown, {attribute.name}", "value": of_cells})
        numbers = {k: round(v, 4) for k, v in share.items()}
        rows.append(named | {"measure": f"shown words right, {attribute.name}", **numbers})
    return rows


if __name__ == "__main__":
    benchmark(
        main, DATA, MODEL, option("--runs", default="runs", help="holds `classifier`, whose trunk is a baseline"),
        option("--work", default="runs/attributes", help="folder for crops and features"),
        option("--split", default="test", choices=("val", "test"), help="what is scored; val writes nothing"),
    )  # fmt: skip
