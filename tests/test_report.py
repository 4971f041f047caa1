"""The views of a record: reading it, cells.csv, what a report chooses and says (test_report_browser: how it works)."""

from __future__ import annotations

import csv
import json
import random
import re
import tracemalloc
from html.parser import HTMLParser
from pathlib import Path

import pytest
from data import make_record

from leukoscope.errors import DataError
from leukoscope.report import read_record, write_cells_csv, write_report
from leukoscope.report.cells_csv import COLUMNS
from leukoscope.report.choose import choose, index_cells
from leukoscope.report.colors import class_colors
from leukoscope.report.json_stream import JsonStream
from leukoscope.report.words import USE, bands_covered, class_words, escape, ratio_words, reason_words
from leukoscope.taxonomy import BLOOD_12, PCM_9

ARCHIVE = Path(__file__).parent / "archive" / "record-v1"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("run")
    paths = make_record.make_run(out, n_patients=3, n_fields=24, n_cells=4)
    write_report(paths["record"], paths["thumbs"], out / "report.html")
    return paths | {"report": out / "report.html"}


def rewrite(source: Path, target: Path, change) -> Path:
    """A copy of a record with something changed."""
    record = json.loads(source.read_text("utf-8"))
    change(record)
    target.write_text(json.dumps(record), "utf-8")
    return target


class _Page(HTMLParser):
    """All tags with their attributes, ids, and the visible text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict]] = []
        self.words: list[str] = []
        self._hidden = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        self._hidden += tag in ("style", "script")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("style", "script")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


# Reading


def test_archived_record_is_read_for_ever(tmp_path):
    record = read_record(ARCHIVE / "record.json")
    assert [p["patient_id"] for p in record.patients] == ["p1", "p2"]
    assert [f["status"] for f in record.fields()] == ["ok", "poor", "failed", "ok"]
    write_cells_csv(ARCHIVE / "record.json", tmp_path / "cells.csv")
    mark = b"\xef\xbb\xbf"  # for spreadsheets; cells.csv had none when the record was archived
    assert (tmp_path / "cells.csv").read_bytes() == mark + (ARCHIVE / "cells.csv").read_bytes()
    write_report(ARCHIVE / "record.json", ARCHIVE / "thumbs.jsonl", tmp_path / "report.html")
    text = _Page((tmp_path / "report.html").read_text("utf-8")).text
    assert "the file is cut short" in text and "smears/a3, cut.jpg" in text
    assert "The picture is not shown" in text  # the pictures are not in the archive


def test_archived_record_of_version_2_is_read_for_ever(tmp_path):
    archive = ARCHIVE.parent / "record-v2"
    record = read_record(archive / "record.json")
    one, two = record.patients
    assert (record.version, one["denominator"], one["n_counted"], one["n_nucleated_red"]) == (2, "leukocytes", 7, 4)
    assert one["nucleated_red_per_100"] == pytest.approx(400 / 7, abs=1e-4) and one["n_unidentified"] == 1
    assert record.roles["erythroblast"] == "beside" and two["ratios"][0]["none_seen"]["upper"] > 0.6
    write_cells_csv(archive / "record.json", tmp_path / "cells.csv")
    assert (tmp_path / "cells.csv").read_bytes() == (archive / "cells.csv").read_bytes()
    write_report(archive / "record.json", archive / "thumbs.jsonl", tmp_path / "report.html")
    text = _Page((tmp_path / "report.html").read_text("utf-8")).text.replace("\u00a0", " ")
    for said in (
        "Blasts among leukocytes",
        "for orientation only",
        "4 cells: 57.1 per 100 leukocytes; beside the differential",
        "1 cell below 35 %; in no ratio",
        "12 % of healthy 100-cell films carry this flag (10 to 15 %; drawn).",
        "Patients differ, as 6 validation patients showed",
        "cells counted without error",
        "No blast seen: 3 cells without one leave up to 63.2 % possible",
        "APL can't be recognised by this model",
        "fewer than the 100 asked for, laboratories count 200",
        "not identified",
    ):
        assert said in text, said


def test_a_record_of_version_1_is_given_in_the_shape_of_version_2_with_its_own_numbers(tmp_path):
    """Its ratios are of all nucleated cells, in blood too; bands stay only where today's rules give one."""

    def many(record):
        (one,) = [p for p in record["patients"] if p["patient_id"] == "p1"]
        taxonomy = record["provenance"]["taxonomy"]
        taxonomy["blasts"], taxonomy["names"] = ["myeloblast"], [*taxonomy["names"][:10], "myeloblast", "artefact"]
        taxonomy["counted"] = taxonomy["names"][:-1]
        counts = {"myeloblast": 60, "lymphocyte": 140, "erythroblast": red}
        for row, name in zip(one["differential"], taxonomy["names"], strict=True):
            row |= {"class": name, "count": counts.get(name, 0)}
        one["ratios"][0] |= {"numerator": 60, "denominator": 200 + red, "value": 60 / (200 + red), "band": ">=20"}
        one["n_counted"] = 200 + red

    for red, band, reason in ((0, ">=20", None), (50, None, "all_nucleated_cells")):
        record = read_record(rewrite(ARCHIVE / "record.json", tmp_path / "1.json", many))
        patient, (ratio,) = record.patients[0], record.patients[0]["ratios"]
        assert (ratio["of"], ratio["band"], ratio["band_reason"]) == ("nucleated_cells", band, reason)
        assert ratio["value"] == 60 / (200 + red) and patient["n_counted"] == 200 + red
        assert patient["n_nucleated_red"] == red and record.version == 1
    (old,) = read_record(ARCHIVE / "record.json").patients[0]["ratios"]
    assert (old["numerator"], old["denominator"], old["band"]) == (1, 3, None)
    assert old["band_reason"] == "lineage_not_known"  # it printed ">=20" of three cells of an unknown line
    assert all(c["identified"] for f in read_record(ARCHIVE / "record.json").fields() for c in f["cells"])


