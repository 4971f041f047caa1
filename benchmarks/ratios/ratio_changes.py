"""Two smears of one patient: is a change claimed only where there is one?

    python -m benchmarks.ratios.ratio_changes [--repeats 400]

Classifiers and the drawing of validation samples are those of ratio_intervals.py. Smears of one state of the patient
differ beyond chance: two cells of one smear are correlated by `correlation`, 0 or 0.01. `claimed`: p below 0.05 as
`trend` gives it, with its default correlation (0.01) for nobody told it how much smears differ; `claimed_by_chance`:
the same with smears taken to differ by chance alone, as formerly; `rises`: Cochran and Armitage's p below 0.05 in
four smears without change. Writes results/ratio_changes.csv.
"""

from __future__ import annotations

from unittest.mock import patch

import numpy as np

from benchmarks.harness import Args, Rows, benchmark, option
from benchmarks.ratios.ratio_intervals import CENTRE_CELLS, CENTRE_CLASSIFIERS, CLASSIFIERS, draw_validation
from leukoscope.quantify import Overdispersion, Smear, no_scatter, trend

CHANGES = ((0.05, 0.05), (0.20, 0.20), (0.20, 0.10), (0.40, 0.30))
CORRELATIONS = (0.0, 0.01)
CHANCE = Overdispersion(correlation=0.0)


def smears_of(rng: np.random.Generator, classifier, ratios, correlation: float) -> list[Smear]:
    """A smear of CENTRE_CELLS cells at each ratio; its own ratio is beta-distributed about it."""
    found = []
    for number, ratio in enumerate(ratios):
        if correlation:
            size = 1 / correlation - 1
            ratio = rng.beta(ratio * size, (1 - ratio) * size)
        counts = rng.multinomial(CENTRE_CELLS, classifier.mix(ratio) @ classifier.rates)
        found.append(Smear(str(number), counts))
    return found


def main(args: Args) -> Rows:
    """How often a change is claimed where there is none, and where there is."""
    for number in CENTRE_CLASSIFIERS:
        name, classifier = list(CLASSIFIERS)[number], list(CLASSIFIERS.values())[number]()
        for correlation in CORRELATIONS:
            for before, after in CHANGES:
                rng = np.random.default_rng([number, int(100 * before), int(100 * after), int(1000 * correlation)])
                yield one_row(rng, classifier, before, after, correlation, args.repeats) | {"set": name}


def one_row(rng, classifier, before: float, after: float, correlation: float, repeats: int) -> dict:
    claimed, chance, inside, rises = np.zeros((4, repeats), bool)
    for k in range(repeats):
        confusion = draw_validation(rng, classifier.rates, classifier.validated)
        sides = {"subset": classifier.subset, "counted": classifier.counted, "scatter": no_scatter()}
        two = smears_of(rng, classifier, (before, after), correlation)
        course = trend(two, confusion, **sides)
        claimed[k], inside[k] = course.whole.p < 0.05, course.whole.low <= after - before <= course.whole.high
        with patch("leukoscope.quantify.trend.overdispersion", lambda *_: CHANCE):
            chance[k] = trend(two, confusion, **sides).whole.p < 0.05
        if before == after:
            four = smears_of(rng, classifier, (before,) * 4, correlation)
            rises[k] = trend(four, confusion, **sides).rising_p < 0.05
    row = {"before": before, "after": after, "cells": CENTRE_CELLS, "correlation": correlation, "repeats": repeats,
           "claimed": claimed.mean().item(), "claimed_by_chance": chance.mean().item(),
           "coverage": inside.mean().item()}  # fmt: skip
    return row | {"rises": rises.mean().item() if before == after else ""}


if __name__ == "__main__":
    benchmark(main, option("--repeats", type=int, default=400))
