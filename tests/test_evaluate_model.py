"""`evaluate_model` end to end on tiny models and drawn fields whose answers are known."""

from __future__ import annotations

import csv
import hashlib
import json

import numpy as np
import pytest
from data.make_bundles import draw_field, scatter_cells
from PIL import Image

from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField, read_dataset, write_dataset
from leukoscope.errors import DataError
from leukoscope.evaluate import describe, evaluate_model
from leukoscope.models.bundle import find_model
from leukoscope.types import FieldKey

COARSE = {"band_neutrophil": "neutrophil", "segmented_neutrophil": "neutrophil"}


def make_set(folder, *, rename=None, patients=("p1", "p2"), miss=0, spoil=False):
    """Six drawn fields; `rename` maps the drawn class to the stated one, `miss` cells a field are left unstated."""
    rng = np.random.default_rng(3)
    fields = []
    for i in range(6):
        drawn = scatter_cells(rng, 256, 256, 5)
        file = f"f{i}.png"
        Image.fromarray(draw_field(256, 256, drawn)).save(folder / file)
        if spoil and i == 0:
            (folder / file).write_bytes(b"not a picture")
        stated = [rename(n) if rename else n for _, _, n in drawn]
        cells = [
            TruthCell((x - 22, y - 22, x + 22, y + 22), ("white_cell" if i % 2 else None) if k < miss else name, "x")
            for k, ((x, y, _), name) in enumerate(zip(drawn, stated, strict=True))
        ]
        cells.append(TruthCell((0, 0, 30, 30), "red_cell", "RBC"))
        key = FieldKey(file, "", patients[i % len(patients)], "", "blood")
        digest = hashlib.sha256((folder / file).read_bytes()).hexdigest()
        fields.append(TruthField(key, file, digest, 256, 256, tuple(cells), None, "test" if i < 5 else "train"))
    dataset = Dataset("drawn", folder, tuple(fields), "none", "none", "test")
    write_dataset(dataset, folder / "set")
    return folder / "set"


def test_a_right_model_scores_one(tmp_path, model):
    data = make_set(tmp_path)
    result = evaluate_model(model, data, "test", tmp_path / "out")
    assert result == json.loads((tmp_path / "out" / "metrics.json").read_text("utf-8"))
    n_cells = sum(c.class_name != "red_cell" for f in read_dataset(data).subset("test").fields for c in f.cells)
    reading = result["classification"]["readings"]["as_labelled"]
    assert reading["n_cells"] == n_cells == result["data"]["n_cells"] > 15
    assert reading["accuracy"]["value"] == reading["macro_f1"]["value"] == 1
    assert result["location"]["ap50"]["value"] > 0.95
    assert result["end_to_end"]["found_and_right"]["value"] > 0.9
    blast = result["classification"]["called_blast"]  # of normal cells: true lymphoblasts don't count
    assert blast["any"]["n"] == 0 and 0 < blast["n_normal_cells"] < n_cells
    assert result["interval"]["clusters"] == "patient" and result["interval"]["n"] == 2


def test_tables_agree_with_the_metrics(tmp_path, model):
    result = evaluate_model(model, make_set(tmp_path), "all", tmp_path / "out")
    rows = list(csv.DictReader((tmp_path / "out" / "predictions.csv").read_text("utf-8").splitlines()))
    truth = [r for r in rows if r["kind"] == "truth"]
    assert len(truth) == result["data"]["n_cells"]
    assert all(abs(sum(float(v) for k, v in r.items() if k.startswith("prob_")) - 1) < 1e-3 for r in truth)
    right = np.mean([r["truth"] == r["called"] for r in truth])
    assert right == result["classification"]["readings"]["as_labelled"]["accuracy"]["value"]
    lines = (tmp_path / "out" / "confusion.csv").read_text("utf-8").splitlines()
    table = [[int(v) for v in r[2:]] for r in csv.reader(lines) if r[0] == "as_labelled"]
    assert table == result["classification"]["readings"]["as_labelled"]["confusion"]
    assert sum(map(sum, table)) == len(truth)


