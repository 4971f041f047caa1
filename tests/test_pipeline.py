"""Photographs in, record out: what the record says of cells and patients, options, models and progress."""

from __future__ import annotations

import base64
import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from data.make_bundles import scatter_cells
from data.smear_photographs import HEIGHT, WIDTH, read, save
from PIL import Image

from leukoscope.errors import InputError, ModelError
from leukoscope.models.bundle import find_model
from leukoscope.pipeline import AnalyzeOptions, analyze
from leukoscope.pipeline.fields import Segmenter
from leukoscope.report import read_record
from leukoscope.taxonomy import BLOOD_12
from leukoscope.types import Cells


@pytest.fixture(scope="module")
def smears(tmp_path_factory) -> tuple[Path, dict[str, list]]:
    """Two patients of three pictures each, and their true cells by file name."""
    folder, truth = tmp_path_factory.mktemp("smears"), {}
    for number in range(6):
        file = f"anna/{number}.png" if number < 3 else f"bert/{number}.png"
        truth[file] = scatter_cells(np.random.default_rng(number), HEIGHT, WIDTH, 5, apart=75)
        save(folder / file, truth[file])
    return folder, truth


@pytest.fixture(scope="module")
def run(smears, model, tmp_path_factory) -> Path:
    """The output folder of one whole run."""
    return analyze([smears[0]], tmp_path_factory.mktemp("run") / "out", model=model).parent


def test_every_cell_is_found_classified_and_counted(run, smears):
    record, (folder, truth) = read(run / "record.json"), smears
    assert [f["file"] for f in record["fields"]] == [(folder / f).as_posix() for f in truth]
    for field, cells in zip(record["fields"], truth.values(), strict=True):
        assert sorted(c["class"] for c in field["cells"]) == sorted(c for _, _, c in cells)
        for cell in field["cells"]:
            x, y = np.add(cell["box"][:2], cell["box"][2:]) / 2
            nearest = min(cells, key=lambda c: (c[0] - x) ** 2 + (c[1] - y) ** 2)
            assert np.hypot(nearest[0] - x, nearest[1] - y) < 12 and nearest[2] == cell["class"]
    for patient in record["patients"]:
        own = [c for f, cells in truth.items() if f.startswith(patient["patient_id"]) for _, _, c in cells]
        counts = {row["class"]: row["count"] for row in patient["differential"]}
        assert counts == {name: own.count(name) for name in BLOOD_12.names}
        assert patient["n_counted"] == len(own) - own.count("artefact") - own.count("erythroblast")
        assert patient["n_nucleated_red"] == own.count("erythroblast")


def test_the_record_holds_the_contracts_keys_in_order(run):
    record = read(run / "record.json")
    assert list(record) == ["record_version", "provenance", "patients", "fields"]
    assert list(record["provenance"]) == (
        "leukoscope models taxonomy taxonomy_sha256 specimen um_per_px min_cells usual_min_cells unidentified_below "
        "not_offered options use runs_on".split()
    )
    assert (
        list(record["patients"][0])
        == (
            "patient_id specimen center smear_ids n_fields n_failed n_poor n_cells denominator n_counted count_tier "
            "n_nucleated_red nucleated_red_per_100 n_unidentified differential ratios artefacts_per_100 flags"
        ).split()
    )
    assert list(record["fields"][0]) == (
        "file sha256 patient_id smear_id center status reason note width height um_per_px scale_from quality "
        "cells red_cell_px scale_doubt tile_px".split()
    )
    assert list(record["fields"][0]["cells"][0]) == ["box", "class", "probs", "score", "suspicion", "identified"]
    assert record["provenance"]["um_per_px"] is None and "Research use only" in record["provenance"]["use"]
    assert {p["patient_id"]: p["smear_ids"] for p in record["patients"]} == {"anna": ["anna"], "bert": ["bert"]}
    assert list(read_record(run / "record.json").fields()) == record["fields"]


