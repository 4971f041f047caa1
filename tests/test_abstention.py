"""Handing cells to a human: the curve, its ends, ties, and the area under the risk."""

from __future__ import annotations

import math

import numpy as np
import pytest

from leukoscope.errors import DataError
from leukoscope.evaluate.abstention import accuracy_when_handing, area_under_risk, selective_curve

PROBS = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.45, 0.55]])
LABELS = np.array([0, 1, 1, 1])  # the cell at 0.6 is wrong


def test_curve_hands_over_the_least_sure_first():
    rows = selective_curve(PROBS, LABELS)
    assert [r["n_kept"] for r in rows] == [4, 3, 2, 1]
    assert [r["accuracy"] for r in rows] == [0.75, pytest.approx(2 / 3), 1.0, 1.0]
    assert [r["handed"] for r in rows] == [0.0, 0.25, 0.5, 0.75]
    assert [r["combined"] for r in rows] == [0.75, 0.75, 1.0, 1.0]
    assert [r["threshold"] for r in rows] == [0.55, 0.6, 0.8, 0.9]


def test_equal_confidences_go_together():
    rows = selective_curve(np.array([[0.7, 0.3], [0.3, 0.7], [0.9, 0.1]]), np.array([0, 0, 0]))
    assert [(r["n_kept"], r["accuracy"]) for r in rows] == [(3, pytest.approx(2 / 3)), (1, 1.0)]


def test_accuracy_when_handing_agrees_with_the_curve():
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(5), 60)
    labels = np.where(rng.random(60) < 0.7, probs.argmax(1), rng.integers(0, 5, 60))
    for row in selective_curve(probs, labels):
        assert accuracy_when_handing(probs, labels, row["handed"]) == pytest.approx(row["accuracy"])
    assert math.isnan(accuracy_when_handing(probs, labels, 1.0))


def test_area_under_risk_is_the_mean_error_over_all_shares():
    # Kept 1, 2, 3, 4 cells: errors 0, 0, 1/3, 1/4.
    assert area_under_risk(PROBS, LABELS) == pytest.approx((0 + 0 + 1 / 3 + 1 / 4) / 4)


def test_area_under_risk_of_ties_does_not_depend_on_the_order():
    probs = np.array([[0.7, 0.3]] * 4)
    labels = np.array([0, 0, 1, 0])
    assert area_under_risk(probs, labels) == pytest.approx(0.25)
    assert area_under_risk(probs, labels[::-1]) == pytest.approx(0.25)


def test_no_cells_and_wrong_shapes():
    assert selective_curve(np.zeros((0, 3)), []) == []
    assert math.isnan(area_under_risk(np.zeros((0, 3)), []))
    with pytest.raises(DataError, match="its truth"):
        selective_curve(PROBS, [0])
    with pytest.raises(DataError, match="share"):
        accuracy_when_handing(PROBS, LABELS, 1.5)
