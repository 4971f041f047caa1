"""Scores of outlines on shapes whose overlaps are known, and against the scores of boxes where contours are boxes."""

from __future__ import annotations

import numpy as np
import pytest

from leukoscope.errors import DataError
from leukoscope.evaluate.boxes import FieldBoxes, score_boxes

pytest.importorskip("shapely", reason="needs the extra: pip install '.[study]'")
pytest.importorskip("scipy", reason="needs the extra: pip install '.[study]'")

from leukoscope.evaluate.contours import FieldContours, compare_contours, score_contours, summarise_contours  # noqa: E402


def square(x, y, side=10.0):
    return np.array([(x, y), (x + side, y), (x + side, y + side), (x, y + side)])


def test_known_overlaps():
    truth = [FieldContours([square(0, 0), square(50, 0), square(80, 0)]), FieldContours([])]
    pred = [
        FieldContours([square(0, 2), square(50, 0), square(84, 0)], [0.9, 0.8, 0.7]),  # IoU 2/3, 1 and 3/7
        FieldContours([square(5, 5)], [0.6]),
    ]
    got = score_contours(truth, pred)
    assert (got["n_truth"], got["n_matched"], got["n_missed"], got["n_extra"]) == (3, 2, 1, 2)
    assert got["mean_iou"] == pytest.approx((2 / 3 + 1) / 2)
    assert got["ap50"] == pytest.approx(67 / 101)  # both hits come first: precision 1 up to a recall of 2/3
    assert score_contours(truth, pred, iou=0.4)["n_matched"] == 3
    assert summarise_contours(compare_contours(truth, pred)[:1])["n_extra"] == 1


def test_contours_that_are_boxes_score_as_boxes():
    rng = np.random.default_rng(2)
    truth, pred, truth_boxes, pred_boxes = [], [], [], []
    for _ in range(6):
        known, n_found = rng.uniform(0, 60, (4, 2)), int(rng.integers(0, 7))
        found = known[rng.integers(0, 4, n_found)] + rng.normal(0, 2, (n_found, 2))
        scores = rng.random(n_found)
        truth.append(FieldContours([square(*p) for p in known]))
        pred.append(FieldContours([square(*p) for p in found], scores))
        truth_boxes.append(FieldBoxes(np.c_[known, known + 10], np.zeros(4)))
        pred_boxes.append(FieldBoxes(np.c_[found, found + 10], np.zeros(n_found), scores))
    got, expected = score_contours(truth, pred), score_boxes(truth_boxes, pred_boxes, ["cell"])
    assert 0.05 < expected["ap50_95"] < expected["ap50"] < 0.95
    assert got["ap50"] == pytest.approx(expected["ap50"]) and got["ap50_95"] == pytest.approx(expected["ap50_95"])


def test_nothing_to_compare_and_wrong_input():
    empty = score_contours([FieldContours([])], [FieldContours([], [])])
    assert np.isnan(empty["ap50"]) and np.isnan(empty["mean_iou"]) and empty["n_truth"] == 0
    with pytest.raises(DataError, match="need scores"):
        score_contours([FieldContours([])], [FieldContours([])])
    with pytest.raises(DataError, match="same fields"):
        score_contours([], [FieldContours([], [])])
    with pytest.raises(DataError, match="as many finite scores"):
        FieldContours([square(0, 0)], [0.1, 0.2])
