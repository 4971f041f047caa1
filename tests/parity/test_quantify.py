"""Beta quantiles against scipy, the adjusted ratio against Rogan and Gladen's, Gibbs against quadrature."""

import numpy as np
import pytest
from scipy.stats import beta, binom

from leukoscope.errors import InputError
from leukoscope.quantify.bayesian import mix_posterior
from leukoscope.quantify.beta import beta_quantiles, even_shares
from leukoscope.quantify.centre import rate_mixture
from leukoscope.quantify.corrected import correct_ratio
from leukoscope.quantify.groups import Tally

CONFUSION = np.array([[9000, 1000], [500, 9500]])


@pytest.mark.parametrize(
    ("a", "b"), [(0.5, 0.5), (0.5, 100.5), (3.5, 1000.5), (50, 50), (90.5, 10.5), (2000, 3), (0.5, 1e5), (1e4, 9e4)]
)
def test_beta_quantiles_equal_scipy(a, b):
    shares = even_shares(1000)
    np.testing.assert_allclose(beta_quantiles(shares, a, b), beta.ppf(shares, a, b), atol=1e-3 * beta.std(a, b))


def test_quantiles_of_a_mixture_are_those_of_its_distribution():
    shares = even_shares(200)
    found = beta_quantiles(shares, [2.5, 80.5], [20.5, 20.5], [3.0, 1.0])
    back = 0.75 * beta.cdf(found, 2.5, 20.5) + 0.25 * beta.cdf(found, 80.5, 20.5)
    np.testing.assert_allclose(back, shares, atol=1e-3)


@pytest.mark.parametrize(("a", "b", "w"), [(0.4, 1, 1), (1, 0.1, 1), (1, 1, 0), (1, 1, -1)])
def test_impossible_beta_parameters_are_refused(a, b, w):
    with pytest.raises(InputError, match="1/2 or more"):
        beta_quantiles([0.5], a, b, w)


@pytest.mark.parametrize("called", [(3000, 7000), (1500, 8500), (8000, 2000)])
def test_the_adjusted_ratio_is_rogan_and_gladens(called):
    """benchmarks/ratios compares with QuaPy's ACC and BayesianCC, which take too long to import here."""
    share = called[0] / sum(called)
    assert correct_ratio(called, CONFUSION, subset=[0]).value == pytest.approx((share - 0.05) / 0.85, abs=2e-3)


def test_gibbs_draws_are_the_posterior_by_quadrature():
    """QuaPy's BayesianCC model in two classes, integrated on a grid instead of sampled."""
    confusion, called = np.array([[18, 2], [5, 75]]), np.array([30, 70])
    draws = mix_posterior(called, confusion, n_kept=600, seed=1)[:, 0]
    ratio = (np.arange(200) + 0.5) / 200
    sens = beta.ppf(even_shares(50), 19, 3)[:, None]
    alarm = beta.ppf(even_shares(50), 6, 76)[None, :]
    density = np.array([binom.pmf(30, 100, r * sens + (1 - r) * alarm).mean() for r in ratio])
    cumulated = np.cumsum(density) / density.sum()
    for q in (0.025, 0.25, 0.5, 0.75, 0.975):
        assert np.quantile(draws, q) == pytest.approx(np.interp(q, cumulated, ratio + 1 / 400), abs=0.012)


def test_weights_of_the_centres_mixture_are_beta_binomial():
    from scipy.stats import betabinom

    a, b, weights = rate_mixture(Tally(90, 100), Tally(12, 20))
    shares = [1 / 2**k for k in range(5)] + [0.0]
    theirs = np.array([betabinom.pmf(12, 20, 90 * s + 0.5, 10 * s + 0.5) for s in shares])
    np.testing.assert_allclose(weights, theirs / theirs.max(), rtol=1e-9)
    np.testing.assert_allclose(a, [90 * s + 12.5 for s in shares])
    np.testing.assert_allclose(b, [10 * s + 8.5 for s in shares])
