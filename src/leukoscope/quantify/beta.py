"""Quantiles of a beta distribution, or of a mixture of several, in numpy alone.

With x = sin^2(angle) the density of Beta(a, b) becomes proportional to sin^(2a-1) cos^(2b-1), which is smooth and
finite at both ends for a, b >= 1/2, so the midpoint rule on a fine grid gives its quantiles to about 1e-4 of a
standard deviation (against scipy.stats.beta.ppf: tests/parity/test_quantify.py).
"""

import functools

import numpy as np

from leukoscope.errors import InputError

STEPS = 512
REACH = 10  # standard deviations on either side that the grid covers


def beta_quantiles(
    shares: np.ndarray, a: np.ndarray | float, b: np.ndarray | float, weights: np.ndarray | float = 1.0
) -> np.ndarray:
    """x (K,) with P(X <= x) = shares (K,) for X ~ sum of weights (M,) times Beta(a (M,), b (M,)); all a, b >= 1/2.

    Increases with each share, and with a; decreases with b. InputError for parameters below 1/2.
    """
    a, b, weights = np.broadcast_arrays(*(np.atleast_1d(np.asarray(v, np.float64)) for v in (a, b, weights)))
    if not ((a >= 0.5) & (b >= 0.5)).all() or not (weights >= 0).all() or weights.sum() <= 0:
        raise InputError("a beta distribution needs a and b of 1/2 or more and weights that are not all 0")
    centres, widths = np.arcsin(np.sqrt(a / (a + b))), REACH * 0.5 / np.sqrt(a + b)
    first, last = max(0.0, (centres - widths).min()), min(np.pi / 2, (centres + widths).max())
    edges = np.linspace(first, last, STEPS * min(8, len(a)) + 1)
    middles = (edges[1:] + edges[:-1]) / 2
    log_sin, log_cos = np.log(np.sin(middles)), np.log(np.cos(middles))
    mass = np.zeros(len(middles))
    for one_a, one_b, weight in zip(a, b, weights / weights.sum(), strict=True):
        if weight > 0:
            log_density = (2 * one_a - 1) * log_sin + (2 * one_b - 1) * log_cos
            density = np.exp(log_density - log_density.max())
            mass += weight * density / density.sum()
    cumulated = np.concatenate([[0.0], np.cumsum(mass)])
    return np.sin(np.interp(shares, cumulated / cumulated[-1], edges)) ** 2


@functools.cache
def even_shares(n_draws: int) -> np.ndarray:
    """(n_draws,) shares that run evenly and in order over (0, 1)."""
    return _locked((np.arange(n_draws) + 0.5) / n_draws)


@functools.cache
def lattice_orders(n_draws: int, generator: int, n_columns: int) -> np.ndarray:
    """(n_columns, n_draws) an order of the draws a column: i * generator^column modulo n_draws, n_draws a prime.

    Quantiles at `even_shares`, each column in its own order, are Korobov's lattice: in a few dimensions the tails of
    a function of them come out several times as exactly as from as many independent draws.
    """
    steps = np.arange(n_draws)
    return _locked(np.stack([steps * pow(generator, column, n_draws) % n_draws for column in range(n_columns)]))


def _locked(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False  # it is cached: nobody may edit it
    return array
