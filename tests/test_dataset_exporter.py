"""What the exporter refuses, says and leaves out; columns named by hand."""

from __future__ import annotations

import json

import pytest
from data.small_texts import picture, write

from leukoscope.dataset.exporter import export_dataset
from leukoscope.dataset.importer import import_dataset
from leukoscope.dataset.manifest import read_dataset
from leukoscope.errors import DataError, InputError, TaxonomyError


def small_set(root):
    picture(root / "src/lymphocyte/a.png")
    import_dataset("folders", root / "src", root / "set")
    return root / "set"


def test_export_refuses_what_would_mix_or_lie(tmp_path):
    directory = small_set(tmp_path)
    with pytest.raises(InputError, match="no data set format 'xyc': expected one of yolo, "):
        export_dataset("xyc", directory, tmp_path / "out")
    write(tmp_path / "full/x.txt", "x")
    with pytest.raises(InputError, match="is there already"):
        export_dataset("yolo", directory, tmp_path / "full")
    picture(tmp_path / "src/lymphocyte/a.png", 9)
    with pytest.raises(DataError, match="is not the picture that was imported"):
        export_dataset("yolo", directory, tmp_path / "o1")
    (tmp_path / "src/lymphocyte/a.png").unlink()
    with pytest.raises(DataError, match="pictures of data set 'src' were moved"):
        export_dataset("yolo", directory, tmp_path / "o2")


def test_export_says_where_the_rest_is(tmp_path):
    report = export_dataset("yolo", small_set(tmp_path), tmp_path / "out")
    assert json.loads((tmp_path / "out/export-report.json").read_text()) == json.loads(json.dumps(report.to_dict()))
    assert (report.n_fields, report.n_cells, report.class_names) == (1, 1, ("lymphocyte",))
    assert "leukoscope-fields.csv" in report.beside[0]
    assert (tmp_path / "out/images/default/lymphocyte/a.png").is_file()


def test_cvat_labels_hold_every_attribute(tmp_path):
    export_dataset("cvat", small_set(tmp_path), tmp_path / "out")
    labels = {entry["name"]: entry for entry in json.loads((tmp_path / "out/labels.json").read_text())}
    assert {a["name"] for a in labels["field"]["attributes"]} >= {"patient_id", "smear_id", "center", "split"}
    assert {a["name"] for a in labels["lymphocyte"]["attributes"]} == {"source_code", "exact_box"}


def test_an_edited_label_of_an_export_is_read_without_its_row(tmp_path):
    export_dataset("yolo", small_set(tmp_path), tmp_path / "out")
    (tmp_path / "out/labels/default/lymphocyte/a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    report = import_dataset("yolo", tmp_path / "out", tmp_path / "back")
    assert read_dataset(tmp_path / "back").fields[0].cells[0].box == (10, 7.5, 30, 22.5)
    assert [i.reason for i in report.issues] == ["cell of the side table is not in the labels"]


def test_a_taxonomy_by_name_counts_what_it_has_not(tmp_path):
    picture(tmp_path / "src/mast_cell/a.png")
    report = import_dataset("folders", tmp_path / "src", tmp_path / "set", taxonomy="pcm-9")
    assert [(i.reason, i.detail) for i in report.issues] == [("class outside taxonomy pcm-9", "mast_cell: 1 cells")]
    with pytest.raises(TaxonomyError, match="no taxonomy 'pcm-8'"):
        import_dataset("folders", tmp_path / "src", tmp_path / "set", taxonomy="pcm-8")


def test_columns_by_hand(tmp_path):
    picture(tmp_path / "src/a.png")
    write(tmp_path / "src/t.csv", "Bild,Typ\na.png,lymphocyte\n")
    report = import_dataset("csv", tmp_path / "src", tmp_path / "set", columns={"image": "Bild", "label": "Typ"})
    assert report.cells_by_class == {"lymphocyte": 1}
    with pytest.raises(InputError, match="columns are for the csv format"):
        import_dataset("folders", tmp_path / "src", tmp_path / "set", columns={"image": "Bild"})
