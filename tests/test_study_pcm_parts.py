"""The PCM study's parts: label spaces, ignored cells, end to end scores, leaks that are dropped, draws of cells."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from data.make_study import open_set, paint_study_set, study_folder

from leukoscope.dataset.audit import audit_dataset
from leukoscope.dataset.manifest import Dataset
from leukoscope.errors import DataError
from leukoscope.evaluate.boxes import FieldBoxes, score_boxes
from leukoscope.experiments.pcm import adaptation, audits, boxes, calls, data, labels
from leukoscope.experiments.pcm.config import read_study
from leukoscope.models.bundle import CropRule
from leukoscope.models.probabilities import softmax
from leukoscope.taxonomy import BLOOD_12, PCM_9
from leukoscope.train.crops.data import CropSet


@pytest.fixture(scope="module")
def painted(tmp_path_factory) -> Dataset:
    folder = tmp_path_factory.mktemp("painted") / "set"
    return open_set(paint_study_set(folder, name="painted", patients=4, fields=2, splits=("train", "val", "test")))


def test_a_label_coarser_than_the_models_gathers_its_classes():
    mapping = labels.map_labels(BLOOD_12.names, ["neutrophil"] * 3 + ["lymphocyte", "red_cell", None])
    assert mapping.labels == ("neutrophil", "lymphocyte")
    probs = np.zeros((1, len(BLOOD_12.names)))
    probs[0, BLOOD_12.columns(("band_neutrophil", "segmented_neutrophil", "monocyte"))] = 0.3, 0.3, 0.4
    assert mapping.summed(probs)[0] == pytest.approx([0.6, 0.0, 0.4])  # a monocyte, which the set lacks, is outside
    assert mapping.unmapped == {labels.UNTYPED: 1}
    assert "monocyte" in mapping.absent and "band_neutrophil" not in mapping.absent


def test_a_label_coarser_than_others_of_its_set_cant_be_judged():
    mapping = labels.map_labels(BLOOD_12.names, ["neutrophil", "band_neutrophil", "immature_granulocyte", "white_cell"])
    assert mapping.labels == ("band_neutrophil", "immature_granulocyte")
    assert mapping.unmapped == {"neutrophil": 1, "white_cell": 1}


def test_finer_labels_are_read_as_the_models_nearest():
    mapping = labels.map_labels(PCM_9.names, ["band_neutrophil", "faggot_cell", "erythroblast", "myeloblast"])
    assert mapping.labels == ("neutrophil", "myeloblast", "apl_promyelocyte")
    assert mapping.labels[mapping.of_class["faggot_cell"]] == "apl_promyelocyte"
    assert mapping.unmapped == {"erythroblast": 1}


def test_cells_without_a_class_are_neither_truth_nor_background(painted):
    field = painted.fields[0]
    cells = (replace(field.cells[0], class_name="erythroblast"), replace(field.cells[1], class_name="red_cell"))
    strange = replace(painted, fields=(replace(field, cells=(*cells, *field.cells[2:])), *painted.fields[1:]))
    mapped = labels.map_dataset(strange, PCM_9)
    assert mapped.unmapped == {"erythroblast": 1} and mapped.background == {"red_cell": 1}
    assert len(mapped.dataset.fields[0].cells) == 2 and mapped.ignored[field.file].shape == (1, 4)
    assert len(mapped.without_ignored().fields) == len(painted.fields) - 1


def test_detections_on_ignored_cells_are_left_out():
    truth = [FieldBoxes([[0, 0, 10, 10]], [0])]
    found = [FieldBoxes([[0, 0, 10, 10], [20, 20, 30, 30], [50, 50, 60, 60]], [0, 0, 1], [0.9, 0.8, 0.7])]
    ignored = {"a.png": np.array([[20.0, 20, 30, 30], [1.0, 1, 10, 10]])}
    (kept,) = boxes.leave_out_ignored(found, truth, ignored, ["a.png"])
    assert kept.scores.tolist() == [0.9, 0.7]  # the first lies on a cell that counts, too
    assert boxes.leave_out_ignored(found, truth, {}, ["a.png"])[0] is found[0]


def toy() -> boxes.BoxSet:
    """Two fields: one cell right, one wrongly typed, one missed, one false detection, one box under two classes."""
    truth = [FieldBoxes([[0, 0, 10, 10], [20, 0, 30, 10]], [0, 1]), FieldBoxes([[0, 0, 10, 10]], [1])]
    found = [
        FieldBoxes([[0, 0, 10, 10], [0, 0, 10, 10], [20, 0, 30, 10]], [0, 1, 0], [0.9, 0.3, 0.8]),
        FieldBoxes([[40, 40, 50, 50]], [1], [0.6]),
    ]
    return boxes.BoxSet(("a", "b", "c"), ("x", "y"), truth, found, np.array(["p", "q"]), "patient")


def test_end_to_end_counts_misses_wrong_types_and_false_detections():
    scores = boxes.score_end_to_end(toy(), 0.5)
    # a: 1 right of 1 cell and 2 calls: F1 2/3. b: none right: 0. c: no cell, left out.
    assert scores["macro_f1"]["value"] == pytest.approx(1 / 3)
    assert scores["found"]["value"] == pytest.approx(2 / 3)
    assert scores["found_and_right"]["value"] == pytest.approx(1 / 3)
    assert (scores["n_cells"], scores["n_found"], scores["n_false"], scores["absent"]) == (3, 2, 1, ["c"])
    low = boxes.score_end_to_end(toy(), 0.2)
    assert low["n_false"] == 1  # the box under two classes is one call
    strict = boxes.score_end_to_end(toy(), 0.85)
    assert strict["n_found"] == 1 and strict["macro_f1"]["value"] == pytest.approx(1 / 2)


def test_detection_scores_equal_the_projects_own():
    scores, whole = boxes.score_detections(toy()), score_boxes(toy().truth, toy().detections, toy().names)
    assert scores["ap50_95"]["value"] == pytest.approx(whole["ap50_95"], abs=1e-12)
    assert scores["ap50"]["value"] == pytest.approx(whole["ap50"], abs=1e-12)
    assert scores["absent"] == ["c"] and scores["classes"]["a"]["n_truth"] == 1


def test_the_threshold_is_the_best_on_validation():
    assert boxes.best_threshold(toy()) == pytest.approx(0.9)  # one right of one beats one of two, three or four
    empty = replace(toy(), detections=[FieldBoxes(np.zeros((0, 4)), [], [])] * 2)
    assert boxes.best_threshold(empty) == 0.5


def test_saved_detections_come_back():
    again = boxes.load_boxes(boxes.save_boxes(toy().detections), 2)
    for one, other in zip(again, toy().detections, strict=True):
        assert np.allclose(one.boxes, other.boxes) and np.allclose(one.scores, other.scores)
        assert one.class_ids.tolist() == other.class_ids.tolist()


def test_pr_curves_start_at_no_recall_and_leave_out_absent_classes():
    points = boxes.pr_points(toy())
    assert set(points) == {"a", "b"} and points["a"][0][0] == 0 and points["a"][2] == pytest.approx(1.0)


def test_conformal_sets_are_read_in_the_sets_labels():
    mapping = labels.map_labels(BLOOD_12.names, ["neutrophil", "lymphocyte"])
    rng = np.random.default_rng(0)
    truth = rng.integers(0, len(BLOOD_12.names), 600)
    probs = softmax(np.eye(len(BLOOD_12.names))[truth] * 3 + rng.normal(size=(600, len(BLOOD_12.names))))
    sets = calls.label_sets(probs[:300], truth[:300], probs[300:], mapping, level=0.9)
    assert sets.shape == (300, 2)
    band = BLOOD_12.index("band_neutrophil")
    assert sets[truth[300:] == band, 0].mean() > 0.8


def test_limits_over_draws_hold_for_one_draw():
    groups = np.array([f"p{i // 5}" for i in range(50)])
    good, bad = np.ones(50), np.zeros(50)
    parts = [(lambda r, v=v: float(v[r].mean()), groups) for v in (good, bad)]
    found = adaptation.over_draws(parts, unit="patient", n_resamples=200)
    assert (found.value, found.low, found.high, found.n, found.n_groups) == (0.5, 0.0, 1.0, 50, 10)
    lone = adaptation.over_draws([(parts[0][0], np.full(50, "p"))], unit="patient", n_resamples=20)
    assert lone.value == 1 and math.isnan(lone.low)


def test_labelled_cells_are_drawn_by_whole_photographs():
    n, rng = 40, np.random.default_rng(1)
    files = np.array([f"f{i // 4}" for i in range(n)])
    crops = CropSet(
        rng.integers(0, 255, (n, 16, 16, 3)).astype(np.uint8), np.zeros(n, np.int64), files, "photograph", PCM_9,
        np.full(n, "lymphocyte"), files, np.zeros((n, 4)), CropRule(size=16, pad_fraction=0.1),
    )  # fmt: skip
    rows = adaptation.draw_labelled(crops, 0.1, seed=3)
    assert len(rows) == 4 and len(set(files[rows])) == 1
    assert not np.array_equal(rows, adaptation.draw_labelled(crops, 0.1, seed=4))


def test_what_stands_on_two_sides_leaves_training_not_the_test(painted):
    """p0 and p3 are in train, p1 in val, p2 in test: p2's second photograph is moved to train."""
    moved = replace(painted.fields[5], split="train")
    leaking = replace(painted, fields=(*painted.fields[:5], moved, *painted.fields[6:]))
    audit = audit_dataset(leaking)
    assert audits.finding_of(audit).patients == 1
    dropped = audits.fields_to_drop([audit])
    assert list(dropped) == [moved.file] and "patient" in dropped[moved.file]
    clean = audits.without_fields(leaking, list(dropped))
    assert audits.finding_of(audit_dataset(clean)).problems() == []


