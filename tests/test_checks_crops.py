"""The single-cell set: where crops end, what they are traced to, going on, and reading it back."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from data.make_checked_set import make_checked_set
from PIL import Image

from leukoscope import cli
from leukoscope.checks.crops import export_crops, padded_box
from leukoscope.dataset.importer import import_dataset
from leukoscope.dataset.manifest import read_dataset
from leukoscope.errors import DataError, InputError
from leukoscope.images import read_image


@pytest.fixture
def drawn(tmp_path):
    return make_checked_set(tmp_path, n_fields=3, patients=True)


def rows_of(folder):
    with open(folder / "crops.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_crop_is_its_box_and_the_margin_pixel_for_pixel(drawn, tmp_path):
    report = export_crops(drawn, tmp_path / "out", pad_px=10)
    assert (report.n_crops, report.n_kept, report.n_at_edge) == (12, 0, 0)
    for row in rows_of(tmp_path / "out"):
        crop = np.asarray(Image.open(tmp_path / "out" / row["file"]))
        source = read_image(drawn.image_root / row["source_file"])
        x0, y0, x1, y1 = (int(float(row[f"source_{c}"])) for c in ("x0", "y0", "x1", "y1"))
        np.testing.assert_array_equal(crop, source[y0 - 10 : y1 + 10, x0 - 10 : x1 + 10])
        assert [float(row[c]) for c in ("x0", "y0", "x1", "y1")] == [10, 10, 10 + x1 - x0, 10 + y1 - y0]


def test_a_fractional_box_is_taken_whole():
    assert padded_box((10.4, 20.0, 30.2, 40.0), 50) == (-40, -30, 81, 90)


@pytest.mark.parametrize("edge", ["cut", "fill"])
def test_at_the_edge_a_crop_ends_or_is_filled(drawn, tmp_path, edge):
    # The first cell's box is [38, 38, 82, 82]: 50 px around it reach 12 px over the left and the upper edge.
    report = export_crops(drawn, tmp_path / "out", pad_px=50, edge=edge)
    row = next(r for r in rows_of(tmp_path / "out") if (r["source_x0"], r["source_y0"]) == ("38.000", "38.000"))
    crop = np.asarray(Image.open(tmp_path / "out" / row["file"]))
    assert row["reaches_edge"] == "yes" and report.n_at_edge >= 4
    if edge == "cut":
        assert crop.shape == (132, 132, 3) and row["x0"] == "38.000"
    else:
        assert crop.shape == (144, 144, 3) and row["x0"] == "50.000"
        assert (crop[:12] == crop[0, 0]).all() and abs(int(crop[0, 0, 0]) - 240) < 8
    source = read_image(drawn.image_root / row["source_file"])
    np.testing.assert_array_equal(crop[-132:, -132:], source[:132, :132])


def test_the_scale_is_stated_or_said_to_be_unknown(drawn, tmp_path):
    assert export_crops(drawn, tmp_path / "a", pad_px=5).um_per_px == ("unknown",)
    assert {r["um_per_px"] for r in rows_of(tmp_path / "a")} == {"unknown"}
    assert export_crops(drawn, tmp_path / "b", pad_px=5, um_per_px=0.08).um_per_px == ("0.08",)
    stated = replace(drawn, fields=(replace(drawn.fields[0], um_per_px=0.1), *drawn.fields[1:]))
    assert export_crops(stated, tmp_path / "c", pad_px=5).um_per_px == ("0.1", "unknown")
    with pytest.raises(InputError, match="states 0.1"):
        export_crops(stated, tmp_path / "d", pad_px=5, um_per_px=0.08)
    assert not (tmp_path / "d").exists()


def test_a_second_call_goes_on_and_other_settings_are_refused(drawn, tmp_path):
    out = tmp_path / "out"
    export_crops(drawn, out, pad_px=5)
    before = (out / "crops.csv").read_bytes()
    gone = out / rows_of(out)[3]["file"]
    gone.unlink()
    report = export_crops(drawn, out, pad_px=5)
    assert (report.n_crops, report.n_kept) == (12, 11) and gone.is_file()
    assert (out / "crops.csv").read_bytes() == before
    with pytest.raises(InputError, match="pad_px differ"):
        export_crops(drawn, out, pad_px=6)


def test_folders_that_are_taken_or_hold_the_pictures_are_refused(drawn, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        export_crops(drawn, tmp_path / "full")
    with pytest.raises(InputError, match="lies among the pictures"):
        export_crops(drawn, drawn.image_root / "crops")
    with pytest.raises(InputError, match="edge must be"):
        export_crops(drawn, tmp_path / "out", edge="mirror")


def test_a_picture_that_cannot_be_read_is_named(drawn, tmp_path):
    drawn.path(drawn.fields[1]).write_bytes(b"no picture")
    report = export_crops(drawn, tmp_path / "out", pad_px=5)
    assert report.n_crops == 8 and report.failed[0][0] == "field-1.png"
    for field in drawn.fields:
        drawn.path(field).write_bytes(b"no picture")
    with pytest.raises(DataError, match="gave no crops"):
        export_crops(drawn, tmp_path / "other", pad_px=5)


def test_the_crops_are_read_back_with_patients_splits_scale_and_boxes(drawn, tmp_path):
    cells = drawn.fields[0].cells
    untyped = replace(drawn.fields[0], cells=(replace(cells[0], class_name=None), *cells[1:]))
    drawn = replace(drawn, fields=(untyped, *drawn.fields[1:]))
    out = tmp_path / "out"
    export_crops(drawn, out, pad_px=20, um_per_px=0.08)
    import_dataset("csv", out, tmp_path / "back", source=out / "source.toml")
    back = read_dataset(tmp_path / "back")
    assert len(back.fields) == 12 and {f.um_per_px for f in back.fields} == {0.08}
    truth = [(c.class_name or "white_cell", f.key.patient_id, f.split) for f in drawn.fields for c in f.cells]
    read = [(f.cells[0].class_name, f.key.patient_id, f.split) for f in back.fields]
    assert sorted(read) == sorted(truth)
    assert all(f.cells[0].box == (20, 20, 64, 64) for f in back.fields)
    import_dataset("folders", out, tmp_path / "back2", source=out / "source.toml")
    assert len(read_dataset(tmp_path / "back2").fields) == 12


def test_a_set_of_blood_and_marrow_does_not_become_one_specimen(drawn, tmp_path):
    first = drawn.fields[0]
    marrow = replace(first, key=replace(first.key, specimen="marrow"))
    export_crops(replace(drawn, fields=(marrow, *drawn.fields[1:])), tmp_path / "out", pad_px=5)
    assert Counter(r["specimen"] for r in rows_of(tmp_path / "out")) == {"marrow": 4, "blood": 8}
    assert "\nspecimen" not in (tmp_path / "out" / "source.toml").read_text("utf-8")


def test_names_stay_apart_where_field_ids_differ_in_case_or_slashes(drawn, tmp_path):
    ids = ("a/b", "a__b", "A__B")
    first = drawn.fields[0]
    fields = tuple(replace(first, key=replace(first.key, field_id=i)) for i in ids)
    export_crops(replace(drawn, fields=fields), tmp_path / "out", pad_px=5)
    assert len({r["file"].lower() for r in rows_of(tmp_path / "out")}) == 12


def test_the_command(drawn, tmp_path, capsys):
    argv = ["dataset", "crops", str(tmp_path / "set"), "--out", str(tmp_path / "out"), "--pad-px", "50"]
    assert cli.main(argv) == 0
    said = capsys.readouterr().out
    assert "12 crops" in said and "crops end there and are smaller" in said
    assert "micrometres a pixel: unknown" in said
    assert cli.main(argv) == 0
    assert "12 of them were there already" in capsys.readouterr().out
