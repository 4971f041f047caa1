"""A one-stage detector's bundle: found and named in one, analysed and evaluated like a pair of models."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from data.make_detector import SCORES, TAXONOMY, make_detector
from data.make_painted_set import paint_set

from leukoscope.errors import InputError, ModelError
from leukoscope.evaluate import describe, evaluate_model
from leukoscope.locate import detect, locate, locate_closely
from leukoscope.models.bundle import find_model, read_bundle
from leukoscope.models.runtime import Session
from leukoscope.pipeline import AnalyzeOptions, analyze
from leukoscope.types import Field, FieldKey

KEY = FieldKey("f", "s", "p", "c", "blood")


def blank(height=96, width=96):
    return Field(KEY, np.full((height, width, 3), 230, np.uint8))


def test_calls_are_the_class_scores_over_their_sum(tmp_path):
    session = Session(read_bundle(make_detector(tmp_path / "m")))
    calls = detect(blank(), session)
    assert calls.taxonomy == TAXONOMY and calls.class_ids().tolist() == [0, 1, 2]  # the third box is the first's twin
    assert calls.cells.scores == pytest.approx([0.8, 0.6, 0.4])
    assert calls.probs[1] == pytest.approx([0.25, 0.75, 0.0], abs=1e-6)
    sharp = detect(blank(), Session(read_bundle(make_detector(tmp_path / "t", temperature=0.5))))
    assert sharp.probs[1] == pytest.approx([0.1, 0.9, 0.0], abs=1e-6)


def test_tiles_keep_each_cells_own_classes(tmp_path):
    session = Session(read_bundle(make_detector(tmp_path / "m")))
    calls = detect(blank(96, 168), session, tile_px=96)
    assert len(calls.cells) == 6 and sorted(calls.class_ids().tolist()) == [0, 0, 1, 1, 2, 2]
    assert (calls.cells.scores[:-1] >= calls.cells.scores[1:]).all()
    named = {round(float(s), 1): c for s, c in zip(calls.cells.scores, calls.class_ids(), strict=True)}
    assert named == {0.8: 0, 0.6: 1, 0.4: 2}


def test_a_card_that_does_not_fit_its_graph_is_refused(tmp_path):
    wrong = make_detector(tmp_path / "m", scores=SCORES[:, :2])
    with pytest.raises(ModelError, match="do not belong together"):
        detect(blank(), Session(read_bundle(wrong)))
    card = read_bundle(wrong).card
    with pytest.raises(ModelError, match="needs a taxonomy and a positive temperature"):
        replace(card, taxonomy=None)
    with pytest.raises(ModelError, match="task 'detect' need score, nms_iou"):
        replace(card, thresholds={"score": 0.3})


def test_analyze_takes_a_one_stage_model(tmp_path):
    model, data = make_detector(tmp_path / "m"), paint_set(tmp_path / "set", n_fields=2)
    record = json.loads(analyze([data.image_root], tmp_path / "out", model=model).read_text())
    (patient,) = record["patients"]
    models = record["provenance"]["models"]
    assert models["locator"] == models["classifier"]
    counts = {r["class"]: r["count"] for r in patient["differential"]}
    assert counts == {"lymphocyte": 2, "myeloblast": 2, "other": 2}
    rows = list(csv.DictReader((tmp_path / "out" / "cells.csv").read_text("utf-8-sig").splitlines()))
    assert [r["class"] for r in rows] == ["lymphocyte", "myeloblast", "other"] * 2
    assert "one-stage" in (tmp_path / "out" / "report.html").read_text("utf-8")
    with pytest.raises(InputError, match="takes no other locator"):
        analyze([data.image_root], tmp_path / "two", model=model, options=AnalyzeOptions(locator="blood"))


def test_evaluate_scores_location_classes_and_the_end(tmp_path):
    data = paint_set(tmp_path / "set", n_fields=2, classes=("lymphocyte", "smudge_cell"))
    truth = data.fields[0].cells[0].box
    boxes = np.array([truth, (50, 10, 80, 40), (0, 60, 20, 79)], np.float32)
    scores = np.array([[0.8, 0.1, 0.0], [0.0, 0.1, 0.6], [0.0, 0.5, 0.1]], np.float32)
    model = make_detector(tmp_path / "m", boxes=boxes, scores=scores)
    one = replace(data, fields=data.fields[:1])
    result = evaluate_model(model, one, "all", tmp_path / "out")
    assert set(result) >= {"location", "detection", "end_to_end"} and "classification" not in result
    assert result["location"]["n_truth"] == 1  # a smudge is no white cell, and boxes called "other" are none either
    assert result["location"]["ap50_95"]["value"] == pytest.approx(1.0)
    assert result["location"]["false_per_field_at_threshold"]["value"] == 1
    assert set(result["detection"]["classes"]) == {"lymphocyte", "other"}
    assert result["detection"]["absent"] == ["myeloblast"]
    assert result["detection"]["classes"]["lymphocyte"]["ap50_95"] == pytest.approx(1.0)
    assert result["end_to_end"]["found_and_right"]["value"] == 1
    assert result["end_to_end"]["false_counted_per_field"]["value"] == 1
    assert any(line.startswith("detection: map50_95") for line in describe(result))
    rows = list(csv.DictReader((tmp_path / "out" / "predictions.csv").read_text("utf-8").splitlines()))
    assert {r["called"] for r in rows if r["kind"] == "found"} == {"lymphocyte", "other", "myeloblast"}


def test_a_locator_that_knows_others_is_judged_by_white_cells_alone(tmp_path):
    data = paint_set(tmp_path / "set", n_fields=1, classes=("lymphocyte", "smudge_cell"))
    boxes = np.array([data.fields[0].cells[0].box], np.float32)
    model = make_detector(tmp_path / "m", task="locate", boxes=boxes, scores=np.array([0.9], np.float32))
    assert set(find_model(model)) == {"locate"}
    result = evaluate_model(model, data, "all", tmp_path / "out")
    assert result["location"]["n_truth"] == 1 and result["location"]["recall_at_threshold"]["value"] == 1


def test_a_second_look_moves_a_box_half_the_way_to_what_it_finds(tmp_path):
    """This network says the same of every picture, so a window that lies 2 px lower has its cell 2 px lower."""
    boxes = np.array([[28, 30, 68, 70], [2, 2, 14, 14]], np.float32)
    model = make_detector(tmp_path / "m", task="locate", boxes=boxes, scores=np.array([0.8, 0.25], np.float32))
    bundle = read_bundle(model)
    every_box = replace(bundle.card, thresholds=bundle.card.thresholds | {"score": 0.01})
    session = Session(replace(bundle, card=every_box))
    cells = locate_closely(blank(), session)
    assert cells.scores == pytest.approx(locate(blank(), session).scores)
    assert cells.boxes[0] == pytest.approx([28, 31, 68, 71])
    assert cells.boxes[1] == pytest.approx([2, 2, 14, 14])  # too unsure for a look
    apart = make_detector(tmp_path / "n", task="locate", boxes=boxes[::-1] + 4, scores=np.array([0.9, 0.1], np.float32))
    cells = locate_closely(blank(), Session(read_bundle(apart)))
    assert cells.boxes == pytest.approx(np.array([[6, 6, 18, 18]]))  # from near nothing lies in its place
