"""Limits from few patients: the classes stay the same, they cover, and nothing is certain because nothing varied."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from benchmarks.ratios.few_patients import CLASSES, macro_f1_coverage, mean_ap_coverage
from leukoscope.errors import DataError
from leukoscope.evaluate.boxes import FieldBoxes, average_precision, match_fields, score_boxes
from leukoscope.evaluate.location import score_location
from leukoscope.evaluate.patients import ANY, clustered_limits, limits_of_moves
from leukoscope.evaluate.readings import read_probs, score_reading
from leukoscope.experiments.intervals import estimate, macro_f1_of, mean_ap_of, rank_matches
from leukoscope.intervals import clopper_pearson, student_t
from leukoscope.taxonomy import PCM_9
from leukoscope.train.locator.bundle import choose_threshold


def rare_class() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ten patients of two types called well, and one patient's two cells of a third type, never called right."""
    truth = np.r_[np.tile([0, 0, 0, 1, 1], 10), [2, 2]]
    calls = np.r_[np.tile([0, 0, 0, 1, 1], 10), [0, 1]]
    calls[[3, 20]] = [0, 1]
    return truth, calls, np.r_[np.repeat(np.arange(10), 5), [9, 9]].astype(str)


def test_macro_f1_is_of_the_same_classes_whoever_is_left_out():
    truth, calls, groups = rare_class()
    statistic = macro_f1_of(truth, calls, 3)
    assert statistic(np.flatnonzero(groups != "9")) < 0.7  # without the patient that has it the third type counts 0
    found = estimate(statistic, groups, unit="patient")
    assert found.low > 0.55 and found.high < 0.72
    names = [PCM_9.names[c] for c in truth]
    probs = np.eye(len(PCM_9.names))[calls]
    (reading, *_) = read_probs(probs, names, PCM_9)
    scores = score_reading(reading, groups, names)["macro_f1"]
    assert (scores["low"], scores["high"]) == pytest.approx((found.low, found.high))


def test_mean_ap_is_of_the_same_classes_whoever_is_left_out():
    box = np.array([[0, 0, 10, 10]])
    truth = [FieldBoxes(box, [0])] * 9 + [FieldBoxes(np.r_[box, box + 50], [0, 1])]
    pred = [FieldBoxes(box, [0], [0.9])] * 10
    ranked = [rank_matches(m) for m in match_fields(truth, pred, n_classes=3)]
    statistic = mean_ap_of(ranked)
    assert statistic(np.arange(9)) == statistic(np.arange(10)) == pytest.approx(0.5)
    assert score_boxes(truth, pred, ["a", "b", "c"])["ap50"] == pytest.approx(0.5)


@pytest.mark.parametrize("n_patients", [5, 12])
def test_limits_of_few_patients_cover(n_patients):
    """The benchmark few_patients.py in small: 150 cohorts of the two kinds."""
    rng = np.random.default_rng(n_patients)
    f1 = macro_f1_coverage(CLASSES["even"], n_patients, cohorts=150, rng=rng)
    ap = mean_ap_coverage(n_patients, cohorts=80, rng=rng)
    assert f1["coverage"] > 0.9 and ap["coverage"] > 0.88
    assert f1["coverage"] > f1["coverage of a bootstrap"] + 0.05


def test_limits_of_a_mean_are_students():
    values = np.random.default_rng(1).normal(0.5, 0.01, 300)
    low, high = clustered_limits(lambda rows: values[rows].mean(), np.arange(300), within=ANY)
    half = stats.t.ppf(0.975, 100) * values.std(ddof=1) / math.sqrt(300)
    assert high - low == pytest.approx(2 * half, rel=0.06)  # groups of one or two, freedom from the fourth moment
    moves = np.array([0.4, 0.5, 0.6, 0.5])
    spread = math.sqrt(3 / 4 * ((moves - 0.5) ** 2).sum())
    freedom = min(3, (2 * 0.01) ** 2 / (2 * 0.01**2))
    expected = student_t(0.975, freedom) * spread
    assert limits_of_moves(0.5, moves, within=ANY) == pytest.approx((0.5 - expected, 0.5 + expected))


def test_no_error_among_few_patients_is_not_certainty():
    low, high = clustered_limits(lambda rows: 1.0, np.arange(8))
    assert (low, high) == pytest.approx(clopper_pearson(8, 8))
    assert clustered_limits(lambda rows: 0.0, np.arange(8)) == pytest.approx(clopper_pearson(0, 8))
    assert clustered_limits(lambda rows: 0.0, np.arange(8), within=ANY) == (0.0, 0.0)  # two equal systems
    with pytest.raises(DataError, match="within 0 to 1 was promised, got 3"):
        clustered_limits(lambda rows: 3.0, np.arange(8))


def crowded(n_false: int) -> SimpleNamespace:
    """A photograph of 150 cells, all found, and false boxes of lower score."""
    xs, ys = np.meshgrid(np.arange(15) * 60.0, np.arange(10) * 60.0)
    boxes = np.stack([xs.ravel(), ys.ravel(), xs.ravel() + 40, ys.ravel() + 40], 1)
    false = np.array([[2000 + 60.0 * i, 0, 2040 + 60.0 * i, 40] for i in range(n_false)]).reshape(-1, 4)
    scores = np.r_[np.linspace(0.95, 0.9, 150), np.full(n_false, 0.6)]
    return SimpleNamespace(boxes=boxes, found_boxes=np.concatenate([boxes, false]), scores=scores)


@pytest.mark.parametrize("n_false", [0, 60])
def test_recall_and_false_boxes_are_of_every_box(n_false):
    card = SimpleNamespace(task="locate", thresholds={"score": 0.5})
    found = score_location([crowded(n_false)] * 2, ["a", "b"], card)
    assert found["recall_at_threshold"]["value"] == 1.0
    assert found["false_per_field_at_threshold"]["value"] == n_false
    assert found["ap50"]["value"] < 0.7  # COCO's best 100 of 150


def test_a_threshold_is_chosen_from_every_box():
    field = crowded(60)
    truth, pred = FieldBoxes(field.boxes, np.zeros(150)), FieldBoxes(field.found_boxes, np.zeros(210), field.scores)
    (matches,) = match_fields([truth], [pred], n_classes=1)
    threshold, figures = choose_threshold(matches)
    assert 0.6 < threshold <= 0.9 and figures["recall"] == figures["precision"] == 1
    assert average_precision(matches)[0] == pytest.approx(67 / 101)