def test_numbers_in_the_record_agree_with_each_other(run):
    record = read(run / "record.json")
    for field in record["fields"]:
        for cell in field["cells"]:
            assert sum(cell["probs"].values()) == pytest.approx(1, abs=1e-4)
            assert cell["class"] == max(cell["probs"], key=cell["probs"].get)
            assert cell["suspicion"] == cell["probs"]["lymphoblast"]
    for patient in record["patients"]:
        assert sum(r["share"] or 0 for r in patient["differential"]) == pytest.approx(1, abs=1e-4)
        assert sum(r["expected"] for r in patient["differential"]) == pytest.approx(patient["n_cells"], abs=1e-3)
        (ratio,) = patient["ratios"]
        assert ratio["low"] <= ratio["value"] <= ratio["high"] and ratio["denominator"] == patient["n_counted"]


def test_the_other_outputs_are_views_of_the_record(run):
    record = read(run / "record.json")
    with open(run / "cells.csv", encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(f["cells"]) for f in record["fields"])
    page = (run / "report.html").read_text("utf-8")
    assert "anna" in page and "Research use only" in page
    assert not list(run.rglob("*.part"))


def test_every_cell_has_a_thumbnail(run):
    record = read(run / "record.json")
    lines = [json.loads(line) for line in (run / ".work" / "thumbs.jsonl").read_text().splitlines()]
    assert [(t["field"], t["cell"]) for t in lines] == [
        (i, j) for i, f in enumerate(record["fields"]) for j in range(len(f["cells"]))
    ]
    picture = Image.open(io.BytesIO(base64.b64decode(lines[0]["jpeg"])))
    assert (picture.format, picture.size) == ("JPEG", (96, 96))


def test_the_number_of_workers_changes_nothing(run, smears, model, tmp_path):
    for workers in (1, 5):
        out = tmp_path / str(workers)
        again = analyze([smears[0]], out, model=model, options=AnalyzeOptions(workers=workers))
        assert again.read_bytes() == (run / "record.json").read_bytes()
        assert (out / ".work" / "thumbs.jsonl").read_bytes() == (run / ".work" / "thumbs.jsonl").read_bytes()


def test_options_reach_the_record(smears, model, tmp_path):
    options = AnalyzeOptions(specimen="marrow", um_per_px=0.1, min_cells=3, tile_px=256)
    record = read(analyze([smears[0] / "anna"], tmp_path / "out", model=model, options=options))
    provenance = record["provenance"]
    assert (provenance["specimen"], provenance["um_per_px"], provenance["min_cells"]) == ("marrow", 0.1, 3)
    assert provenance["options"] == {"tile_px": 256}
    assert record["patients"][0]["specimen"] == "marrow" and record["fields"][0]["um_per_px"] == 0.1
    (few,) = [f for f in record["patients"][0]["flags"] if f["code"] == "few_cells"]
    assert "this run asked for 3 (--min-cells), laboratories count 500 in marrow" in few["text"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"specimen": "urine"}, "specimen must be one of blood, marrow"),
        ({"um_per_px": 0.0}, "um_per_px must be between 0 and 100"),
        ({"um_per_px": float("nan")}, "um_per_px"),
        ({"min_cells": -1}, "min_cells must be 0 or more"),
        ({"workers": 0}, "workers must be 1 or more"),
    ],
)
def test_options_that_make_no_sense_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        AnalyzeOptions(**values)


def test_marrow_is_read_with_the_marrow_model_unasked(smears, tmp_path):
    path = analyze([smears[0]], tmp_path / "out", options=AnalyzeOptions(specimen="marrow"))
    record = read_record(path)
    models = record.provenance["models"]
    assert models["classifier"]["name"] == "marrow-classifier"
    assert models["locator"]["name"] == find_model("blood")["locate"].card.name
    assert record.taxonomy.composites["cblc"] == ("promyelocyte", "lymphoblast", "myeloblast")


def test_a_model_without_a_locator_needs_one_named(smears, model, tmp_path):
    with pytest.raises(ModelError, match="no part to locate"):
        analyze([smears[0]], tmp_path / "out", model=model / "classifier")
    with pytest.raises(ModelError, match="no part to locate"):
        options = AnalyzeOptions(locator=str(model / "classifier"))
        analyze([smears[0]], tmp_path / "out", model=model, options=options)
    options = AnalyzeOptions(locator=str(model / "locator"))
    record = analyze([smears[0] / "anna"], tmp_path / "out", model=model / "classifier", options=options)
    assert read(record)["provenance"]["models"]["locator"]["name"] == "blob-locator"


