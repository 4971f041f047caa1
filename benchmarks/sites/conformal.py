"""Conformal sets at 90 %, calls handed to a human, and calibration: at home, at a new site, after 30 labelled cells.

    python -m benchmarks.sites.conformal --cache FOLDER [--data FOLDER] [--draws 20] [--site SITE] [--dry-run]

home        thresholds by class from pbc's val split, sets for its test split: ten subtypes, the bundled classifier
new site    the same thresholds idea carried to jtsc, cellavision, bccd: five types, thresholds from pbc's val split
after 30    30 of the site's cells drawn at random are labelled: they fit the head (the ensemble on both networks'
            features), and, each called by a head that did not see it (five folds), they set the threshold; pictures of
            the site's other cells are looked at. Thirty cells are too few by class: classes with nine or more have
            their own threshold, the others the common one. Also with one common threshold.
Coverage is of the sets, cells of classes that the model lacks left out. Limits: 95 %, photographs (home, new site) or
draws and photographs (after 30) resampled. Writes conformal.csv, and conformal_curves.csv: reliability and accuracy
against the share handed over.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.harness import DATA, Args, Rows, benchmark, option
from benchmarks.sites.adaptation_sets import SITES, embedded, type_columns
from benchmarks.sites.held_out import held_out_probs
from leukoscope.evaluate.abstention import accuracy_when_handing, area_under_risk, selective_curve
from leukoscope.evaluate.calibration import expected_calibration_error, reliability
from leukoscope.evaluate.conformal import conformal_sets, coverage
from leukoscope.evaluate.patients import clustered_limits
from leukoscope.models.bundle import find_model
from leukoscope.train.adapt.features import reduce_together
from leukoscope.train.adapt.heads import SiteProblem, ensemble_probs

LEVEL, LABELLED = 0.9, 30
HOME, AFTER = (0.88, 0.92), 0.87
HANDED = (0.0, 0.05, 0.1, 0.2, 0.3)


def main(args: Args) -> Rows:
    with tempfile.TemporaryDirectory() as work:
        names = ("pbc", args.site) if args.site else (*SITES, "pbc", "pbc-val", "pbc-test")
        sets = {n: embedded(n, args.data, Path(args.cache), work) for n in names}
    if args.site:
        after_kept(sets, args.site, args)
        return
    rows, curves = at_home(sets)
    for site in SITES:
        for part in (at_new_site(sets, site), after_kept(sets, site, args)):
            rows += part[0]
            curves += part[1]
    yield from rows
    yield from (("conformal_curves", row) for row in curves)
    return {"level": LEVEL}


def at_home(sets: dict) -> tuple[list[dict], list[dict]]:
    val, test = sets["pbc-val"], sets["pbc-test"]
    rows, curves = [], []
    for by_class in (True, False):
        held = conformal_sets(val["probs"], val["labels"], test["probs"], level=LEVEL, by_class=by_class)
        kind = "by class" if by_class else "one threshold"
        rows += set_rows("pbc, test", kind, held, test, asked=HOME if by_class else None)
    rows += calling_rows("pbc, test", test["probs"], test)
    curves += curve_rows("pbc, test", "as it is", test["probs"], test["labels"])
    return rows, curves


def at_new_site(sets: dict, site: str) -> tuple[list[dict], list[dict]]:
    """Thresholds of home, in five types: what a laboratory gets that labels nothing."""
    columns = type_columns(find_model("blood")["classify"].card.taxonomy)
    known = columns[:, sets["pbc-val"]["labels"]].any(0)
    val = five_types(sets["pbc-val"]["probs"][known], columns)
    truth = columns[:, sets["pbc-val"]["labels"][known]].argmax(0)
    probs = five_types(sets[site]["probs"], columns)
    held = conformal_sets(val, truth, probs, level=LEVEL)
    rows = set_rows(site, "thresholds of home", held, sets[site]) + calling_rows(site, probs, sets[site])
    return rows, curve_rows(site, "zero-shot", probs, sets[site]["labels"])


def after_kept(sets: dict, site: str, args: Args) -> tuple[list[dict], list[dict]]:
    """`after_labels` of one site, kept in the cache once finished."""
    path = Path(args.cache) / f"after-{site}-{args.draws}.json"
    if not path.is_file():
        path.with_suffix(".part").write_text(json.dumps(after_labels(sets, site, args.draws)))
        path.with_suffix(".part").rename(path)
    return tuple(json.loads(path.read_text()))


def after_labels(sets: dict, site: str, n_draws: int) -> tuple[list[dict], list[dict]]:
    """30 labelled cells fit the head and, out of fold, calibrate it."""
    keys = [f"{t}_{i}" for t in ("classifier", "imagenet") for i in range(6)]
    source, cells = reduce_together([sets["pbc"][k] for k in keys], [sets[site][k] for k in keys])
    labels, files = sets[site]["labels"], sets[site]["files"]
    held: dict[str, list[np.ndarray]] = {"by class where nine": [], "one threshold": []}
    found, sizes, right, singles = [], [], [], []
    for draw in range(n_draws):
        rows = np.random.default_rng((31, draw)).permutation(len(labels))[:LABELLED]
        rest = np.setdiff1d(np.arange(len(labels)), rows)
        problem = SiteProblem(source, sets["pbc"]["labels"], cells[rows], labels[rows], cells[rest], 5)
        probs = ensemble_probs(problem)
        calibration = held_out_probs(problem, ensemble_probs, groups=files[rows], seed=draw)
        for kind, by_class in zip(held, (True, False), strict=True):
            chosen = conformal_sets(calibration, labels[rows], probs, level=LEVEL, by_class=by_class)
            held[kind].append(chosen[np.arange(len(rest)), labels[rest]])
            if not by_class:
                sizes.append(chosen.sum(1).mean())
                singles.append((chosen.sum(1) == 1).mean())
        found.append((probs, labels[rest]))
        right.append(probs.argmax(1) == labels[rest])
    rows = []
    for kind, per_draw in held.items():
        asked = AFTER if kind == "one threshold" else None
        rows.append(draw_row(site, f"coverage after {LABELLED} labels, {kind}", per_draw, asked=asked))
    rows.append(draw_row(site, f"accuracy after {LABELLED} labels", right))
    common = {"set": site, "n_draws": n_draws}
    rows.append(common | {"measure": "classes in a set after 30 labels", "value": round(float(np.mean(sizes)), 3)})
    rows.append(common | {"measure": "sets of one class after 30 labels", "value": round(float(np.mean(singles)), 3)})
    together, truth = np.concatenate([p for p, _ in found]), np.concatenate([t for _, t in found])
    for share in HANDED:
        kept = np.mean([accuracy_when_handing(p, t, share) for p, t in found])
        rows.append(common | {"measure": f"accuracy after 30 labels, {share:.0%} handed over", "value": round(kept, 4)})
    ece = expected_calibration_error(together.max(1), together.argmax(1) == truth)
    rows.append(common | {"measure": "ECE after 30 labels", "value": round(ece, 4)})
    return rows, curve_rows(site, "after 30 labels", together, truth)


def five_types(probs: np.ndarray, columns: np.ndarray) -> np.ndarray:
    summed = probs @ columns.T + 1e-9
    return summed / summed.sum(1, keepdims=True)


def set_rows(name: str, kind: str, held: np.ndarray, cells: dict, *, asked: tuple | None = None) -> list[dict]:
    """Coverage with limits, by class, and what the sets are like."""
    labels = cells["labels"]
    result = coverage(held, labels)
    inside = held[np.arange(len(labels)), labels]
    low, high = clustered_limits(lambda rows: float(inside[rows].mean()), cells["files"])
    value = result["coverage"]
    met = "" if asked is None else "yes" if asked[0] <= value <= asked[1] else "no"
    least = min(result["by_class"].values())
    row = {
        "set": name, "measure": f"coverage, {kind}", "value": round(value, 4), "low": round(low, 4),
        "high": round(high, 4), "threshold": f"{asked[0]} to {asked[1]}" if asked else "", "met": met,
        "n_cells": len(labels), "least_of_a_class": round(least, 4),
    }  # fmt: skip
    described = [
        {"set": name, "measure": f"{what}, {kind}", "value": round(result[key], 4), "n_cells": len(labels)}
        for what, key in (("classes in a set", "size"), ("sets of one class", "single"), ("empty sets", "empty"))
    ]
    return [row, *described]


def calling_rows(name: str, probs: np.ndarray, cells: dict) -> list[dict]:
    """Accuracy on what is kept, and calibration."""
    labels = cells["labels"]
    kept = {s: accuracy_when_handing(probs, labels, s) for s in HANDED}
    rows = [{"set": name, "measure": f"accuracy, {s:.0%} handed over", "value": round(a, 4)} for s, a in kept.items()]
    ece = expected_calibration_error(probs.max(1), probs.argmax(1) == labels)
    rows.append({"set": name, "measure": "area under risk", "value": round(area_under_risk(probs, labels), 4)})
    return [*rows, {"set": name, "measure": "ECE", "value": round(ece, 4)}]


def curve_rows(name: str, kind: str, probs: np.ndarray, labels: np.ndarray) -> list[dict]:
    """The reliability diagram's bins, and about fifty points of the curve."""
    bins = reliability(probs.max(1), probs.argmax(1) == labels)
    rows = [{"set": name, "kind": kind, "curve": "reliability"} | {k: round(v, 4) for k, v in b.items()} for b in bins]
    curve = selective_curve(probs, labels)
    points = [{k: round(v, 4) for k, v in point.items()} for point in curve[:: max(1, len(curve) // 50)]]
    return rows + [{"set": name, "kind": kind, "curve": "selective"} | point for point in points]


def draw_row(site: str, measure: str, per_draw: list[np.ndarray], *, asked: float | None = None) -> dict:
    """Mean over draws; limits of one draw, its cells resampled."""
    means = np.array([r.mean() for r in per_draw])
    rng, values = np.random.default_rng(0), []
    for _ in range(2000):
        r = per_draw[rng.integers(len(per_draw))]
        values.append(r[rng.integers(len(r), size=len(r))].mean())
    low, high = np.quantile(values, [0.025, 0.975])
    met = "" if asked is None else "yes" if means.mean() >= asked else "no"
    return {
        "set": site, "measure": measure, "value": round(float(means.mean()), 4), "low": round(float(low), 4),
        "high": round(float(high), 4), "threshold": f">= {asked}" if asked else "", "met": met,
        "n_cells": len(per_draw[0]), "n_draws": len(per_draw),
    }  # fmt: skip


if __name__ == "__main__":
    benchmark(
        main, DATA, option("--cache", required=True, help="folder for features, made once"),
        option("--draws", type=int, default=20),
        option("--site", choices=SITES, help="only this site's part, kept in the cache"),
    )  # fmt: skip
