"""Do the corrected ratio's 95 % limits hold for a *new patient*, whose error rates are not the validation's average?

    python -m benchmarks.ratios.ratio_patients run --parts DIR [--only NUMBER ...] [--repeats 600] [--patients 30 8]
    python -m benchmarks.ratios.ratio_patients write --parts DIR

Seven classifiers x scatter of their error rates between patients (standard deviation of the logit: 0, 0.3, 0.6, 1.0) x
true ratios of 0 to 100 % x 50 to 1,000 cells, with validation of 30 patients and of 8, 100 labelled cells each, half of
them of the numerator. In every repeat the validation patients are drawn anew, and for every ratio and number of cells a
new patient with error rates of their own; one validation serves all of them. Each classifier's rows go into DIR as they
are done (a block that is there is not run again); `write` makes benchmarks/results/ratio_patients.csv.

`narrowest` is the interval of somebody who knows the average rates and their scatter exactly: the best there could be.
The prior of the scatter (quantify/scatter.py) was chosen on the first four classifiers (`chosen_on`), with other draws.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from benchmarks.harness import Args, Rows, benchmark, option
from benchmarks.ratios.ratio_intervals import CLASSIFIERS as FORMER
from benchmarks.ratios.ratio_intervals import Classifier, two
from leukoscope.quantify import correct_ratio, scatter_of
from leukoscope.quantify.corrected import ratio_of, weigh
from leukoscope.quantify.scatter import NO_SPREAD, Scatter, Spread

SCATTERS = (0.0, 0.3, 0.6, 1.0)
RATIOS = (0.0, 0.02, 0.05, 0.10, 0.20, 0.40, 0.70, 1.0)
CELLS = (50, 100, 200, 500, 1000)
LABELLED = 100  # cells of each validation patient
LEVEL = 0.95
KNOWN = 10**7  # cells of somebody who knows a rate


def with_monocytes() -> Classifier:
    """Blasts, neutrophils and monocytes: 12 % of the monocytes are called blasts, 1 % of the neutrophils."""
    rates = np.array([[0.88, 0.04, 0.08], [0.01, 0.98, 0.01], [0.12, 0.03, 0.85]])
    return Classifier(rates, np.array([1, 1, 1]), (0,), (0, 1, 2), np.array([0.0, 0.85, 0.15]))


CLASSIFIERS = {
    "sens .95 spec .99": lambda: two(0.95, 0.99, 1, 1),
    "sens .90 spec .95": lambda: two(0.90, 0.95, 1, 1),
    "sens .80 spec .98": lambda: two(0.80, 0.98, 1, 1),
    "sens .70 spec .90": lambda: two(0.70, 0.90, 1, 1),
    "sens .85 spec .97": lambda: two(0.85, 0.97, 1, 1),
    "sens .90 spec .96, 10 % artefacts": FORMER["sens .90 spec .96, 10 % artefacts"],
    "blasts, neutrophils, monocytes": with_monocytes,
}
CHOSEN_ON = 4


def patient_rates(rng: np.random.Generator, rates: np.ndarray, sd: float, n: int) -> np.ndarray:
    """(n, C, C) of n patients: the logit of a class's right calls is scattered, its errors keep their proportions."""
    right = np.diag(rates)
    own = 1 / (1 + np.exp(-(np.log(right / (1 - right)) + sd * rng.standard_normal((n, len(right))))))
    errors = rates * (1 - np.eye(len(right)))
    errors = errors / errors.sum(1, keepdims=True)
    return errors * (1 - own)[:, :, None] + np.eye(len(right)) * own[:, :, None]


def validation(rng: np.random.Generator, classifier: Classifier, sd: float, n_patients: int) -> np.ndarray:
    """(P, C, C) labelled cells by patient: half of the numerator, half of the others as blood has them."""
    mix = np.where(np.isin(np.arange(len(classifier.others)), classifier.subset), 0.5, 0.5 * classifier.others)
    cells = np.round(LABELLED * mix / mix.sum()).astype(int)
    tables = patient_rates(rng, classifier.rates, sd, n_patients)
    return np.stack([[rng.multinomial(n, row) for n, row in zip(cells, table, strict=True)] for table in tables])


class Reader:
    """Limits for counts, from one validation. With two classes the draws don't depend on the patient's mix of cells and
    are made once; `check` compares with what is shipped."""

    def __init__(self, classifier: Classifier, confusion: np.ndarray, scatter: Scatter) -> None:
        self.sides = {"subset": classifier.subset, "counted": classifier.counted, "scatter": scatter}
        self.confusion = confusion
        self.once = weigh([50, 50], confusion, **self.sides).draws if len(confusion) == 2 else None

    def limits(self, counts: np.ndarray) -> tuple[float, float, float]:
        """(value, low, high)"""
        if self.once is None:
            ratio = ratio_of(weigh(counts, self.confusion, **self.sides), level=LEVEL)
            return ratio.value, ratio.low, ratio.high
        value, low, high, _ = self.once.limits([int(counts[0]), int(counts[1]), 0], level=LEVEL)
        return (value if self.once.reversed_share() <= (1 - LEVEL) / 2 else float("nan")), low, high

    def check(self, counts: np.ndarray) -> None:
        ratio = correct_ratio(counts, self.confusion, **self.sides)
        np.testing.assert_allclose(self.limits(counts), (ratio.value, ratio.low, ratio.high), atol=1e-9)