def test_nothing_is_written_when_the_call_is_wrong(model, smears, tmp_path):
    shutil.copytree(model, tmp_path / "spoilt")
    (tmp_path / "spoilt" / "classifier" / "model.onnx").write_bytes(b"")
    out = tmp_path / "out"
    for paths, called in (([tmp_path / "nowhere"], model), ([smears[0]], tmp_path / "spoilt"), ([smears[0]], "none")):
        with pytest.raises((InputError, ModelError)):
            analyze(paths, out, model=called)
    assert not out.exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        analyze([smears[0]], tmp_path / "file", model=model)


def test_progress_is_told(model, smears, tmp_path):
    seen = []
    analyze([smears[0]], tmp_path / "out", model=model, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(n, 6) for n in range(1, 7)]


def test_cells_below_the_cards_threshold_are_not_identified(smears, model, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    card = json.loads((folder / "classifier" / "card.json").read_text("utf-8"))
    sure = sorted(
        c["probs"][c["class"]]
        for f in read(analyze([smears[0]], tmp_path / "a", model=model))["fields"]
        for c in f["cells"]
    )
    limit = (sure[len(sure) // 2 - 1] + sure[len(sure) // 2]) / 2
    card["thresholds"]["unidentified"] = limit
    (folder / "classifier" / "card.json").write_text(json.dumps(card), "utf-8")
    record = read(analyze([smears[0]], tmp_path / "b", model=folder))
    cells = [c for f in record["fields"] for c in f["cells"]]
    unsure = [c for c in cells if not c["identified"]]
    assert 0 < len(unsure) < len(cells) and all(max(c["probs"].values()) < limit for c in unsure)
    assert sum(p["n_unidentified"] for p in record["patients"]) == len(unsure)
    assert all(c["class"] in c["probs"] for c in unsure)  # the model's own class stays
    for patient in record["patients"]:
        assert patient["n_cells"] == sum(r["count"] for r in patient["differential"]) + patient["n_unidentified"]
        assert "many_left_out" in [f["code"] for f in patient["flags"]]
    with open(tmp_path / "b" / "cells.csv", encoding="utf-8", newline="") as file:
        assert [row["identified"] == "1" for row in csv.DictReader(file)] == [c["identified"] for c in cells]
    assert "Not identified" in (tmp_path / "b" / "report.html").read_text("utf-8")


def test_a_segmenter_stands_in_the_locators_place_and_its_contours_are_recorded(smears, model, tmp_path):
    """Two discs a photograph, one of them not where the locator would find a cell; nobody looks for nuclei."""
    seen = []
    turns = np.linspace(0, 2 * np.pi, 24, endpoint=False)

    def find(field):
        seen.append(field.pixels.shape)
        contours = tuple(np.round(np.c_[np.cos(turns), np.sin(turns)] * 20 + at).astype(np.float32)
                         for at in ((60, 60), (200, 150)))  # fmt: skip
        boxes = np.array([[*c.min(0), *c.max(0)] for c in contours], np.float32)
        return Cells(field.key, boxes, np.array([0.9, 0.8], np.float32), contours)

    folder = smears[0] / "anna"
    segmenter = Segmenter("discs", "ab" * 32, find)
    path = analyze([folder], tmp_path / "out", model=model, segmenter=segmenter)
    record = read(path)
    models = record["provenance"]["models"]
    assert len(seen) == 3 and models["segmenter"] == {"name": "discs", "weights_sha256": "ab" * 32}
    assert "locator" not in models
    for field in record["fields"]:
        cells = field["cells"]
        assert [c["score"] for c in cells] == [0.9, 0.8]
        assert [c["box"] for c in cells] == [[40, 40, 80, 80], [180, 130, 220, 170]]
        assert all(1200 < c["cell_area_px"] < 1280 and len(c["contour"]) == 24 for c in cells)
        assert all(c["nuclei"] == [] and c["nc_ratio"] is None and c["nucleus_area_px"] is None for c in cells)
    with pytest.raises(InputError, match="another|given|resume|options"):  # the segmenter belongs to the run
        analyze([folder], tmp_path / "out", model=model, resume=True)
    with pytest.raises(InputError, match="no other locator"):
        analyze([folder], tmp_path / "x", model=model, segmenter=segmenter, options=AnalyzeOptions(locator=str(model)))
