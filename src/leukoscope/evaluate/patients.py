"""Limits that respect who the cells belong to: cells of one patient are alike, so patients are what varies."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from leukoscope.errors import DataError
from leukoscope.intervals import student_t

SHARE = (0.0, 1.0)  # the range of a share, of F1, of AP, of a calibration error
ANY = (-math.inf, math.inf)
METHOD = "whole clusters left out in turn (jackknife), Student's t with effective degrees of freedom"
MOST_GROUPS = 200  # more clusters are left out in groups: no more evaluations, and t is the normal's by then
LEAST_FREEDOM = 2.0  # one error in 300 photographs then has the exact limit, 0.018


def clustered_limits(
    statistic: Callable[[np.ndarray], float],
    clusters: Sequence[str] | np.ndarray,
    *,
    within: tuple[float, float] = SHARE,
    level: float = 0.95,
) -> tuple[float, float]:
    """Limits (low, high) of a statistic by leaving out one cluster after the other.

    statistic  takes row numbers (M,) int64, rising, and returns a number; what it averages over (the classes of a
               macro-F1) must be the same for every part of the rows; a part where it is NaN is left out
    clusters   (N,) the cluster of each row: patient ids, or image names where no patients are known
    within     the range of the statistic; limits are cut to it
    NaN, NaN with fewer than two clusters: one patient says nothing about others.

    A bootstrap of few patients is too narrow, and draws that lack a class change what is estimated. Here each patient
    is missing once. The degrees of freedom are the clusters that matter: with d the moves of the statistic,
    (sum d^2)^2 / sum d^4, at most the number of clusters less one (after Carter, Schnepel and Steigerwald, Review of
    Economics and Statistics 2017). Where nothing moves it and it stands at an end of its range (no error seen), the
    far limit is the exact one of as many draws as there are clusters.
    """
    clusters = np.asarray(clusters).reshape(-1)
    if not 0 < level < 1:
        raise DataError(f"limits need a level between 0 and 1, got {level}")
    n_groups, place = _groups(clusters)
    if n_groups < 2:
        return math.nan, math.nan
    rows = np.arange(len(clusters))
    value = float(statistic(rows))
    if math.isnan(value):
        return math.nan, math.nan
    if not within[0] - 1e-9 <= value <= within[1] + 1e-9:
        raise DataError(f"a statistic within {within[0]:g} to {within[1]:g} was promised, got {value:g}")
    left = np.array([statistic(rows[place != g]) for g in range(n_groups)], np.float64)
    return limits_of_moves(value, left[np.isfinite(left)], within=within, level=level)


def limits_of_moves(
    value: float, left: np.ndarray, *, within: tuple[float, float] = SHARE, level: float = 0.95
) -> tuple[float, float]:
    """`clustered_limits` from the whole's value and the values (G,) with one cluster left out each."""
    n = len(left)
    if n < 2:
        return math.nan, math.nan
    moves = left - left.mean()
    squares, fourths = float((moves**2).sum()), float((moves**4).sum())
    low, high = within
    if squares < 1e-24 or fourths == 0:
        reach = (1 - ((1 - level) / 2) ** (1 / n)) * (high - low)  # of 0 in n, by Clopper and Pearson
        if not math.isfinite(reach):
            return value, value
        return (value, low + reach) if value <= low else (high - reach, value) if value >= high else (value, value)
    freedom = min(n - 1.0, max(LEAST_FREEDOM, squares**2 / fourths))
    half = student_t((1 + level) / 2, freedom) * math.sqrt((n - 1) / n * squares)
    return max(low, value - half), min(high, value + half)


def _groups(clusters: np.ndarray) -> tuple[int, np.ndarray]:
    """How many groups are left out in turn, and the group (N,) of each row: a cluster, or several of very many."""
    names, place = np.unique(clusters, return_inverse=True)
    if len(names) <= MOST_GROUPS:
        return len(names), place
    shuffled = np.random.default_rng(0).permutation(len(names))
    return MOST_GROUPS, (shuffled % MOST_GROUPS)[place]
