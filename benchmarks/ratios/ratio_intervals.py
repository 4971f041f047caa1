"""Do the corrected ratio's 95 % intervals hold the true ratio 95 times in 100, and is the ratio itself nearer?

    python -m benchmarks.ratios.ratio_intervals coverage --parts DIR [--only NUMBER ...] [--repeats 2000]
    python -m benchmarks.ratios.ratio_intervals centres --parts DIR [--only NUMBER ...] [--repeats 2000]
    python -m benchmarks.ratios.ratio_intervals bayesian --parts DIR [--only NUMBER ...] [--repeats 400]
    python -m benchmarks.ratios.ratio_intervals quapy
    python -m benchmarks.ratios.ratio_intervals write --parts DIR

Here all patients are alike (ratio_patients.py has those that differ): it checks sampling and validation error alone.
Frequentist: a classifier's true error rates are fixed, and in every repeat both the validation sample and the patient's
cells are drawn anew. `coverage` crosses true ratios of 1 to 60 % with 100 to 2,000 cells for several classifiers;
`bayesian` does some of these cells with the other method; `centres` gives every repeat a centre whose rates differ from
those of the validation, with and without labelled cells of that centre. Each classifier's rows go into DIR as they are
done (a row that is there is not run again); `write` makes benchmarks/results/ratio_intervals.csv and ratio_centres.csv.
`quapy` compares the value with QuaPy's where the error rates are known exactly (ratio_quapy.csv).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.harness import Args, Rows, benchmark, option
from leukoscope.intervals import excludes
from leukoscope.models.bundle import find_model
from leukoscope.quantify import correct_ratio, no_scatter
from leukoscope.quantify.draws import RateDraws
from leukoscope.quantify.groups import GroupRates, Tally

RATIOS = (0.01, 0.02, 0.05, 0.10, 0.20, 0.40, 0.60)
CELLS = (100, 200, 500, 1000, 2000)
BAYES = ((0.01, 200), (0.05, 500), (0.20, 100), (0.20, 500), (0.60, 1000))  # too slow for every cell of the table


@dataclass(frozen=True)
class Classifier:
    """True rates (C, C), truth x called; validation cells of each class (C,); what is in numerator and denominator.

    others  (C,) the patient's mix of what is not in the numerator, artefacts beside counted cells
    """

    rates: np.ndarray
    validated: np.ndarray
    subset: tuple[int, ...]
    counted: tuple[int, ...]
    others: np.ndarray

    def mix(self, ratio: float) -> np.ndarray:
        """(C,) the patient's mix of classes at a true ratio of counted cells."""
        inside = np.zeros(len(self.rates))
        inside[list(self.subset)] = self.validated[list(self.subset)]
        rest = [c for c in self.counted if c not in self.subset]
        scale = self.others[rest].sum()
        mix = (
            ratio * scale * inside / inside.sum()
            + np.where(np.isin(np.arange(len(inside)), rest), 1 - ratio, 1) * self.others
        )
        return mix / mix.sum()


def two(sensitivity: float, specificity: float, n_blasts: int, n_others: int) -> Classifier:
    """Blasts and other cells, nothing else."""
    rates = np.array([[sensitivity, 1 - sensitivity], [1 - specificity, specificity]])
    return Classifier(rates, np.array([n_blasts, n_others]), (0,), (0, 1), np.array([0.0, 1.0]))


def with_artefacts() -> Classifier:
    """Blasts, other cells, and artefacts: 10 % of what is located; some are called blasts, some blasts artefacts."""
    rates = np.array([[0.86, 0.10, 0.04], [0.03, 0.96, 0.01], [0.06, 0.04, 0.90]])
    return Classifier(rates, np.array([150, 600, 150]), (0,), (0, 1), np.array([0.0, 0.9, 0.1]))


