"""`leukoscope export`: each format read again by somebody else's reader, or by ours where that is the promise."""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil
from pathlib import Path

import pytest
from data import make_record
from data.make_signed import make_signed

from leukoscope.cli import main
from leukoscope.dataset.importer import import_dataset
from leukoscope.dataset.manifest import read_dataset
from leukoscope.errors import DataError, InputError
from leukoscope.exchange.export import export_records
from leukoscope.exchange.file_names import FileNames
from leukoscope.exchange.formats import FORMATS, Wishes
from leukoscope.exchange.sheets import write_workbook
from leukoscope.exchange.source import open_source
from leukoscope.exchange.text import one_line, shortened
from leukoscope.report import read_record
from leukoscope.report.json_stream import JsonStream

ARCHIVE = Path(__file__).parent / "archive"
HOSTILE = ("=cmd|' /C calc'!A0", "a\x00b\x1b[31m\r\nc", "x" * 300, "../../etc/passwd", "患者 ‮١٢٣", "con", "<b>&\"'", "")


run = make_record.run_fixture(n_patients=2, n_fields=9, n_cells=4)


@pytest.fixture
def hostile(tmp_path):
    """A run whose every patient, smear, centre and file is named by somebody with bad intentions."""
    record = json.loads((ARCHIVE / "record-v2" / "record.json").read_text("utf-8"))
    patient, field = record["patients"][0], record["fields"][0]
    record["patients"] = [patient | {"patient_id": t, "smear_ids": [t], "center": [t]} for t in HOSTILE]
    record["fields"] = [field | {"patient_id": t, "smear_id": t, "center": t, "file": t} for t in HOSTILE]
    folder = tmp_path / "hostile"
    folder.mkdir()
    (folder / "record.json").write_text(json.dumps(record), "utf-8")
    return folder


def signed_file(folder: Path, **changes) -> Path:
    path = folder / "signed.json"
    path.write_text(json.dumps(make_signed(read_record(ARCHIVE / "record-v2" / "record.json")) | changes), "utf-8")
    return path


