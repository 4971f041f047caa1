"""Telling two kinds of patient apart by one number: area under the ROC curve, and what a threshold does.

The area is that of `classes.roc_auc` (scikit-learn's); limits and paired comparison after DeLong, DeLong and
Clarke-Pearson (Biometrics 1988), computed with mid-ranks (Sun and Xu, IEEE Signal Processing Letters 2014). A
threshold is chosen on development patients and then frozen: nothing here chooses and measures on the same patients.

DeLong's variance is estimated from each kind's own patients, so a single patient of a kind says nothing of its size and
a handful too little. Below FEW patients of a kind the limits of an area are the wider of his and Newcombe's, those of a
difference are Student's, and its p is a permutation's (Bandos, Rockette and Gur, Statistics in Medicine 2005).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from statistics import NormalDist

import numpy as np

from leukoscope.errors import DataError
from leukoscope.intervals import Limits, clopper_pearson, student_t

FEW = 10  # patients of a kind, below which DeLong's normal limits are not relied upon
MOST_SWAPS = 1 << 12  # permutations; as many as 12 patients have, all of which are then gone through


@dataclass(frozen=True, slots=True)
class Comparison:
    """Paired difference of two areas, a - b, with its limits (NaN where nothing tells them) and its two-sided p."""

    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Patients with `score >= threshold` are called positive; exact (Clopper-Pearson) limits.

    true_positive ... false_negative  patients
    """

    threshold: float
    true_positive: int
    false_positive: int
    true_negative: int
    false_negative: int
    sensitivity: Limits
    specificity: Limits
    accuracy: Limits


def auroc_delong(
    positive: Sequence[bool] | np.ndarray, scores: Sequence[float] | np.ndarray, *, level: float = 0.95
) -> Limits:
    """Area under the ROC curve with DeLong's limits, cut to [0, 1]. positive (N,) bool, scores (N,).

    Where a kind's placements are all the same (a perfect or a reversed separation, a single patient) its variance is
    not known and DeLong's limits would claim certainty; there they are Newcombe's (Statistics in Medicine 2006, method
    5), which depend on the area and the numbers of patients, and below FEW patients of a kind the wider of the two.
    NaN where all are of one kind. DataError for scores that are not finite.
    """
    positive, scores = _checked(positive, scores)
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if not n_positive or not n_negative:
        return Limits(math.nan, math.nan, math.nan)
    of_positive, of_negative = _placements(positive, scores)
    area = float(of_positive.mean())
    of_each = [_mean_variance(of_positive), _mean_variance(of_negative)]
    newcombe = _newcombe(area, n_positive, n_negative, level)
    if not all(v > 0 for v in of_each):
        return Limits(area, *newcombe)
    half = _z(level) * math.sqrt(sum(of_each))
    low, high = max(0.0, area - half), min(1.0, area + half)
    if min(n_positive, n_negative) < FEW:
        low, high = min(low, newcombe[0]), max(high, newcombe[1])
    return Limits(area, low, high)


def compare_delong(
    positive: Sequence[bool] | np.ndarray,
    scores_a: Sequence[float] | np.ndarray,
    scores_b: Sequence[float] | np.ndarray,
    *,
    level: float = 0.95,
) -> Comparison:
    """Difference of the areas of two scores of the same patients, with DeLong's limits and p.

    p is 1 where both order the patients in the same way; NaN where all patients are of one kind. Below FEW patients of
    a kind, or where the difference does not vary, see the module's head: the limits may then be NaN.
    """
    positive, scores_a = _checked(positive, scores_a)
    _, scores_b = _checked(positive, scores_b)
    if positive.all() or not positive.any():
        return Comparison(math.nan, math.nan, math.nan, math.nan)
    differences = [a - b for a, b in zip(_placements(positive, scores_a), _placements(positive, scores_b), strict=True)]
    difference = float(differences[0].mean())
    if all((d == 0).all() for d in differences):
        return Comparison(0.0, 0.0, 0.0, 1.0)
    of_each = [_mean_variance(d) for d in differences]  # NaN of a single patient
    deviation, counts = math.sqrt(sum(of_each)), [len(d) for d in differences]
    few = min(counts) < FEW or not deviation > 0
    p = _swap_p(positive, scores_a, scores_b) if few else 2 * NormalDist().cdf(-abs(difference) / deviation)
    if not deviation > 0:
        return Comparison(difference, math.nan, math.nan, p)
    half = deviation * (_student(of_each, counts, level) if few else _z(level))
    return Comparison(difference, max(-1.0, difference - half), min(1.0, difference + half), p)


def at_threshold(
    positive: Sequence[bool] | np.ndarray,
    scores: Sequence[float] | np.ndarray,
    threshold: float,
    *,
    level: float = 0.95,
) -> OperatingPoint:
    """What a threshold that was fixed elsewhere does to these patients; limits are NaN for a kind that is absent."""
    positive, scores = _checked(positive, scores)
    called = scores >= threshold
    hit, miss = int((positive & called).sum()), int((positive & ~called).sum())
    alarm, rest = int((~positive & called).sum()), int((~positive & ~called).sum())
    return OperatingPoint(
        float(threshold), hit, alarm, rest, miss,
        _share(hit, hit + miss, level), _share(rest, rest + alarm, level), _share(hit + rest, len(positive), level),
    )  # fmt: skip


