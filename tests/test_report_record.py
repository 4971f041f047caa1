"""Reading a record: versions, streams, what is cut or missing."""

from __future__ import annotations

import json
import random
import tracemalloc
from pathlib import Path

import pytest
from data import make_record
from data.make_record import rewrite
from data.page_text import PageText

from leukoscope.errors import DataError
from leukoscope.report import read_record, write_cells_csv, write_report
from leukoscope.report.json_stream import JsonStream
from leukoscope.taxonomy import BLOOD_12

ARCHIVE = Path(__file__).parent / "archive" / "record-v1"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> dict[str, Path]:
    return make_record.make_report(tmp_path_factory.mktemp("run"), n_patients=3, n_fields=24, n_cells=4)


def test_archived_record_is_read_for_ever(tmp_path):
    record = read_record(ARCHIVE / "record.json")
    assert [p["patient_id"] for p in record.patients] == ["p1", "p2"]
    assert [f["status"] for f in record.fields()] == ["ok", "poor", "failed", "ok"]
    write_cells_csv(ARCHIVE / "record.json", tmp_path / "cells.csv")
    mark = b"\xef\xbb\xbf"  # for spreadsheets; cells.csv had none when the record was archived
    assert (tmp_path / "cells.csv").read_bytes() == mark + (ARCHIVE / "cells.csv").read_bytes()
    write_report(ARCHIVE / "record.json", ARCHIVE / "thumbs.jsonl", tmp_path / "report.html")
    text = PageText((tmp_path / "report.html").read_text("utf-8")).text
    assert "the file is cut short" in text and "smears/a3, cut.jpg" in text
    assert "The picture is not shown" in text  # the pictures are not in the archive


@pytest.mark.parametrize("key", ["ratios", "differential", "flags"])
def test_a_record_of_version_1_with_other_keys_is_refused_in_one_line(tmp_path, key):
    record = json.loads((ARCHIVE / "record.json").read_text("utf-8"))
    record["patients"][0][key] = [{"of": "another tool"}, 7]
    (tmp_path / "record.json").write_text(json.dumps(record), "utf-8")
    with pytest.raises(DataError, match="is no whole record, or was damaged or edited"):
        read_record(tmp_path / "record.json")


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
    text = PageText((tmp_path / "report.html").read_text("utf-8")).text.replace("\u00a0", " ")
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
