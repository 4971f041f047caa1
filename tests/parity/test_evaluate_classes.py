"""Class scores and the ROC area against scikit-learn; calibration against its definition and torch-free searches."""

from __future__ import annotations

import numpy as np
import pytest
from data.later import Later
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from leukoscope.errors import DataError
from leukoscope.evaluate.calibration import expected_calibration_error, fit_temperature, reliability
from leukoscope.evaluate.classes import accuracy, confusion_matrix, macro_f1, per_class, roc_auc, weighted_f1

metrics = Later("sklearn.metrics")


@pytest.mark.parametrize("seed", range(6))
def test_scores_equal_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    n_classes = int(rng.integers(2, 7))
    truth = rng.integers(0, max(1, n_classes - seed % 2), 80)  # with odd seeds the last class has no truth
    pred = np.where(rng.random(80) < 0.6, truth, rng.integers(0, n_classes, 80))
    matrix, labels = confusion_matrix(truth, pred, n_classes=n_classes), np.arange(n_classes)
    assert (matrix == metrics.confusion_matrix(truth, pred, labels=labels)).all()
    assert accuracy(matrix) == pytest.approx(metrics.accuracy_score(truth, pred), abs=1e-12)
    scored = metrics.precision_recall_fscore_support(truth, pred, labels=labels, zero_division=0)
    ours = per_class(matrix)
    for name, theirs in zip(("precision", "recall", "f1", "support"), scored, strict=True):
        assert ours[name] == pytest.approx(theirs, abs=1e-12)
    present = np.unique(truth)
    assert macro_f1(matrix) == pytest.approx(metrics.f1_score(truth, pred, labels=present, average="macro"), abs=1e-12)
    assert macro_f1(matrix, [0, 1]) == pytest.approx(
        metrics.f1_score(truth, pred, labels=[0, 1], average="macro", zero_division=0), abs=1e-12
    )
    assert weighted_f1(matrix) == pytest.approx(
        metrics.f1_score(truth, pred, average="weighted", zero_division=0), abs=1e-12
    )


@pytest.mark.parametrize("levels", [3, 1000])
def test_roc_area_equals_scikit_learn(levels):
    rng = np.random.default_rng(levels)
    positive = rng.random(300) < 0.2
    scores = np.round((positive * 0.3 + rng.random(300)) * levels) / levels
    assert roc_auc(positive, scores) == pytest.approx(metrics.roc_auc_score(positive, scores), abs=1e-12)


def test_one_kind_alone_has_no_roc_area():
    assert np.isnan(roc_auc(np.ones(4, bool), np.arange(4)))


def test_calibration_error_is_its_definition():
    rng = np.random.default_rng(2)
    confidence = np.concatenate([rng.random(500), [0.0, 1.0, 1 / 15, 2 / 15]])
    right = rng.random(504) < confidence
    expected = 0.0
    for b in range(15):  # bins (low, high], the first also holds 0
        inside = (confidence > b / 15) & (confidence <= (b + 1) / 15) | ((confidence == 0) & (b == 0))
        if inside.any():
            expected += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    assert expected_calibration_error(confidence, right) == pytest.approx(expected, abs=1e-12)
    assert sum(r["n"] for r in reliability(confidence, right)) == 504


def test_bins_hold_their_right_edge():
    rows = reliability([0.0, 1 / 15, 2 / 15, 1.0], [True] * 4)
    assert [(round(r["high"] * 15), r["n"]) for r in rows] == [(1, 2), (2, 1), (15, 1)]


def test_calibration_error_of_sure_and_wrong_is_one():
    assert expected_calibration_error(np.ones(10), np.zeros(10, bool)) == 1.0


@pytest.mark.parametrize("scale", [0.2, 1.0, 7.0])
def test_temperature_is_the_minimum_scipy_finds(scale):
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(400, 5)) * 2
    truth = np.array([rng.choice(5, p=np.exp(log_softmax(row))) for row in logits])
    logits = logits * scale

    def loss(log_t):
        return -log_softmax(logits / np.exp(log_t), axis=1)[np.arange(400), truth].mean()

    theirs = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded", options={"xatol": 1e-9})
    assert fit_temperature(logits, truth) == pytest.approx(np.exp(theirs.x), rel=1e-4)
    assert fit_temperature(log_softmax(logits, axis=1), truth) == pytest.approx(np.exp(theirs.x), rel=1e-4)


def test_rows_that_do_not_fit_are_refused():
    with pytest.raises(DataError):
        confusion_matrix([0, 1], [0], n_classes=2)
    with pytest.raises(DataError):
        confusion_matrix([0, 2], [0, 1], n_classes=2)
    with pytest.raises(DataError):
        expected_calibration_error([1.5], [True])
    with pytest.raises(DataError):
        fit_temperature(np.zeros((0, 3)), [])
    with pytest.raises(DataError):
        roc_auc([True, False], [0.1, float("nan")])
