"""The report as a place of work: cells as photographed, reference ranges, absolute counts, a page a patient."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from data import make_record
from PIL import Image

from leukoscope.cli import main
from leukoscope.errors import InputError
from leukoscope.pipeline.cell_pictures import LARGE_PX, MOST_PX, cell_pictures
from leukoscope.pipeline.sources import read_facts, read_patients_table, unknown_columns
from leukoscope.report import read_record, write_patients_csv, write_report
from leukoscope.report.choose import PAGE_CELLS, choose, index_cells
from leukoscope.report.correction_html import WITHIN_REACH, further_cells
from leukoscope.report.differential_html import differential_card
from leukoscope.report.page import SINGLE_PATIENTS
from leukoscope.report.reference import mark, ranges_for


def entry(box, class_name="lymphocyte", suspicion=0.01):
    return {"box": box, "class": class_name, "suspicion": suspicion}


def pixels_of(jpeg: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(jpeg)))


# Cells as photographed


def test_blasts_and_suspicious_cells_are_kept_at_the_photographs_own_resolution():
    rng = np.random.default_rng(0)
    field = np.kron(rng.integers(40, 220, (60, 80, 1)), np.ones((10, 10, 3))).astype(np.uint8)
    boxes = [[300, 200, 380, 290], [300, 200, 380, 290], [300, 200, 380, 290], [2, 2, 60, 70], [100, 100, 420, 430]]
    entries = [entry(boxes[0], "lymphoblast", 0.9), entry(boxes[1], suspicion=0.2), entry(boxes[2]),
               entry(boxes[3], "lymphoblast", 0.9), entry(boxes[4], "lymphoblast", 0.9)]  # fmt: skip
    blast, doubt, plain, corner, huge = cell_pictures(field, entries, ("lymphoblast",), [b"m"] * 5)
    assert blast.large and doubt.large and not plain.large
    assert blast.side_px == LARGE_PX and pixels_of(blast.photo).shape == (LARGE_PX, LARGE_PX, 3)
    left, top = 340 - LARGE_PX // 2, 245 - LARGE_PX // 2
    own = field[top : top + LARGE_PX, left : left + LARGE_PX].astype(int)
    assert np.abs(pixels_of(blast.photo) - own).mean() < 6  # the very pixels, but for the JPEG
    assert pixels_of(plain.photo).shape == (96, 96, 3) and plain.side_px == 144
    assert np.abs(pixels_of(corner.photo) - field[:LARGE_PX, :LARGE_PX].astype(int)).mean() < 6  # moved inwards
    assert huge.side_px == 462 and pixels_of(huge.photo).shape == (MOST_PX, MOST_PX, 3)
    assert [p.model for p in cell_pictures(field, entries, (), None)] == [None] * 5


def test_a_photograph_smaller_than_the_window_gives_what_there_is():
    (picture,) = cell_pictures(np.zeros((40, 60, 3), np.uint8), [entry([5, 5, 30, 30], "b", 1.0)], ("b",), None)
    assert picture.side_px == 40 and pixels_of(picture.photo).shape == (40, 40, 3)


# Reference ranges


def test_ranges_go_by_age_and_are_off_where_it_is_not_known():
    assert ranges_for(None, "female", specimen="blood") == () == ranges_for(40, "female", specimen="marrow")
    adult = {r.measure: r for r in ranges_for(40, None, specimen="blood")}
    assert adult["neutrophils"].share == (0.4, 0.8) and adult["lymphocytes"].per_nl == (1.0, 3.0)
    assert all("uhd.nhs.uk" in r.source for r in adult.values())
    child = {r.measure: r for r in ranges_for(3, "male", specimen="blood")}
    assert child["lymphocytes"].per_nl == (2.0, 8.0) and child["lymphocytes"].share is None
    assert "eosinophils" not in child  # no source that is cited states one
    assert {r.measure: r for r in ranges_for(17.9, None, specimen="blood")}["neutrophils"].per_nl == (1.7, 7.5)


@pytest.mark.parametrize("value, said", [(0.39, "low"), (0.4, ""), (0.8, ""), (0.81, "high"), (None, "")])
def test_marks(value, said):
    assert mark(value, (0.4, 0.8)) == said and mark(value, None) == ""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    return make_record.make_run(out, n_patients=SINGLE_PATIENTS + 2, n_fields=32, n_cells=8)


def card_of(run, tmp_path, stated):
    """The differential of the first patient, of whom so much is known."""
    record = json.loads(run["record"].read_text("utf-8"))
    record["patients"][0]["stated"] = stated
    (tmp_path / "record.json").write_text(json.dumps(record), "utf-8")
    read = read_record(tmp_path / "record.json")

    class Shown:
        pass

    Shown.record = read
    return read.patients[0], re.sub(r"<svg.*?</svg>", "", differential_card(Shown, read.patients[0]))


def test_shares_and_absolute_counts_stand_beside_their_ranges(run, tmp_path):
    patient, card = card_of(run, tmp_path, {"age_years": 40, "sex": "male", "leukocytes_per_nl": 30.0})
    counts = {row["class"]: row["count"] for row in patient["differential"]}
    n = counts["segmented_neutrophil"] + counts["band_neutrophil"]
    share = n / patient["n_counted"]
    row = card[card.index("neutrophils, all") :].split("</tr>")[0]
    assert f"<td>{n}</td>" in row and "40–80" in row and "2–7" in row
    assert f"{100 * share:.1f}" in row and f"{30 * share:.2f}" in row and "above the reference range" in row
    assert "leukocytes</b> <small>(analyser)" in card and "4–10" in card
    assert "40 years, male" in card and "uhd.nhs.uk" in card
    assert "No reference ranges" not in card and "No absolute counts" not in card


def test_without_age_and_leukocytes_it_is_said_and_nothing_is_marked(run, tmp_path):
    _, card = card_of(run, tmp_path, {})
    assert "No reference ranges: the patient&#x27;s age is not known" in card and "No absolute counts" in card
    assert "reference range" not in card.split("<p")[0] and "10⁹/L" not in card


# What patients.csv says of a patient


def table(tmp_path, text) -> Path:
    path = tmp_path / "patients.csv"
    path.write_text(text, "utf-8")
    return path


def test_age_sex_and_leukocytes_come_from_the_table(tmp_path):
    path = table(tmp_path, "file;patient_id;centre;age_years;sex;leukocytes_per_nl;ward\n"
                           "a.jpg;p1;north;4,5;F;12,3;B2\nb.jpg;p1;north;4,5;f;;B2\nc.jpg;p2;north;;;;\n")  # fmt: skip
    assert read_facts(path) == {"p1": {"age_years": 4.5, "sex": "female", "leukocytes_per_nl": 12.3}}
    assert [row.center for row in read_patients_table(path)] == ["north"] * 3
    assert unknown_columns(path) == ["ward"]


@pytest.mark.parametrize(
    "line, said",
    [
        ("a.jpg,p,x,,", "line 2: sex must be female or male"),
        ("a.jpg,p,,old,", "line 2: age_years must be a number from 0 to 130"),
        ("a.jpg,p,,,-3", "line 2: leukocytes_per_nl must be a number"),
        ("a.jpg,p,f,,\nb.jpg,p,m,,", "lines 2 and 3 differ about sex of patient p: female and male"),
    ],
)
def test_facts_that_make_no_sense_are_refused_with_their_line(tmp_path, line, said):
    path = table(tmp_path, f"file,patient_id,sex,age_years,leukocytes_per_nl\n{line}\n")
    with pytest.raises(InputError, match=said):
        read_facts(path)


# A page a patient


def test_a_large_run_is_an_index_and_a_page_a_patient(run, tmp_path):
    write_report(run["record"], run["thumbs"], tmp_path / "report.html")
    record = read_record(run["record"])
    index = (tmp_path / "report.html").read_text("utf-8")
    assert 'class="cell"' not in index and "<script" not in index
    pages = sorted((tmp_path / "patients").iterdir())
    assert len(pages) == len(record.patients) == SINGLE_PATIENTS + 2
    for page in pages:
        text = page.read_text("utf-8")
        assert text.count('<section class="patient"') == 1 and len(text) < 3_000_000
        assert f'href="patients/{page.name}"' in index
        for target in re.findall(r'href="([^"#]+)"', text):
            assert target == "data:," or (page.parent / target).resolve().is_file(), target
    chain, name = [], min(p.name for p in pages if 'rel="prev"' not in p.read_text("utf-8"))
    while name:
        chain.append(name)
        found = re.search(r'rel="next" href="([^"]+)"', (tmp_path / "patients" / name).read_text("utf-8"))
        name = found and found.group(1)
    assert sorted(chain) == [p.name for p in pages]  # next, next, … goes through all of them
    again = tmp_path / "again"
    again.mkdir()
    write_report(run["record"], run["thumbs"], again / "report.html")
    assert all((again / "patients" / p.name).read_bytes() == p.read_bytes() for p in pages)


def test_each_page_has_its_patients_most_suspicious_cells(run):
    record = read_record(run["record"])
    index = index_cells(record)
    plan = choose(record, index, pages=True)
    n = np.bincount(index.patient)
    assert [plan.shown(row, range(100)) for row in range(len(n))] == np.minimum(n, PAGE_CELLS).tolist()
    few = choose(record, index, gallery_cap=1, pages=False)
    assert len(few.cells()) == 1
    for row, keys in plan.worst.items():
        cells = np.flatnonzero(index.patient == row)
        top = np.sort(index.suspicion[cells])[::-1][: len(keys)]
        at = {(int(index.field[c]), int(index.number[c])): float(index.suspicion[c]) for c in cells}
        assert [at[key] for key in keys] == pytest.approx(top.tolist())


def test_photograph_model_view_and_scale_bar_are_on_the_tile(tmp_path):
    paths = make_record.make_run(tmp_path, n_patients=1, n_fields=2, n_cells=4)
    thumbs = [json.loads(line) for line in paths["thumbs"].read_text("utf-8").splitlines()]
    buffer = io.BytesIO()
    Image.new("RGB", (224, 224), (200, 180, 200)).save(buffer, "JPEG")
    jpeg = base64.b64encode(buffer.getvalue()).decode()
    thumbs = [t | {"model": t["jpeg"], "jpeg": jpeg, "px": 224, "large": True} for t in thumbs[:1]] + thumbs[1:]
    paths["thumbs"].write_text("".join(json.dumps(t) + "\n" for t in thumbs), "utf-8")
    write_report(paths["record"], paths["thumbs"], tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text("utf-8")
    (tile,) = re.findall(r'<li data-s="[\d.]+" data-c="\d+" class=large>.*?</li>', text)
    assert 'class="photo"' in tile and 'class="model"' in tile and "10 µm" in tile
    assert f'x1="{94 - 100 * 10 / 0.12 / 224:.1f}%"' in tile
    assert text.count('class="model"') == 1  # cells of older runs have one picture


def test_fields_lie_beside_the_page_at_full_resolution(run, tmp_path):
    write_report(run["record"], run["thumbs"], tmp_path / "report.html")
    for path in (tmp_path / "fields").iterdir():
        with Image.open(path) as image:
            assert image.size == (make_record.WIDTH, make_record.HEIGHT) and not image.getexif()


def test_a_number_of_cells_that_nobody_counts_is_not_within_reach():
    ratio = {"value": 0.19, "further_cells": [{"threshold": 0.2, "cells": WITHIN_REACH + 1, "fields": None},
                                              {"threshold": 0.05, "cells": 120, "fields": 9}]}  # fmt: skip
    text = further_cells(ratio)
    assert "20 %: not within reach" in text.replace("\u00a0", " ") and "about 120 more" in text


# patients.csv


def test_patients_csv_is_the_record(run, tmp_path):
    write_patients_csv(run["record"], tmp_path / "patients.csv")
    with open(tmp_path / "patients.csv", encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    record = json.loads(run["record"].read_text("utf-8"))
    assert len(rows) == len(record["patients"])
    for row, patient in zip(rows, record["patients"], strict=True):
        assert row["patient_id"] == patient["patient_id"] and int(row["n_counted"]) == patient["n_counted"]
        for of_class in patient["differential"]:
            assert int(row[f"n_{of_class['class']}"]) == of_class["count"]
        for ratio in patient["ratios"]:
            shown = [row[f"{ratio['name']}_{key}"] for key in ("value", "low", "high")]
            assert shown == ["" if ratio[key] is None else str(ratio[key]) for key in ("value", "low", "high")]
        assert row["flags"].split("; ") == ([f["code"] for f in patient["flags"]] or [""])


def test_unknown_columns_are_named_once(tmp_path, capsys):
    (tmp_path / "p").mkdir()
    Image.new("RGB", (64, 64), (230, 220, 225)).save(tmp_path / "p" / "a.jpg")
    path = table(tmp_path, "file,patient_id,ward,age_years\np/a.jpg,x,B2,61\n")
    words = ["analyse", str(tmp_path / "p"), "--out", str(tmp_path / "out"), "--patients", str(path)]
    assert main(words) == 0
    assert capsys.readouterr().err.count("ward") == 1
    assert read_record(tmp_path / "out" / "record.json").patients[0]["stated"] == {"age_years": 61.0}
    assert (tmp_path / "out" / "patients.csv").is_file()
