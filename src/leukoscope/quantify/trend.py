"""Serial smears of one patient: each ratio, and whether it changed.

The same classifier reads all smears, so its errors are shared: they shift every ratio alike and largely cancel in a
difference. A change is therefore judged with one draw of the error rates for both smears and independent draws of
their cells, and its interval is narrower than the two intervals laid side by side suggest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from statistics import NormalDist

import numpy as np

from leukoscope.errors import InputError
from leukoscope.quantify.corrected import CorrectedRatio, Evidence, ratio_of, weigh
from leukoscope.quantify.draws import ratios_between
from leukoscope.quantify.groups import NUMERATOR, OTHER


@dataclass(frozen=True, slots=True, eq=False)
class Smear:
    """One smear's called cells (C,), and the day it was taken, where known."""

    smear_id: str
    counts: np.ndarray
    day: date | None = None


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
class Trend:
    """Smears in order of time with their ratios; changes from each to the next; from the first to the last.

    rising_p  two-sided p of Cochran and Armitage's test that the called share rises or falls with time (with the
              order, where a day is missing); NaN for fewer than three smears with cells
    """

    smear_ids: tuple[str, ...]
    days: tuple[date | None, ...]
    ratios: tuple[CorrectedRatio, ...]
    steps: tuple[Change, ...]
    whole: Change | None
    rising_p: float


def trend(
    smears: Sequence[Smear],
    confusion: np.ndarray,
    *,
    subset: Sequence[int],
    counted: Sequence[int] | None = None,
    local: np.ndarray | None = None,
    level: float = 0.95,
) -> Trend:
    """The course of one patient's ratio over smears; `confusion`, `subset`, `counted`, `local` as in `correct_ratio`.

    Smears are put in order of their days where all have one, else they stay as given. It covers sampling and the
    classifier's errors, not that another area, spread or stain of the same patient differs beyond chance.
    InputError without smears or where two have one id.
    """
    ids = [s.smear_id for s in smears]
    if not smears or len(set(ids)) < len(ids):
        raise InputError(f"a trend needs smears with different ids, got {', '.join(ids) or 'none'}")
    dated = all(s.day is not None for s in smears)
    smears = sorted(smears, key=lambda s: s.day) if dated else list(smears)
    tables = {"subset": subset, "counted": counted, "local": local}
    each = [weigh(s.counts, confusion, **tables) for s in smears]
    pooled = weigh(np.sum([e.counts for e in each], 0), confusion, **tables)
    ratios = tuple(ratio_of(e, level=level) for e in each)
    lines = [_lines(pooled, e, number) for number, e in enumerate(each)]

    def change(a: int, b: int) -> Change:
        return _change(smears[a].smear_id, smears[b].smear_id, lines[a], lines[b], level)

    n = len(smears)
    times = [(s.day - smears[0].day).days if dated else k for k, s in enumerate(smears)]
    return Trend(
        smear_ids=tuple(s.smear_id for s in smears),
        days=tuple(s.day for s in smears),
        ratios=ratios,
        steps=tuple(change(k, k + 1) for k in range(n - 1)),
        whole=change(0, n - 1) if n > 1 else None,
        rising_p=rising_p(
            [e.called[NUMERATOR] for e in each], [e.called[NUMERATOR] + e.called[OTHER] for e in each], times
        ),
    )


def rising_p(numerators: Sequence[int], denominators: Sequence[int], times: Sequence[float]) -> float:
    """Two-sided p of the Cochran-Armitage test for a trend in shares (Biometrics 1955); NaN where it can't be had."""
    k, n, t = (np.asarray(v, np.float64) for v in (numerators, denominators, times))
    k, t, n = k[n > 0], t[n > 0], n[n > 0]
    if len(n) < 3:
        return math.nan
    share = k.sum() / n.sum()
    middle = (n * t).sum() / n.sum()
    variance = share * (1 - share) * (n * (t - middle) ** 2).sum()
    if variance <= 0:
        return math.nan
    z = ((k - n * share) * (t - middle)).sum() / math.sqrt(variance)
    return 2 * NormalDist().cdf(-abs(float(z)))


def _lines(pooled: Evidence, smear: Evidence, number: int) -> tuple[np.ndarray, np.ndarray] | None:
    """A smear's lines (`RateDraws.contradiction`) under the patient's shared error rates; None where one is unknown."""
    if not np.isfinite(pooled.draws.called).all() or smear.called[NUMERATOR] + smear.called[OTHER] == 0:
        return None
    return pooled.draws.contradiction(smear.called, smear=number)


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
