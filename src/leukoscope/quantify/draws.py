"""Draws of a classifier's error rates, and the ratios that a patient's called cells allow under them."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leukoscope.quantify.beta import lattice_orders
from leukoscope.quantify.groups import NUMERATOR, OTHER, UNCOUNTED, GroupRates, Tally
from leukoscope.quantify.scatter import GENERATOR, NO_SPREAD, Scatter, Spread, predictive_quantiles

# A prime, and the generator of the lattice of that many points with the lowest P2 among forty, over the three numbers
# that matter most (sensitivity, false alarms, the patient's calls).
N_DRAWS = 2039


@dataclass(frozen=True, slots=True, eq=False)
class RateDraws:
    """K draws of what cells of the two counted groups are called in a patient who is not of the validation's.

    called      (2, K) share called the numerator among cells of NUMERATOR, of OTHER, that are called anything counted;
                NaN where no cell of the group was validated
    average     (2,) the same for the average patient
    apart       (K,) determinant of the three rows of the average patient: positive where each group is called by its
                own name more than the others are
    normal_at   (2, 3, K) what `contradiction` multiplies the called shares by, at ratio 0 and at ratio 1
    normal      (2, 3) the same for the average patient
    artefacts   whether validation had true artefacts: if not, they are taken as always called artefact
    """

    called: np.ndarray
    average: np.ndarray
    apart: np.ndarray
    normal_at: np.ndarray
    normal: np.ndarray
    artefacts: bool

    @classmethod
    def of(
        cls,
        rates: Sequence[GroupRates],
        local: Sequence[GroupRates] | None = None,
        *,
        scatter: Scatter,
        losses: bool = True,
        unseen_rate: float | None = None,
    ) -> RateDraws:
        """Draws from the rates of the three groups, from validation and, where given, from the centre's own cells.

        scatter  how much the rates differ between patients
        losses   whether there is a class at all that is not counted, so that a cell can be lost to it
        unseen_rate  share called the numerator among cells of classes that were never validated; None: as the others of
                 their group. Nothing is known of it: 0 and 1 are its ends
        """
        rows, average = np.zeros((2, 3, 3, N_DRAWS))  # true group x called group x draw
        rows[UNCOUNTED, UNCOUNTED] = average[UNCOUNTED, UNCOUNTED] = 1
        called, usual = np.full((2, 3, N_DRAWS), np.nan)
        n_cells = [rate.n_cells + (local[g].n_cells if local else 0) for g, rate in enumerate(rates)]
        for group in range(3):
            if n_cells[group]:
                here, there = rates[group], local[group] if local else GroupRates.none()
                spreads = (scatter.called[group], scatter.lost[group])
                called[group] = _draw(2 * group + 1, here.numerator, there.numerator, spreads[0])
                if unseen_rate is not None:
                    called[group] = (1 - here.unseen) * called[group] + here.unseen * unseen_rate
                usual[group] = _draw(2 * group + 1, here.numerator, there.numerator)
                lost = [np.zeros(N_DRAWS)] * 2
                if losses:
                    tallies = (here.uncounted, there.uncounted)
                    lost = [_draw(2 * group, *tallies, spreads[1]), _draw(2 * group, *tallies)]
                _fill(rows[group], called[group], lost[0])
                _fill(average[group], usual[group], lost[1])
        mean = average.mean(2, keepdims=True)
        return cls(
            called[:2],
            usual[:2].mean(1),
            (average[NUMERATOR] * _normal(average, OTHER)).sum(0),
            np.stack([_normal(rows, g) for g in (OTHER, NUMERATOR)]),
            np.stack([_normal(mean, g)[:, 0] for g in (OTHER, NUMERATOR)]),
            n_cells[UNCOUNTED] > 0,
        )

    def reversed_share(self) -> float:
        """Share of draws in which the groups are not told apart: their cells are no likelier to be called so."""
        return float((self.apart <= 0).mean())

    def contradiction(self, called: Sequence[float], *, smear: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """D at ratio 0 and at ratio 1, each (K,). D is linear in the ratio, positive where it would have to be higher.

        called  cells called numerator, other, uncounted (real numbers are fine). D(ratio) is the determinant of the
        called shares, of the mixed row ratio * numerator + (1 - ratio) * other, and of the artefacts' row: 0 where
        the three lie in one plane, that is where some share of artefacts explains the calls.
        smear   smears of one patient are sampled independently of each other: each has a number of its own
        """
        share, normals = self._called_share(called, smear), self.normal_at
        if not self.artefacts:
            at_0, at_1 = share * normals[:, NUMERATOR] + (1 - share) * normals[:, OTHER]
            return at_0, at_1
        lost = _draw(7 + 2 * smear, Tally(called[UNCOUNTED], sum(called)), Tally(0.0, 0.0))
        at_0, at_1 = (1 - lost) * (share * normals[:, NUMERATOR] + (1 - share) * normals[:, OTHER]) + (
            lost * normals[:, UNCOUNTED]
        )
        return at_0, at_1

    def limits(self, called: Sequence[float], *, level: float) -> tuple[float, float, float, bool]:
        """(value, low, high, misfit) of the ratio.

        value   from the called shares and the mean rates (Rogan and Gladen), cut to [0, 1]; low, high: see `fieller`
        misfit  the calls are fewer than the false alarms alone, or more than there can be, for all but a tail of the
                draws: the interval then reaches as far as no false alarm at all, or no miss, would let it
        """
        at_0, at_1 = self.contradiction(called)
        low, high = fieller(at_0, at_1, level=level)
        tail, misfit = (1 - level) / 2, False
        few = tail * len(at_0)
        if np.count_nonzero(at_0 > 0) < few:
            most = np.quantile(self._called_share(called) / self.called[NUMERATOR], 1 - tail)
            low, high, misfit = 0.0, float(min(1.0, most)), True
        elif np.count_nonzero(at_1 < 0) < few:
            false_alarm = self.called[OTHER]
            least = np.quantile((self._called_share(called) - false_alarm) / (1 - false_alarm), tail)
            low, high, misfit = float(max(0.0, least)), 1.0, True
        low = 0.0 if called[NUMERATOR] == 0 else low  # no cell was called so: none may be there
        high = 1.0 if called[OTHER] == 0 else high
        value = ratios_between(*(self.normal @ np.asarray(called, np.float64))[:, None])[0]
        if np.isnan(value):  # more artefacts than there can be: the counted cells' own share is all there is
            value, misfit = called[NUMERATOR] / (called[NUMERATOR] + called[OTHER]), True
        return float(np.clip(value, low, high)), low, high, misfit

    def worth(self, called: Sequence[float], value: float) -> float:
        """Cells that would say as much as these do if no error rate were in doubt: at most all of them.

        The called share has its binomial variance, and that of the error rates at this ratio; the number is of as many
        cells as have both together by chance alone. NaN where nothing was counted or the share is 0 or 1.
        """
        n = called[NUMERATOR] + called[OTHER]
        shares = value * self.called[NUMERATOR] + (1 - value) * self.called[OTHER]
        chance = float(shares.mean() * (1 - shares.mean()))
        return chance / (chance / n + float(shares.var())) if n and chance > 0 else math.nan

    def _called_share(self, called: Sequence[float], smear: int = 0) -> np.ndarray:
        """(K,) draws of the share called the numerator among the called cells that are counted."""
        cells = called[NUMERATOR] + called[OTHER]
        return _draw(6 + 2 * smear, Tally(called[NUMERATOR], cells), Tally(0.0, 0.0))


def ratios_between(at_0: np.ndarray, at_1: np.ndarray) -> np.ndarray:
    """(K,) the ratio from 0 to 1 at which falling lines cross 0, from their heights at both ends.

    0 for lines that are below 0 throughout, 1 for those above. NaN for rising lines, which no ratio explains
    (the groups are called by each other's names, or more artefacts than there can be), and for lines that are 0.
    """
    falling = (at_0 >= 0) & (at_1 <= 0) & (at_0 > at_1)
    ratio = np.divide(at_0, at_0 - at_1, out=np.full(len(at_0), np.nan), where=falling)
    ratio[(at_0 < 0) & (at_1 <= 0)] = 0
    ratio[(at_0 >= 0) & (at_1 > 0)] = 1
    return ratio


def fieller(at_0: np.ndarray, at_1: np.ndarray, *, level: float) -> tuple[float, float]:
    """(low, high) in [0, 1] from draws of lines, given by their heights (K,) at ratio 0 and at ratio 1.

    A ratio r is allowed where neither "the line is above 0 at r" nor "below" is rarer than the tail
    (1 - level) / 2. The limits are the lowest and the highest allowed ratio, both the same end where none is. Falling
    lines are above 0 below their root, rising ones above it.
    """
    tail, n_draws = (1 - level) / 2, len(at_0)
    falling = ratios_between(at_0, at_1)
    falling[(at_0 < 0) & (at_1 <= 0)] = -1  # never above 0, not even at ratio 0
    falling[(at_0 >= 0) & (at_1 > 0)] = 2
    falling.sort()  # NaN, the rising ones, last
    n_rising = np.count_nonzero(np.isnan(falling))
    if n_rising:
        return _allowed(falling[: n_draws - n_rising], at_0, at_1, tail)
    first, last = math.ceil(n_draws * tail) - 1, math.floor(n_draws * (1 - tail)) - 1
    return min(max(float(falling[first]), 0.0), 1.0), min(max(float(falling[last]), 0.0), 1.0)


def _allowed(falling: np.ndarray, at_0: np.ndarray, at_1: np.ndarray, tail: float) -> tuple[float, float]:
    """`fieller` where some lines rise: every root is tried as a limit."""
    turned = (at_0 < 0) & (at_1 > 0)
    rising = np.sort(at_0[turned] / (at_0 - at_1)[turned])
    points = np.sort(np.clip(np.concatenate([falling, rising, [0.0, 1.0]]), 0, 1))
    below = np.searchsorted(falling, points, "right") + len(rising) - np.searchsorted(rising, points)
    share = below / len(at_0)
    allowed = points[(1 - share >= tail) & (share >= tail)]
    if not len(allowed):
        end = float((at_0 > 0).mean() > 0.5)
        return end, end
    return float(allowed[0]), float(allowed[-1])


@functools.lru_cache(maxsize=512)
def _draw(column: int, validation: Tally, local: Tally, spread: Spread = NO_SPREAD) -> np.ndarray:
    """(K,) draws of a share that was seen as a tally; the last 512 are kept, for patients share error rates."""
    draws = predictive_quantiles(N_DRAWS, validation, local, spread)[_order(column)]
    draws.flags.writeable = False
    return draws


def _fill(row: np.ndarray, called: np.ndarray, lost: np.ndarray) -> None:
    """A true group's row (3, K) from its share called the numerator among counted calls, and its share lost."""
    row[NUMERATOR] = (1 - lost) * called
    row[OTHER] = 1 - lost - row[NUMERATOR]
    row[UNCOUNTED] = lost


def _normal(rows: np.ndarray, group: int) -> np.ndarray:
    """(3, K) normal of the plane of a group's row and the artefacts'."""
    return _cross(rows[group], rows[UNCOUNTED])


def _order(column: int) -> np.ndarray:
    """(K,) the order of the draws of one uncertain number; columns up to 7 are one patient's, two more each smear."""
    return lattice_orders(N_DRAWS, GENERATOR, max(8, column + 1))[column]


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Vector products (3, K) of columns; numpy's own is several times as slow."""
    return np.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])
