"""Conformal sets: thresholds by rank, classes with few cells, and the promised rate on exchangeable cells."""

from __future__ import annotations

import math

import numpy as np
import pytest

from leukoscope.errors import DataError
from leukoscope.evaluate.conformal import (
    conformal_quantile,
    conformal_sets,
    conformal_thresholds,
    coverage,
    least_cells,
)


def draw(n, seed, n_classes=4, shares=None):
    """Cells with probabilities that are honest: the label is drawn from them."""
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.full(n_classes, 0.4) if shares is None else shares, n)
    labels = (probs.cumsum(1) > rng.random((n, 1))).argmax(1)
    return probs, labels


def test_quantile_is_the_rank_of_split_conformal():
    scores = np.arange(1, 20) / 100  # 19 scores: rank ceil(20 · 0.9) = 18
    assert conformal_quantile(scores, level=0.9) == 0.18
    assert conformal_quantile(scores[:9], level=0.9) == 0.09
    assert math.isinf(conformal_quantile(scores[:8], level=0.9))
    assert math.isinf(conformal_quantile([], level=0.9))


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95])
def test_quantile_equals_numpy_inverted_cdf(level):
    scores = np.random.default_rng(0).random(137)
    rank = math.ceil(138 * level)
    expected = np.quantile(scores, rank / 137, method="inverted_cdf")
    assert conformal_quantile(scores, level=level) == pytest.approx(expected, abs=0)


def test_least_cells_is_where_a_threshold_becomes_finite():
    for level in (0.8, 0.9, 0.95):
        n = least_cells(level)
        assert math.isfinite(conformal_quantile(np.zeros(n), level=level))
        assert math.isinf(conformal_quantile(np.zeros(n - 1), level=level))


def test_coverage_of_exchangeable_cells_is_the_level_in_every_class():
    held, by_class = [], []
    for seed in range(40):
        probs, labels = draw(900, seed)
        sets = conformal_sets(probs[:400], labels[:400], probs[400:])
        result = coverage(sets, labels[400:])
        held.append(result["coverage"])
        by_class.append([result["by_class"][c] for c in range(4)])
    assert 0.9 <= np.mean(held) <= 0.92  # by class, each threshold is rounded up a little
    assert (np.abs(np.mean(by_class, 0) - 0.905) < 0.02).all()


def test_by_class_holds_where_the_pooled_threshold_fails_a_class():
    rng = np.random.default_rng(3)
    labels = np.repeat([0, 1], [900, 100])
    sure = np.where(labels == 0, 0.95, 0.4) + rng.uniform(-0.05, 0.05, 1000)
    probs = np.stack([np.where(labels == 0, sure, 1 - sure), np.where(labels == 1, sure, 1 - sure)], 1)
    half = rng.random(1000) < 0.5
    pooled = coverage(conformal_sets(probs[half], labels[half], probs[~half], by_class=False), labels[~half])
    own = coverage(conformal_sets(probs[half], labels[half], probs[~half]), labels[~half])
    assert pooled["by_class"][1] < 0.2
    assert own["by_class"][1] > 0.8


def test_a_class_with_few_cells_takes_the_pooled_threshold():
    probs, labels = draw(200, 5)
    keep = (labels != 3) | (np.cumsum(labels == 3) <= 8)
    thresholds = conformal_thresholds(probs[keep], labels[keep])
    pooled = conformal_thresholds(probs[keep], labels[keep], by_class=False)
    assert thresholds[3] == pooled[3]
    assert thresholds[0] != pooled[0]


def test_too_few_cells_give_every_class():
    probs, labels = draw(12, 1)
    assert conformal_sets(probs[:5], labels[:5], probs[5:]).all()


def test_coverage_counts_sizes():
    sets = np.array([[1, 0], [1, 1], [0, 0], [0, 1]], bool)
    result = coverage(sets, [0, 1, 1, 0])
    assert result == {
        "coverage": 0.5,
        "by_class": {0: 0.5, 1: 0.5},
        "size": 1.0,
        "single": 0.5,
        "empty": 0.25,
        "several": 0.25,
    }
    assert math.isnan(coverage(np.zeros((0, 2), bool), [])["coverage"])


def test_what_can_not_be_is_refused():
    probs, labels = draw(20, 0)
    with pytest.raises(DataError, match="level must lie between 0 and 1"):
        conformal_sets(probs, labels, probs, level=1.0)
    with pytest.raises(DataError, match="M labels"):
        conformal_sets(probs, labels[:3], probs)
    with pytest.raises(DataError, match=r"\(N, 4\)"):
        conformal_sets(probs, labels, probs[:, :3])
    with pytest.raises(DataError, match="0 to 3"):
        conformal_sets(probs, labels + 1, probs)
    with pytest.raises(DataError, match="its truth"):
        coverage(np.ones((3, 2), bool), [0])
