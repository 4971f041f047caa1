"""The bundled marrow classifier: made of the bundled blood classifier, and measured on `marrow`.

    python -m benchmarks.models.marrow_model --data DATA [--write] [--draws 5] [--dry-run]

DATA: folders that benchmarks/sites/laboratories.py made. The bundled marrow classifier is measured; with --write it is
made anew first, of the present network of blood whose last layer gets the prior of configs/marrow.toml. `marrow` is a
development set of normal marrow whose pictures' terms are unclear: it chose the prior and is in no weight. Types are
compared in the coarsest vocabulary that its labels and the model share. Writes benchmarks/results/marrow_model.csv.
"""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import numpy as np

from benchmarks.harness import Args, Rows, benchmark, option
from benchmarks.provenance import RESULTS
from benchmarks.sites.new_laboratories import Heard, chosen, hear, settled
from leukoscope.models.bundle import BUNDLED, Bundle, find_model
from leukoscope.models.runtime import Session
from leukoscope.taxonomy import Taxonomy, nearest_class, read_taxonomy
from leukoscope.train.adapt.heads import with_one
from leukoscope.train.adapt.network import read_network, set_last_layer, write_adapted
from leukoscope.train.adapt.profile import REFERENCE, read_reference
from leukoscope.train.adapt.site import what_was_learnt
from leukoscope.train.adapt.site_head import fit_site_layer, old_weights

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "marrow.toml"
COARSE = ("neutrophil", "eosinophil", "basophil", "lymphocyte", "monocyte", "immature_granulocyte", "erythroblast",
          "blast")  # fmt: skip
LABELLED = 60


def main(args: Args) -> Rows:
    config = tomllib.loads(CONFIG.read_text("utf-8"))
    bundle = find_model("blood" if args.write else "marrow")["classify"]
    taxonomy, layer = read_taxonomy(config["taxonomy"]), old_weights(read_network(bundle))
    for name, shift in config["prior"].items() if args.write else ():
        layer[-1, taxonomy.index(name)] += shift
    rows = measure(hear(Session(bundle), bundle, chosen(args.data, "marrow")), layer, bundle, config, draws=args.draws)
    yield from rows
    if args.write:
        write(bundle, taxonomy, layer, config, rows)
    return {"onnx_sha256": bundle.card.onnx_sha256[:12], "draws": args.draws}


def measure(cells: Heard, layer: np.ndarray, bundle: Bundle, config: dict, *, draws: int) -> list[dict]:
    """Accuracy as it is, with a profile of the same cells without labels, and on the rest with LABELLED labelled."""
    taxonomy, temperature = read_taxonomy(config["taxonomy"]), config["temperature"]
    of_model = np.array([coarse(name) or "" for name in taxonomy.names])
    names = np.array([coarse(name) or "" for name in cells.classes])
    known = np.flatnonzero(names != "")
    heard, truth = cells.heard[known], names[known]
    profiled = settled(cells.heard, layer, read_reference(bundle.path), temperature=temperature)

    def right(weights: np.ndarray, rows: np.ndarray) -> float:
        return float((of_model[(with_one(heard[rows]) @ weights).argmax(1)] == truth[rows]).mean())

    learnt = what_was_learnt(heard, layer, bundle)
    every, scores = np.arange(len(truth)), []
    for seed in range(draws):
        used = draw(truth, seed)
        allowed = truth[used][:, None] == of_model[None]
        told = {"used": used, "groups": used, "learnt": learnt, "seed": seed}
        head = fit_site_layer(heard, allowed, layer, **told)
        weights = np.where(allowed.any(0), head.weights, 0.0)
        weights[-1, ~allowed.any(0)] = -1e6
        scores.append(right(weights, np.setdiff1d(every, used)))
    rest = f"accuracy on the rest, {LABELLED} cells labelled, {draws} draws"
    found = [("accuracy, eight types, as it is", right(layer, every), ">= 0.7"),
             ("accuracy, eight types, with a profile", right(profiled, every), ">= 0.75"),
             (rest, float(np.mean(scores)), ">= 0.85"),
             ("cells of a class that the model lacks", float((names == "").mean()), "")]  # fmt: skip
    for name in COARSE:
        own = np.flatnonzero(truth == name)
        found.append((f"{name}: accuracy as it is", right(layer, own), ""))
    return [
        {"set": "marrow", "measure": m, "value": round(v, 4), "threshold": t, "n_cells": len(names)}
        for m, v, t in found
    ]


def coarse(name: str) -> str | None:
    """The class of COARSE that a class of the vocabulary belongs to."""
    return nearest_class(name, COARSE)


def draw(truth: np.ndarray, seed: int) -> np.ndarray:
    """LABELLED rows or a few more: of each type its share, one at least."""
    rng, out = np.random.default_rng(seed), []
    for name in np.unique(truth):
        own = np.flatnonzero(truth == name)
        out += rng.permutation(own)[: max(1, round(LABELLED * len(own) / len(truth)))].tolist()
    return np.sort(np.array(out))


def write(blood: Bundle, taxonomy: Taxonomy, layer: np.ndarray, config: dict, rows: list[dict]) -> None:
    """The bundle: blood's network under the marrow's layer, its card, and the reference of the cells it learnt from."""
    network, out = read_network(blood), BUNDLED / "marrow" / "classifier"
    set_last_layer(network, layer)
    kept = {k: v for k, v in blood.card.training.items() if k in ("data", "cells", "reference_sha256", "pretrained")}
    made = {"made_of": {"name": blood.card.name, "onnx_sha256": blood.card.onnx_sha256}, "config": config}
    changes = {
        "name": config["name"],
        "taxonomy": taxonomy,
        "temperature": config["temperature"],
        "thresholds": config["thresholds"],
        "training": kept | made | {"command": "python -m benchmarks.models.marrow_model --data DATA --write"},
        "results": tuple({k: r[k] for k in ("set", "measure", "value")} for r in rows),
        "confusion": None,
        "limits": tuple(config["limits"]),
        "description": config["description"],
    }
    write_adapted(blood, network, out, card_changes=changes)
    shutil.copy(blood.path / REFERENCE, out / REFERENCE)
    print(f"{out}: written; measured rows stand in {RESULTS / 'marrow_model.csv'}")


if __name__ == "__main__":
    benchmark(
        main, option("--data", type=Path, required=True), option("--write", action="store_true"),
        option("--draws", type=int, default=5),
    )  # fmt: skip