@pytest.mark.parametrize("chunk", [1, 7, 1 << 18])
def test_stream_reads_what_json_reads(chunk, monkeypatch, tmp_path):
    monkeypatch.setattr("leukoscope.report.json_stream._CHUNK", chunk)
    value = {"a": [1, -2.5e3, '}],é\\"', {}, [], [[1]], {"b": None}], "n": 1234567, "skip": [1, 2], "e": []}
    path = tmp_path / "x.json"
    for indent in (None, 1):
        path.write_text(json.dumps(value, indent=indent, ensure_ascii=False), "utf-8")
        with open(path, encoding="utf-8") as file:
            stream = JsonStream(file)
            got = {}
            for key in stream.members():
                if key != "skip":
                    got[key] = list(stream.items()) if isinstance(value[key], list) else stream.value()
        assert got == {key: item for key, item in value.items() if key != "skip"}


@pytest.mark.parametrize("cut", [0, 1, 20, 400, -2])
def test_a_cut_record_is_refused(run, tmp_path, cut):
    (tmp_path / "record.json").write_bytes(run["record"].read_bytes()[:cut])
    with pytest.raises(DataError, match="not a record"):
        list(read_record(tmp_path / "record.json").fields())


def test_other_versions_and_missing_parts_are_refused(run, tmp_path):
    newer = rewrite(run["record"], tmp_path / "3.json", lambda r: r.update(record_version=3))
    with pytest.raises(DataError, match="record_version 3; this Leukoscope reads 1 and 2"):
        read_record(newer)
    without = rewrite(run["record"], tmp_path / "w.json", lambda r: r["fields"][3].pop("sha256"))
    with pytest.raises(DataError, match=r"fields\[3\] lacks sha256"):
        list(read_record(without).fields())
    for key in ("patients", "fields", "provenance", "record_version"):
        with pytest.raises(DataError, match=key):
            read_record(rewrite(run["record"], tmp_path / "k.json", lambda r, key=key: r.pop(key)))
    with pytest.raises(DataError, match="can't read the record"):
        read_record(tmp_path / "absent.json")


def test_key_order_does_not_matter(run, tmp_path):
    record = json.loads(run["record"].read_text("utf-8"))
    (tmp_path / "sorted.json").write_text(json.dumps(dict(sorted(record.items()))), "utf-8")  # fields come first
    got = read_record(tmp_path / "sorted.json")
    assert list(got.fields()) == record["fields"] and list(got.patients) == record["patients"]


def test_fields_are_not_held_in_memory(tmp_path):
    rng = random.Random(3)
    patient = {"patient_id": "p", "smear_id": "s", "center": "c"}
    fields = []
    for n in range(600):
        cells = [make_record._cell(rng, BLOOD_12, "lymphocyte", [1, 1, 9, 9]) for _ in range(12)]
        fields.append(make_record._field(patient, f"{n}.jpg", sha256="0" * 64, width=90, height=90, cells=cells))
    record = make_record.record_of([patient], fields, BLOOD_12)
    (tmp_path / "record.json").write_text(json.dumps(record), "utf-8")
    del record, fields
    size = (tmp_path / "record.json").stat().st_size
    tracemalloc.start()
    write_cells_csv(tmp_path / "record.json", tmp_path / "cells.csv")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size > 3_000_000 and peak < 2_600_000  # of two cursors: a chunk as text, what is left of the last, a field


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
    page = _Page(source)
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
    page = _Page(source)
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
    page = _Page((tmp_path / "report.html").read_text("utf-8"))
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
    page = _Page((tmp_path / "report.html").read_text("utf-8"))
    assert "The picture is not shown: the file was changed after the analysis." in page.text


def test_more_cells_than_the_gallery_holds_is_said(run, tmp_path, monkeypatch):
    monkeypatch.setattr("leukoscope.report.page.GALLERY_CAP", 30)
    write_report(run["record"], run["thumbs"], tmp_path / "report.html")
    page = _Page((tmp_path / "report.html").read_text("utf-8"))
    total = sum(p["n_cells"] for p in read_record(run["record"]).patients)
    assert f"The gallery shows 30 of {total} cells; the other {total - 30} are in cells.csv." in page.text


def test_a_patient_without_cells(tmp_path):
    patient = {"patient_id": "empty", "smear_id": "s", "center": "c"}
    failed = make_record._field(patient, "a.jpg", status="failed", reason="truncated")
    record = make_record.record_of([patient], [failed], BLOOD_12)
    paths = make_record.write_run(tmp_path, record, [])
    write_report(paths["record"], paths["thumbs"], tmp_path / "report.html")
    text = _Page((tmp_path / "report.html").read_text("utf-8")).text
    assert "No ratio: no cells were counted." in text and "No leukocyte was counted" in text and "a.jpg" in text


def test_same_record_same_report(run, tmp_path):
    write_report(run["record"], run["thumbs"], tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == run["report"].read_bytes()
