"""The views of a record: cells.csv, what a report chooses and says (test_report_browser: how it works)."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from data import make_record
from data.make_record import rewrite
from data.page_text import PageText

from leukoscope.errors import DataError
from leukoscope.report import read_record, write_cells_csv, write_report
from leukoscope.report.cells_csv import COLUMNS
from leukoscope.report.choose import choose, index_cells
from leukoscope.report.colors import class_colors
from leukoscope.report.words import USE, bands_covered, class_words, escape, ratio_words, reason_words
from leukoscope.taxonomy import BLOOD_12, PCM_9


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> dict[str, Path]:
    return make_record.make_report(tmp_path_factory.mktemp("run"), n_patients=3, n_fields=24, n_cells=4)


# cells.csv


def test_cells_csv_is_the_record(run, tmp_path):
    write_cells_csv(run["record"], tmp_path / "cells.csv")
    with open(tmp_path / "cells.csv", encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    record = json.loads(run["record"].read_text("utf-8"))
    cells = [(f, n, c) for f in record["fields"] for n, c in enumerate(f["cells"])]
    names = record["provenance"]["taxonomy"]["names"]
    assert list(rows[0]) == [*COLUMNS, "identified", *(f"prob_{name}" for name in names)]
    assert {row["identified"] for row in rows} == {"1"}
    assert len(rows) == len(cells) > 50
    for row, (field, number, cell) in zip(rows, cells, strict=True):
        assert all(row[k] == field[k] for k in ("file", "patient_id", "smear_id", "center"))
        assert int(row["cell"]) == number and row["class"] == cell["class"]
        assert [float(row[k]) for k in ("x0", "y0", "x1", "y1")] == cell["box"]
        assert float(row["score"]) == cell["score"] and float(row["suspicion"]) == cell["suspicion"]
        assert {name: float(row[f"prob_{name}"]) for name in names} == cell["probs"]


def test_names_that_are_not_utf8_stop_nothing(run, tmp_path):
    def odd(record):
        record["fields"][0]["file"] = "smear_\udcff\x00.jpg"

    path = rewrite(run["record"], tmp_path / "record.json", odd)
    write_cells_csv(path, tmp_path / "cells.csv")
    write_report(path, run["thumbs"], tmp_path / "report.html")
    assert "smear_\\udcff" in (tmp_path / "cells.csv").read_text("utf-8")
    assert "smear_\ufffd\ufffd.jpg" in (tmp_path / "report.html").read_text("utf-8")


# What is chosen


def test_urgent_patients_come_first(run):
    record = read_record(run["record"])
    order = choose(record, index_cells(record)).order
    patients = [record.patients[row] for row in order]
    assert patients[0]["patient_id"].startswith("C-303")  # suspected APL
    ratios = [p["ratios"][0]["value"] for p in patients[1:]]
    assert ratios == sorted(ratios, reverse=True)


def test_suspected_apl_outranks_a_higher_ratio_and_no_ratio_comes_last(run, tmp_path):
    def change(record):
        for patient, value in zip(record["patients"], (None, 0.9, 0.01), strict=True):
            patient["ratios"][0]["value"] = value

    record = read_record(rewrite(run["record"], tmp_path / "r.json", change))
    order = choose(record, index_cells(record)).order
    assert [record.patients[row]["patient_id"][:1] for row in order] == ["C", "B", "A"]


def test_gallery_is_sorted_by_suspicion_and_whole_below_the_cap(run):
    record = read_record(run["record"])
    plan = choose(record, index_cells(record))
    cells = {(i, j): c for i, f in enumerate(record.fields()) for j, c in enumerate(f["cells"])}
    assert plan.cells() == set(cells)
    for (_, column), keys in plan.gallery.items():
        suspicions = [cells[key]["suspicion"] for key in keys]
        assert suspicions == sorted(suspicions, reverse=True)
        assert {cells[key]["class"] for key in keys} == {record.taxonomy.names[column]}


def test_gallery_cap_keeps_the_most_suspicious_and_every_group(run):
    record = read_record(run["record"])
    index = index_cells(record)
    plan = choose(record, index, gallery_cap=40)
    shown = plan.cells()
    assert len(shown) == 40 and sum(plan.totals.values()) == len(index.suspicion)
    top = index.suspicion.argsort()[-20:]
    assert set(zip(index.field[top].tolist(), index.number[top].tolist(), strict=True)) <= shown
    classes = {(i, j): c["class"] for i, f in enumerate(record.fields()) for j, c in enumerate(f["cells"])}
    worst = {(row, record.taxonomy.index(classes[key])) for row, keys in plan.worst.items() for key in keys}
    assert set(plan.gallery) | worst == set(plan.totals)  # no patient's class is left out


def test_pictures_go_to_suspicious_patients_first_then_evenly(run):
    record = read_record(run["record"])
    index = index_cells(record)
    few = choose(record, index, picture_cap=7).pictures
    apl = next(row for row, p in enumerate(record.patients) if p["patient_id"].startswith("C-303"))
    assert len(few[apl]) == 6 and sum(map(len, few.values())) == 7
    every = choose(record, index, picture_cap=60).pictures
    with_cells = sum(bool(f["cells"]) for f in record.fields())
    assert sum(map(len, every.values())) == with_cells
    assert min(len(v) for v in choose(record, index, picture_cap=15).pictures.values()) >= 1


def test_a_field_of_an_unknown_patient_is_refused(run, tmp_path):
    path = rewrite(run["record"], tmp_path / "r.json", lambda r: r["fields"][2].update(patient_id="nobody"))
    with pytest.raises(DataError, match="'nobody', who is not in patients"):
        write_report(path, run["thumbs"], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


# What is said


def test_ratio_in_words():
    ratio = make_record.ratio("blasts", 12, 100)
    assert ratio_words(ratio).replace("\u00a0", " ") == "12.0 % (95 % interval 6.4 to 20.0 %), band 10–19 %"
    assert bands_covered(ratio["low"], ratio["high"]) == ["5–9 %", "10–19 %", "20 % or more"]  # to 20.02 %
    assert bands_covered(0.0, 1.0) == ["below 5 %", "5–9 %", "10–19 %", "20 % or more"]
    assert bands_covered(0.05, 0.0999) == ["5–9 %"]
    assert ratio_words(make_record.ratio("blasts", 0, 0)) == "no ratio: no cells were counted"


def test_words():
    assert class_words("segmented_neutrophil") == "segmented neutrophil"
    assert class_words("my_own_class") == "my own class"
    assert reason_words("blurred, too_dark") == "out of focus; too dark"
    assert reason_words("something else") == "something else"
    assert escape("<a href='x'>\"&\x00") == "&lt;a href=&#x27;x&#x27;&gt;&quot;&amp;\ufffd"


@pytest.mark.parametrize("taxonomy", [BLOOD_12, PCM_9])
def test_class_colors_differ(taxonomy):
    colors = class_colors(taxonomy.names)
    assert len(set(colors)) == len(colors) and all(re.fullmatch("#[0-9a-f]{6}", c) for c in colors)


def test_report_says_everything(run):
    source = run["report"].read_text("utf-8")
    page = PageText(source)
    record = json.loads(run["record"].read_text("utf-8"))
    assert USE in page.text and page.text.index(USE) < page.text.index("Smear report Specimen")
    for patient in record["patients"]:
        assert f"Patient {patient['patient_id']}" in page.text
        assert ratio_words(patient["ratios"][0]).replace("\u00a0", " ") in page.text
        assert f"{patient['artefacts_per_100']:.1f} per 100 counted cells" in page.text
        for flag in patient["flags"]:
            assert flag["text"] in page.text
    assert "sampling error only; not the classifier's errors" in page.text
    problems = page.text[page.text.rindex("Failed and poor fields") : page.text.rindex("Provenance")]
    for field in record["fields"]:
        assert (field["file"] in problems) == (field["status"] != "ok")
        assert field["sha256"] in page.text
    for model in record["provenance"]["models"].values():
        assert model["onnx_sha256"] in page.text
    assert record["provenance"]["taxonomy_sha256"] in page.text
    assert "segmented neutrophil" in page.text and "segmented_neutrophil" not in page.text


def test_report_is_escaped_and_self_contained(run):
    source = run["report"].read_text("utf-8")
    page = PageText(source)
    assert "<script>alert" not in source and "&lt;script&gt;alert(1)&lt;/script&gt;" in source
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    for tag, attributes in page.tags:
        assert not [k for k in attributes if k.startswith("on") or k == "style"], tag
        assert attributes.get("src", "data:").startswith("data:")
        assert re.fullmatch(r"#.*|data:,|fields/\d+\.jpg", attributes.get("href", "#"))
        if tag == "img" and not attributes.get("class", "").startswith("viewer-"):
            assert attributes["alt"]
    policy = next(a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:;") and "unsafe" not in policy
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for t, a in page.tags if t == "a" and a["href"].startswith("#")}
    assert targets <= set(ids)


def test_a_hostile_thumbnail_is_refused(run, tmp_path):
    (tmp_path / "thumbs.jsonl").write_text(json.dumps({"field": 0, "cell": 0, "jpeg": '" onerror="x'}) + "\n", "utf-8")
    with pytest.raises(DataError, match="not base64"):
        write_report(run["record"], tmp_path / "thumbs.jsonl", tmp_path / "report.html")


def test_cells_without_thumbnails_are_still_listed(run, tmp_path):
    write_report(run["record"], tmp_path / "absent.jsonl", tmp_path / "report.html")
    page = PageText((tmp_path / "report.html").read_text("utf-8"))
    record = read_record(run["record"])
    n_cells = sum(p["n_cells"] for p in record.patients)
    assert sum(a.get("class") == "cell" for _, a in page.tags) == n_cells
    assert f"{n_cells} cells in the gallery have no thumbnail" in page.text


def test_a_changed_picture_is_not_shown(run, tmp_path):
    def other_digest(record):
        for field in record["fields"]:
            field["sha256"] = "f" * 64

    path = rewrite(run["record"], tmp_path / "r.json", other_digest)
    write_report(path, run["thumbs"], tmp_path / "report.html")
    page = PageText((tmp_path / "report.html").read_text("utf-8"))
    assert "The picture is not shown: the file was changed after the analysis." in page.text


def test_more_cells_than_the_gallery_holds_is_said(run, tmp_path, monkeypatch):
    monkeypatch.setattr("leukoscope.report.page.GALLERY_CAP", 30)
    write_report(run["record"], run["thumbs"], tmp_path / "report.html")
    page = PageText((tmp_path / "report.html").read_text("utf-8"))
    total = sum(p["n_cells"] for p in read_record(run["record"]).patients)
    assert f"The gallery shows 30 of {total} cells; the other {total - 30} are in cells.csv." in page.text


def test_a_patient_without_cells(tmp_path):
    patient = {"patient_id": "empty", "smear_id": "s", "center": "c"}
    failed = make_record._field(patient, "a.jpg", status="failed", reason="truncated")
    record = make_record.record_of([patient], [failed], BLOOD_12)
    paths = make_record.write_run(tmp_path, record, [])
    write_report(paths["record"], paths["thumbs"], tmp_path / "report.html")
    text = PageText((tmp_path / "report.html").read_text("utf-8")).text
    assert "No ratio: no cells were counted." in text and "No leukocyte was counted" in text and "a.jpg" in text


def test_same_record_same_report(run, tmp_path):
    write_report(run["record"], run["thumbs"], tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == run["report"].read_bytes()
