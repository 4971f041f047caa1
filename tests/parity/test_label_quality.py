"""Our confident learning against cleanlab's."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from leukoscope.checks.label_quality import confident_joint, normalised_margin


@pytest.fixture(scope="module")
def cleanlab():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what its imports deprecate is not ours
        pytest.importorskip("cleanlab")
        from cleanlab import count, rank

    return count, rank


@pytest.mark.parametrize("seed", range(5))
def test_rankings_and_joint_are_cleanlabs(cleanlab, seed):
    count, rank = cleanlab
    rng = np.random.default_rng(seed)
    n_classes = 2 + seed
    probs = rng.dirichlet(np.full(n_classes, 0.5), 300)
    labels = np.array([rng.choice(n_classes, p=p) for p in probs])
    ours = normalised_margin(probs, labels)
    np.testing.assert_allclose(ours, rank.get_normalized_margin_for_each_label(labels, probs), atol=1e-12)
    theirs = count.compute_confident_joint(labels, probs, calibrate=False)
    np.testing.assert_array_equal(off_diagonal(confident_joint(probs, labels)), off_diagonal(theirs))


def off_diagonal(joint: np.ndarray) -> np.ndarray:
    """cleanlab keeps at least one count on the diagonal; off it the two must be equal."""
    return joint * (1 - np.eye(len(joint), dtype=joint.dtype))
