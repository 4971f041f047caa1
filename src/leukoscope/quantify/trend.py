"""Serial smears of one patient: each ratio, and whether it changed.

The same classifier reads all smears, so its errors are shared: they shift every ratio alike and largely cancel in a
difference. A change is therefore judged with one draw of the error rates for both smears and independent draws of
their cells, and its interval is narrower than the two intervals laid side by side suggest.

Two smears of one day differ by more than chance, too: cells lie in clumps, and smears are spread and stained apart.
Each smear's cells are therefore taken for fewer (`overdispersion`): without that, smears whose cells are correlated by
0.01 show a "change" 36 times in 100 where there is none.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from statistics import NormalDist

import numpy as np

from leukoscope.errors import InputError
from leukoscope.quantify.corrected import CorrectedRatio, Evidence, ratio_of, weigh
from leukoscope.quantify.draws import ratios_between
from leukoscope.quantify.groups import NUMERATOR, OTHER, UNCOUNTED
from leukoscope.quantify.scatter import Scatter

# Of two cells of one smear, where no repeated smear tells: 200 cells of it are then worth 67.
DEFAULT_CORRELATION = 0.01
DEFAULT_WEIGHT = 5  # degrees of freedom that the default counts for beside repeated smears


@dataclass(frozen=True, slots=True, eq=False)
class Smear:
    """One smear's called cells (C,), and the day it was taken, where known.

    fields  (F, C) the same cells by photograph, where known: they show how clumped the cells lie
    """

    smear_id: str
    counts: np.ndarray
    day: date | None = None
    fields: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """Corrected ratio of smear `after` less that of `before`, limits and two-sided p; NaN where it can't be had."""

    before: str
    after: str
    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, slots=True)
class Overdispersion:
    """By how much more than chance the called shares of smears of one state of the patient differ.

    clumping     variance over the binomial one within a smear, from its photographs; 1 or more, 1 where not known
    correlation  of two cells of one smear, from smears of one day; DEFAULT_CORRELATION where not known
    n_fields, n_repeats   degrees of freedom that told each; 0: not known
    """

    clumping: float = 1.0
    correlation: float = DEFAULT_CORRELATION
    n_fields: int = 0
    n_repeats: int = 0

    def factor(self, n_cells: float) -> float:
        """Variance of a smear's called share over the binomial one."""
        return self.clumping + self.correlation * max(0.0, n_cells - 1)


@dataclass(frozen=True, slots=True)
class Trend:
    """Smears in order of time with their ratios; changes from each to the next; from the first to the last.

    rising_p  two-sided p of Cochran and Armitage's test that the called share rises or falls with time (with the
              order, where a day is missing); NaN for fewer than three smears with cells
    overdispersion  what was reckoned with
    """

    smear_ids: tuple[str, ...]
    days: tuple[date | None, ...]
    ratios: tuple[CorrectedRatio, ...]
    steps: tuple[Change, ...]
    whole: Change | None
    rising_p: float
    overdispersion: Overdispersion


def trend(
    smears: Sequence[Smear],
    confusion: np.ndarray,
    *,
    subset: Sequence[int],
    counted: Sequence[int] | None = None,
    local: np.ndarray | None = None,
    scatter: Scatter | np.ndarray | None = None,
    level: float = 0.95,
) -> Trend:
    """The course of one patient's ratio over smears; the keywords as in `correct_ratio`.

    Smears are put in order of their days where all have one, else they stay as given. It covers sampling, the
    classifier's errors and that smears of one state differ beyond chance: by what photographs and smears of one day
    show, and by a default where there are none (`Overdispersion`).
    InputError without smears or where two have one id.
    """
    ids = [s.smear_id for s in smears]
    if not smears or len(set(ids)) < len(ids):
        raise InputError(f"a trend needs smears with different ids, got {', '.join(ids) or 'none'}")
    days = [s.day for s in smears if s.day is not None]
    dated = len(days) == len(smears)
    smears = [s for _, s in sorted(zip(days, smears, strict=True), key=lambda p: p[0])] if dated else list(smears)
    weighed = functools.partial(
        weigh, confusion=confusion, subset=subset, counted=counted, local=local, scatter=scatter
    )
    each = [weighed(s.counts) for s in smears]
    pooled = weighed(np.sum([e.counts for e in each], 0))
    ratios = tuple(ratio_of(e, level=level) for e in each)
    more = overdispersion(smears, pooled.groups)
    lines = [_lines(pooled, e, number, more) for number, e in enumerate(each)]

    def change(a: int, b: int) -> Change:
        return _change(smears[a].smear_id, smears[b].smear_id, lines[a], lines[b], level)

    n = len(smears)
    times = [(day - min(days)).days for day in sorted(days)] if dated else list(range(n))
    return Trend(
        smear_ids=tuple(s.smear_id for s in smears),
        days=tuple(s.day for s in smears),
        ratios=ratios,
        steps=tuple(change(k, k + 1) for k in range(n - 1)),
        whole=change(0, n - 1) if n > 1 else None,
        rising_p=rising_p(
            [e.called[NUMERATOR] for e in each],
            [e.called[NUMERATOR] + e.called[OTHER] for e in each],
            times,
            overdispersion=more,
        ),
        overdispersion=more,
    )