def table(path: Path) -> list[list[str]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_streamed_fields_are_the_fields(version):
    record = read_record(ARCHIVE / f"record-{version}" / "record.json")
    again = [head | {"cells": list(cells)} for head, cells in record.streamed()]
    assert again == list(record.fields())
    assert [head["file"] for head, _ in record.streamed()] == [f["file"] for f in again]  # no cell was taken


def test_fields_too_large_to_hold_are_streamed_among_small_ones(tmp_path):
    record = json.loads((ARCHIVE / "record-v2" / "record.json").read_text("utf-8"))
    small = next(f for f in record["fields"] if f["cells"])
    fields = [small | {"cells": small["cells"][:1] * n} for n in (1, 5_000, 0, 2, 3_000, 6_000, 1)]
    (tmp_path / "record.json").write_text(json.dumps(record | {"fields": fields}), "utf-8")
    read = read_record(tmp_path / "record.json")
    assert [head | {"cells": list(cells)} for head, cells in read.streamed()] == list(read.fields())
    taken = [next(cells, None) for _, cells in read.streamed()]  # the first of each, the others left
    assert taken == [next(iter(f["cells"]), None) for f in fields]


@pytest.mark.parametrize("cells", [None, 7, {"0": {}}, "absent"])
def test_a_field_without_cells_is_named(cells, tmp_path):
    record = json.loads((ARCHIVE / "record-v2" / "record.json").read_text("utf-8"))
    record["fields"][-1]["cells"] = cells
    if cells == "absent":
        del record["fields"][-1]["cells"]
    (tmp_path / "record.json").write_text(json.dumps(record), "utf-8")
    with pytest.raises(DataError, match="record.json"):
        list(read_record(tmp_path / "record.json").streamed())


def test_the_command_writes_every_format_and_says_where(run, tmp_path, capsys):
    formats = [f.name for f in FORMATS if f.name not in ("dicom", "report")]  # which have folders of their own
    assert main(["export", str(run), str(signed_file(tmp_path)), "--to", *formats, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    for name in formats:
        assert f"{name}: " in said
        index = table(tmp_path / "out" / name / "index.csv")
        files = sorted(p.name for p in (tmp_path / "out" / name).iterdir())
        assert sorted([*(row[0] for row in index[1:]), "index.csv"]) == [f for f in files if "CodeSystem" not in f]
        assert {row[1] for row in index[1:]} == {"1", "2"}


def test_qupath_reads_what_a_detection_is(run, tmp_path):
    export_records([run], ["geojson"], tmp_path)
    record, index = read_record(run / "record.json"), table(tmp_path / "geojson" / "index.csv")[1:]
    fields = {f["file"]: f for f in record.fields() if f["status"] != "failed"}
    assert sorted(row[3] for row in index) == sorted(fields) and len(index) == 8
    content = json.loads((tmp_path / "geojson" / index[0][0]).read_text("utf-8"))
    cells = fields[index[0][3]]["cells"]
    assert content["type"] == "FeatureCollection" and len(content["features"]) == len(cells) == int(index[0][4])
    feature, cell = content["features"][0], cells[0]
    ring = feature["geometry"]["coordinates"][0]
    assert ring[0] == ring[-1] and [*ring[0], *ring[2]] == cell["box"]
    said = feature["properties"]
    assert said["objectType"] == "detection" and said["classification"]["name"] == cell["class"]
    assert said["measurements"]["score"] == cell["score"] and said["measurements"]["counts"] == 1
    assert said["measurements"][f"prob {cell['class']}"] == cell["probs"][cell["class"]]


@pytest.mark.parametrize("zipped", [False, True])
def test_geojson_comes_back_as_a_data_set(run, tmp_path, zipped):
    export_records([run], ["geojson"], tmp_path, wishes=Wishes(gzip=zipped))
    fields = {Path(f["file"]).stem: f for f in read_record(run / "record.json").fields() if f["status"] != "failed"}
    for field in fields.values():
        shutil.copy(field["file"], tmp_path / "geojson")
    report = import_dataset("qupath", tmp_path / "geojson", tmp_path / "set", keep_predictions=True)
    assert report.n_cells == sum(len(f["cells"]) for f in fields.values())
    for truth in read_dataset(tmp_path / "set").fields:
        field = fields[Path(truth.file).stem]
        assert [list(c.box) for c in truth.cells] == [c["box"] for c in field["cells"]]
        assert [c.class_name for c in truth.cells] == [c["class"] for c in field["cells"]]
        assert all(c.contour is None for c in truth.cells)
        key = (truth.key.patient_id, truth.key.smear_id, truth.key.center, truth.um_per_px)
        assert key == tuple(field[k] for k in ("patient_id", "smear_id", "center", "um_per_px"))


def test_cells_with_a_nucleus_are_qupaths_cells(tmp_path):
    record = json.loads((ARCHIVE / "record-v2" / "record.json").read_text("utf-8"))
    square = [[1.0, 1.0], [9.0, 1.0], [9.0, 9.0], [1.0, 9.0]]
    cell = record["fields"][0]["cells"][0]
    outlined = {"contour": square, "nuclei": [square], "cell_area_px": 64.0, "nucleus_area_px": 64.0, "nc_ratio": 1.0}
    unnamed = cell | {"identified": False, "same_as": {"field": 0, "cell": 0}, "contour": None, "nuclei": []}
    record["fields"] = [record["fields"][0] | {"cells": [cell | outlined, unnamed]}]
    (tmp_path / "record.json").write_text(json.dumps(record), "utf-8")
    export_records([tmp_path], ["geojson"], tmp_path / "out", wishes=Wishes(gzip=True))
    with gzip.open(tmp_path / "out" / "geojson" / "a1.geojson.gz", "rt", encoding="utf-8") as file:
        whole, other = json.load(file)["features"]
    assert whole["properties"]["objectType"] == "cell" and whole["nucleusGeometry"]["type"] == "Polygon"
    assert whole["geometry"]["coordinates"] == [[*square, square[0]]]
    assert whole["properties"]["measurements"]["nc_ratio"] == 1.0
    assert "classification" not in other["properties"] and other["properties"]["measurements"]["counts"] == 0


def test_regions_of_a_slide_are_one_file_in_the_slides_px(tmp_path):
    record = json.loads((ARCHIVE / "record-v2" / "record.json").read_text("utf-8"))
    field, square = record["fields"][0], [[1.0, 1.0], [9.0, 1.0], [9.0, 9.0]]
    cell = field["cells"][0] | {"box": [1.0, 1.0, 9.0, 9.0], "contour": square, "nuclei": [square]}
    seen = cell | {"same_as": {"field": 0, "cell": 0}}
    regions = [{"box": [n * 100, 50, n * 100 + 120, 170], "core": [0, 0, 1, 1], "plane": 0} for n in range(2)]
    record["fields"] = [
        field | {"file": "a.svs", "region": regions[0], "cells": [cell]},
        field | {"file": "a.svs", "region": regions[1], "cells": [seen, cell]},
        field | {"file": "a.svs", "status": "failed", "region": regions[1], "cells": []},
        field | {"file": "a.jpg", "cells": [cell]},
    ]
    (tmp_path / "record.json").write_text(json.dumps(record), "utf-8")
    export_records([tmp_path], ["geojson"], tmp_path / "out")
    files = {p.name: json.loads(p.read_text())["features"] for p in (tmp_path / "out").rglob("*.geojson")}
    assert {name: len(features) for name, features in files.items()} == {"a.geojson": 2, "a_2.geojson": 1}
    rings = [f["geometry"]["coordinates"][0][0] for f in files["a.geojson"]]
    assert rings == [[1.0, 51.0], [101.0, 51.0]]
    assert files["a.geojson"][1]["nucleusGeometry"]["coordinates"][0][1] == [109.0, 51.0]
    assert files["a_2.geojson"][0]["geometry"]["coordinates"][0][0] == [1.0, 1.0]


def test_a_field_of_many_cells_is_never_held_whole(tmp_path, monkeypatch):
    record = json.loads((ARCHIVE / "record-v2" / "record.json").read_text("utf-8"))
    record["fields"] = [record["fields"][0] | {"cells": record["fields"][0]["cells"] * 400}]
    (tmp_path / "record.json").write_text(json.dumps(record), "utf-8")
    held, fill = [], JsonStream._fill

    def measured(stream):
        more = fill(stream)
        held.append(len(stream._buffer))
        return more

    monkeypatch.setattr(JsonStream, "_fill", measured)
    (done,) = export_records([tmp_path], ["geojson"], tmp_path / "out")
    assert done.n_cells == 4400 and max(held) < 600_000 < (tmp_path / "record.json").stat().st_size / 3
    next(read_record(tmp_path / "record.json").fields())
    assert max(held) > 1_500_000  # the same cells at once: what is measured can be large


def test_the_workbook_holds_the_numbers_and_no_formula(hostile, tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    export_records([hostile], ["xlsx"], tmp_path)
    book = openpyxl.load_workbook(tmp_path / "xlsx" / "differential.xlsx")
    patient = read_record(hostile / "record.json").patients[0]
    assert book.sheetnames == ["About", "Patients", "Differential", "Ratios", "Flags"]
    cells = [cell for sheet in book for row in sheet.iter_rows() for cell in row if cell.value is not None]
    assert {cell.data_type for cell in cells} == {"s", "n"}
    ids = [row[0] for row in book["Patients"].iter_rows(min_row=2, values_only=True)]
    assert ids[:3] == ["=cmd|' /C calc'!A0", "a\\x00b\\x1b[31m\\x0d\nc", "x" * 300]
    row = next(book["Ratios"].iter_rows(min_row=2, values_only=True))
    ratio = patient["ratios"][0]
    assert list(row[3:8]) == [ratio[k] for k in ("numerator", "denominator", "value", "low", "high")]
    shares = [r[2:4] for r in book["Differential"].iter_rows(min_row=2, max_row=15, values_only=True)]
    assert shares == [(r["count"], r["share"]) for r in patient["differential"]]


def test_a_full_sheet_says_so(monkeypatch):
    openpyxl = pytest.importorskip("openpyxl")
    monkeypatch.setattr("leukoscope.exchange.sheets.MOST_ROWS", 3)
    out = io.BytesIO()
    write_workbook(out, [("Cells", ([n, None, "=1"] for n in range(9)))])
    rows = list(openpyxl.load_workbook(out)["Cells"].values)
    assert rows[:2] == [(0, None, "=1"), (1, None, "=1")] and "CSV" in rows[2][0] and len(rows) == 3


def test_hostile_ids_end_in_no_path_and_no_formula(hostile, tmp_path):
    export_records([hostile], ["fhir", "geojson", "csv"], tmp_path / "out")
    names = [p.relative_to(tmp_path / "out") for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert all(len(p.parts) == 2 and len(p.name) < 110 and "\n" not in p.name for p in names)
    assert len({p.as_posix().lower() for p in names}) == len(names)
    assert sum(p.parts[0] == "fhir" for p in names) == len(HOSTILE) + 2
    for path in (p for p in names if p.suffix == ".csv"):
        values = [value for row in table(tmp_path / "out" / path) for value in row]
        assert not [v for v in values if v[:1] in tuple("=+@\t\r")]
    for path in (tmp_path / "out" / "geojson").glob("*.geojson"):
        json.loads(path.read_text("utf-8"))


def test_what_stands_in_the_folder_is_left_alone(run, tmp_path):
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / "cells.csv").write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        export_records([run], ["fhir", "csv"], tmp_path)
    assert (tmp_path / "csv" / "cells.csv").read_text() == "mine" and not (tmp_path / "fhir").exists()


@pytest.mark.parametrize(
    ("content", "match"),
    [(None, "no such file"), ("{}", "lacks"), ("not json", "not a record"), ('{"record_version": 9}', "version 9"),
     ('{"signed_version": 9}', "no signed record")],
)  # fmt: skip
def test_what_is_no_record_is_one_line(tmp_path, content, match, capsys):
    path = tmp_path / "some.json"
    if content is not None:
        path.write_text(content)
    assert main(["export", str(path), "--to", "fhir", "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert match.split()[-1] in said and said.count("\n") == 1
    with pytest.raises((InputError, DataError)):
        open_source(path)


def test_a_missing_package_is_named_with_its_extra(run, tmp_path, monkeypatch):
    monkeypatch.setattr("leukoscope.exchange.formats.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'leukoscope\[xlsx\]'"):
        export_records([run], ["xlsx"], tmp_path)


def test_names_and_texts_stay_apart():
    names = FileNames(["index"])
    made = [names.of_file(f, "photograph") for f in ("a/1.jpg", "b\\1.png", "INDEX.jpg", "///", "con", "con.jpg")]
    assert made == ["1", "1_2", "INDEX_2", "photograph", "photograph_con", "photograph_con_2"]
    long = ["x" * 300 + end for end in "ab"]
    assert len({shortened(t, 64) for t in long}) == 2 and all(len(shortened(t, 64)) == 64 for t in long)
    assert one_line(" a\tb\nc\x85 ") == "a\\tb\\nc\\x85"
