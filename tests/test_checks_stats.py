"""A set in numbers, as a page and as a data sheet."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from data.make_checked_set import make_checked_set
from PIL import Image

from leukoscope import cli
from leukoscope.checks.datasheet import BLANK, datasheet, sheet_sections, write_datasheet
from leukoscope.checks.stats import dataset_stats, spread, stats_lines, table_columns
from leukoscope.checks.stats_html import write_stats_page
from leukoscope.errors import DataError, InputError


@pytest.fixture
def drawn(tmp_path):
    """Ten fields of four cells: split train 4, val 3, test 3; two fields a patient; centres A and B."""
    return make_checked_set(tmp_path, patients=True)


def test_tables_2_and_3_add_up(drawn):
    stats = dataset_stats(drawn)
    assert stats.images_by_split == {"train": 4, "val": 3, "test": 3}
    assert [t for t, _ in table_columns(stats)] == ["Train", "Val", "Train/Val", "Test", "Overall"]
    assert stats.cells_by_class["monocyte"] == {"train": 4, "val": 3, "test": 3}
    assert sum(sum(c.values()) for c in stats.cells_by_class.values()) == stats.n_cells == 40
    said = "\n".join(stats_lines(stats))
    assert "Train 4, Val 3, Train/Val 7, Test 3, Overall 10" in said
    assert re.search(r"monocyte +4 +3 +7 +3 +10", said)


def test_sizes_and_scales(drawn):
    fields = (replace(drawn.fields[0], um_per_px=0.1), *drawn.fields[1:])
    stats = dataset_stats(replace(drawn, fields=fields), quality_per_center=0)
    assert stats.image_sizes == {"256 x 256": 10}
    assert stats.scales == {"(not stated)": 9, "0.1": 1}
    assert stats.cell_px["monocyte"].median == 44 and stats.cell_px["monocyte"].n == 10
    assert stats.cell_um["monocyte"].median == pytest.approx(4.4) and stats.cell_um["monocyte"].n == 1
    assert stats.cells_per_image == spread([4] * 10) and stats.quality == {}


def test_stain_and_focus_by_centre_and_a_picture_that_cannot_be_read(drawn):
    drawn.path(drawn.fields[1]).write_bytes(b"not a picture")
    seen = []
    stats = dataset_stats(drawn, quality_per_center=4, progress=lambda done, total: seen.append((done, total)))
    assert (stats.quality["A"].n_fields, stats.quality["A"].n_opened) == (5, 4)
    everything = dataset_stats(drawn)
    assert everything.quality["A"].n_unreadable == 1 and everything.quality["B"].n_unreadable == 0
    assert 0.4 < everything.quality["B"].measures["stain"].median < 1
    assert seen[-1] == (8, 8)


def test_patients_in_two_splits_are_named(drawn):
    stats = dataset_stats(drawn, quality_per_center=0)
    assert stats.splits_by_patient["P0"] == ["train", "val"]
    assert stats.cells_by_patient["P0"] == {"lymphocyte": 2, "monocyte": 2, "eosinophil": 2, "basophil": 2}
    assert "in more than one split: P0" in "\n".join(stats_lines(stats))


def test_patients_stand_in_the_order_of_their_numbers(drawn):
    names = iter(("P10", "P2", "P2", "7", "B", "12", "P1", "A3", "A03", "A"))
    fields = tuple(replace(f, key=replace(f.key, patient_id=next(names))) for f in drawn.fields)
    stats = dataset_stats(replace(drawn, fields=fields), quality_per_center=0)
    order = list(stats.splits_by_patient)
    assert order.index("P1") < order.index("P2") < order.index("P10") and order.index("7") < order.index("12")


def test_untyped_cells_and_unsplit_fields_have_their_own_places(drawn):
    field = drawn.fields[0]
    bare = replace(field, split=None, cells=(replace(field.cells[0], class_name=None),))
    stats = dataset_stats(replace(drawn, fields=(bare,)), quality_per_center=0)
    assert stats.cells_by_class == {"(no type)": {"none": 1}}
    assert [t for t, _ in table_columns(stats)] == ["No split", "Overall"]
    assert "1 cells have no type" in datasheet(stats)


def test_the_page_is_whole_and_asks_nothing_of_the_network(drawn, tmp_path):
    drawn = replace(drawn, name="<b>&set</b>")
    stats = dataset_stats(drawn)
    write_stats_page(stats, tmp_path / "page.html", sheet=sheet_sections(stats))
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "&lt;b&gt;&amp;set&lt;/b&gt;" in page and "<b>&set" not in page
    assert page.count('<span class="name">') == 4
    for title in ("Photographs by split", "Stain and focus by centre", "Class by patient", "Data sheet"):
        assert title in page
    assert "<script" not in page and not re.findall(r'(?:src|href)="(?!data:|#)', page)


def test_a_data_sheet_fills_in_and_leaves_blanks(drawn, tmp_path):
    stats = dataset_stats(drawn, quality_per_center=0)
    report = {"issues": [{"action": "dropped"}, {"action": "dropped"}], "images_without_annotation": ["a.png"]}
    sheet = datasheet(stats, import_report=report)
    for section in ("Motivation", "Composition", "Collection process", "Uses", "Distribution", "Maintenance"):
        assert f"\n## {section}\n" in sheet
    assert "10 photographs, 40 annotated cells, 5 stated patients" in sheet
    assert "| monocyte | 4 | 3 | 7 | 3 | 10 |" in sheet
    assert "2 dropped" in sheet and "1 picture without annotation" in sheet and stats.fields_sha256 in sheet
    assert sheet.count(BLANK) > 15
    path = tmp_path / "sheet.md"
    write_datasheet(stats, path)
    path.write_text("filled in by hand", "utf-8")
    with pytest.raises(InputError, match="filled in by hand"):
        write_datasheet(stats, path)
    assert path.read_text("utf-8") == "filled in by hand"


def test_the_command(drawn, tmp_path, capsys):
    page, numbers, sheet = (tmp_path / n for n in ("page.html", "numbers.json", "sheet.md"))
    argv = ["dataset", "stats", str(tmp_path / "set"), "--html", page, "--json", numbers, "--datasheet", sheet]
    assert cli.main([str(a) for a in argv]) == 0
    assert "centre A: 5 of 5 opened" in capsys.readouterr().out
    assert page.is_file() and sheet.is_file()
    assert json.loads(numbers.read_text("utf-8"))["n_cells"] == 40
    (tmp_path / "set" / "import-report.json").write_text("{broken", "utf-8")
    assert cli.main(["dataset", "stats", str(tmp_path / "set"), "--pictures", "0"]) == 2


def test_no_data_set(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="not a Leukoscope data set"):
        dataset_stats(tmp_path)
