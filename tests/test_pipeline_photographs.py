"""Poor, broken, odd and real photographs in a run: listed or counted, and nothing of a person in any output."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest
from data.make_bundles import make_classifier, make_locator
from data.smear_photographs import read, save
from PIL import Image

from leukoscope.models.bundle import bundled_names, find_model
from leukoscope.pipeline import analyze


def test_broken_pictures_are_listed_and_the_run_goes_on(model, tmp_path):
    cells = [(100, 100, "monocyte")]
    whole = save(tmp_path / "in" / "a.jpg", cells).read_bytes()
    (tmp_path / "in" / "b.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "in" / "c.png").write_bytes(b"dear diary")
    (tmp_path / "in" / "d.jpg").write_bytes(b"")
    (tmp_path / "in" / "e.png").write_bytes(whole)  # a JPEG under a wrong name: readable
    (tmp_path / "in" / "notes.txt").write_text("not a picture, and not called one")
    record = read(analyze([tmp_path / "in"], tmp_path / "out", model=model))
    found = {Path(f["file"]).name: (f["status"], f["reason"], len(f["cells"])) for f in record["fields"]}
    assert found == {
        "a.jpg": ("ok", None, 1),
        "b.jpg": ("failed", "truncated", 0),
        "c.png": ("failed", "not_an_image", 0),
        "d.jpg": ("failed", "empty", 0),
        "e.png": ("ok", None, 1),
    }
    (patient,) = record["patients"]
    assert (patient["n_fields"], patient["n_failed"], patient["n_cells"]) == (5, 3, 1)  # e is a once more
    assert [f["code"] for f in patient["flags"]] == ["few_cells", "failed_fields", "repeated_fields"]
    failed = record["fields"][1]
    assert failed["width"] is failed["quality"] is None and len(failed["sha256"]) == 64


def test_a_picture_too_large_to_work_on_is_listed(model, tmp_path, monkeypatch):
    def exhausted(pixels):
        raise MemoryError

    monkeypatch.setattr("leukoscope.pipeline.fields.check_quality", exhausted)
    save(tmp_path / "in" / "a.png", [(100, 100, "monocyte")])
    (field,) = read(analyze([tmp_path / "in"], tmp_path / "out", model=model))["fields"]
    assert (field["status"], field["reason"], field["cells"]) == ("failed", "too_large", [])


def test_a_patient_of_whom_nothing_could_be_read_is_in_the_record(model, tmp_path):
    save(tmp_path / "in" / "a" / "1.png", [(100, 100, "monocyte")])
    (tmp_path / "in" / "b").mkdir()
    (tmp_path / "in" / "b" / "1.png").write_bytes(b"?")
    patients = read(analyze([tmp_path / "in"], tmp_path / "out", model=model))["patients"]
    assert [(p["patient_id"], p["n_failed"], p["n_cells"]) for p in patients] == [("a", 0, 1), ("b", 1, 0)]
    assert patients[1]["ratios"][0]["value"] is None and patients[1]["ratios"][0]["band"] is None
    assert [f["code"] for f in patients[1]["flags"]] == ["no_cells", "failed_fields"]


def test_a_poor_picture_counts_and_says_so(model, tmp_path):
    save(tmp_path / "in" / "dark.png", [(100, 100, "monocyte")])
    pixels = np.asarray(Image.open(tmp_path / "in" / "dark.png"))
    Image.fromarray((pixels * 0.3).astype(np.uint8)).save(tmp_path / "in" / "dark.png")
    make_locator(tmp_path / "model" / "locator", white_balance=True)
    make_classifier(tmp_path / "model" / "classifier", white_balance=True)
    record = read(analyze([tmp_path / "in"], tmp_path / "out", model=tmp_path / "model"))
    (field,), (patient,) = record["fields"], record["patients"]
    assert field["status"] == "poor" and "too_dark" in field["reason"].split(", ")
    assert field["quality"]["problems"] == field["reason"].split(", ")
    assert patient["n_poor"] == 1 and "poor_fields" in [f["code"] for f in patient["flags"]]


def test_a_field_without_cells_is_read_and_counts_as_a_field(model, tmp_path):
    save(tmp_path / "in" / "glass.png", [])
    record = read(analyze([tmp_path / "in"], tmp_path / "out", model=model))
    assert record["fields"][0]["cells"] == [] and record["fields"][0]["status"] != "failed"
    assert record["patients"][0]["n_fields"] == 1 and record["patients"][0]["artefacts_per_100"] is None


def test_what_identifies_a_person_reaches_no_output(model, tmp_path):
    exif = Image.Exif()
    exif[0x010E], exif[0x013B] = "Erika Mustermann", "Ward Seven"
    save(tmp_path / "in" / "a.jpg", [(100, 100, "monocyte")], exif=exif, comment=b"born 1950-01-01")
    assert b"Mustermann" in (tmp_path / "in" / "a.jpg").read_bytes()
    analyze([tmp_path / "in"], tmp_path / "out", model=model)
    everything = b"".join(p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file())
    lines = (tmp_path / "out" / ".work" / "thumbs.jsonl").read_text("utf-8").splitlines()
    jpegs = b"".join(base64.b64decode(json.loads(line)["jpeg"]) for line in lines)
    for secret in (b"Mustermann", b"Ward Seven", b"1950-01-01"):
        assert secret not in everything and secret not in jpegs


def test_the_bundled_model_reads_real_photographs(shared_data, tmp_path):
    models = find_model("blood") if "blood" in bundled_names() else {}
    if set(models) != {"locate", "classify"}:
        pytest.skip("the bundled blood model is not complete in this checkout")
    fields = sorted((shared_data / "bccd" / "JPEGImages").glob("*.jpg"))[:6]
    cells = [shared_data / "jtsc" / "images", shared_data / "cellavision" / "images"]
    crops = [sorted(folder.iterdir())[0] for folder in cells if folder.is_dir()]  # single cells of 120 and 300 px
    record = read(analyze([*fields, *crops], tmp_path / "out"))
    assert all(f["status"] != "failed" and f["cells"] for f in record["fields"])
    assert record["provenance"]["taxonomy"]["name"] == models["classify"].card.taxonomy.name


def test_a_picture_under_another_formats_name_is_read_and_says_so(model, tmp_path):
    save(tmp_path / "p" / "right.png", [])
    (tmp_path / "p" / "wrong.jpg").write_bytes((tmp_path / "p" / "right.png").read_bytes())
    record = read(analyze([tmp_path / "p"], tmp_path / "out", model=model))
    assert [f["note"] for f in record["fields"]] == [None, "a .jpg file that holds PNG"]
    assert "a .jpg file that holds PNG" in (tmp_path / "out" / "report.html").read_text("utf-8")