def narrowest(classifier: Classifier, sd: float) -> Reader:
    """Of somebody who knows the average patient's rates, and by how much patients differ."""
    cells = np.round(KNOWN * average_rates(classifier, sd)).astype(int)
    spread = (Spread((sd,)) if sd else NO_SPREAD,) * 3
    return Reader(classifier, cells, Scatter(spread, spread, KNOWN))


def average_rates(classifier: Classifier, sd: float) -> np.ndarray:
    return patient_rates(np.random.default_rng(0), classifier.rates, sd, 20_000).mean(0)


def block(name: str, sd: float, n_patients: int, repeats: int) -> list[dict]:
    """Every ratio and number of cells of one classifier, scatter and size of validation."""
    classifier = CLASSIFIERS[name]()
    rng = np.random.default_rng([list(CLASSIFIERS).index(name), int(10 * sd), n_patients, 1])
    best, settings = narrowest(classifier, sd), [(r, n) for r in RATIOS for n in CELLS]
    found, ideal = np.zeros((2, len(settings), repeats, 3))
    for k in range(repeats):
        tables = validation(rng, classifier, sd, n_patients)
        reader = Reader(classifier, tables.sum(0), scatter_of(tables, weigh_groups(classifier)))
        patients = patient_rates(rng, classifier.rates, sd, len(settings))
        for at, ((ratio, n_cells), rates) in enumerate(zip(settings, patients, strict=True)):
            counts = rng.multinomial(n_cells, classifier.mix(ratio) @ rates)
            found[at, k] = reader.limits(counts)
            if k < repeats // 4:
                ideal[at, k] = best.limits(counts)
            if k == 0 and at % 13 == 0:
                reader.check(counts)
    rows = []
    for at, (ratio, n_cells) in enumerate(settings):
        value, low, high = found[at].T
        _, lower, higher = ideal[at, : repeats // 4].T
        inside = lambda a, b, r=ratio: float(((a <= r) & (r <= b)).mean())  # noqa: E731
        row = {"set": name, "chosen_on": list(CLASSIFIERS).index(name) < CHOSEN_ON, "validation_patients": n_patients,
               "scatter": sd, "true_ratio": ratio, "cells": n_cells, "repeats": repeats,
               "coverage": inside(low, high), "too_high": float((low > ratio).mean()),
               "too_low": float((high < ratio).mean()), "width": float((high - low).mean()),
               "coverage_narrowest": inside(lower, higher), "width_narrowest": float((higher - lower).mean()),
               "no_value": float(np.isnan(value).mean())}  # fmt: skip
        rows.append({k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()})
    return rows


def weigh_groups(classifier: Classifier) -> np.ndarray:
    counts = np.ones(len(classifier.rates), int)
    table = np.eye(len(counts), dtype=int)
    return weigh(counts, table, subset=classifier.subset, counted=classifier.counted).groups


def run(parts: Path, only: list[int], patients: list[int], repeats: int) -> None:
    """Every block that is not in `parts` yet."""
    parts.mkdir(parents=True, exist_ok=True)
    for n_patients in patients:
        for number, name in enumerate(CLASSIFIERS):
            for sd in SCATTERS:
                path = parts / f"{n_patients}-{number}-{sd}.jsonl"
                if (only and number not in only) or path.exists():
                    continue
                rows = block(name, sd, n_patients, repeats)
                path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
                coverage = np.array([row["coverage"] for row in rows])
                print(
                    name, n_patients, sd, f"{coverage.mean():.3f} {coverage.min():.3f} {coverage.max():.3f}", flush=True
                )


def summed(parts: Path) -> list[dict]:
    """The table, and how many settings lie where they should."""
    rows = [json.loads(line) for path in sorted(parts.glob("*.jsonl")) for line in path.read_text("utf-8").splitlines()]
    for row in rows:
        low, high = (0.93, 0.98) if row["validation_patients"] >= 30 else (0.90, 1.0)
        row |= {"threshold": f"{low:g} to {high:g}", "met": low <= row["coverage"] <= high}
    for n_patients in sorted({row["validation_patients"] for row in rows}):
        for sd in SCATTERS:
            some = [r for r in rows if (r["validation_patients"], r["scatter"]) == (n_patients, sd)]
            coverage = np.array([r["coverage"] for r in some])
            wide = np.mean([r["width"] for r in some]) / np.mean([r["width_narrowest"] for r in some])
            print(
                f"{n_patients} patients, scatter {sd}: {sum(r['met'] for r in some)} of {len(some)} within "
                f"{some[0]['threshold']}; {(coverage < 0.9).sum()} below 0.90; {coverage.min():.3f} to "
                f"{coverage.max():.3f}, mean {coverage.mean():.3f}; width {wide:.2f} of the narrowest"
            )
    return rows


def main(args: Args) -> Rows:
    if args.what == "write":
        yield from summed(args.parts)
    else:
        run(args.parts, args.only, args.patients, args.repeats)


if __name__ == "__main__":
    benchmark(
        main, option("what", choices=("run", "write")),
        option("--parts", type=Path, default=Path("ratio-patients-parts")),
        option("--only", nargs="*", type=int, default=[], help="classifiers by their place in CLASSIFIERS"),
        option("--patients", nargs="*", type=int, default=[30, 8], help="sizes of the validation"),
        option("--repeats", type=int, default=600),
    )  # fmt: skip
