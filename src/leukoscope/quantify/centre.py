"""A centre's own error rates, from a few labelled cells of it and the validation elsewhere.

Another laboratory's stain gives another sensitivity. A few labelled cells of the centre measure it, badly; the
validation measured it well, elsewhere. How far one may lean on the other is not known beforehand, so the rate's
distribution is a mixture: validation counts as all its cells, as half of them, a quarter, ..., as none, and each of
these weighs as much as it foretold the centre's labelled cells (their beta-binomial probability; a robust
meta-analytic prior: Schmidli et al., Biometrics 2014). Where both agree the interval narrows; where they don't, the
centre's own cells decide.
"""

import math

import numpy as np

from leukoscope.quantify.groups import Tally

HALVINGS = 8
LEAST_CELLS = 4  # smallest number of cells that validation is taken for, before "none"


def rate_mixture(validation: Tally, local: Tally) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parameters a, b and weights, each (M,), of the beta mixture of a rate; one component without local cells."""
    if local.cells == 0:
        missed = max(0.0, validation.cells - validation.hits)
        return np.array([validation.hits + 0.5]), np.array([missed + 0.5]), np.ones(1)
    shares = [1 / 2**k for k in range(HALVINGS) if validation.cells / 2**k >= LEAST_CELLS] + [0.0]
    a = np.array([share * validation.hits + 0.5 for share in shares])
    b = np.array([share * max(0.0, validation.cells - validation.hits) + 0.5 for share in shares])
    missed = max(0.0, local.cells - local.hits)
    log_weights = np.array([_log_beta(x + local.hits, y + missed) - _log_beta(x, y) for x, y in zip(a, b, strict=True)])
    return a + local.hits, b + missed, np.exp(log_weights - log_weights.max())


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
