"""What must hold whatever the cells: order of fields and cells, the coarse map, limits by patient."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from leukoscope.evaluate.boxes import FieldBoxes, score_boxes
from leukoscope.evaluate.classes import accuracy, confusion_matrix, macro_f1, roc_auc
from leukoscope.evaluate.coarse import TYPES, restricted_types, strict_types, type_of
from leukoscope.evaluate.patients import clustered_limits
from leukoscope.taxonomy import BLOOD_12

SEEDS = st.integers(0, 10_000)


def some_fields(rng):
    truth, pred = [], []
    for _ in range(4):
        low = rng.integers(0, 80, (int(rng.integers(0, 5)), 2))
        boxes = np.concatenate([low, low + 20], 1)
        truth.append(FieldBoxes(boxes, np.zeros(len(boxes))))
        pred.append(FieldBoxes(boxes + rng.normal(0, 2, boxes.shape), np.zeros(len(boxes)), rng.random(len(boxes))))
    return truth, pred


@settings(deadline=None, max_examples=25)
@given(SEEDS)
def test_order_of_fields_and_truths_does_not_move_precision(seed):
    rng = np.random.default_rng(seed)
    truth, pred = some_fields(rng)
    order = rng.permutation(4)
    turned = [FieldBoxes(truth[i].boxes[::-1], truth[i].class_ids) for i in order]
    a = score_boxes(truth, pred, ["white_cell"])
    b = score_boxes(turned, [pred[i] for i in order], ["white_cell"])
    assert np.isclose(a["ap50_95"], b["ap50_95"], equal_nan=True)


@settings(deadline=None, max_examples=25)
@given(SEEDS)
def test_truth_given_as_prediction_is_perfect_and_a_worse_box_never_helps(seed):
    rng = np.random.default_rng(seed)
    truth, pred = some_fields(rng)
    same = [FieldBoxes(t.boxes, t.class_ids, rng.random(len(t.boxes))) for t in truth]
    perfect = score_boxes(truth, same, ["white_cell"])["ap50_95"]
    if np.isnan(perfect):
        return
    assert perfect > 1 - 1e-9
    far = [[500, 500, 520, 520]]
    false = [FieldBoxes([*p.boxes, *far], [*p.class_ids, 0], [*p.scores, 2]) for p in pred]
    before, after = (score_boxes(truth, p, ["white_cell"])["ap50"] for p in (pred, false))
    assert after <= before + 1e-12


@settings(deadline=None, max_examples=25)
@given(SEEDS)
def test_order_of_cells_does_not_move_scores(seed):
    rng = np.random.default_rng(seed)
    truth, pred, order = rng.integers(0, 4, 30), rng.integers(0, 4, 30), rng.permutation(30)
    a, b = confusion_matrix(truth, pred, n_classes=4), confusion_matrix(truth[order], pred[order], n_classes=4)
    assert (a == b).all() and accuracy(a) == (truth == pred).mean() and 0 <= macro_f1(a) <= 1


@settings(deadline=None, max_examples=25)
@given(SEEDS)
def test_roc_area_turns_round_with_the_scores(seed):
    rng = np.random.default_rng(seed)
    positive, scores = np.arange(20) < 7, rng.integers(0, 6, 20)
    assert np.isclose(roc_auc(positive, scores) + roc_auc(positive, -scores), 1)
    assert np.isclose(roc_auc(positive, scores), roc_auc(positive, 3.0 * scores + 1))


@settings(deadline=None, max_examples=25)
@given(SEEDS)
def test_restricted_reading_is_strict_where_nothing_lies_outside(seed):
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.ones(12), 40)
    inside = np.array([type_of(n) is not None for n in BLOOD_12.names])
    strict, confidence = strict_types(probs, BLOOD_12)
    assert ((strict == len(TYPES)) == ~inside[probs.argmax(1)]).all()
    assert ((confidence > 0) & (confidence <= 1 + 1e-9)).all()
    probs = probs * inside
    probs /= probs.sum(1, keepdims=True)
    restricted, shares = restricted_types(probs, BLOOD_12)
    neutrophil = probs[:, BLOOD_12.columns(("band_neutrophil", "segmented_neutrophil"))].sum(1)
    assert np.allclose(shares[restricted == 0], neutrophil[restricted == 0])
    assert (strict_types(probs, BLOOD_12)[0] < len(TYPES)).all()


def test_five_types_are_stated():
    assert [type_of(n) for n in ("band_neutrophil", "segmented_neutrophil", "neutrophil")] == [0, 0, 0]
    assert [type_of(n) for n in ("promyelocyte", "lymphoblast", "artefact", "erythroblast", None)] == [None] * 5


def test_intervals_widen_when_cells_are_one_patients():
    rng = np.random.default_rng(0)
    of_patient = rng.random(20) < 0.5  # all cells of a patient are called alike
    right = np.repeat(of_patient, 30)
    by_patient = clustered_limits(lambda i: right[i].mean(), np.repeat(np.arange(20), 30))
    by_cell = clustered_limits(lambda i: right[i].mean(), np.arange(600))
    assert by_patient[1] - by_patient[0] > 3 * (by_cell[1] - by_cell[0])
    assert by_patient == clustered_limits(lambda i: right[i].mean(), np.repeat(np.arange(20), 30))


def test_by_cell_limits_are_near_the_exact_ones():
    right = np.arange(400) < 300
    low, high = clustered_limits(lambda i: right[i].mean(), np.arange(400))
    assert abs(low - 0.7045) < 0.012 and abs(high - 0.7917) < 0.012


def test_one_patient_has_no_limits():
    assert np.isnan(clustered_limits(lambda i: 1.0, ["a"] * 9)).all()