def overdispersion(smears: Sequence[Smear], groups: np.ndarray) -> Overdispersion:
    """From photographs within smears, and smears of one day, by the method of moments (Pearson's chi-square)."""
    within = [np.asarray(s.fields) for s in smears if s.fields is not None and len(s.fields) > 1]
    chi2, n_fields, _ = _chi_square(within, groups)
    clumping = max(1.0, chi2 / n_fields) if n_fields else 1.0
    days = [s.day for s in smears]
    repeats = [
        np.array([s.counts for s in smears if s.day == day])
        for day in sorted({d for d in days if d is not None})
        if days.count(day) > 1
    ]
    chi2, n_repeats, cells = _chi_square(repeats, groups)
    if not n_repeats:
        return Overdispersion(clumping, n_fields=n_fields)
    # Smears' variance over the binomial is clumping + correlation * (cells - 1). Few repeats lean on the default.
    dispersion = max(0.0, (chi2 / n_repeats - clumping) / max(1.0, cells - 1))
    share = n_repeats / (n_repeats + DEFAULT_WEIGHT)
    return Overdispersion(clumping, share * dispersion + (1 - share) * DEFAULT_CORRELATION, n_fields, n_repeats)


def _chi_square(tables: Sequence[np.ndarray], groups: np.ndarray) -> tuple[float, int, float]:
    """(Pearson's chi-square, degrees of freedom, mean cells a row) of the called shares within each table (R, C)."""
    total, freedom, sizes = 0.0, 0, []
    for table in tables:
        hits, n = table[:, groups == NUMERATOR].sum(1), table[:, groups != UNCOUNTED].sum(1)
        hits, n = hits[n > 0], n[n > 0]
        share = hits.sum() / n.sum() if n.sum() else 0.0
        if len(n) > 1 and 0 < share < 1:
            total += float(((hits - n * share) ** 2 / (n * share * (1 - share))).sum())
            freedom += len(n) - 1
            sizes += n.tolist()
    return total, freedom, float(np.mean(sizes)) if sizes else 0.0


def rising_p(
    numerators: Sequence[int],
    denominators: Sequence[int],
    times: Sequence[float],
    *,
    overdispersion: Overdispersion | None = None,
) -> float:
    """Two-sided p of the Cochran-Armitage test for a trend in shares (Biometrics 1955); NaN where it can't be had.

    overdispersion  each smear's cells are taken for as many as have its variance; None: the test as printed
    """
    k, n, t = (np.asarray(v, np.float64) for v in (numerators, denominators, times))
    k, t, n = k[n > 0], t[n > 0], n[n > 0]
    if len(n) < 3:
        return math.nan
    if overdispersion is not None:
        factor = np.array([overdispersion.factor(cells) for cells in n])
        k, n = k / factor, n / factor
    share = k.sum() / n.sum()
    middle = (n * t).sum() / n.sum()
    variance = share * (1 - share) * (n * (t - middle) ** 2).sum()
    if variance <= 0:
        return math.nan
    z = ((k - n * share) * (t - middle)).sum() / math.sqrt(variance)
    return 2 * NormalDist().cdf(-abs(float(z)))


def _lines(
    pooled: Evidence, smear: Evidence, number: int, more: Overdispersion
) -> tuple[np.ndarray, np.ndarray] | None:
    """A smear's lines (`RateDraws.contradiction`) under the patient's shared error rates; None where one is unknown."""
    if not np.isfinite(pooled.draws.called).all() or smear.called[NUMERATOR] + smear.called[OTHER] == 0:
        return None
    factor = more.factor(smear.called[NUMERATOR] + smear.called[OTHER])
    return pooled.draws.contradiction([cells / factor for cells in smear.called], smear=number)


def _change(before: str, after: str, a: tuple | None, b: tuple | None, level: float) -> Change:
    tail = (1 - level) / 2
    unknown = Change(before, after, math.nan, -1.0, 1.0, math.nan)
    if a is None or b is None:
        return unknown
    difference = ratios_between(*b) - ratios_between(*a)
    if np.isnan(difference).mean() > tail:
        return unknown
    low, middle, high = np.nanquantile(difference, [tail, 0.5, 1 - tail])
    # The angle of a line orders smears also where their ratios are cut to 0 or 1.
    turn = np.arctan2(b[0], -b[1]) - np.arctan2(a[0], -a[1])
    rarer = max(float(min((turn > 0).mean(), (turn < 0).mean())), 1 / len(turn))
    return Change(before, after, float(middle), float(low), float(high), min(1.0, 2 * rarer))
