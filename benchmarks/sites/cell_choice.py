"""Cells chosen to be labelled against cells drawn at random: accuracy over the number of labelled cells.

    python -m benchmarks.sites.cell_choice --cache FOLDER [--data FOLDER] [--seeds 10] [--site SITE] [--dry-run]

Each seed sets 40 % of a site's cells aside for the test, the same for every way of choosing; the cells to label come
from the others, the pool. Sites: jtsc, cellavision, bccd (five types, source pbc, features of both networks); and the
test split of pbc as a site that nobody knows: ten subtypes, ImageNet's features only, no source, where the pool is
large enough for 400 (half as many seeds). The head is the same everywhere (logistic, labels spread over the site's
cells); on pbc-test, where there is no source, logistic alone. Question asked: does half as many chosen cells give what
a random tenth gives? The way of choosing is itself chosen on the other two sites. Limits: 95 %, seeds resampled.
Writes cell_choice.csv.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.harness import DATA, Args, Rows, benchmark, option
from benchmarks.sites.adaptation_sets import SITES, embedded, type_columns
from leukoscope.models.bundle import find_model
from leukoscope.models.probabilities import softmax
from leukoscope.train.adapt.choose import METHODS, choose_cells
from leukoscope.train.adapt.features import reduce_together
from leukoscope.train.adapt.heads import SiteProblem, logistic_probs, logistic_weights, spread_probs, with_one

CURVE = (5, 10, 15, 20, 30, 40, 80, 160, 300, 400)
TENTH = {"jtsc": 30, "cellavision": 11, "bccd": 34, "pbc-test": 80}
TEST_SHARE = 0.4


def main(args: Args) -> Rows:
    with tempfile.TemporaryDirectory() as work:
        names = {"pbc", args.site} if args.site else {*SITES, "pbc", "pbc-test"}
        sets = {n: embedded(n, args.data, Path(args.cache), work) for n in sorted(names)}
    if args.site:
        part(sets, args.site, args)
        return
    curves = {site: part(sets, site, args) for site in (*SITES, "pbc-test")}
    rows = [row for site in curves for row in curve_rows(site, curves[site])]
    rows += [row for site in curves for row in half_rows(site, curves)]
    yield from rows
    return {"seeds": args.seeds, "test_share": TEST_SHARE}


def part(sets: dict, site: str, args: Args) -> dict[tuple[str, int], np.ndarray]:
    """`measure` of one site, kept in the cache once finished."""
    path = Path(args.cache) / f"choice-{site}-{args.seeds}.npz"
    if not path.is_file():
        curve = measure(sets, site, args.seeds if site in SITES else args.seeds // 2)
        np.savez(path.with_suffix(".part.npz"), **{f"{method} {n}": values for (method, n), values in curve.items()})
        path.with_suffix(".part.npz").rename(path)
    with np.load(path) as kept:
        return {(key.split()[0], int(key.split()[1])): kept[key] for key in kept.files}


def measure(sets: dict, site: str, n_seeds: int) -> dict[tuple[str, int], np.ndarray]:
    """(method, n) → (n_seeds,) accuracies on the cells set aside."""
    labels = sets[site]["labels"]
    source, cells, calls = prepare(sets, site)
    numbers = sorted({*CURVE, TENTH[site], TENTH[site] // 2, -(-TENTH[site] // 2)})
    found: dict[tuple[str, int], list[float]] = {}
    for seed in range(n_seeds):
        order = np.random.default_rng((21, seed)).permutation(len(labels))
        test, pool = np.split(order, [round(TEST_SHARE * len(labels))])
        for method in METHODS:
            for n in (n for n in numbers if n <= len(pool)):
                picked = pool[choose_cells(cells[pool], calls[pool], n, method=method, seed=seed)]
                probs = head_probs(sets, source, cells, labels, picked)
                found.setdefault((method, n), []).append(float((probs[test].argmax(1) == labels[test]).mean()))
    return {key: np.array(values) for key, values in found.items()}


def prepare(sets: dict, site: str) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Source rows (None without one), the site's rows, and the probabilities before adaptation."""
    kinds = ("imagenet",) if site == "pbc-test" else ("classifier", "imagenet")
    keys = [f"{k}_{i}" for k in kinds for i in range(6)]
    own = [sets[site][k] for k in keys]
    source, cells = reduce_together([sets["pbc"][k] for k in keys] if site != "pbc-test" else own, own)
    if site == "pbc-test":  # nobody has a classifier for it: clusters of a start stand for what is called
        distance = ((cells[:, None] - cells[choose_cells(cells, None, 10, method="centres")]) ** 2).sum(2)
        return None, cells, softmax(-distance / distance.mean() * 8)
    columns = type_columns(find_model("blood")["classify"].card.taxonomy)
    calls = sets[site]["probs"] @ columns.T
    return source, cells, calls / calls.sum(1, keepdims=True)


