"""Our confident learning against cleanlab's."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from leukoscope.checks.label_quality import normalised_margin


@pytest.fixture(scope="module")
def cleanlab():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what its imports deprecate is not ours
        pytest.importorskip("cleanlab")
        from cleanlab import rank

    return rank


@pytest.mark.parametrize("seed", range(5))
def test_rankings_are_cleanlabs(cleanlab, seed):
    rng = np.random.default_rng(seed)
    n_classes = 2 + seed
    probs = rng.dirichlet(np.full(n_classes, 0.5), 300)
    labels = np.array([rng.choice(n_classes, p=p) for p in probs])
    ours = normalised_margin(probs, labels)
    np.testing.assert_allclose(ours, cleanlab.get_normalized_margin_for_each_label(labels, probs), atol=1e-12)
