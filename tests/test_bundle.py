"""Bundles: what is written is read back, and what does not fit is refused."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from data.make_bundles import make_classifier, make_locator, make_model

from leukoscope.errors import ModelError
from leukoscope.models import bundle as bundle_module
from leukoscope.models.bundle import (
    CropRule,
    bundled_names,
    find_model,
    part_of_model,
    read_bundle,
    read_card,
    write_card,
)
from leukoscope.models.runtime import Session


@pytest.fixture
def copy(model, tmp_path) -> Path:
    """A model that a test may spoil."""
    return shutil.copytree(model, tmp_path / "copy")


def edit_card(folder: Path, **changes) -> None:
    card = json.loads((folder / "card.json").read_text("utf-8"))
    (folder / "card.json").write_text(json.dumps(card | changes), "utf-8")


def test_a_card_written_is_the_card_read(model, tmp_path):
    for part in ("locator", "classifier"):
        card = read_card(model / part / "card.json")
        write_card(card, tmp_path / "again.json")
        assert read_card(tmp_path / "again.json") == card
        assert (tmp_path / "again.json").read_bytes() == (model / part / "card.json").read_bytes()


def test_a_model_is_its_two_parts_or_one_bundle(model):
    assert set(find_model(model)) == {"locate", "classify"}
    assert set(find_model(str(model / "locator"))) == {"locate"}


def test_the_same_call_makes_the_same_bundle(model, tmp_path):
    again = make_model(tmp_path)
    for part in ("locator", "classifier"):
        assert (again / part / "model.onnx").read_bytes() == (model / part / "model.onnx").read_bytes()


def test_an_onnx_file_that_is_another_is_refused(copy):
    shutil.copy(copy / "classifier" / "model.onnx", copy / "locator" / "model.onnx")
    with pytest.raises(ModelError, match="does not fit its card: expected SHA-256"):
        find_model(copy)


def test_a_card_without_its_onnx_file_is_refused(copy):
    (copy / "locator" / "model.onnx").unlink()
    with pytest.raises(ModelError, match="no model.onnx"):
        read_bundle(copy / "locator")


def test_an_edited_taxonomy_is_refused(copy):
    card = json.loads((copy / "classifier" / "card.json").read_text("utf-8"))
    card["taxonomy"]["names"].reverse()
    edit_card(copy / "classifier", taxonomy=card["taxonomy"])
    with pytest.raises(ModelError, match="taxonomy 'blood-12' does not fit its digest"):
        find_model(copy)


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("locator", {"card_version": 2}, "card_version 2; this Leukoscope reads 1"),
        ("locator", {"colour": "red"}, "unknown keys: colour"),
        ("locator", {"thresholds": {"score": 0.5}}, "missing: nms_iou"),
        ("locator", {"task": "guess"}, "task must be one of locate, classify"),
        ("classifier", {"temperature": 0}, "positive temperature"),
        ("classifier", {"crop": None}, "crop rule"),
        ("classifier", {"crop": {"size": 32, "pad": 1}}, "pad"),
        ("locator", {"input_size": None}, "wrong kind"),
        ("locator", {"input_size": ["wide"]}, "wrong kind"),
        ("locator", {"thresholds": [0.5]}, "wrong kind"),
        ("locator", {"thresholds": {"score": "nan", "nms_iou": 0.5}}, "finite"),
        ("locator", {"input_size": [640]}, "two sides of 16 to 8192 px"),
        ("locator", {"input_size": [640, 10**9]}, "two sides of 16 to 8192 px"),
        ("classifier", {"temperature": math.inf}, "finite"),
        ("locator", {"white_balance": [True]}, "white_balance: expected bool"),
        ("classifier", {"temperature": "2"}, "temperature: expected float"),
        ("classifier", {"temperature": True}, "temperature: expected float"),
        ("classifier", {"training": 3}, "training: expected dict"),
        ("classifier", {"limits": "none"}, "limits: expected list"),
        ("classifier", {"crop": {"size": 32, "pad_px": "5"}}, "wrong kind"),
        ("classifier", {"crop": {"size": 32, "pad_px": -5}}, "padding and scale"),
    ],
)
def test_a_card_that_says_something_else_is_refused(copy, part, changes, message):
    edit_card(copy / part, **changes)
    with pytest.raises(ModelError, match=message):
        read_bundle(copy / part)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "\x00"])
def test_what_is_no_card_is_refused(tmp_path, text):
    (tmp_path / "card.json").write_text(text, "utf-8")
    with pytest.raises(ModelError, match="is not a model card"):
        read_bundle(tmp_path)


@pytest.mark.parametrize("name", ["", " ", "no-such-model", "../bundled"])
def test_no_model_is_ever_substituted(name):
    with pytest.raises(ModelError, match="no model|is not a model"):
        find_model(name)


def test_a_folder_without_cards_is_no_model(tmp_path):
    with pytest.raises(ModelError, match="expected card.json"):
        find_model(tmp_path)


def test_a_bundled_name_is_not_hidden_by_a_folder(model, tmp_path, monkeypatch):
    shutil.copytree(model, tmp_path / "bundled" / "tiny")
    monkeypatch.setattr(bundle_module, "BUNDLED", tmp_path / "bundled")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()  # photographs, perhaps
    assert bundled_names() == ["tiny"]
    assert find_model("tiny")["locate"].path == tmp_path / "bundled" / "tiny" / "locator"
    for folder in ("./tiny", Path("tiny")):
        with pytest.raises(ModelError, match="is not a model"):
            find_model(folder)


def test_a_part_that_a_model_lacks(model):
    with pytest.raises(ModelError, match="no part to classify: it has 'blob-locator'"):
        part_of_model(find_model(model / "locator"), "classify")


def test_a_file_that_is_no_onnx_is_refused(copy):
    folder = copy / "locator"
    (folder / "model.onnx").write_bytes(b"not onnx at all")
    card = read_card(folder / "card.json")
    digest = hashlib.sha256(b"not onnx at all").hexdigest()
    edit_card(folder, onnx_sha256=digest)
    assert card.name == "blob-locator"
    with pytest.raises(ModelError, match="can't be loaded"):
        Session(read_bundle(folder))


def test_a_graph_for_the_other_task_is_refused(copy):
    locator, classifier = copy / "locator", copy / "classifier"
    shutil.copy(classifier / "model.onnx", locator / "model.onnx")
    edit_card(locator, onnx_sha256=read_card(classifier / "card.json").onnx_sha256)
    with pytest.raises(ModelError, match="expected inputs pixels .* outputs boxes, scores; got"):
        Session(read_bundle(locator))


def test_a_second_input_may_be_the_diameter(tmp_path):
    session = Session(read_bundle(make_classifier(tmp_path, diameter=True)))
    assert session.inputs == {"pixels", "diameter_um"}
    crops = np.zeros((2, 32, 32, 3), np.uint8)
    logits = session.run(pixels=crops, diameter_um=np.array([0, 7], np.float32))[0]
    assert (logits[1] - logits[0]).tolist() == [7] + [0] * 11


def test_values_that_are_not_numbers_are_refused(tmp_path):
    session = Session(read_bundle(make_classifier(tmp_path, diameter=True)))
    with pytest.raises(ModelError, match="not finite numbers"):
        session.run(pixels=np.zeros((1, 32, 32, 3), np.uint8), diameter_um=np.array([np.nan], np.float32))


def test_a_locator_may_bring_its_own_tile(tmp_path):
    assert read_bundle(make_locator(tmp_path, tile_px=500)).card.thresholds["tile_px"] == 500
    with pytest.raises(ModelError, match="16 to 1024"):
        CropRule(size=8, pad_px=1)