def test_what_an_external_set_shows_leaves_training(painted):
    outside = replace(painted, name="outside", fields=(replace(painted.fields[0], split=None),))
    own, against = audit_dataset(painted), audit_dataset(painted, outside)
    assert audits.finding_of(own).problems() == []
    found = audits.finding_of(against)
    assert found.leaks == 1 and found.patients == 1 and found.sets == ("painted", "outside")
    doubled = replace(painted, fields=(*painted.fields, painted.fields[0]))
    inside = audits.finding_of(audit_dataset(doubled))
    assert (inside.leaks, inside.inside) == (0, 1)  # twice in one split is no leak
    assert audits.finding_of(audit_dataset(doubled, outside)).leaks == 1
    gone = audits.fields_to_drop([own, against])
    assert set(gone) == {f.file for f in painted.fields if f.key.patient_id == "painted-p0"}
    assert audits.Finding.from_dict(found.to_dict()) == found


def test_splits_follow_clusters_where_no_patient_is_stated(painted, tmp_path):
    config = read_study(study_folder(tmp_path / "c", head="test_share = 0.3\nval_share = 0.4"))
    nobody = tuple(replace(f, split=None, key=replace(f.key, patient_id="", smear_id="")) for f in painted.fields)
    plain = replace(painted, fields=nobody)
    made, words = data.with_splits(config, plain, [(0, 1), (4, 6, 7)])
    assert "near-duplicate cluster" in words
    of = [f.split for f in made.fields]
    assert of[0] == of[1] and of[4] == of[6] == of[7] and {"train", "val", "test"} == set(of)
    tested = replace(plain, fields=tuple(replace(f, split="test" if i > 5 else "train") for i, f in enumerate(nobody)))
    _, words = data.with_splits(config, tested, [(0, 3)])
    assert "validation made here" in words
    for seed in range(6):
        of = [f.split for f in data.with_splits(replace(config, seed=seed), tested, [(0, 3)])[0].fields]
        assert of[6:] == ["test", "test"] and of[0] == of[3] and "val" in of
    with pytest.raises(DataError, match="without train or test"):
        data.with_splits(config, replace(plain, fields=tuple(replace(f, split="val") for f in nobody)), ())


def test_annotated_crops_are_told_from_fields(painted, tmp_path):
    single = open_set(paint_study_set(tmp_path / "one", name="one", patients=2, single=True))
    assert data.is_single_cells(single) and not data.is_single_cells(painted)