def head_probs(sets: dict, source: np.ndarray | None, cells: np.ndarray, labels: np.ndarray, picked: np.ndarray):
    """(N, C) of all of the site's cells, the picked ones labelled."""
    if source is None:
        kinds, own = np.unique(labels[picked], return_inverse=True)
        weights = logistic_weights(cells[picked], np.eye(len(kinds))[own], penalty=0.003)
        out = np.zeros((len(labels), labels.max() + 1))
        out[:, kinds] = softmax(with_one(cells) @ weights)
        return out
    rest = np.setdiff1d(np.arange(len(labels)), picked)
    problem = SiteProblem(source, sets["pbc"]["labels"], cells[picked], labels[picked], cells[rest], 5)
    out = np.zeros((len(labels), 5))
    out[rest] = spread_probs(problem, logistic_probs(problem))
    return out


def curve_rows(site: str, curve: dict[tuple[str, int], np.ndarray]) -> list[dict]:
    """Accuracy of each way of choosing at each number, and how much it lies above random on the same seeds."""
    rows = []
    for (method, n), values in curve.items():
        gain = values - curve["random", n]
        rows.append(
            {"set": site, "measure": "accuracy", "method": method, "n_labelled": n, **limits(values)}
            | {"gain": round(float(gain.mean()), 4)}
            | {f"gain_{k}": v for k, v in limits(gain).items() if k != "value"}
        )
    return rows


def half_rows(site: str, curves: dict) -> list[dict]:
    """Half as many cells, chosen, less a random tenth, on the same seeds: not below zero is what is asked for."""
    n, rows = TENTH[site], []
    others = [s for s in SITES if s != site]
    choices = [m for m in METHODS if m != "random"]

    def gain(s: str, method: str) -> np.ndarray:
        return curves[s][method, -(-TENTH[s] // 2)] - curves[s]["random", TENTH[s]]

    best = max(choices, key=lambda m: np.mean([gain(s, m).mean() for s in others]))
    for method in ("random", *choices):
        rows.append(
            {"set": site, "measure": "half, chosen, less a random tenth", "method": method, "n_labelled": -(-n // 2)}
            | limits(gain(site, method))
        )
    value = limits(gain(site, best))
    met = "yes" if value["value"] >= 0 else "no" if value["high"] < 0 else "not told apart"
    asked = {"threshold": ">= 0", "met": met}
    rows.append(
        {"set": site, "measure": "half, chosen on the other sites, less a random tenth", "method": best}
        | {"n_labelled": -(-n // 2)}
        | value
        | asked
    )
    return rows


def limits(values: np.ndarray) -> dict:
    """Mean over seeds and its 95 % limits, seeds resampled."""
    rng = np.random.default_rng(0)
    means = values[rng.integers(len(values), size=(2000, len(values)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return {"value": round(float(values.mean()), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


if __name__ == "__main__":
    benchmark(
        main, DATA, option("--cache", required=True, help="folder for features, made once"),
        option("--seeds", type=int, default=10),
        option("--site", choices=(*SITES, "pbc-test"), help="only this site's part, kept in the cache"),
    )  # fmt: skip
