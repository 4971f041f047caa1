"""Intervals that respect who the cells belong to: cells of one patient are alike, so patients are resampled."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from leukoscope.errors import DataError


def clustered_bootstrap(
    statistic: Callable[[np.ndarray], float],
    clusters: Sequence[str] | np.ndarray,
    *,
    seed: int = 0,
    n_resamples: int = 1000,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile limits (low, high) of a statistic when whole clusters are drawn with replacement.

    statistic  takes row numbers (M,) int64, with repeats, and returns a number; NaN draws are left out
    clusters   (N,) the cluster of each row: patient ids, or image names where no patients are known
    NaN, NaN with fewer than two clusters: one patient says nothing about others. The order of rows does not
    matter as long as each cluster's rows stay in order; the same seed gives the same limits.
    """
    clusters = np.asarray(clusters).reshape(-1)
    if not 0 < level < 1 or n_resamples < 1:
        raise DataError(f"a bootstrap needs 0 < level < 1 and n_resamples >= 1, got {level} and {n_resamples}")
    _, place = np.unique(clusters, return_inverse=True)
    order = np.argsort(place, kind="stable")
    rows = np.split(order, np.cumsum(np.bincount(place))[:-1]) if len(place) else []
    if len(rows) < 2:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    values = np.empty(n_resamples)
    for r in range(n_resamples):
        drawn = rng.integers(len(rows), size=len(rows))
        values[r] = statistic(np.concatenate([rows[d] for d in drawn]))
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