def test_five_types_are_read_strictly_and_restricted(tmp_path, model):
    five = {"lymphocyte", "monocyte", "eosinophil", "basophil"}
    # Every cell that is none of the five is stated as a neutrophil: strictly wrong, whatever is left when restricted.
    data = make_set(tmp_path, rename=lambda n: n if n in five else "neutrophil")
    result = evaluate_model(find_model(model), read_dataset(data), "all", tmp_path / "out")
    readings = result["classification"]["readings"]
    assert set(readings) == {"five_types_strict", "five_types_restricted"}
    strict, labels = readings["five_types_strict"], readings["five_types_strict"]["labels"]
    outside = sum(row[labels.index("outside")] for row in strict["confusion"])
    assert outside > 3 and strict["accuracy"]["value"] == pytest.approx(1 - outside / strict["n_cells"])
    assert "outside" not in readings["five_types_restricted"]["labels"]
    assert strict["truth_read_as"] == {}
    assert result["classification"]["called_blast"]["n_normal_cells"] == strict["n_cells"]


def test_normal_cells_called_blast_are_counted(tmp_path, model):
    data = make_set(tmp_path, rename=lambda n: "lymphocyte" if n == "lymphoblast" else n)
    result = evaluate_model(model, data, "all", tmp_path / "out")
    rows = list(csv.DictReader((tmp_path / "out" / "predictions.csv").read_text("utf-8").splitlines()))
    called = sum(r["called"] == "lymphoblast" for r in rows if r["kind"] == "truth")
    blast = result["classification"]["called_blast"]
    assert blast["any"]["n"] == blast["lymphoblast"]["n"] == called > 0
    assert blast["any"]["value"] == pytest.approx(called / blast["n_normal_cells"])


def test_what_is_not_judged_is_named(tmp_path, model):
    data = make_set(tmp_path, rename=lambda n: "immature_granulocyte" if n == "myelocyte" else n, miss=1)
    result = evaluate_model(model, data, "all", tmp_path / "out")
    reading = result["classification"]["readings"]["as_labelled"]
    assert reading["cells_not_judged"]["None"] == 6 and "immature_granulocyte" in reading["cells_not_judged"]
    assert reading["n_cells"] + sum(reading["cells_not_judged"].values()) == result["data"]["n_cells"]
    assert "myelocyte" in reading["classes_without_cells"]
    text = "\n".join(describe(result))
    assert "6 of unstated type" in text and "no cells of" in text


def test_a_field_that_cannot_be_read_is_listed(tmp_path, model):
    result = evaluate_model(model, make_set(tmp_path, spoil=True), "test", tmp_path / "out")
    assert result["failed_fields"] == [{"file": "f0.png", "reason": "not_an_image"}]


def test_without_patients_limits_are_by_photograph(tmp_path, model):
    result = evaluate_model(model, make_set(tmp_path, patients=("",)), "test", tmp_path / "out")
    assert result["interval"]["clusters"] == "photograph" and result["interval"]["n"] == 5
    low, value, high = (result["location"]["ap50_95"][k] for k in ("low", "value", "high"))
    assert low <= value <= high


def test_one_bundle_alone_gives_its_own_part(tmp_path, model):
    data = make_set(tmp_path)
    located = evaluate_model(model / "locator", data, "test", tmp_path / "a")
    named = evaluate_model(model / "classifier", data, "test", tmp_path / "b")
    assert "location" in located and not {"classification", "end_to_end"} & set(located)
    assert "classification" in named and not {"location", "end_to_end"} & set(named)


def test_a_split_that_is_not_there_is_refused(tmp_path, model):
    with pytest.raises(DataError, match="test, train"):
        evaluate_model(model, make_set(tmp_path), "val", tmp_path / "out")
