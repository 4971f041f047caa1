"""The tables of a laboratory's evaluation, from counts that `evaluate.counts.align` has put side by side."""

import math
from collections.abc import Sequence

import numpy as np

from leukoscope.evaluate.abnormal import KINDS, NormalLimit, draw_counts, two_by_two, usable
from leukoscope.evaluate.agreement import bland_altman, deming, lin_ccc, passing_bablok
from leukoscope.evaluate.counts import Aligned
from leukoscope.evaluate.imprecision import Imprecision
from leukoscope.evaluate.two_counts import agree_by_chance, assertable, missed_share
from leukoscope.experiments.intervals import as_estimate
from leukoscope.experiments.tables import Table, Value, study_table
from leukoscope.intervals import Limits, clopper_pearson
from leukoscope.report.words import class_words

USUAL = (100, 200, 400, 500)
BAND_DRAWS = 100


def classes_table(pairs: dict[str, Aligned], *, seed: int = 0) -> Table:
    """Each class of each comparison: how far apart, on which line, how often within what chance allows."""
    rows = []
    for name, pair in pairs.items():
        draws = draw_counts(pair, n_draws=BAND_DRAWS, seed=seed)
        for column in range(len(pair.classes)):
            if pair.reference[:, column].any() or pair.test[:, column].any():
                by_chance = [within_band(pair, a[:, column], b[:, column]).mean() for a, b in zip(*draws, strict=True)]
                rows.append((name, *_class_row(pair, column, float(np.mean(by_chance)))))
    return study_table("laboratory_tables.toml:classes", rows)


def _class_row(pair: Aligned, column: int, by_chance: float) -> tuple[Value, ...]:
    k, m = pair.reference[:, column], pair.test[:, column]
    x, y = k / pair.n_reference, m / pair.n_test
    n, held = len(x), int(within_band(pair, k, m).sum())
    plot, line = bland_altman(x, y), passing_bablok(x, y)
    of = [plot.bias, plot.lower, plot.upper, line.slope, line.intercept]
    if x.any() and y.any():
        bend = deming(x, y, variance_ratio=_variance_ratio(pair, column))
        of += [bend.slope, bend.intercept]
    else:
        of += [Limits(math.nan, math.nan, math.nan)] * 2
    of += [lin_ccc(x, y), Limits(held / n, *clopper_pearson(held, n))]
    shares = (float(x.mean()), float(y.mean()))
    words = class_words(pair.classes[column])
    return words, n, *shares, *(as_estimate(v, n) for v in of), by_chance, _over_binomial(pair, column)


