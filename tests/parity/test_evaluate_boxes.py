"""Average precision against pycocotools on random fields: ties in score and overlap, empty fields, absent classes."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.models.coco_reference import coco_evaluation
from leukoscope.errors import DataError
from leukoscope.evaluate.boxes import FieldBoxes, match_boxes, score_boxes

NAMES = ("lymphocyte", "monocyte", "basophil")


def coco_scores(truth, pred, n_classes):
    """(precision (T, R, K), stats) of pycocotools for the same boxes."""
    evaluator = coco_evaluation(truth, pred, n_classes)
    return evaluator.eval["precision"][:, :, :, 0, -1], evaluator.stats


def random_fields(rng, *, n_fields, n_classes, crowd=12):
    truth, pred = [], []
    for _ in range(n_fields):
        n = int(rng.integers(0, crowd))
        low = rng.integers(0, 60, (n, 2))
        boxes = np.concatenate([low, low + rng.integers(4, 30, (n, 2))], 1)
        ids = rng.integers(0, n_classes, n)
        if n > 3:  # two truths on one spot: a box overlaps both equally
            boxes[1], ids[1] = boxes[0], ids[0]
        near = boxes[rng.random(n) < 0.8] + rng.integers(-2, 3, (1, 4))
        spare = rng.integers(0, 60, (int(rng.integers(0, 6)), 2))
        found = np.concatenate([near, np.concatenate([spare, spare + 12], 1)])
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        scores = rng.integers(0, 6, len(found)) / 5  # few values: many ties
        truth.append(FieldBoxes(boxes, ids))
        pred.append(FieldBoxes(found, rng.integers(0, n_classes, len(found)), scores))
    return truth, pred


@pytest.mark.parametrize("seed", range(8))
def test_average_precision_equals_pycocotools(seed):
    rng = np.random.default_rng(seed)
    truth, pred = random_fields(rng, n_fields=int(rng.integers(1, 14)), n_classes=3)
    ours = score_boxes(truth, pred, NAMES)
    precision, stats = coco_scores(truth, pred, 3)
    assert ours["ap50_95"] == pytest.approx(stats[0], abs=1e-6)
    assert ours["ap50"] == pytest.approx(stats[1], abs=1e-6)
    assert ours["ap75"] == pytest.approx(stats[2], abs=1e-6)
    for k, name in enumerate(NAMES):
        if name in ours["classes"]:
            assert ours["classes"][name]["ap50_95"] == pytest.approx(precision[:, :, k].mean(), abs=1e-6)
        else:
            assert (precision[:, :, k] == -1).all() and name in ours["absent"]


def test_more_than_a_hundred_boxes_a_field_equal_pycocotools():
    rng = np.random.default_rng(5)
    low = rng.integers(0, 400, (160, 2))
    boxes = np.concatenate([low, low + 14], 1)
    truth = [FieldBoxes(boxes, np.zeros(160))]
    pred = [FieldBoxes(boxes, np.zeros(160), rng.random(160))]
    _, stats = coco_scores(truth, pred, 1)
    assert score_boxes(truth, pred, ["white_cell"])["ap50_95"] == pytest.approx(stats[0], abs=1e-6)
    assert stats[0] < 0.7


def test_a_box_between_two_truths_takes_the_one_pycocotools_takes():
    truth = [FieldBoxes([[0, 0, 10, 10], [4, 0, 14, 10]], [0, 0])]
    pred = [FieldBoxes([[2, 0, 12, 10], [0, 0, 10, 10]], [0, 0], [0.9, 0.8])]
    _, stats = coco_scores(truth, pred, 1)
    assert score_boxes(truth, pred, ["white_cell"])["ap50"] == pytest.approx(stats[1], abs=1e-6)
    assert stats[1] == pytest.approx(1)


def test_boxes_on_fields_without_truth_cost_precision():
    cell = FieldBoxes([[0, 0, 10, 10]], [0])
    found = FieldBoxes([[0, 0, 10, 10]], [0], [0.5])
    wrong = FieldBoxes([[0, 0, 10, 10]], [0], [0.9])
    empty = FieldBoxes(np.zeros((0, 4)), [])
    assert score_boxes([cell], [found], ["white_cell"])["ap50"] == pytest.approx(1)
    assert score_boxes([cell, empty], [found, wrong], ["white_cell"])["ap50"] == pytest.approx(0.5)


def test_no_truth_at_all_is_not_a_number():
    empty = FieldBoxes(np.zeros((0, 4)), [], [])
    result = score_boxes([empty], [empty], ["white_cell"])
    assert np.isnan(result["ap50_95"]) and result["absent"] == ["white_cell"]


def test_the_better_of_two_boxes_takes_the_truth():
    matches = match_boxes(np.array([[0, 0, 10, 10]]), np.array([[0, 0, 10, 10], [0, 0, 10, 10]]), np.array([0.2, 0.8]))
    assert matches.scores.tolist() == [0.8, 0.2] and matches.hit[0].tolist() == [True, False]


def test_rows_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="as many"):
        FieldBoxes([[0, 0, 1, 1]], [0, 1])
    with pytest.raises(DataError, match="class ids"):
        score_boxes([FieldBoxes([[0, 0, 1, 1]], [3])], [FieldBoxes(np.zeros((0, 4)), [], [])], NAMES)
