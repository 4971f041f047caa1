"""The audit's record and its command: what leaks is named, what is clean says so, and bad input stops nothing."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import replace

import pytest
from data.make_smear_pictures import save_pictures
from PIL import Image

from leukoscope import cli
from leukoscope.checks.audit_html import write_audit_page
from leukoscope.dataset.audit import Pair, audit_dataset, describe, to_dict
from leukoscope.dataset.audit.leaks import carry_boxes, find_straddlers, find_two_labels, one_source_classes
from leukoscope.dataset.importer import import_dataset
from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField, read_dataset, write_dataset
from leukoscope.errors import DataError
from leukoscope.types import FieldKey

BOX = (60.0, 50.0, 120.0, 110.0)


def a_field(path, split, *, label="neutrophil", patient="", smear="", center="A", box=BOX):
    with Image.open(path) as image:
        width, height = image.size
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    key = FieldKey(path.stem, smear, patient, center, "blood")
    return TruthField(key, path.name, digest, width, height, (TruthCell(box, label, "x"),), split=split)


@pytest.fixture
def folder(tmp_path):
    """Eight different pictures, the first also turned and with a border cut off (turned.jpg)."""
    save_pictures(tmp_path, 8)
    image = Image.open(tmp_path / "000.jpg").transpose(Image.Transpose.ROTATE_180)
    image.crop((9, 8, 9 + 162, 8 + 153)).save(tmp_path / "turned.jpg", quality=85)
    return tmp_path


def a_set(folder, *fields, name="made"):
    return Dataset(name, folder, tuple(fields), "none", "none", "made")


def clean_set(folder):
    return a_set(
        folder, *(a_field(folder / f"{i:03d}.jpg", "train" if i < 5 else "test", patient=f"P{i}") for i in range(8))
    )


def test_a_clean_set_is_clean(folder):
    audit = audit_dataset(clean_set(folder))
    assert audit.is_clean and not audit.pairs and not audit.leaks
    assert to_dict(audit)["clean"] is True


def test_a_copy_across_splits_leaks_and_inside_one_does_not(folder):
    fields = list(clean_set(folder).fields)
    inside = audit_dataset(a_set(folder, *fields, a_field(folder / "turned.jpg", "train")))
    assert inside.is_clean and len(inside.pairs) == 1
    audit = audit_dataset(a_set(folder, *fields, a_field(folder / "turned.jpg", "test")))
    assert not audit.is_clean and len(audit.leaks) == 1
    (pair,) = to_dict(audit)["pairs"]
    assert pair["across"] and pair["kind"] == "near duplicate"
    assert {pair["first"]["file"], pair["second"]["file"]} == {"000.jpg", "turned.jpg"}
    assert re.fullmatch(r"turned by 180°, cropped to (89|9[0-2]) × (89|9[0-2]) %", pair["difference"])
    # A picture that no split is stated for stands on no side.
    assert audit_dataset(a_set(folder, *fields, a_field(folder / "turned.jpg", None))).is_clean


def test_the_same_cell_under_two_labels_is_found_through_turn_and_crop(folder):
    first = a_field(folder / "000.jpg", "train")
    # BOX turned by 180 degrees in 180 x 170 px, then moved by the crop's corner.
    box = (180 - 120 - 9, 170 - 110 - 8, 180 - 60 - 9, 170 - 50 - 8)
    for label, n in (("eosinophil", 1), ("neutrophil", 0), ("band_neutrophil", 0), (None, 0)):
        audit = audit_dataset(a_set(folder, first, a_field(folder / "turned.jpg", "train", label=label, box=box)))
        assert len(audit.two_labels) == n, label
        assert audit.is_clean == (n == 0)
    elsewhere = a_field(folder / "turned.jpg", "train", label="eosinophil", box=(0, 0, 30, 30))
    assert audit_dataset(a_set(folder, first, elsewhere)).two_labels == ()


def test_two_labels_in_one_picture(folder):
    field = a_field(folder / "000.jpg", "train")
    twice = replace(field, cells=(*field.cells, TruthCell((61, 50, 120, 110), "monocyte", "y")))
    (found,) = find_two_labels([twice], [])
    assert (found.first, found.second, found.first_class, found.second_class) == (0, 0, "neutrophil", "monocyte")
    beside = replace(field, cells=(*field.cells, TruthCell((100, 50, 160, 110), "monocyte", "y")))
    assert find_two_labels([beside], []) == ()


def test_boxes_are_carried_by_turn_and_window(folder):
    one, other = a_field(folder / "000.jpg", None), a_field(folder / "turned.jpg", None)
    (pair,) = audit_dataset(a_set(folder, one, other)).pairs
    assert (pair.first, pair.second) == (0, 1)
    assert carry_boxes([BOX], one, other, pair)[0] == pytest.approx((51, 52, 111, 112), abs=2.5)


def test_patients_and_smears_on_two_sides(folder):
    path = folder / "000.jpg"
    dataset = a_set(
        folder,
        a_field(path, "train", patient="1", smear="s"),
        a_field(path, "test", patient="1", smear="s"),
        a_field(path, "train", patient="2"),
        a_field(path, "test", patient="2", center="B"),  # another hospital's patient 2
        a_field(path, None, patient="3"),
        a_field(path, "test", patient="3"),
        a_field(path, "train"),
        a_field(path, "test"),
    )
    found = find_straddlers([dataset])
    assert [(s.kind, s.center, s.patient_id, s.smear_id) for s in found] == [
        ("patient", "A", "1", ""),
        ("smear", "A", "1", "s"),
    ]
    assert [(side.split, n) for side, n in found[0].sides] == [("test", 1), ("train", 1)]
    # In another data set the same patient stands on another side, whatever the splits say.
    other = a_set(folder, a_field(path, None, patient="3"), name="other")
    assert [s.patient_id for s in find_straddlers([dataset, other]) if s.kind == "patient"] == ["1", "3"]


def test_against_another_set(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("other")
    shutil.copy(folder / "turned.jpg", elsewhere)
    save_pictures(elsewhere, 2, first_seed=100)
    shutil.copy(elsewhere / "100.jpg", elsewhere / "copy.jpg")
    names = ("turned", "100", "101", "copy")
    other = a_set(elsewhere, *(a_field(elsewhere / f"{n}.jpg", "train") for n in names), name="other")
    audit = audit_dataset(clean_set(folder), other)
    # The other set's own duplicates are its own affair.
    assert [(audit.place(p.first), audit.place(p.second)) for p in audit.pairs] == [
        ("made train 000.jpg", "other train turned.jpg")
    ]
    assert len(audit.leaks) == 1 and audit.clusters == ((0, 8),)


def test_a_class_that_one_source_alone_shows_is_noted(folder, capsys):
    seen = [("lymphocyte", "a"), ("lymphocyte", "b"), ("lymphoblast", "b")]
    assert one_source_classes(seen) == {"lymphoblast": "b"}
    assert one_source_classes([("lymphocyte", "a"), ("monocyte", "a")]) == {}  # one source has nothing to compare
    assert one_source_classes([]) == {}
    fields = [a_field(folder / f"00{i}.jpg", None, label=k, center=c) for i, (k, c) in enumerate(seen)]
    write_dataset(a_set(folder, *fields), folder)
    assert to_dict(audit_dataset(read_dataset(folder)))["classes_of_one_source"] == {"lymphoblast": "b"}
    assert cli.main(["dataset", "audit", str(folder)]) in (0, 1)
    assert "one source alone shows lymphoblast (b):" in capsys.readouterr().out


def test_how_a_pair_differs_in_words(folder):
    one = a_field(folder / "000.jpg", None)
    small = replace(one, width=135, height=128)
    assert describe(Pair(0, 1, True, 1.0), one, one) == "the same file"
    assert describe(Pair(0, 1, False, 0.9), one, one) == "saved again or photographed again"
    assert describe(Pair(0, 1, False, 0.9), one, small) == "rescaled to 75 %"
    assert (
        describe(Pair(0, 1, False, 0.9, 1, (0.0, 0.0, 1.0, 1.0), 0.85), one, one)
        == "mirrored left to right, darker by 15 %"
    )
    assert describe(Pair(0, 1, False, 0.9, 0, (0.08, -0.02, 1.0, 1.0)), one, one) == "moved"


def test_unreadable_and_changed_pictures_are_named_and_the_audit_goes_on(folder):
    fields = [*clean_set(folder).fields, a_field(folder / "turned.jpg", "test")]
    (folder / "003.jpg").unlink()
    (folder / "004.jpg").write_bytes((folder / "004.jpg").read_bytes()[:900])
    shutil.copy(folder / "005.jpg", folder / "006.jpg")
    audit = audit_dataset(a_set(folder, *fields))
    assert set(audit.unreadable) == {3, 4} and audit.changed == (4, 6)
    assert len(audit.leaks) == 1 and len(audit.pairs) == 2
    # What could not be checked is not clean, whatever else was found.
    assert not audit_dataset(a_set(folder, fields[0], fields[3])).is_clean
    assert not audit_dataset(a_set(folder, fields[0], fields[6])).is_clean
    assert audit_dataset(a_set(folder, fields[0], fields[1])).is_clean
    with pytest.raises(DataError, match="none of the 1 pictures can be read"):
        audit_dataset(a_set(folder, fields[3]))
    with pytest.raises(DataError, match="no fields"):
        audit_dataset(a_set(folder))


def test_the_command_prints_exits_and_writes_a_page(folder, tmp_path_factory, capsys):
    out = tmp_path_factory.mktemp("set")
    fields = [
        *clean_set(folder).fields,
        a_field(folder / "turned.jpg", "test", label="<b>eosinophil</b>", patient="P1"),
    ]
    write_dataset(a_set(folder, *fields), out)
    page = out / "audit.html"
    with pytest.raises(SystemExit) as stop:
        cli.main(["dataset", "audit", str(out), "--html", str(page)])
    printed = capsys.readouterr().out
    assert stop.value.code == 1
    assert "1 pairs across splits" in printed and "patient A P1: test 1, train 1" in printed
    html = page.read_text("utf-8")
    assert html.count("data:image/jpeg;base64,") == 2 and "turned by 180°" in html
    assert "<script" not in html and "<b>eosinophil" not in html and not re.search(r'(src|href)="http', html)
    with pytest.raises(SystemExit):
        cli.main(["dataset", "audit", str(out), "--json"])
    assert json.loads(capsys.readouterr().out)["n_pairs_across"] == 1
    write_dataset(clean_set(folder), out)
    assert cli.main(["dataset", "audit", str(out)]) == 0
    assert "clean" in capsys.readouterr().out
    assert cli.main(["dataset", "audit", str(folder)]) == 2
    assert cli.main(["dataset", "audit", str(out), "--against", str(out)]) == 2
    assert "is the audited set itself" in capsys.readouterr().err


def test_the_page_shows_so_many_pairs(folder, tmp_path_factory):
    for i in range(5):
        shutil.copy(folder / "000.jpg", folder / f"copy{i}.jpg")
    fields = [a_field(folder / "000.jpg", "train"), *(a_field(folder / f"copy{i}.jpg", "test") for i in range(5))]
    page = tmp_path_factory.mktemp("page") / "audit.html"
    write_audit_page(audit_dataset(a_set(folder, *fields)), page, n_shown=2)
    html = page.read_text("utf-8")
    assert html.count("data:image/jpeg") == 4 and "The first 2 of 5 pairs" in html


def test_pbc_has_eight_copies_across_its_splits(shared_data, tmp_path):
    import_dataset("yolo", shared_data / "pbc", tmp_path / "pbc", source="pbc")
    dataset = read_dataset(tmp_path / "pbc")
    # Every copy that the digests know, and enough others to hide them in.
    same = {}
    for field in dataset.fields:
        same.setdefault(field.sha256, []).append(field)
    copies = [f for group in same.values() if len(group) > 1 for f in group]
    some = replace(dataset, fields=(*copies, *(f for f in dataset.fields[::20] if f not in copies)))
    audit = audit_dataset(some)
    assert len(audit.leaks) == 8 and all(p.is_same_file for p in audit.leaks)
