"""Intervals for a share of counted cells: exact (Clopper-Pearson) and Wilson. Standard library only.

They cover sampling error alone: cells are taken as independent draws, and the classifier as never wrong.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

from leukoscope.errors import InputError


@dataclass(frozen=True, slots=True)
class Limits:
    """An estimate with its limits; NaN where it can't be had."""

    value: float
    low: float
    high: float


def clopper_pearson(numerator: int, denominator: int, *, level: float = 0.95) -> tuple[float, float]:
    """Exact two-sided binomial limits (low, high) in [0, 1]; NaN, NaN where nothing was counted.

    These are the limits of Rümke's table: 20 of 100 gives 0.127 to 0.292. They solve
    P(X >= k | low) = P(X <= k | high) = (1 - level) / 2 (Clopper and Pearson, Biometrika 1934).
    """
    _check(numerator, denominator, level)
    if denominator == 0:
        return math.nan, math.nan
    tail = (1 - level) / 2
    k, n = numerator, denominator
    low = 0.0 if k == 0 else _beta_quantile(tail, k, n - k + 1)
    high = 1.0 if k == n else _beta_quantile(1 - tail, k + 1, n - k)
    return low, high


def wilson(numerator: int, denominator: int, *, level: float = 0.95) -> tuple[float, float]:
    """Wilson score limits (low, high) in [0, 1]; NaN, NaN where nothing was counted (Wilson, JASA 1927)."""
    _check(numerator, denominator, level)
    if denominator == 0:
        return math.nan, math.nan
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, n = numerator / denominator, denominator
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    low = 0.0 if numerator == 0 else centre - half
    high = 1.0 if numerator == n else centre + half
    return low, high


def excludes(numerator: float, denominator: float, share: float, *, level: float = 0.95) -> bool:
    """Whether `share` lies outside the Clopper-Pearson limits; the counts may be real numbers.

    The same answer as comparing with the limits, without finding them: one tail of the binomial at `share`.
    """
    if not 0 <= numerator <= denominator or not 0 < level < 1 or not 0 < share < 1:
        expected = "0 <= numerator <= denominator, 0 < level < 1 and 0 < share < 1"
        raise InputError(f"excludes needs {expected}, got {numerator} of {denominator}, {level} and {share}")
    if numerator < share * denominator:
        return 1 - _beta_share(share, numerator + 1, denominator - numerator) < (1 - level) / 2
    return numerator > 0 and _beta_share(share, numerator, denominator - numerator + 1) < (1 - level) / 2


def student_t(share: float, freedom: float) -> float:
    """Quantile of Student's t with `freedom` degrees of freedom, by its relation to the beta distribution."""
    if not 0 < share < 1 or not freedom > 0:
        raise InputError(f"a t quantile needs 0 < share < 1 and freedom > 0, got {share} and {freedom}")
    tail = min(share, 1 - share)
    if tail == 0.5:
        return 0.0
    x = _beta_quantile(2 * tail, freedom / 2, 0.5)  # freedom / (freedom + t^2)
    return math.copysign(math.sqrt(freedom * (1 - x) / x), share - 0.5)


def _check(numerator: int, denominator: int, level: float) -> None:
    if not 0 <= numerator <= denominator:
        raise InputError(f"an interval needs 0 <= numerator <= denominator, got {numerator} of {denominator}")
    if not 0 < level < 1:
        raise InputError(f"an interval's level must lie between 0 and 1, got {level}")


def _beta_quantile(share: float, a: float, b: float) -> float:
    """x with I_x(a, b) = share, by bisection to the last bit of a float."""
    low, high = 0.0, 1.0
    while True:
        middle = (low + high) / 2
        if middle in (low, high):
            return middle
        low, high = (middle, high) if _beta_share(middle, a, b) < share else (low, middle)


def _beta_share(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function I_x(a, b), 0 < x < 1, by its continued fraction (DLMF 8.17.22)."""
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast on this side only
        return 1 - _beta_share(1 - x, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    # Lentz's algorithm; `c` and `d` are ratios of successive numerators and denominators.
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, 10_000):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / (1 + term * d)
            c = 1 + term / c
            fraction *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return math.exp(log_front) * fraction / a
