"""A cell's words: the card's rule, the model's second output, and where they end up."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest
from data.make_bundles import (
    ATTRIBUTES,
    WORDS,
    draw_field,
    make_classifier,
    make_model,
    scatter_cells,
    write_bundle_card,
)
from PIL import Image

from leukoscope.classify import BATCH, classify
from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField
from leukoscope.errors import DataError, ModelError
from leukoscope.evaluate import evaluate_model
from leukoscope.evaluate.run import describe
from leukoscope.models.bundle import read_bundle, read_card, write_card
from leukoscope.models.runtime import Session
from leukoscope.models.words import WordRule
from leukoscope.pipeline import analyze
from leukoscope.report import read_record, write_cells_csv
from leukoscope.report.words import cell_words
from leukoscope.types import Calls, Cells, Field, FieldKey

KEY = FieldKey("f", "s", "p", "c", "blood")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return make_classifier(tmp_path_factory.mktemp("words"), words=True)


def discs(n=40):
    drawn = scatter_cells(np.random.default_rng(3), 500, 700, n)
    boxes = [(x - 20, y - 20, x + 20, y + 20) for x, y, _ in drawn]
    return draw_field(500, 700, drawn), boxes, [c for _, _, c in drawn]


def expected(class_name):
    return {"band_neutrophil": {"lobes": "one"}, "segmented_neutrophil": {"lobes": "many"}}.get(class_name, {})


def test_cells_get_the_words_of_their_own_row_and_other_classes_get_none(classifier):
    pixels, boxes, classes = discs()
    calls = classify(Field(KEY, pixels), Cells(KEY, boxes, np.ones(len(boxes))), Session(read_bundle(classifier)))
    assert len(boxes) > 2 * BATCH and {"band_neutrophil", "segmented_neutrophil"} <= set(classes)
    assert list(calls.words) == [expected(c) for c in classes]


def test_a_model_without_attributes_says_nothing_and_one_with_no_cells_has_none(classifier, tmp_path):
    pixels, boxes, _ = discs(5)
    cells = Cells(KEY, boxes, np.ones(len(boxes)))
    assert classify(Field(KEY, pixels), cells, Session(read_bundle(make_classifier(tmp_path)))).words is None
    assert classify(Field(KEY, pixels), Cells(KEY, [], []), Session(read_bundle(classifier))).words == ()
    probs = np.tile(np.eye(12, dtype=np.float32)[0], (len(boxes), 1))
    with pytest.raises(DataError, match="words for each cell, got 1 for"):
        Calls(cells, probs, read_bundle(classifier).card.taxonomy, ({},))


def test_a_card_keeps_the_rule_and_refuses_an_edited_one(classifier, tmp_path):
    card = read_card(classifier / "card.json")
    assert card.attributes == WORDS and card.attributes.shown == ("lobes",)
    values = json.loads((classifier / "card.json").read_text())
    values["attributes"]["set"]["attributes"][0]["values"] = ["many", "one"]
    (tmp_path / "card.json").write_text(json.dumps(values))
    with pytest.raises(ModelError, match="does not fit its digest"):
        read_card(tmp_path / "card.json")
    write_card(dataclasses.replace(card, attributes=None), tmp_path / "card.json")
    assert "attributes" not in json.loads((tmp_path / "card.json").read_text())
    with pytest.raises(ModelError, match="needs a positive temperature"):
        WordRule(ATTRIBUTES, (), (1.0,), (None, None), "")


def test_a_card_with_words_needs_a_model_that_has_them(tmp_path):
    folder = make_classifier(tmp_path)
    card = read_card(folder / "card.json")
    kept = {k: getattr(card, k) for k in ("name", "task", "input_size", "taxonomy", "crop", "temperature")}
    write_bundle_card(folder, attributes=WORDS, **kept)
    with pytest.raises(ModelError, match="no output 'attributes'"):
        Session(read_bundle(folder))


def test_a_hotter_temperature_and_a_higher_threshold_silence_words():
    values = np.array([[2.0, 0.0, 0.0, 0.0], [0.0, 3.0, 0.0, 0.0]])
    called = ["band_neutrophil", "segmented_neutrophil"]
    assert WORDS.say(values, called) == [{}, {"lobes": "many"}]  # 0.88 and 0.95
    assert dataclasses.replace(WORDS, temperatures=(3.0, 1.0)).say(values, called) == [{}, {}]
    assert WORDS.say(values, ["lymphoblast"] * 2) == [{}, {}]
    np.testing.assert_allclose(WORDS.probs(values)[0].sum(1), 1)
    with pytest.raises(ModelError, match="do not belong together"):
        WORDS.probs(np.zeros((2, 5)))


def analyze_three(folder):
    """A run over one field with a band and a segmented neutrophil and a lymphocyte; the path of its record."""
    kinds = ("band_neutrophil", "segmented_neutrophil", "lymphocyte")
    drawn = [(60.0 + 90 * n, 120.0, kind) for n, kind in enumerate(kinds)]
    (folder / "p1").mkdir()
    Image.fromarray(draw_field(256, 320, drawn)).save(folder / "p1" / "field.png")
    return analyze([folder / "p1"], folder / "out", model=make_model(folder / "model", words=True))


def test_words_reach_the_record_and_the_table(tmp_path):
    record = analyze_three(tmp_path)
    read = read_record(record)
    (shown,) = read.provenance["attributes"]["shown"]
    assert shown == {"name": "lobes", "part": "nucleus", "words": {"one": "one lobe", "many": "many lobes"}}
    (field,) = read.fields()
    assert [c["attributes"] for c in field["cells"]] == [expected(c["class"]) for c in field["cells"]]
    write_cells_csv(record, tmp_path / "cells.csv")
    with open(tmp_path / "cells.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["attr_lobes"] for r in rows] == [c["attributes"].get("lobes", "") for c in field["cells"]]
    assert {r["attr_lobes"] for r in rows} == {"one", "many", ""}
    page = (tmp_path / "out/report.html").read_text("utf-8")
    assert page.count('<span class="said">') == 2 and "<b>Nucleus</b> one lobe</span>" in page
    assert 'class="sw-words"' in page and "for cells called band neutrophil, segmented neutrophil only" in page


def test_a_report_without_words_has_no_switch_for_them(tmp_path):
    (tmp_path / "p1").mkdir()
    Image.fromarray(draw_field(256, 320, [(150, 120, "lymphocyte")])).save(tmp_path / "p1" / "field.png")
    record = analyze([tmp_path / "p1"], tmp_path / "out", model=make_model(tmp_path / "model"))
    page = (record.parent / "report.html").read_text("utf-8")
    assert 'class="sw-words"' not in page and 'class="said"' not in page
    assert "attributes" not in read_record(record).provenance


def test_words_are_gathered_by_part_and_said_once():
    attributes = (
        {"name": "granularity", "part": "granules", "words": {"no": "none", "yes": "present"}},
        {"name": "granule_type", "part": "granules", "words": {"none": "none", "small": "small"}},
        {"name": "cell_size", "part": "cell", "words": {"small": "small"}},
    )
    said = {"granularity": "no", "granule_type": "none", "cell_size": "huge", "unheard": "x"}
    assert cell_words(said, attributes) == [("Granules", "none"), ("Cell", "huge")]
    assert cell_words({}, attributes) == []


@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_words_in_the_viewer_and_by_the_switch(tmp_path, width):
    sync_api = pytest.importorskip("playwright.sync_api", reason="no browser was found: playwright is not installed")
    found = next((p for p in map(shutil.which, ("chromium", "google-chrome")) if p), None)
    if found is None:
        pytest.skip("no browser was found: install chromium to test the report in one")
    report = analyze_three(tmp_path).parent / "report.html"
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.goto(report.as_uri())
        words = page.locator(".said")
        assert words.count() == 2 and not words.first.is_visible()
        page.locator(".sw-words").check()
        assert words.first.is_visible() and words.first.inner_text() == "Nucleus one lobe"
        words.first.click()
        facts = page.locator(".viewer-facts").inner_text().splitlines()
        assert facts[facts.index("Words") + 1] == "nucleus one lobe"
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        browser.close()


def test_evaluate_says_how_often_shown_words_are_right(tmp_path):
    Image.fromarray(draw_field(256, 320, [(60, 120, "band_neutrophil"), (200, 120, "segmented_neutrophil")])).save(
        tmp_path / "field.png"
    )
    stated = ((("lobes", "one"),), (("lobes", "one"),))  # the second is told wrongly
    boxes = ((40.0, 100.0, 80.0, 140.0), (180.0, 100.0, 220.0, 140.0))
    kinds = ("band_neutrophil", "segmented_neutrophil")
    cells = tuple(TruthCell(b, k, k, None, a) for b, k, a in zip(boxes, kinds, stated, strict=True))
    field = TruthField(KEY, "field.png", "0" * 64, 320, 256, cells)
    dataset = Dataset("drawn", tmp_path, (field,), "CC0", "drawn here", "folders")
    result = evaluate_model(make_classifier(tmp_path / "model", words=True), dataset, "all", tmp_path / "out")
    assert result["words"]["lobes"]["n_said"] == 2 and result["words"]["lobes"]["right"]["value"] == 0.5
    assert "words: lobes said of 2 of 2 cells that state it, right in 0.5000" in " ".join(describe(result))