def within_band(pair: Aligned, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(P,) bool: each patient's two counts agree as two counts of one sample do."""
    # A class beside the denominator (red precursors of blood) may outnumber it: its share is of both together.
    totals = [np.maximum(n, k) if (k <= n).all() else n + k for n, k in (
        (pair.n_reference, first), (pair.n_test, second))]  # fmt: skip
    of_all = zip(first.tolist(), totals[0].tolist(), second.tolist(), totals[1].tolist(), strict=True)
    return np.array([agree_by_chance(*counts) for counts in of_all])


def _variance_ratio(pair: Aligned, column: int) -> float:
    """Counting's error variance of the test over the reference's."""
    share = _together(pair, column)
    spread = share * (1 - share)
    least = 1e-12
    return float((spread / pair.n_test).sum() + least) / float((spread / pair.n_reference).sum() + least)


def _together(pair: Aligned, column: int) -> np.ndarray:
    n = pair.n_reference + pair.n_test
    return np.minimum((pair.reference[:, column] + pair.test[:, column]) / n, 1.0)


def _over_binomial(pair: Aligned, column: int) -> float:
    """Root mean square of the patients' differences over what the numbers of cells make of it."""
    share = _together(pair, column)
    n = pair.n_reference + pair.n_test
    chance = (share * (1 - share) * n / np.maximum(n - 1, 1) * (1 / pair.n_reference + 1 / pair.n_test)).sum()
    apart = pair.test[:, column] / pair.n_test - pair.reference[:, column] / pair.n_reference
    return float(np.sqrt((apart**2).sum() / chance)) if chance > 0 else math.nan


def abnormal_table(pairs: dict[str, Aligned], limits: Sequence[NormalLimit], *, seed: int = 0) -> Table:
    """Abnormal or normal by distribution and by morphology: agreement, and the ceiling that chance sets."""
    rows = []
    for name, pair in pairs.items():
        used, _ = usable(limits, pair)
        for kind in KINDS:
            counted = two_by_two(pair, used, kind, seed=seed)
            if counted is None:
                continue
            n = len(pair.patients)
            counts = (counted.both, counted.reference_only, counted.test_only, counted.neither)
            of = [
                (counted.both + counted.reference_only, "positive"),
                (counted.neither + counted.test_only, "negative"),
                (n, "overall"),
            ]
            values = [
                v for m, k in of for v in (as_estimate(getattr(counted, k), m), as_estimate(counted.chance[k], m))
            ]
            rows.append((name, kind, *counts, *values))
    return study_table("laboratory_tables.toml:abnormal", rows)


def imprecision_table(measured: Sequence[Imprecision]) -> Table:
    """Repeated counts by condition and class."""
    rows = [
        (x.condition, class_words(x.class_name), x.n_patients, x.n_repeats, x.share, x.deviation,
         as_estimate(x.ratio, x.n_patients), x.scatter, round(x.mean_cells),
         "–" if math.isnan(x.effective_cells) else f"{x.effective_cells:,.0f}")
        for x in measured
    ]  # fmt: skip
    return study_table("laboratory_tables.toml:imprecision", rows)


def assertable_table(pairs: dict[str, Aligned], measured: Sequence[Imprecision]) -> Table:
    """Smallest share that can be asserted, and largest that can be excluded, by cells counted."""
    pair = next(iter(pairs.values()))
    sizes = {f"{n} cells": n for n in USUAL}
    sizes |= {
        "the reference's median": int(np.median(pair.n_reference)),
        "the test's median": int(np.median(pair.n_test)),
    }
    for x in measured:
        if x.class_name in ("blast", "myeloblast", "lymphoblast") and x.effective_cells < x.mean_cells:
            sizes[f"{class_words(x.class_name)}, {x.condition}: effective cells"] = max(1, int(x.effective_cells))
    rows = [
        (words, n, a.line, a.lowest_above, a.highest_below, missed_share(n))
        for words, n in sizes.items() for a in assertable(n)
    ]  # fmt: skip
    return study_table("laboratory_tables.toml:assertable", rows)


def patients_table(pairs: dict[str, Aligned]) -> Table:
    """Every patient and class: both counts, and whether they agree as two counts of one sample do."""
    rows = []
    for name, pair in pairs.items():
        held = np.stack([within_band(pair, k, m) for k, m in zip(pair.reference.T, pair.test.T, strict=True)], 1)
        for p, patient in enumerate(pair.patients):
            for c, class_name in enumerate(pair.classes):
                cells = [(pair.reference, pair.n_reference), (pair.test, pair.n_test)]
                values = [v for t, n in cells for v in (int(t[p, c]), int(n[p]), float(t[p, c] / n[p]))]
                rows.append((name, patient, class_name, *values, "yes" if held[p, c] else "no"))
    return study_table("laboratory_tables.toml:patients", rows)


def limits_table(pairs: dict[str, Aligned], limits: Sequence[NormalLimit]) -> Table:
    """Which limits were applied, and their sources."""
    pair = next(iter(pairs.values()))
    used, left = usable(limits, pair)
    rows = [(x.kind, class_words(x.class_name), x.words(), x.source) for x in used]
    rows += [(*text.split(": ", 1)[0].split(" of "), "not applied", text.split(": ", 1)[1]) for text in left]
    return study_table("laboratory_tables.toml:limits", rows)
