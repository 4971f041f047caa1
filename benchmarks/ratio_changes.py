"""Two smears of one patient: is a change claimed only where there is one?

    python benchmarks/ratio_changes.py [--repeats 2000]

Classifiers and the drawing of validation samples are those of ratio_intervals.py; writes results/ratio_changes.csv.
"""

from __future__ import annotations

import argparse

import numpy as np
from provenance import write_results
from ratio_intervals import CENTRE_CELLS, CENTRE_CLASSIFIERS, CLASSIFIERS, draw_validation

from leukoscope.quantify import Smear, trend


def change_rows(repeats: int) -> list[dict]:
    """Two smears of one patient: how often a change is claimed (p below 0.05) where there is none, and where there is.

    `apart`: how often the two corrected intervals don't overlap, which takes the shared errors for independent ones.
    """
    rows = []
    for number in CENTRE_CLASSIFIERS:
        name, classifier = list(CLASSIFIERS)[number], list(CLASSIFIERS.values())[number]()
        for before, after in ((0.05, 0.05), (0.20, 0.20), (0.20, 0.10), (0.40, 0.30)):
            rng = np.random.default_rng([number, int(100 * before), int(100 * after)])
            claimed, apart, inside = np.zeros((3, repeats), bool)
            for k in range(repeats):
                confusion = draw_validation(rng, classifier.rates, classifier.validated)
                smears = [Smear(str(r), rng.multinomial(CENTRE_CELLS, classifier.mix(q) @ classifier.rates))
                          for r, q in enumerate((before, after))]  # fmt: skip
                course = trend(smears, confusion, subset=classifier.subset, counted=classifier.counted)
                claimed[k] = course.whole.p < 0.05
                apart[k] = course.ratios[0].low > course.ratios[1].high or course.ratios[1].low > course.ratios[0].high
                inside[k] = course.whole.low <= after - before <= course.whole.high
            rows.append({"set": name, "before": before, "after": after, "cells": CENTRE_CELLS, "repeats": repeats,
                         "claimed": claimed.mean().item(), "apart": apart.mean().item(),
                         "coverage": inside.mean().item()})  # fmt: skip
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=2000)
    print(write_results("ratio_changes", change_rows(parser.parse_args().repeats)))


if __name__ == "__main__":
    main()
