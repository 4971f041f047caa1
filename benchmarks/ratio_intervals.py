"""Do the corrected ratio's 95 % intervals hold the true ratio 95 times in 100, and is the ratio itself nearer?

    python benchmarks/ratio_intervals.py coverage --parts DIR [--only NUMBER ...] [--repeats 2000]
    python benchmarks/ratio_intervals.py centres --parts DIR [--only NUMBER ...] [--repeats 2000]
    python benchmarks/ratio_intervals.py bayesian --parts DIR [--only NUMBER ...] [--repeats 400]
    python benchmarks/ratio_intervals.py write --parts DIR

Frequentist: a classifier's true error rates are fixed, and in every repeat both the validation sample and the patient's
cells are drawn anew. `coverage` crosses true ratios of 1 to 60 % with 100 to 2,000 cells for several classifiers;
`bayesian` does some of these cells with the other method; `centres` gives every repeat a centre whose rates differ from
those of the validation, with and without labelled cells of that centre. Each classifier's rows go into DIR as they are
done (a row that is there is not run again); `write` makes benchmarks/results/ratio_intervals.csv and ratio_centres.csv.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from provenance import write_results

from leukoscope.intervals import excludes
from leukoscope.models.bundle import find_model
from leukoscope.quantify import correct_ratio

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


TWO_CLASSES = {
    "sens .95 spec .99, 100 + 1000 cells": lambda: two(0.95, 0.99, 100, 1000),
    "sens .90 spec .95, 200 + 800 cells": lambda: two(0.90, 0.95, 200, 800),
    "sens .80 spec .98, 60 + 600 cells": lambda: two(0.80, 0.98, 60, 600),
    "sens .70 spec .90, 200 + 1000 cells": lambda: two(0.70, 0.90, 200, 1000),
    "sens .85 spec .97, 500 + 5000 cells": lambda: two(0.85, 0.97, 500, 5000),
}
CLASSIFIERS = TWO_CLASSES | {
    "sens .90 spec .96, 10 % artefacts": with_artefacts,
    "card, immature granulocytes": lambda: from_card(("promyelocyte", "myelocyte", "metamyelocyte")),
    "card, promyelocytes": lambda: from_card(("promyelocyte",)),
}


def coverage_row(name: str, ratio: float, n_cells: int, repeats: int, method: str) -> dict:
    """One cell of the table."""
    classifier = CLASSIFIERS[name]()
    rng = np.random.default_rng([list(CLASSIFIERS).index(name), int(1000 * ratio), n_cells])
    columns = {"subset": classifier.subset, "counted": classifier.counted}
    called_mix = classifier.mix(ratio) @ classifier.rates
    found = {k: [] for k in ("raw", "raw_inside", "value", "low", "high")}
    for _ in range(repeats):
        confusion = np.stack(
            [rng.multinomial(n, p) for n, p in zip(classifier.validated, classifier.rates, strict=True)]
        )
        counts = rng.multinomial(n_cells, called_mix)
        corrected = correct_ratio(counts, confusion, **columns, method=method)
        outside = excludes(corrected.numerator, corrected.denominator, ratio)
        values = {"raw": corrected.raw, "raw_inside": not outside}
        values |= {k: getattr(corrected, k) for k in ("value", "low", "high")}
        for key, value in values.items():
            found[key].append(value)
    f = {k: np.array(v) for k, v in found.items()}
    row = {"set": name, "true_ratio": ratio, "cells": n_cells, "method": method, "repeats": repeats,
           "coverage": _inside(ratio, f["low"], f["high"]), "coverage_binomial": float(f["raw_inside"].mean()),
           "too_high": float((f["low"] > ratio).mean()), "too_low": float((f["high"] < ratio).mean()),
           "error": _error(f["value"], ratio), "error_raw": _error(f["raw"], ratio),
           "bias": float(np.nanmean(f["value"]) - ratio), "bias_raw": float(f["raw"].mean() - ratio),
           "width": float((f["high"] - f["low"]).mean()), "no_value": float(np.isnan(f["value"]).mean())}  # fmt: skip
    return {k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()}


CENTRE_RATIOS = (0.01, 0.05, 0.20, 0.60)
CENTRE_CELLS = 500
LABELLED = (50, 100, 200, 500)
SPREADS = (0.0, 0.3, 0.6, 1.0)  # standard deviation between centres of the logit of each rate


def centre_rows(name: str, classifier: Classifier, spread: float, ratio: float, repeats: int) -> list[dict]:
    """Coverage and error where each repeat is another centre, by what is known of that centre."""
    rng = np.random.default_rng([list(CLASSIFIERS).index(name), int(10 * spread), int(1000 * ratio)])
    columns = {"subset": classifier.subset, "counted": classifier.counted}
    known = ["validation alone"] + [f"{kind} {m}" for m in LABELLED for kind in ("weighed with", "added to", "only")]
    found: dict[str, list] = {k: [] for k in known}
    raw = []
    for _ in range(repeats):
        rates = classifier.rates.copy()
        for row in range(2):
            logit = np.log(rates[row, row] / (1 - rates[row, row])) + spread * rng.standard_normal()
            rates[row, row] = 1 / (1 + np.exp(-logit))
            rates[row, 1 - row] = 1 - rates[row, row]
        confusion = np.stack(
            [rng.multinomial(n, p) for n, p in zip(classifier.validated, classifier.rates, strict=True)]
        )
        counts = rng.multinomial(CENTRE_CELLS, classifier.mix(ratio) @ rates)
        raw.append(counts[0] / counts.sum())
        found["validation alone"].append(_three(correct_ratio(counts, confusion, **columns)))
        for m in LABELLED:  # a fifth of the labelled cells are blasts: chosen among several patients of the centre
            local = np.stack([rng.multinomial(k, p) for k, p in zip((m // 5, m - m // 5), rates, strict=True)])
            found[f"weighed with {m}"].append(_three(correct_ratio(counts, confusion, **columns, local=local)))
            found[f"added to {m}"].append(_three(correct_ratio(counts, confusion + local, **columns)))
            found[f"only {m}"].append(_three(correct_ratio(counts, local, **columns)))
    rows = []
    for what, values in found.items():
        value, low, high = np.array(values).T
        row = {"set": name, "spread": spread, "true_ratio": ratio, "cells": CENTRE_CELLS, "labelled": what,
               "repeats": repeats, "coverage": _inside(ratio, low, high), "error": _error(value, ratio),
               "error_raw": _error(np.array(raw), ratio), "width": float((high - low).mean()),
               "no_value": float(np.isnan(value).mean())}  # fmt: skip
        rows.append({k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()})
    return rows


def _three(corrected) -> tuple[float, float, float]:
    return corrected.value, corrected.low, corrected.high


def _inside(ratio: float, low: np.ndarray, high: np.ndarray) -> float:
    return float(((low <= ratio) & (ratio <= high)).mean())


def _error(values: np.ndarray, ratio: float) -> float:
    """Mean absolute error of the values that there are."""
    return float(np.nanmean(np.abs(values - ratio))) if np.isfinite(values).any() else float("nan")


def run(kind: str, parts: Path, only: list[int], repeats: int) -> None:
    """Every row of a kind that is not in `parts` yet."""
    parts.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(CLASSIFIERS):
        if (only and number not in only) or (kind == "centres" and number >= len(TWO_CLASSES)):
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
                rows = centre_rows(name, CLASSIFIERS[name](), spread, ratio, repeats)
            else:
                method = "bayesian" if kind == "bayesian" else "adjusted"
                rows = [coverage_row(name, ratio, n_cells, repeats, method)]
            with open(path, "a", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
            print(name, spread, ratio, n_cells, rows[0]["coverage"], rows[0]["error"], rows[0]["error_raw"], flush=True)


def write(parts: Path) -> None:
    """The tables; of the first, how many cells lie between 93 and 97 %."""
    for kinds, result in ((("coverage", "bayesian"), "ratio_intervals"), (("centres",), "ratio_centres")):
        paths = [path for kind in kinds for path in sorted(parts.glob(f"{kind}-*.jsonl"))]
        rows = [json.loads(line) for path in paths for line in path.read_text("utf-8").splitlines()]
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
        print(write_results(result, rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("coverage", "centres", "bayesian", "write"))
    parser.add_argument("--parts", type=Path, required=True)
    parser.add_argument("--only", nargs="*", type=int, default=[], help="classifiers by their place in CLASSIFIERS")
    parser.add_argument("--repeats", type=int, default=2000)
    arguments = parser.parse_args()
    if arguments.what == "write":
        write(arguments.parts)
    else:
        run(arguments.what, arguments.parts, arguments.only, arguments.repeats)


if __name__ == "__main__":
    main()
