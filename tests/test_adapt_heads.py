"""Heads on frozen features: equal to references where there are any, and better than the source on a moved site."""

from __future__ import annotations

import numpy as np
import pytest

from leukoscope.train.adapt.heads import (
    SiteProblem,
    balanced,
    class_means,
    logistic_probs,
    logistic_weights,
    mixture_probs,
    nearest_mean_probs,
    site_shift,
    softmax,
    spread_probs,
    with_one,
)

HEADS = {
    "nearest mean": nearest_mean_probs,
    "logistic": logistic_probs,
    "self-trained": lambda p: logistic_probs(p, rounds=2),
    "mixture": lambda p: mixture_probs(p, temper=1.0),
    "spread": lambda p: spread_probs(p, logistic_probs(p)),
}


def moved_site(seed=0, n=40, n_labelled=8, d=6):
    """Four classes; the site's cells lie 2.5 deviations away from the source's in one direction."""
    rng = np.random.default_rng(seed)
    means = np.eye(4, d) * 4
    labels = rng.integers(0, 4, 200)
    source = means[labels] + rng.normal(size=(200, d))
    truth = np.r_[np.arange(4), rng.integers(0, 4, n * 4 - 4)]
    site = means[truth] + rng.normal(size=(n * 4, d)) + 2.5 * np.ones(d) / np.sqrt(d)
    problem = SiteProblem(source, labels, site[:n_labelled], truth[:n_labelled], site[n_labelled:], 4)
    return problem, truth[n_labelled:]


@pytest.mark.parametrize("name", HEADS)
def test_every_head_gives_probabilities_and_calls_a_moved_site_right(name):
    problem, truth = moved_site()
    probs = HEADS[name](problem)
    assert probs.shape == (len(truth), 4)
    assert np.allclose(probs.sum(1), 1)
    assert (probs.argmax(1) == truth).mean() > 0.9


@pytest.mark.parametrize("name", HEADS)
def test_a_class_that_nobody_labelled_is_known_from_the_source(name):
    problem, truth = moved_site(n_labelled=20)
    seen = problem.labels != 3
    lacking = SiteProblem(
        problem.source, problem.source_labels, problem.labelled[seen], problem.labels[seen], problem.unlabelled, 4
    )
    calls = HEADS[name](lacking).argmax(1)
    assert (calls[truth == 3] == 3).mean() > 0.8


def test_logistic_weights_equal_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    problem, _ = moved_site()
    x, labels = problem.source, problem.source_labels
    fitted = logistic_weights(x, np.eye(4)[labels], penalty=0.05)
    reference = linear_model.LogisticRegression(C=1 / (0.05 * len(x)), max_iter=2000, tol=1e-8).fit(x, labels)
    ours, theirs = softmax(with_one(x) @ fitted), reference.predict_proba(x)
    assert np.abs(ours - theirs).max() < 0.01  # the intercept is free there, pulled a hundredth here


def test_logistic_weights_stay_at_their_start_under_a_strong_pull():
    problem, _ = moved_site()
    start = np.random.default_rng(2).normal(size=(7, 4))
    fitted = logistic_weights(problem.source, np.eye(4)[problem.source_labels], penalty=1e6, start=start)
    assert np.allclose(fitted[:-1], start[:-1], atol=1e-3)


def test_site_shift_is_the_mean_distance_of_a_class_from_its_source():
    problem, _ = moved_site(n_labelled=100)
    shift = site_shift(problem, strength=0.0)
    assert shift == pytest.approx(np.full(6, 2.5 / np.sqrt(6)), abs=0.35)
    assert np.abs(site_shift(problem, strength=1e9)).max() < 1e-6


def test_nearest_mean_without_source_cells_equals_scikit_learn():
    neighbors = pytest.importorskip("sklearn.neighbors")
    problem, _ = moved_site(n_labelled=40)
    calls = nearest_mean_probs(problem, source_cells=0.0).argmax(1)
    reference = neighbors.NearestCentroid().fit(problem.labelled, problem.labels).predict(problem.unlabelled)
    assert (calls == reference).all()


def test_labels_spread_as_in_scikit_learn_without_a_prior():
    semi = pytest.importorskip("sklearn.semi_supervised")
    problem, truth = moved_site(n_labelled=12)
    flat = np.full((len(truth), 4), 1e-9)
    calls = spread_probs(problem, flat, neighbours=10).argmax(1)
    x = np.concatenate([problem.labelled, problem.unlabelled])
    known = np.r_[problem.labels, np.full(len(truth), -1)]
    reference = semi.LabelSpreading("knn", n_neighbors=10, alpha=0.8).fit(x, known).transduction_[12:]
    assert (calls == reference).mean() > 0.9


def test_balanced_weights_and_class_means():
    labels = np.array([0, 0, 0, 0, 2])
    assert balanced(labels, 3).sum() == pytest.approx(1)
    assert balanced(labels, 3, power=0.0)[-1] == pytest.approx(0.5)
    means, known = class_means(np.arange(5.0)[:, None], labels, 3)
    assert means[:, 0].tolist() == [1.5, 0.0, 4.0]
    assert known.tolist() == [True, False, True]
