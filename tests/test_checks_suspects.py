"""The ranked list of suspect annotations, on drawn fields whose truth is known."""

from __future__ import annotations

import csv
import re
from dataclasses import replace

import numpy as np
import pytest
from data.make_bundles import make_model
from data.make_checked_set import SIDE, TYPES, make_checked_set
from PIL import Image

from leukoscope import cli
from leukoscope.checks.boxes import confidence
from leukoscope.checks.labels import near_copies
from leukoscope.checks.mask_boxes import mask_parts
from leukoscope.checks.suspect import KINDS, trusted
from leukoscope.checks.suspects import COLUMNS, find_suspects, write_suspects
from leukoscope.checks.suspects_html import write_sheet
from leukoscope.dataset.manifest import TruthCell, write_dataset
from leukoscope.errors import InputError


@pytest.fixture
def drawn(tmp_path):
    return make_checked_set(tmp_path)


def change(dataset, number, cells):
    """The set with other cells in one of its fields."""
    fields = list(dataset.fields)
    fields[number] = replace(fields[number], cells=tuple(cells))
    return replace(dataset, fields=tuple(fields))


def spoiled(dataset):
    """A wrong type in field 1, a box dropped in field 2, a box on empty glass in field 3."""
    cells = list(dataset.fields[1].cells)
    wrong = TYPES[(TYPES.index(cells[0].class_name) + 1) % 4]
    dataset = change(dataset, 1, [replace(cells[0], class_name=wrong), *cells[1:]])
    dataset = change(dataset, 2, dataset.fields[2].cells[1:])
    empty = TruthCell((103, 103, 147, 147), "lymphocyte", "lym")
    return change(dataset, 3, [*dataset.fields[3].cells, empty])


def test_a_faultless_set_contradicts_nothing(drawn, model):
    found = find_suspects(drawn, model)
    assert len(found.rows) == 40
    assert found.contradicting() == ()
    assert any("no photograph on both sides (10 photographs)" in n for n in found.notes)


def test_planted_errors_head_the_list(drawn, model):
    found = find_suspects(spoiled(drawn), model)
    first = {(s.kind, s.field.key.field_id) for s in found.contradicting()}
    expected = {("wrong_type", "field-1"), ("no_box", "field-2")}
    assert expected <= first
    # The box on glass is contradicted, as not found or as no lymphocyte: whichever is surer.
    assert "field-3" in {f for _, f in first} and len(first) == 3
    assert [s.suspicion for s in found.rows] == sorted((s.suspicion for s in found.rows), reverse=True)
    by_kind = {s.kind: s for s in found.contradicting()}
    assert by_kind["wrong_type"].says == drawn.fields[1].cells[0].class_name
    assert len({(s.field.key.field_id, s.row) for s in found.rows if s.row is not None}) == 40


def test_patients_are_kept_together_where_they_are_known(tmp_path, model):
    found = find_suspects(make_checked_set(tmp_path, patients=True), model)
    assert any("no patient on both sides (5 patients)" in n for n in found.notes)


def test_copies_are_kept_together_where_no_patient_is_stated(drawn, tmp_path, model):
    for number in (8, 9):  # fields 0 and 1 again, mirrored and saved anew
        pixels = np.asarray(Image.open(drawn.path(drawn.fields[number - 8])))[:, ::-1]
        Image.fromarray(pixels).save(drawn.path(drawn.fields[number]))
    copies = near_copies(drawn)
    assert copies == {f"field-{n}": f"copies of field-{n % 8}" for n in (0, 1, 8, 9)}
    found = find_suspects(drawn, model)
    assert any("no photograph on both sides (8 photographs)" in n for n in found.notes)
    assert near_copies(make_checked_set(tmp_path / "with", patients=True)) == {}


def test_a_class_of_one_photograph_is_named_and_not_judged(drawn, model):
    cells = drawn.fields[0].cells
    rare = change(drawn, 0, [replace(cells[0], class_name="plasma_cell"), *cells[1:]])
    found = find_suspects(rare, model)
    assert any("plasma_cell (1)" in n for n in found.notes)
    assert not [s for s in found.rows if s.kind == "wrong_type" and s.field.cells[s.row].class_name == "plasma_cell"]


def test_red_cells_and_untyped_cells_are_no_type_suspects(drawn, model):
    cells = drawn.fields[0].cells
    red, untyped = replace(cells[0], class_name="red_cell"), replace(cells[1], class_name=None)
    changed = change(drawn, 0, [red, untyped, *cells[2:]])
    found = find_suspects(changed, model)
    of_first = [s for s in found.rows if s.field.key.field_id == "field-0"]
    assert {s.row for s in of_first if s.kind == "wrong_type"} <= {2, 3}
    boxed_red = [s for s in of_first if s.kind == "no_box"]
    assert len(boxed_red) == 1 and "boxed as red cell" in boxed_red[0].detail


