"""Bayesian quantification over the full confusion matrix by Gibbs sampling (numpy only).

The model (Ziegler and Czyz, "Bayesian quantification with black-box estimators", TMLR 2024; QuaPy's BayesianCC):
mix ~ Dirichlet; each row of rates ~ Dirichlet; validation row i ~ Multinomial(rates_i); the patient's called cells ~
Multinomial(mix @ rates). With the patient's cells' true classes as latent counts every step is conjugate, so no
gradient sampler is needed.

QuaPy puts one pseudo-cell on every class and every entry of the matrix. With a dozen classes and some sixty
validation cells each that alone is a false alarm rate above 1 %, so here the rows' prior is one pseudo-cell a row,
spread as the group's own errors are, and half a cell a group in the mix. `row_prior=1.0` and `mix_prior=1.0` give
QuaPy's own.
"""

from collections.abc import Sequence

import numpy as np

from leukoscope.quantify.groups import NUMERATOR, OTHER, UNCOUNTED

N_CHAINS = 32
BURN_IN = 150
KEPT = 250


def mix_posterior(
    counts: np.ndarray,
    confusion: np.ndarray,
    *,
    mix_prior: np.ndarray | float = 1.0,
    row_prior: np.ndarray | float = 1.0,
    n_kept: int = KEPT,
    seed: int = 0,
) -> np.ndarray:
    """(n_kept * N_CHAINS, C) draws of a patient's true mix of classes.

    counts (C,) called cells; confusion (C, C) validation cells, truth x called; mix_prior (C,) and row_prior (C, C)
    pseudo-cells, or one number for all.
    """
    counts, confusion = np.asarray(counts, np.int64), np.asarray(confusion, np.float64)
    n_classes = len(counts)
    rng = np.random.default_rng(seed)
    rows = confusion + np.broadcast_to(row_prior, (n_classes, n_classes))
    mix_prior = np.broadcast_to(np.asarray(mix_prior, np.float64), (n_classes,))
    rates = _dirichlet(rng, np.broadcast_to(rows, (N_CHAINS, n_classes, n_classes)))
    mix = _dirichlet(rng, np.broadcast_to(mix_prior + counts, (N_CHAINS, n_classes)))
    kept = np.empty((n_kept, N_CHAINS, n_classes))
    for step in range(BURN_IN + n_kept):
        joint = (mix[:, :, None] * rates).swapaxes(1, 2)  # (chains, called, truth)
        total = joint.sum(2, keepdims=True)
        chances = np.divide(joint, total, out=np.full_like(joint, 1 / n_classes), where=total > 0)
        latent = rng.multinomial(counts, chances)  # (chains, called, truth)
        mix = _dirichlet(rng, mix_prior + latent.sum(1))
        rates = _dirichlet(rng, rows + latent.swapaxes(1, 2))
        if step >= BURN_IN:
            kept[step - BURN_IN] = mix
    return kept.reshape(-1, n_classes)


def bayesian_limits(
    counts: np.ndarray,
    confusion: np.ndarray,
    groups: np.ndarray,
    *,
    local: np.ndarray | None = None,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """(median, low, high) of the ratio of group NUMERATOR among the counted groups, equal tails.

    groups (C,) as in `groups_of`. The centre's labelled cells `local` (C, C) are added to the validation's: this
    method takes a centre's rates as the validation's (the "adjusted" one weighs them).
    """
    known = confusion if local is None else confusion + local
    mix_prior = np.zeros(len(counts))
    row_prior = np.zeros(known.shape)
    for group in (NUMERATOR, OTHER, UNCOUNTED):
        members = np.flatnonzero(groups == group)
        if len(members):
            mix_prior[members] = 0.5 / len(members)
            row_prior[members] = _group_prior(known, members)
    mix = mix_posterior(counts, known, mix_prior=mix_prior, row_prior=row_prior)
    counted = mix[:, groups != UNCOUNTED].sum(1)
    ratio = mix[:, groups == NUMERATOR].sum(1) / counted
    low, middle, high = np.quantile(ratio, [(1 - level) / 2, 0.5, (1 + level) / 2])
    return float(middle), float(low), float(high)


def _group_prior(confusion: np.ndarray, members: np.ndarray) -> np.ndarray:
    """(K, C) one pseudo-cell a row: half of it right, half spread over the other classes as the group errs."""
    n_classes = len(confusion)
    wrong = np.full((len(members), n_classes), 0.5) + confusion[members].sum(0)
    wrong[np.arange(len(members)), members] = 0
    prior = 0.5 * wrong / wrong.sum(1, keepdims=True)
    prior[np.arange(len(members)), members] += 0.5
    return prior


def _dirichlet(rng: np.random.Generator, alpha: np.ndarray | Sequence[float]) -> np.ndarray:
    """Draws over the last axis of alpha, any shape; all-zero draws of tiny alphas become even shares."""
    gammas = rng.standard_gamma(alpha)
    total = gammas.sum(-1, keepdims=True)
    even = np.full_like(gammas, 1 / gammas.shape[-1])
    return np.divide(gammas, total, out=even, where=total > 0)
