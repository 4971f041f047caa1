"""Draws of a classifier's error rates, and the ratios that a patient's called cells allow under them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leukoscope.quantify.beta import beta_quantiles, even_shares, orders
from leukoscope.quantify.centre import rate_quantiles
from leukoscope.quantify.groups import NUMERATOR, OTHER, UNCOUNTED, GroupRates

N_DRAWS = 4096
SEED = 0


@dataclass(frozen=True, slots=True, eq=False)
class RateDraws:
    """K draws of what cells of the two counted groups are called.

    called      (2, K) share called the numerator among cells of NUMERATOR, of OTHER, that are called anything counted
    normal_at   (2, K, 3) what `contradiction` multiplies the called shares by, at ratio 0 and at ratio 1
    artefacts   whether validation had true artefacts: if not, they are taken as always called artefact
    """

    called: np.ndarray
    normal_at: np.ndarray
    artefacts: bool

    @classmethod
    def of(cls, rates: Sequence[GroupRates], local: Sequence[GroupRates] | None = None) -> RateDraws:
        """Draws from the rates of the three groups, from validation and, where given, from the centre's own cells."""
        rows = np.zeros((3, N_DRAWS, 3))  # true group x draw x called group
        rows[UNCOUNTED, :, UNCOUNTED] = 1
        called = np.full((3, N_DRAWS), np.nan)
        n_cells = [rate.n_cells + (local[g].n_cells if local else 0) for g, rate in enumerate(rates)]
        for group in range(3):
            if n_cells[group]:
                of_centre = local[group] if local else GroupRates.none()
                lost, called[group] = (
                    rate_quantiles(even_shares(N_DRAWS), here, there)[_order(2 * group + k)]
                    for k, (here, there) in enumerate(
                        ((rates[group].uncounted, of_centre.uncounted), (rates[group].numerator, of_centre.numerator))
                    )
                )
                kept = 1 - lost
                rows[group] = np.stack([kept * called[group], kept * (1 - called[group]), lost], 1)
        normals = np.stack([_cross(rows[OTHER], rows[UNCOUNTED]), _cross(rows[NUMERATOR], rows[UNCOUNTED])])
        return cls(called[:2], normals, n_cells[UNCOUNTED] > 0)

    def reversed_share(self) -> float:
        """Share of draws in which the numerator's cells are no likelier to be called so than others."""
        return float((self.called[NUMERATOR] <= self.called[OTHER]).mean())

    def contradiction(self, called: Sequence[float], *, smear: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """D at ratio 0 and at ratio 1, each (K,). D is linear in the ratio, positive where it would have to be higher.

        called  cells called numerator, other, uncounted (real numbers are fine). D(ratio) is the determinant of the
        called shares, of the mixed row ratio * numerator + (1 - ratio) * other, and of the artefacts' row: 0 where
        the three lie in one plane, that is where some share of artefacts explains the calls.
        smear   smears of one patient are sampled independently of each other: each has a number of its own
        """
        share, kept, normals = self._called_share(called, smear), np.ones(N_DRAWS), self.normal_at
        if self.artefacts:
            a, b = called[UNCOUNTED] + 0.5, called[NUMERATOR] + called[OTHER] + 0.5
            kept -= beta_quantiles(even_shares(N_DRAWS), a, b)[_order(7 + 2 * smear)]
        at = kept * (share * normals[..., NUMERATOR] + (1 - share) * normals[..., OTHER])
        at += (1 - kept) * normals[..., UNCOUNTED]
        return at[0], at[1]

    def limits(self, called: Sequence[float], *, level: float) -> tuple[float, float, float]:
        """(value, low, high) of the ratio; see `fieller`."""
        at_0, at_1 = self.contradiction(called)
        value, low, high = fieller(at_0, at_1, level=level)
        tail = (1 - level) / 2
        share = self._called_share(called)
        if (at_0 > 0).mean() < tail:  # fewer called than the false alarms alone: at most, none of them is one
            return value, 0.0, float(np.clip(np.quantile(share / self.called[NUMERATOR], 1 - tail), 0, 1))
        if (at_1 < 0).mean() < tail:  # more called than there can be: at least, none was missed
            false_alarm = self.called[OTHER]
            return value, float(np.clip(np.quantile((share - false_alarm) / (1 - false_alarm), tail), 0, 1)), 1.0
        return value, low, high

    def _called_share(self, called: Sequence[float], smear: int = 0) -> np.ndarray:
        """(K,) draws of the share called the numerator among the called cells that are counted."""
        a, b = called[NUMERATOR] + 0.5, called[OTHER] + 0.5
        return beta_quantiles(even_shares(N_DRAWS), a, b)[_order(6 + 2 * smear)]


def fieller(at_0: np.ndarray, at_1: np.ndarray, *, level: float) -> tuple[float, float, float]:
    """(value, low, high) in [0, 1] from draws of lines, given by their heights (K,) at ratio 0 and at ratio 1.

    A ratio r is allowed where neither "the line is above 0 at r" nor "below" is rarer than the tail
    (1 - level) / 2: rarer among the draws that allow a ratio above 0, or below 1, at all, so that an interval does
    not shrink to nothing where the calls lie beyond what the rates allow. The limits are the lowest and the highest
    allowed ratio; the value is the median of the roots, cut to [0, 1]. Falling lines (a classifier that tells the
    groups apart) are above 0 below their root, rising ones above it.
    """
    tail, n_draws = (1 - level) / 2, len(at_0)
    slope = at_1 - at_0
    root = np.divide(-at_0, slope, out=np.full(n_draws, np.nan), where=slope != 0)
    falling, rising = np.sort(root[slope < 0]), np.sort(root[slope > 0])
    points = np.sort(np.clip(np.concatenate([falling, rising, [0.0, 1.0]]), 0, 1))
    below = (np.searchsorted(falling, points, "right") + len(rising) - np.searchsorted(rising, points)) / n_draws
    above = 1 - below
    allowed = points[(above >= tail * (at_0 > 0).mean()) & (below >= tail * (at_1 < 0).mean())]
    value = float(np.median(np.clip(falling, 0, 1))) if len(falling) else float("nan")
    return value, float(allowed[0]), float(allowed[-1])


def _order(column: int) -> np.ndarray:
    """(K,) the order of the draws of one uncertain number; columns up to 7 are one patient's, two more each smear."""
    return orders(N_DRAWS, max(8, column + 1), seed=SEED)[column]


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Vector products of rows (K, 3); numpy's own is several times as slow."""
    (a0, a1, a2), (b0, b1, b2) = a.T, b.T
    return np.stack([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0], 1)
