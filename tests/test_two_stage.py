"""Two stages scored as one: what counts as right, and what each kind of error costs."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.models.joined_stages import join_stages, most_probable, score_typed, typed_fields
from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField
from leukoscope.errors import DataError
from leukoscope.evaluate.boxes import FieldBoxes, score_boxes
from leukoscope.evaluate.classes import macro_f1
from leukoscope.evaluate.coarse import type_of
from leukoscope.evaluate.two_stage import class_f1, end_to_end_f1, end_to_end_matrices, keep
from leukoscope.types import FieldKey

A, B, C, D, E = ([20 * i, 0, 20 * i + 10, 10] for i in range(5))
TYPES = ("neutrophil", "lymphocyte")


def field(boxes, ids, scores=None):
    return FieldBoxes(np.array(boxes, float).reshape(-1, 4), np.array(ids, int), scores)


def test_a_missed_a_wrong_and_an_extra_cell_each_cost():
    truth = [field([A, B, C, E], [0, 0, 1, 1])]
    # A right; B of the wrong type; C missed; E right; something of type 1 where nothing is.
    counted = [field([A, B, E, D], [0, 1, 1, 1], [0.9, 0.8, 0.7, 0.6])]
    (matrix,) = end_to_end_matrices(truth, counted, n_classes=2)
    assert matrix.tolist() == [[1, 1, 0], [0, 1, 1], [0, 1, 0]]
    assert class_f1(matrix).tolist() == [pytest.approx(2 / (2 + 1)), pytest.approx(2 / (2 + 3))]
    assert end_to_end_f1(matrix) == pytest.approx((2 / 3 + 2 / 5) / 2)
    result = score_typed(truth, counted, counted, TYPES, ["f"])
    assert result["found"]["value"] == pytest.approx(3 / 4) and result["right"]["value"] == pytest.approx(2 / 4)


def test_without_location_errors_it_is_the_classifiers_macro_f1():
    rng = np.random.default_rng(0)
    truth_ids, called = rng.integers(0, 2, 40), rng.integers(0, 2, 40)
    boxes = [[20 * i, 0, 20 * i + 10, 10] for i in range(40)]
    truth, counted = [field(boxes, truth_ids)], [field(boxes, called, np.linspace(1, 0.5, 40))]
    (matrix,) = end_to_end_matrices(truth, counted, n_classes=2)
    assert matrix[2].sum() == 0 and matrix[:, 2].sum() == 0
    assert end_to_end_f1(matrix) == pytest.approx(macro_f1(matrix[:2, :2]))


def test_a_cell_called_none_of_the_types_is_as_good_as_missed():
    truth = [field([A], [0])]
    outside = [field([A, D], [2, 2], [0.9, 0.8])]
    (matrix,) = end_to_end_matrices(truth, outside, n_classes=2)
    assert matrix.tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert score_typed(truth, outside, outside, TYPES, ["f"])["map50"]["value"] == 0.0


def test_average_precision_is_that_of_typed_boxes():
    truth = [field([A, B], [0, 1]), field([A], [1])]
    near_a = [1, 0, 11, 10]  # IoU 9 / 11
    pred = [field([A, B, C], [0, 0, 1], [0.9, 0.6, 0.3]), field([near_a], [1], [0.8])]
    result = score_typed(truth, pred, keep(pred, [p.scores > 0.5 for p in pred]), TYPES, ["f", "g"])
    expected = score_boxes(truth, pred, TYPES)
    assert result["map50"]["value"] == pytest.approx(expected["ap50"])
    assert result["map50_95"]["value"] == pytest.approx(expected["ap50_95"])
    assert result["map50_95"]["value"] < result["map50"]["value"]
    assert np.array(result["confusion"]).tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert result["n_truth"] == 3 and result["classes"]["lymphocyte"]["n_truth"] == 2
    # One box of three cells is of the wrong type: those limits can't be 1 throughout.
    assert result["macro_f1"]["low"] < 1 and result["map50"]["low"] <= result["map50"]["value"]


def test_scores_are_multiplied_and_the_most_probable_type_is_called():
    found = [field([A, B], [0, 0], [0.9, 0.5]), field([], [], [])]
    joined = join_stages(found, [np.array([[0.2, 0.8], [0.6, 0.4]]), np.zeros((0, 2))], most_probable)
    assert joined[0].class_ids.tolist() == [1, 0] and joined[0].scores.tolist() == pytest.approx([0.72, 0.3])
    assert len(joined[1].boxes) == 0


def test_fields_with_a_cell_of_unknown_type_are_left_out(tmp_path):
    def made(name, *classes):
        cells = tuple(TruthCell((0.0, 0.0, 5.0, 5.0), c, "x") for c in classes)
        return TruthField(FieldKey(name, "", "", "c", "blood"), name, "0" * 64, 9, 9, cells)

    fields = (made("a", "lymphocyte", "red_cell"), made("b", "lymphocyte", None), made("c", "platelet"))
    dataset = Dataset("d", tmp_path, fields, "CC0", "here", "folders")
    kept, truth, left_out = typed_fields(dataset, type_of)
    assert [f.file for f in kept] == ["a", "c"] and left_out == ["b"]
    assert truth[0].class_ids.tolist() == [1] and len(truth[1].boxes) == 0


def test_truth_must_be_one_of_the_types():
    with pytest.raises(DataError, match="0 to 1"):
        end_to_end_matrices([field([A], [2])], [field([], [], [])], n_classes=2)