def from_card(subset: tuple[str, ...]) -> Classifier:
    """The bundled classifier's card: its confusion matrix, smoothed, as true rates, its cells as validation.

    The patient's other cells are mixed as in blood (mostly neutrophils), which is not how validation was mixed.
    Classes without validation cells are left out.
    """
    card = find_model("blood")["classify"].card
    counts = np.array(card.confusion["counts"], float)
    names = [n for n, row in zip(card.confusion["names"], counts, strict=True) if row.sum()]
    keep = [card.confusion["names"].index(n) for n in names]
    counts = counts[np.ix_(keep, keep)]
    rates = (counts + 0.02) / (counts + 0.02).sum(1, keepdims=True)
    blood = {"segmented_neutrophil": 55, "band_neutrophil": 4, "lymphocyte": 28, "monocyte": 7, "eosinophil": 3,
             "basophil": 1, "metamyelocyte": 1, "erythroblast": 1}  # fmt: skip
    others = np.array([0.0 if n in subset else blood.get(n, 0) / 100 for n in names])
    every = tuple(range(len(names)))
    return Classifier(
        rates, counts.sum(1).astype(int), tuple(names.index(n) for n in subset), every, others / others.sum()
    )


CLASSIFIERS = {
    "sens .95 spec .99, 100 + 1000 cells": lambda: two(0.95, 0.99, 100, 1000),
    "sens .90 spec .95, 200 + 800 cells": lambda: two(0.90, 0.95, 200, 800),
    "sens .80 spec .98, 60 + 600 cells": lambda: two(0.80, 0.98, 60, 600),
    "sens .70 spec .90, 200 + 1000 cells": lambda: two(0.70, 0.90, 200, 1000),
    "sens .85 spec .97, 500 + 5000 cells": lambda: two(0.85, 0.97, 500, 5000),
    "sens .90 spec .96, 10 % artefacts": with_artefacts,
    "card, immature granulocytes": lambda: from_card(("promyelocyte", "myelocyte", "metamyelocyte")),
    "card, promyelocytes": lambda: from_card(("promyelocyte",)),
}


outside = functools.cache(excludes)


def corrected(classifier: Classifier, counts: np.ndarray, confusion: np.ndarray, *, local=None, method="adjusted"):
    """(value, low, high): what `correct_ratio` gives.

    With two classes every group is one class, so the patient's mix changes nothing and its estimation is skipped; the
    first repeat of each cell of the table checks that (`same_as_shipped`).
    """
    if len(counts) > 2 or method != "adjusted":
        columns = {"subset": classifier.subset, "counted": classifier.counted, "scatter": no_scatter()}
        ratio = correct_ratio(counts, confusion, **columns, local=local, method=method)
        return ratio.value, ratio.low, ratio.high
    draws = RateDraws.of(
        _two_rates(confusion), None if local is None else _two_rates(local), scatter=no_scatter(), losses=False
    )
    value, low, high, _ = draws.limits([int(counts[0]), int(counts[1]), 0], level=0.95)
    return (value if draws.reversed_share() <= 0.025 else float("nan")), low, high


def _two_rates(confusion: np.ndarray) -> list[GroupRates]:
    tallies = [Tally(float(row[0]), float(row.sum())) for row in confusion]
    rates = [GroupRates(Tally(0.0, t.cells), t, int(t.cells), int(t.hits), 0) for t in tallies]
    return [*rates, GroupRates.none()]


def same_as_shipped(classifier: Classifier, counts: np.ndarray, confusion: np.ndarray, found: tuple) -> None:
    sides = {"subset": classifier.subset, "counted": classifier.counted, "scatter": no_scatter()}
    ratio = correct_ratio(counts, confusion, **sides)
    np.testing.assert_allclose(found, (ratio.value, ratio.low, ratio.high), atol=1e-9)


def by_inversion(classifier: Classifier, counts: np.ndarray, confusion: np.ndarray) -> float:
    """Adjusted classify-and-count over the whole matrix (QuaPy's ACC by inversion), cut to [0, 1]; NaN if singular."""
    rates = (confusion / confusion.sum(1, keepdims=True)).T
    if len(rates) == 2:
        return float("nan")  # the same as ours, but for half a cell
    if np.linalg.matrix_rank(rates) < len(rates):
        return float("nan")
    mix = np.linalg.solve(rates, counts / counts.sum())
    return float(np.clip(mix[list(classifier.subset)].sum() / mix[list(classifier.counted)].sum(), 0, 1))


