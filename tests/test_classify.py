"""Classifying: the right class, rows in the order of the cells, batches that change nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from data.make_bundles import COLORS, draw_field, make_classifier, scatter_cells

from leukoscope.classify import BATCH, classify
from leukoscope.errors import ModelError
from leukoscope.models.bundle import CropRule, read_bundle, write_card
from leukoscope.models.runtime import Session
from leukoscope.taxonomy import BLOOD_12, PCM_9
from leukoscope.types import Cells, Field, FieldKey

KEY = FieldKey("f", "s", "p", "c", "blood")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory) -> Session:
    return Session(read_bundle(make_classifier(tmp_path_factory.mktemp("classifier"))))


def discs(n=40, seed=0):
    """A field of discs, their cells, and their classes."""
    drawn = scatter_cells(np.random.default_rng(seed), 500, 700, n)
    boxes = [(x - 20, y - 20, x + 20, y + 20) for x, y, _ in drawn]
    return Field(KEY, draw_field(500, 700, drawn)), Cells(KEY, boxes, np.ones(len(drawn))), [c for _, _, c in drawn]


def names(calls):
    return [calls.taxonomy.names[i] for i in calls.class_ids()]


def test_every_disc_gets_its_class(classifier):
    field, cells, classes = discs()
    calls = classify(field, cells, classifier)
    assert len(cells) > 2 * BATCH and names(calls) == classes
    assert calls.cells is cells and calls.taxonomy == BLOOD_12


def test_one_at_a_time_gives_the_same(classifier):
    field, cells, _ = discs(20)
    together = classify(field, cells, classifier).probs
    alone = [classify(field, Cells(KEY, cells.boxes[i : i + 1], [1]), classifier).probs[0] for i in range(len(cells))]
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_no_cells(classifier):
    calls = classify(discs()[0], Cells(KEY, [], []), classifier)
    assert calls.probs.shape == (0, 12)


def test_the_temperature_softens_and_changes_no_class(classifier, tmp_path):
    folder = make_classifier(tmp_path)
    bundle = read_bundle(folder)
    write_card(dataclasses.replace(bundle.card, temperature=8.0), folder / "card.json")
    field, cells, classes = discs(20)
    sharp, soft = classify(field, cells, classifier), classify(field, cells, Session(read_bundle(folder)))
    assert names(soft) == classes
    assert (soft.probs.max(1) < sharp.probs.max(1)).any() and (soft.probs.max(1) <= sharp.probs.max(1)).all()


def test_white_balance_undoes_a_tint_where_the_card_asks_for_it(classifier, tmp_path):
    field, cells, classes = discs()
    tinted = Field(KEY, np.rint(field.pixels * np.array([0.7, 0.9, 0.6])).astype(np.uint8))
    balanced = Session(read_bundle(make_classifier(tmp_path, white_balance=True)))
    assert names(classify(tinted, cells, balanced)) == classes
    assert names(classify(tinted, cells, classifier)) != classes


def test_the_diameter_is_the_longer_side_in_micrometres_and_0_where_unknown(tmp_path):
    session = Session(read_bundle(make_classifier(tmp_path, diameter=True)))
    name = BLOOD_12.names[0]
    pixels = np.full((100, 100, 3), COLORS[name], np.uint8)
    pixels[...] = np.mean([COLORS[name], COLORS[BLOOD_12.names[1]]], 0)  # undecided without the diameter
    cells = Cells(KEY, [[20, 20, 60, 50]], [1])
    unknown = classify(Field(KEY, pixels), cells, session).probs[0]
    known = classify(Field(KEY, pixels, um_per_px=0.05), cells, session).probs[0]
    odds = np.log(known[0] / known[1]) - np.log(unknown[0] / unknown[1])
    assert odds == pytest.approx(40 * 0.05, abs=1e-3)


def test_the_crop_rule_of_the_card_is_used(tmp_path):
    # A disc of 20 px in a box of 4 px: only a rule that pads by 30 px sees the background around it.
    wide = Session(read_bundle(make_classifier(tmp_path / "wide", crop=CropRule(size=32, pad_px=300))))
    near = Session(read_bundle(make_classifier(tmp_path / "near", crop=CropRule(size=32, pad_px=0))))
    field = Field(KEY, draw_field(700, 700, [(350, 350, "basophil")], radius=10))
    cells = Cells(KEY, [[348, 348, 352, 352]], [1])
    assert names(classify(field, cells, near)) == ["basophil"]
    assert names(classify(field, cells, wide)) != ["basophil"]


def test_a_model_with_another_number_of_classes_is_refused(tmp_path):
    folder = make_classifier(tmp_path)
    bundle = read_bundle(folder)
    write_card(dataclasses.replace(bundle.card, taxonomy=PCM_9), folder / "card.json")
    field, cells, _ = discs(3)
    with pytest.raises(ModelError, match=r"shape \(3, 12\) for 3 cells; its taxonomy has 9 classes"):
        classify(field, cells, Session(read_bundle(folder)))
