"""How well two measurements of the same patients agree: the automated ratio against the expert's count.

Correlation says whether they rise together, not whether they agree; Bland-Altman, Passing-Bablok and Lin's concordance
say that. Every function takes reference (N,) and test (N,), row by row of the same patients, and leaves nothing out:
drop patients without a ratio before, and say how many.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from leukoscope.errors import DataError
from leukoscope.evaluate.roc import midranks
from leukoscope.intervals import Limits, student_t

Values = Sequence[float] | np.ndarray


@dataclass(frozen=True, slots=True)
class BlandAltman:
    """Differences test - reference: their mean, their standard deviation, and the limits of agreement.

    n      patients; bias, lower, upper  each with its own limits
    """

    n: int
    bias: Limits
    deviation: float
    lower: Limits
    upper: Limits


@dataclass(frozen=True, slots=True)
class PassingBablok:
    """The line test = intercept + slope * reference; n_slopes: pairs that gave one."""

    n: int
    slope: Limits
    intercept: Limits
    n_slopes: int


def pearson(reference: Values, test: Values, *, level: float = 0.95) -> Limits:
    """Pearson's correlation with Fisher's limits; NaN where either does not vary, no limits below 4 patients."""
    x, y = _checked(reference, test, level)
    r = _correlation(x, y)
    return _fisher(r, 1 / math.sqrt(len(x) - 3) if len(x) > 3 else math.nan, level)


def spearman(reference: Values, test: Values, *, level: float = 0.95) -> Limits:
    """Spearman's rank correlation, ties at mid-ranks, with limits after Bonett and Wright (Psychometrika 2000)."""
    x, y = _checked(reference, test, level)
    r = _correlation(midranks(x), midranks(y))
    return _fisher(r, math.sqrt((1 + r * r / 2) / (len(x) - 3)) if len(x) > 3 else math.nan, level)


def bland_altman(reference: Values, test: Values, *, level: float = 0.95) -> BlandAltman:
    """Bias and 95 % limits of agreement (bias +- 1.96 s) with their limits (Bland and Altman, SMMR 1999, section 2).

    A limit of agreement has standard error s * sqrt(1/n + 1.96^2 / (2 (n - 1))); quantiles are Student's. `level` is
    of these limits, not of the agreement. DataError below two patients.
    """
    x, y = _checked(reference, test, level)
    n, difference = len(x), y - x
    if n < 2:
        raise DataError(f"limits of agreement need two patients or more, got {n}")
    bias, deviation = float(difference.mean()), float(difference.std(ddof=1))
    z, t = NormalDist().inv_cdf(0.975), student_t((1 + level) / 2, n - 1)
    of_bias = t * deviation / math.sqrt(n)
    of_edge = t * deviation * math.sqrt(1 / n + z * z / (2 * (n - 1)))
    around = {side: bias + side * z * deviation for side in (-1, 1)}
    lower, upper = (Limits(edge, edge - of_edge, edge + of_edge) for edge in (around[-1], around[1]))
    return BlandAltman(n, Limits(bias, bias - of_bias, bias + of_bias), deviation, lower, upper)