def test_pictures_cut_to_one_cell_are_not_located(drawn, model):
    fields = tuple(replace(f, cells=(TruthCell((0, 0, SIDE, SIDE), f.cells[0].class_name, "x"),)) for f in drawn.fields)
    found = find_suspects(replace(drawn, fields=fields), model)
    assert {s.kind for s in found.rows} == {"wrong_type"}
    assert any("Boxes were not judged" in n for n in found.notes)


def test_an_outline_that_belongs_to_another_cell(drawn, model):
    cells = drawn.fields[0].cells
    x0, y0, x1, y1 = cells[1].box
    outline = ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    found = find_suspects(change(drawn, 0, [replace(cells[0], contour=outline), *cells[1:]]), model)
    assert (found.rows[0].kind, found.rows[0].row) == ("box_off_outline", 0)


def test_masks_without_a_box(drawn, model):
    for number, field in enumerate(drawn.fields):
        mask = np.zeros((SIDE, SIDE), np.uint8)
        for cell in field.cells:
            x0, y0, x1, y1 = (int(v) for v in cell.box)
            mask[y0 + 4 : y1 - 4, x0 + 4 : x1 - 4] = 128
        mask[0, 0] = 255  # a stray pixel is no cell
        folder = drawn.image_root.parent / "pictures" / "masks"
        folder.mkdir(exist_ok=True)
        Image.fromarray(mask).save(folder / f"m_{number}.png")
    dataset = change(drawn, 2, drawn.fields[2].cells[1:])
    found = find_suspects(dataset, model, masks="masks/m_{number}.png")
    (row,) = [s for s in found.contradicting() if s.row is None]
    assert row.kind == "mask_without_box" and "also a white cell without a box" in row.detail
    with pytest.raises(InputError, match="names no file"):
        find_suspects(dataset, model, masks="elsewhere/{stem}.png")
    with pytest.raises(InputError, match="same mask for every picture"):
        find_suspects(dataset, model, masks="masks/m_1.png")


def test_parts_of_a_mask_join_at_corners():
    mask = np.zeros((6, 8), bool)
    mask[0, 0:2] = mask[1, 2:4] = mask[4:6, 5:8] = True
    assert mask_parts(mask) == [((5.0, 4.0, 8.0, 6.0), 6), ((0.0, 0.0, 4.0, 2.0), 4)]
    assert mask_parts(mask[:, ::-1]) == [((0.0, 4.0, 3.0, 6.0), 6), ((4.0, 0.0, 8.0, 2.0), 4)]
    ring = np.ones((5, 5), bool)
    ring[1:4, 1:4] = False
    assert mask_parts(ring) == [((0.0, 0.0, 5.0, 5.0), 16)]


def test_confidence_is_undecided_at_the_threshold():
    assert [float(confidence(s, 0.24)) for s in (0.0, 0.24, 1.0)] == [0, 0.5, 1]
    assert trusted(0.9, 0.5) == pytest.approx(0.7) and trusted(0.1, 1) == pytest.approx(0.1)


def test_a_model_that_was_trained_on_the_set_is_named(drawn, model, tmp_path):
    card = model / "classifier" / "card.json"
    text = card.read_text()
    other = make_model(tmp_path / "other")
    (other / "classifier" / "card.json").write_text(
        text.replace('"training": {}', '"training": {"data": [{"name": "drawn", "sha256": "0"}]}')
    )
    assert "was trained on drawn" in find_suspects(drawn, other).notes[0]
    assert not any("was trained on" in n for n in find_suspects(drawn, model).notes)


def test_the_list_and_the_sheet(drawn, model, tmp_path):
    found = find_suspects(spoiled(drawn), model)
    write_suspects(found, tmp_path / "out" / "list.csv")
    with open(tmp_path / "out" / "list.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS and len(rows) == len(found.rows)
    assert [r["rank"] for r in rows[:3]] == ["1", "2", "3"] and {r["kind"] for r in rows} <= set(KINDS)
    assert sum(r["contradicts"] == "yes" for r in rows) == 3
    write_sheet(found, tmp_path / "sheet.html", n_shown=5)
    page = (tmp_path / "sheet.html").read_text("utf-8")
    assert page.count("data:image/jpeg;base64,") == 5
    assert "<script" not in page and not re.findall(r'(?:src|href)="(?!data:|#)', page)


def test_the_command(drawn, model, tmp_path, capsys):
    write_dataset(spoiled(drawn), tmp_path / "set")
    page = tmp_path / "page.html"
    assert cli.main(["dataset", "suspects", str(tmp_path / "set"), "--model", str(model), "--html", str(page)]) == 0
    said = capsys.readouterr().out
    assert "3 of 41 rows contradict" in said and page.is_file() and (tmp_path / "set" / "suspects.csv").is_file()
    assert cli.main(["dataset", "suspects", str(tmp_path / "nowhere")]) == 2
    assert "not a Leukoscope data set" in capsys.readouterr().err