def draw_validation(rng: np.random.Generator, rates: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """(C, C) a validation sample of `cells` (C,) cells a class."""
    return np.stack([rng.multinomial(n, p) for n, p in zip(cells, rates, strict=True)])


def coverage_row(name: str, ratio: float, n_cells: int, repeats: int, method: str) -> dict:
    """One cell of the table."""
    classifier = CLASSIFIERS[name]()
    rng = np.random.default_rng([list(CLASSIFIERS).index(name), int(1000 * ratio), n_cells])
    called_mix = classifier.mix(ratio) @ classifier.rates
    inside, raw, inverted = np.zeros(repeats, bool), *np.zeros((2, repeats))
    found = np.zeros((repeats, 3))
    subset, counted = list(classifier.subset), list(classifier.counted)
    for k in range(repeats):
        confusion = draw_validation(rng, classifier.rates, classifier.validated)
        counts = rng.multinomial(n_cells, called_mix)
        numerator, denominator = int(counts[subset].sum()), int(counts[counted].sum())
        raw[k], inside[k] = numerator / denominator, not outside(numerator, denominator, ratio)
        found[k] = corrected(classifier, counts, confusion, method=method)
        inverted[k] = by_inversion(classifier, counts, confusion)
        if k == 0 and method == "adjusted":
            same_as_shipped(classifier, counts, confusion, found[k])
    value, low, high = found.T
    row = {"set": name, "true_ratio": ratio, "cells": n_cells, "method": method, "repeats": repeats,
           "coverage": _inside(ratio, low, high), "coverage_binomial": float(inside.mean()),
           "too_high": float((low > ratio).mean()), "too_low": float((high < ratio).mean()),
           "error": _error(value, ratio), "error_raw": _error(raw, ratio),
           "error_inversion": _error(inverted, ratio),
           "bias": float(np.nanmean(value) - ratio), "bias_raw": float(raw.mean() - ratio),
           "width": float((high - low).mean()), "no_value": float(np.isnan(value).mean())}  # fmt: skip
    return {k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()}


CENTRE_CLASSIFIERS = (1, 2)
CENTRE_RATIOS = (0.02, 0.20, 0.60)
CENTRE_CELLS = 500
LABELLED = (50, 200)
SPREADS = (0.0, 0.3, 0.6, 1.0)  # standard deviation between centres of the logit of each rate


def centre_rows(name: str, spread: float, ratio: float, repeats: int) -> list[dict]:
    """Coverage and error where each repeat is another centre, by what is known of that centre."""
    classifier = CLASSIFIERS[name]()
    rng = np.random.default_rng([list(CLASSIFIERS).index(name), int(10 * spread), int(1000 * ratio)])
    found: dict[str, list] = {}
    raw = np.zeros(repeats)
    for k in range(repeats):
        right = np.diag(classifier.rates)
        right = 1 / (1 + np.exp(-np.log(right / (1 - right)) - spread * rng.standard_normal(2)))
        rates = np.array([[right[0], 1 - right[0]], [1 - right[1], right[1]]])
        confusion = draw_validation(rng, classifier.rates, classifier.validated)
        counts = rng.multinomial(CENTRE_CELLS, classifier.mix(ratio) @ rates)
        raw[k] = counts[0] / counts.sum()
        found.setdefault("validation alone", []).append(corrected(classifier, counts, confusion))
        for m in LABELLED:  # a fifth of the labelled cells are blasts: chosen among several patients of the centre
            local = draw_validation(rng, rates, np.array([m // 5, m - m // 5]))
            weighed = corrected(classifier, counts, confusion, local=local)
            found.setdefault(f"weighed with {m} of the centre", []).append(weighed)
            found.setdefault(f"added to {m} of the centre", []).append(corrected(classifier, counts, confusion + local))
            found.setdefault(f"{m} of the centre alone", []).append(corrected(classifier, counts, local))
    rows = []
    for what, values in found.items():
        value, low, high = np.array(values).T
        row = {"set": name, "spread": spread, "true_ratio": ratio, "cells": CENTRE_CELLS, "labelled": what,
               "repeats": repeats, "coverage": _inside(ratio, low, high), "error": _error(value, ratio),
               "error_raw": _error(raw, ratio), "width": float((high - low).mean()),
               "no_value": float(np.isnan(value).mean())}  # fmt: skip
        rows.append({k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()})
    return rows


def quapy_rows(n_patients: int = 200) -> list[dict]:
    """Ours against QuaPy's ACC by inversion, where both know the error rates exactly: a million validation cells."""
    from quapy.method.aggregative import ACC  # the extra `study`; it takes seconds to import

    rng, rows = np.random.default_rng(0), []
    for name, make in CLASSIFIERS.items():
        classifier, apart = make(), []
        for ratio in rng.uniform(0, 0.9, n_patients):
            counts = np.round(1e6 * (classifier.mix(ratio) @ classifier.rates)).astype(int)
            confusion = np.round(1e6 * classifier.rates).astype(int)
            mix = ACC.solve_adjustment(classifier.rates.T, counts / counts.sum(), "inversion", "exact-raise")
            theirs = mix[list(classifier.subset)].sum() / mix[list(classifier.counted)].sum()
            ours = correct_ratio(counts, confusion, subset=classifier.subset, counted=classifier.counted).value
            apart.append(abs(ours - theirs))
        rows.append({"set": name, "measure": "largest difference from QuaPy's ACC", "value": float(f"{max(apart):.2g}"),
                     "threshold": "<= 0.001", "met": "", "patients": n_patients})  # fmt: skip
        print(rows[-1])
    return rows


def _inside(ratio: float, low: np.ndarray, high: np.ndarray) -> float:
    return float(((low <= ratio) & (ratio <= high)).mean())


def _error(values: np.ndarray, ratio: float) -> float:
    """Mean absolute error of the values that there are."""
    return float(np.nanmean(np.abs(values - ratio))) if np.isfinite(values).any() else float("nan")


def run(kind: str, parts: Path, only: list[int], repeats: int) -> None:
    """Every row of a kind that is not in `parts` yet."""
    parts.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(CLASSIFIERS):
        if (only and number not in only) or (kind == "centres" and number not in CENTRE_CLASSIFIERS):
            continue
        path = parts / f"{kind}-{number}.jsonl"
        done = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
        have = {(r.get("spread"), r["true_ratio"], r["cells"]) for r in done}
        grid = {
            "coverage": [(None, r, n) for r in RATIOS for n in CELLS],
            "bayesian": [(None, r, n) for r, n in BAYES],
            "centres": [(s, r, CENTRE_CELLS) for s in SPREADS for r in CENTRE_RATIOS],
        }[kind]
        for spread, ratio, n_cells in grid:
            if (spread, ratio, n_cells) in have:
                continue
            if kind == "centres":
                rows = centre_rows(name, spread, ratio, repeats)
            else:
                method = "bayesian" if kind == "bayesian" else "adjusted"
                rows = [coverage_row(name, ratio, n_cells, repeats, method)]
            with open(path, "a", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
            print(name, spread, ratio, n_cells, rows[0]["coverage"], rows[0]["error"], rows[0]["error_raw"], flush=True)


def summed(parts: Path) -> Iterator[tuple[str, dict]]:
    """The tables; of the first, how many cells lie between 93 and 97 %."""
    for kinds, result in ((("coverage", "bayesian"), "ratio_intervals"), (("centres",), "ratio_centres")):
        paths = [path for kind in kinds for path in sorted(parts.glob(f"{kind}-*.jsonl"))]
        rows = [json.loads(line) for path in paths for line in path.read_text("utf-8").splitlines()]
        rows = [{k: "" if v != v else v for k, v in row.items()} for row in rows]  # NaN: not measured
        if not rows:
            continue
        if "coverage" in kinds:
            for row in rows:
                row |= {"threshold": "0.93 to 0.97", "met": 0.93 <= row["coverage"] <= 0.97}
            table = [r for r in rows if r["method"] == "adjusted"]
            plain = sum(0.93 <= r["coverage_binomial"] <= 0.97 for r in table)
            print(f"{sum(r['met'] for r in table)} of {len(table)} cells within 93 to 97 %; plain binomial {plain}")
            better = sum(r["error"] < r["error_raw"] for r in table)
            print(f"mean absolute error: smaller than raw counting's in {better} of {len(table)}")
        yield from ((result, row) for row in rows)


def main(args: Args) -> Rows:
    if args.what == "write":
        yield from summed(args.parts)
    elif args.what == "quapy":
        yield from (("ratio_quapy", row) for row in quapy_rows())
    else:
        run(args.what, args.parts, args.only, args.repeats)


if __name__ == "__main__":
    benchmark(
        main, option("what", choices=("coverage", "centres", "bayesian", "quapy", "write")),
        option("--parts", type=Path, default=Path("ratio-parts")),
        option("--only", nargs="*", type=int, default=[], help="classifiers by their place in CLASSIFIERS"),
        option("--repeats", type=int, default=2000),
    )  # fmt: skip