def passing_bablok(reference: Values, test: Values, *, level: float = 0.95) -> PassingBablok:
    """Passing and Bablok's line with its limits (J. Clin. Chem. Clin. Biochem. 1983).

    Slopes of all pairs of patients; a pair of two equal points gives none, a vertical one plus or minus infinity by
    the sign of its rise, and slopes of exactly -1 are left out. The slope is the median shifted by the number K of
    slopes below -1; its limits are the slopes C/2 ranks to either side, C = z sqrt(n (n - 1)(2 n + 5) / 18). The
    intercept is the median of test - slope * reference, its limits those at the slope's. NaN limits where too few
    pairs are left. It takes n^2 memory, which is nothing below some thousand patients.
    """
    x, y = _checked(reference, test, level)
    n = len(x)
    first, second = np.triu_indices(n, 1)
    run, rise = x[second] - x[first], y[second] - y[first]
    upright = np.copysign(np.inf, rise)
    slopes = np.divide(rise, run, out=upright, where=run != 0)
    slopes = np.sort(slopes[((run != 0) | (rise != 0)) & (slopes != -1)])
    n_slopes, shift = len(slopes), int((slopes < -1).sum())
    nothing = Limits(math.nan, math.nan, math.nan)
    if n_slopes == 0 or shift + n_slopes // 2 >= n_slopes:
        return PassingBablok(n, nothing, nothing, n_slopes)
    middle = slopes[(n_slopes - 1) // 2 + shift], slopes[n_slopes // 2 + shift]
    slope = float(middle[0] if middle[0] == middle[1] else (middle[0] + middle[1]) / 2)
    reach = NormalDist().inv_cdf((1 + level) / 2) * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    lower = round((n_slopes - reach) / 2)  # rank from 1
    upper = n_slopes - lower + 1
    low, high = (
        float(slopes[rank + shift - 1]) if 1 <= rank + shift <= n_slopes and lower >= 1 else math.nan
        for rank in (lower, upper)
    )
    intercepts = [_median_intercept(x, y, b) for b in (slope, high, low)]
    return PassingBablok(n, Limits(slope, low, high), Limits(*intercepts), n_slopes)


@dataclass(frozen=True, slots=True)
class Deming:
    """The line test = intercept + slope * reference; variance_ratio: test's error variance over the reference's."""

    n: int
    slope: Limits
    intercept: Limits
    variance_ratio: float


def deming(reference: Values, test: Values, *, variance_ratio: float = 1.0, level: float = 0.95) -> Deming:
    """Deming's line where both measurements err, with jackknife limits (Linnet, Clin. Chem. 1993).

    variance_ratio  error variance of test over that of reference; 1: both err alike
    Limits are the estimate and Student's t with n - 2 degrees of freedom times the jackknife's error. NaN limits below
    4 patients or where a patient left out leaves no line; NaN altogether where the two do not vary together.
    """
    x, y = _checked(reference, test, level)
    if not variance_ratio > 0:
        raise DataError(f"a ratio of variances must be above 0, got {variance_ratio}")
    slope, intercept = _deming_line(x, y, variance_ratio)
    n = len(x)
    left = np.array([_deming_line(np.delete(x, i), np.delete(y, i), variance_ratio) for i in range(n)])
    lines = []
    for value, of_left in ((slope, left[:, 0]), (intercept, left[:, 1])):
        if n < 4 or not np.isfinite([value, *of_left]).all():
            lines.append(Limits(value, math.nan, math.nan))
            continue
        pseudo = n * value - (n - 1) * of_left
        half = student_t((1 + level) / 2, n - 2) * float(pseudo.std(ddof=1)) / math.sqrt(n)
        lines.append(Limits(value, value - half, value + half))
    of_slope, of_intercept = lines
    return Deming(n, of_slope, of_intercept, variance_ratio)


def _deming_line(x: np.ndarray, y: np.ndarray, ratio: float) -> tuple[float, float]:
    """Slope and intercept (Fuller, Measurement Error Models 1987, section 1.3)."""
    if len(x) < 2:
        return math.nan, math.nan
    dx, dy = x - x.mean(), y - y.mean()
    sxx, syy, sxy = float(dx @ dx), float(dy @ dy), float(dx @ dy)
    if sxy == 0:
        return math.nan, math.nan
    gap = syy - ratio * sxx
    slope = (gap + math.sqrt(gap * gap + 4 * ratio * sxy * sxy)) / (2 * sxy)
    return slope, float(y.mean() - slope * x.mean())


def lin_ccc(reference: Values, test: Values, *, level: float = 0.95) -> Limits:
    """Lin's concordance correlation coefficient with limits by the z-transform.

    Lin, Biometrics 1989, with the variance as corrected in Biometrics 2000 (note 324). Moments divide by n, as in the
    paper. NaN where either does not vary; no limits below 3 patients, and none where all patients agree exactly.
    """
    x, y = _checked(reference, test, level)
    r = _correlation(x, y)
    if not math.isfinite(r):
        return Limits(math.nan, math.nan, math.nan)
    sx, sy, apart = float(x.std()), float(y.std()), float(x.mean() - y.mean())
    ccc = 2 * r * sx * sy / (sx**2 + sy**2 + apart**2)
    if len(x) < 3 or abs(ccc) > 1 - 1e-12 or r == 0:
        return Limits(ccc, math.nan, math.nan)
    u, rest = apart**2 / (sx * sy), 1 - ccc**2
    variance = (1 - r**2) * ccc**2 / (rest * r**2)
    variance += 2 * ccc**3 * (1 - ccc) * u / (r * rest**2) - ccc**4 * u**2 / (2 * r**2 * rest**2)
    return _fisher(ccc, math.sqrt(max(0.0, variance) / (len(x) - 2)), level)


def _checked(reference: Values, test: Values, level: float) -> tuple[np.ndarray, np.ndarray]:
    x, y = (np.asarray(v, np.float64).reshape(-1) for v in (reference, test))
    if len(x) != len(y) or not len(x):
        raise DataError(f"agreement needs two measurements of each patient, got {len(x)} and {len(y)}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise DataError("agreement needs finite numbers: leave patients without a ratio out, and say how many")
    if not 0 < level < 1:
        raise DataError(f"a level must lie between 0 and 1, got {level}")
    return x, y


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(), y - y.mean()
    spread = math.sqrt(float(x @ x) * float(y @ y))
    return max(-1.0, min(1.0, float(x @ y) / spread)) if spread > 0 else math.nan


def _fisher(value: float, error: float, level: float) -> Limits:
    """Limits of a coefficient from the standard error of its z-transform; itself where it is 1 or -1."""
    if not math.isfinite(value) or not math.isfinite(error):
        return Limits(value, math.nan, math.nan)
    if abs(value) == 1:
        return Limits(value, value, value)
    half = NormalDist().inv_cdf((1 + level) / 2) * error
    return Limits(value, math.tanh(math.atanh(value) - half), math.tanh(math.atanh(value) + half))


def _median_intercept(x: np.ndarray, y: np.ndarray, slope: float) -> float:
    return float(np.median(y - slope * x)) if math.isfinite(slope) else math.nan