def choose_threshold(
    positive: Sequence[bool] | np.ndarray, scores: Sequence[float] | np.ndarray, *, sensitivity: float | None = None
) -> float:
    """A threshold from development patients: the highest that keeps `sensitivity`, else Youden's (J largest).

    It lies half way between two neighbouring scores, so that rounding decides nothing; of equally good gaps the
    widest is taken. DataError unless both kinds of patient are there.
    """
    positive, scores = _checked(positive, scores)
    if positive.all() or not positive.any():
        raise DataError("a threshold needs patients of both kinds: these are all of one")
    distinct = np.unique(scores)
    gaps = np.concatenate([[0.0], np.diff(distinct), [0.0]])  # below the lowest, between neighbours, above the highest
    cuts = np.concatenate([[distinct[0]], (distinct[1:] + distinct[:-1]) / 2, [np.nextafter(distinct[-1], np.inf)]])
    caught = np.array([(scores[positive] >= cut).mean() for cut in cuts])
    if sensitivity is not None:
        if not 0 < sensitivity <= 1:
            raise DataError(f"a sensitivity to keep must lie between 0 and 1, got {sensitivity}")
        return float(cuts[np.flatnonzero(caught >= sensitivity)[-1]])
    youden = caught - np.array([(scores[~positive] >= cut).mean() for cut in cuts])
    best = np.flatnonzero(np.isclose(youden, youden.max(), rtol=0, atol=1e-12))
    return float(cuts[best[gaps[best].argmax()]])


def _checked(positive, scores) -> tuple[np.ndarray, np.ndarray]:
    positive, scores = np.asarray(positive, bool).reshape(-1), np.asarray(scores, np.float64).reshape(-1)
    if len(positive) != len(scores) or not len(scores):
        raise DataError(f"each score needs its truth, got {len(scores)} scores and {len(positive)} truths")
    if not np.isfinite(scores).all():
        raise DataError("scores must be finite numbers: leave patients without a ratio out, and say so")
    return positive, scores


def _placements(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each positive the share of negatives below it, for each negative that of positives above; ties half."""
    ours, theirs = scores[positive], scores[~positive]
    whole = midranks(scores)
    of_positive = (whole[positive] - midranks(ours)) / len(theirs)
    return of_positive, 1 - (whole[~positive] - midranks(theirs)) / len(ours)


def midranks(values: np.ndarray) -> np.ndarray:
    """(N,) ranks from 1; equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def _mean_variance(values: np.ndarray) -> float:
    """Variance of a mean; NaN of a single value, which says nothing of others."""
    return float(values.var(ddof=1) / len(values)) if len(values) > 1 else math.nan


def _student(variances: list[float], counts: list[int], level: float) -> float:
    """Student's quantile with Welch and Satterthwaite's degrees of freedom of a sum of two means' variances."""
    freedom = sum(variances) ** 2 / sum(v * v / (n - 1) for v, n in zip(variances, counts, strict=True))
    return student_t((1 + level) / 2, freedom)


def _swap_p(positive: np.ndarray, scores_a: np.ndarray, scores_b: np.ndarray) -> float:
    """Share of swaps of the two scores' ranks within patients whose areas differ at least as much.

    All swaps of up to 12 patients; of more, MOST_SWAPS at random with the one observed among them.
    """
    ranks = np.stack([midranks(scores_a), midranks(scores_b)])
    n = ranks.shape[1]
    if 1 << n <= MOST_SWAPS:
        swaps = np.array(list(product((0, 1), repeat=n)), np.int64)
    else:
        swaps = np.random.default_rng(0).integers(2, size=(MOST_SWAPS, n))
        swaps[0] = 0
    columns = np.arange(n)
    apart = np.array([abs(_area(positive, ranks[s, columns]) - _area(positive, ranks[1 - s, columns])) for s in swaps])
    return float((apart >= apart[(swaps == 0).all(1).argmax()] - 1e-12).mean())


def _area(positive: np.ndarray, scores: np.ndarray) -> float:
    above = scores[positive][:, None] - scores[~positive]
    return float(((above > 0) + (above == 0) / 2).mean())


def _newcombe(area: float, n_positive: int, n_negative: int, level: float) -> tuple[float, float]:
    """Limits t with |area - t| = z * sqrt(variance(t)), by bisection."""
    z, half = _z(level), (n_positive + n_negative) / 2 - 1

    def beyond(t: float) -> bool:
        spread = 1 + half * ((1 - t) / (2 - t) + t / (1 + t))
        return abs(area - t) > z * math.sqrt(t * (1 - t) * spread / (n_positive * n_negative))

    def edge(end: float) -> float:
        if not beyond(end):
            return end
        inside, outside = area, end
        for _ in range(60):
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if beyond(middle) else (middle, outside)
        return inside

    return edge(0.0) if area > 0 else 0.0, edge(1.0) if area < 1 else 1.0


def _share(numerator: int, denominator: int, level: float) -> Limits:
    value = numerator / denominator if denominator else math.nan
    return Limits(value, *clopper_pearson(numerator, denominator, level=level))


def _z(level: float) -> float:
    if not 0 < level < 1:
        raise DataError(f"a level must lie between 0 and 1, got {level}")
    return NormalDist().inv_cdf((1 + level) / 2)
