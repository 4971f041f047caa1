"""Labelled cells of the user's own laboratory: read only if they fit, weighed into the correction, written down."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from data.make_bundles import draw_field, scatter_cells
from PIL import Image

from leukoscope.cli import main
from leukoscope.errors import InputError
from leukoscope.models.bundle import read_card, write_card
from leukoscope.pipeline import AnalyzeOptions, analyze
from leukoscope.pipeline.own_cells import read_own_cells
from leukoscope.pipeline.ratios import OWN_COVERS, Correction, ratio_entries
from leukoscope.report import read_record
from leukoscope.report.correction_html import rates_words
from leukoscope.taxonomy import BLOOD_12
from leukoscope.types import Differential

BLAST, LYMPHOCYTE = BLOOD_12.index("lymphoblast"), BLOOD_12.index("lymphocyte")


def own_table():
    """320 cells: half of the lymphoblasts are missed here."""
    table = 20 * np.eye(12, dtype=int)
    table[BLAST, [BLAST, LYMPHOCYTE]] = 20, 20
    table[LYMPHOCYTE, LYMPHOCYTE] = 80
    return table


def write_metrics(path, card, **changes):
    labels = list(card.taxonomy.names)
    reading = {"labels": labels, "confusion": own_table().tolist()}
    metrics = {
        "models": {"classify": {"name": card.name, "onnx_sha256": card.onnx_sha256}},
        "classification": {"readings": {"as_labelled": reading}},
    } | changes
    path.write_text(json.dumps(metrics), "utf-8")
    return path


def test_own_cells_are_read_if_they_measured_this_classifier(model, tmp_path):
    card = read_card(model / "classifier" / "card.json")
    own = read_own_cells(write_metrics(tmp_path / "metrics.json", card), card)
    assert own.confusion.tolist() == own_table().tolist() and own.facts()["n_cells"] == 320
    other = {"classify": {"name": "x", "onnx_sha256": "0" * 64}}
    with pytest.raises(InputError, match="another classifier"):
        read_own_cells(write_metrics(tmp_path / "m.json", card, models=other), card)
    with pytest.raises(InputError, match="no reading 'as_labelled'"):
        read_own_cells(write_metrics(tmp_path / "m.json", card, classification={"readings": {}}), card)
    no_table = {"readings": {"as_labelled": {"labels": list(card.taxonomy.names)}}}
    for changes in ({"models": {}}, {"models": []}, {"classification": []}, {"classification": no_table}):
        with pytest.raises(InputError, match="not the metrics.json"):
            read_own_cells(write_metrics(tmp_path / "m.json", card, **changes), card)
    with pytest.raises(InputError, match="can't read the own cells"):
        read_own_cells(tmp_path / "absent.json", card)


def test_own_cells_move_the_correction_and_the_report_says_so(model):
    card = read_card(model / "classifier" / "card.json")
    validated = {"names": list(BLOOD_12.names), "counts": (100 * np.eye(12, dtype=int)).tolist()}
    card = replace(card, confusion=validated)
    counts = [0] * 12
    counts[BLAST], counts[LYMPHOCYTE] = 20, 80
    differential = Differential("p", "blood", counts, counts, 1, BLOOD_12)
    (alone,), (with_own,) = (ratio_entries(differential, Correction.of(card, t)) for t in (None, own_table()))
    assert with_own["corrected"]["value"] > 1.5 * alone["corrected"]["value"]
    assert (alone["corrected"]["own_cells"], with_own["corrected"]["own_cells"]) == (0, 320)
    assert with_own["corrected"]["covers"] == OWN_COVERS != alone["corrected"]["covers"]
    text = rates_words(with_own["corrected"], "blasts")
    assert text.startswith("In validation and 320 labelled cells of this laboratory it called 120 of 140 blasts")
    (only,) = ratio_entries(differential, Correction.of(replace(card, confusion=None), own_table()))
    assert only["corrected"]["sensitivity"]["n_cells"] == 40 and only["corrected"]["value"] > 0.3


def draw_pictures(folder, *patients):
    rng = np.random.default_rng(1)
    for patient in patients:
        (folder / patient).mkdir(parents=True)
        Image.fromarray(draw_field(240, 320, scatter_cells(rng, 240, 320, 4, apart=75))).save(
            folder / patient / "a.png"
        )


def test_analyze_writes_down_which_cells_corrected_it(model, tmp_path, capsys):
    card = read_card(model / "classifier" / "card.json")
    metrics = write_metrics(tmp_path / "metrics.json", card)
    draw_pictures(tmp_path / "in", "p1")
    words = ["analyze", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--model", str(model)]
    assert main([*words, "--own-cells", str(metrics)]) in (0, None)
    assert "corrected for the classifier's errors" in capsys.readouterr().out
    record = read_record(tmp_path / "out" / "record.json")
    assert record.provenance["options"]["own_cells"]["n_cells"] == 320
    assert record.patients[0]["ratios"][0]["corrected"]["own_cells"] == 320
    metrics.write_text(metrics.read_text("utf-8") + " ", "utf-8")  # other bytes: another run
    with pytest.raises(InputError, match="own_cells|another|other"):
        analyze(
            [tmp_path / "in"],
            tmp_path / "out",
            model=model,
            options=AnalyzeOptions(own_cells=str(metrics)),
            resume=True,
        )


def test_own_cells_are_of_one_centre(model, tmp_path):
    card = read_card(model / "classifier" / "card.json")
    draw_pictures(tmp_path / "in", "p1", "p2")
    table = tmp_path / "patients.csv"
    table.write_text(
        "file,patient_id,center\n"
        + "".join(f"{tmp_path / 'in' / p / 'a.png'},{p},{c}\n" for p, c in (("p1", "x"), ("p2", "y"))),
        "utf-8",
    )
    options = AnalyzeOptions(own_cells=str(write_metrics(tmp_path / "metrics.json", card)))
    with pytest.raises(InputError, match="several"):
        analyze([tmp_path / "in"], tmp_path / "out", model=model, patients=table, options=options)
    assert not (tmp_path / "out").exists()


def test_a_card_with_a_matrix_corrects_in_analyze(model, tmp_path):
    import shutil

    shutil.copytree(model, tmp_path / "model")
    path = tmp_path / "model" / "classifier" / "card.json"
    counts = (100 * np.eye(12, dtype=int) + 1).tolist()
    write_card(replace(read_card(path), confusion={"names": list(BLOOD_12.names), "counts": counts}), path)
    draw_pictures(tmp_path / "in", "p1")
    record = read_record(analyze([tmp_path / "in"], tmp_path / "out", model=tmp_path / "model"))
    assert record.patients[0]["ratios"][0]["corrected"]["method"] == "adjusted"


def told_by_patient(table, n_patients):
    """The same cells for each of several patients, as `leukoscope evaluate` writes them."""
    cells = [[t, c, int(n)] for (t, c), n in np.ndenumerate(table) if n]
    patients = [{"id": f"p{k}", "cells": cells} for k in range(n_patients)]
    return {"unit": "patient", "names": list(BLOOD_12.names), "patients": patients}


def test_own_cells_by_patient_tell_how_much_patients_differ(model, tmp_path):
    card = read_card(model / "classifier" / "card.json")
    told = {"readings": {}, "confusion_by_patient": told_by_patient(own_table(), 12)}
    own = read_own_cells(write_metrics(tmp_path / "metrics.json", card, classification=told), card)
    assert own.confusion[:, :12].tolist() == (12 * own_table()).tolist() and own.by_patient.shape == (12, 12, 13)
    correction = Correction.of(card, own.confusion, own.by_patient)
    counts = [0] * 12
    counts[BLAST], counts[LYMPHOCYTE] = 20, 80
    (entry,) = ratio_entries(Differential("p", "blood", counts, counts, 1, BLOOD_12), correction)
    assert entry["corrected"]["scatter"]["n_patients"] == 12 and entry["corrected"]["scatter"]["sd"] < 0.6
    assert "Patients differ, as 12 validation patients showed" in rates_words(entry["corrected"], "blasts")
    (assumed,) = ratio_entries(
        Differential("p", "blood", counts, counts, 1, BLOOD_12), replace(correction, by_patient=None)
    )
    assert assumed["corrected"]["scatter"] == {"sd": 0.6, "n_patients": 0, "unit": "patient"}
    assert "How much patients differ is not known" in rates_words(assumed["corrected"], "blasts")
    assert assumed["corrected"]["worth"] < entry["corrected"]["worth"] < 100


def test_own_cells_of_a_model_that_leaves_cells_unnamed_say_which(model, tmp_path):
    card = read_card(model / "classifier" / "card.json")
    strict = replace(card, thresholds={"unidentified": 0.5})
    with pytest.raises(InputError, match="which cells .* could not identify: evaluate again"):
        read_own_cells(write_metrics(tmp_path / "metrics.json", card), strict)


def test_evaluate_writes_what_own_cells_reads(model, tmp_path):
    from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField
    from leukoscope.evaluate import evaluate_model
    from leukoscope.types import FieldKey

    kinds, fields = ("lymphocyte", "monocyte", "lymphoblast"), []
    for patient in ("p1", "p2"):
        drawn = [(60.0 + 90 * n, 120.0, kind) for n, kind in enumerate(kinds)]
        Image.fromarray(draw_field(256, 320, drawn)).save(tmp_path / f"{patient}.png")
        cells = tuple(TruthCell((x - 20, y - 20, x + 20, y + 20), k, k, None, ()) for x, y, k in drawn)
        key = FieldKey(patient, patient, patient, "c", "blood")
        fields.append(TruthField(key, f"{patient}.png", "0" * 64, 320, 256, cells))
    dataset = Dataset("drawn", tmp_path, tuple(fields), "CC0", "drawn here", "folders")
    evaluate_model(model / "classifier", dataset, "all", tmp_path / "out")
    own = read_own_cells(tmp_path / "out" / "metrics.json", read_card(model / "classifier" / "card.json"))
    assert own.by_patient.shape[0] == 2 and own.confusion.sum() == 6 and own.confusion[BLAST, BLAST] == 2
