"""Each public layout, fabricated with its traps, becomes the right manifest and the right report."""

from __future__ import annotations

import json

import pytest
from data.make_bccd import make_bccd
from data.make_cnmc import HEALTHY, LEUKAEMIC, make_cnmc
from data.make_draaslan import make_draaslan
from data.make_jtsc import BOX, make_jtsc
from data.make_pbc import PREFIXES, make_pbc
from data.make_pictures import draw_field

from leukoscope.dataset.importer import import_dataset
from leukoscope.dataset.manifest import read_dataset
from leukoscope.dataset.splitting import split_dataset, write_split
from leukoscope.errors import DataError, InputError, TaxonomyError
from leukoscope.taxonomy import Taxonomy


def reasons(report, action):
    return sorted((i.file.rsplit("/", 1)[-1], i.reason) for i in report.issues if i.action == action)


def fields_by_name(out):
    return {f.file.rsplit("/", 1)[-1]: f for f in read_dataset(out).fields}


def test_pbc(tmp_path):
    report = import_dataset("yolo", make_pbc(tmp_path / "pbc"), tmp_path / "out", source="pbc")
    # 12 kinds in 3 splits, the copy, the picture somebody looked at and found empty, the one with a malformed line.
    assert report.n_fields == 36 + 3
    assert report.n_cells == 36 + 2
    assert report.fields_by_split == {"test": 13, "train": 13, "val": 13}
    assert report.cells_by_code == {p: 3 + (p in ("BA", "MY")) for p in sorted(PREFIXES)}
    assert report.cells_by_class["band_neutrophil"] == 3 and report.cells_by_class["myelocyte"] == 4
    assert report.images_without_annotation == ("train/images/LY_777.jpg",)
    assert report.annotations_without_image == ("train/labels/MO_888.txt",)
    assert reasons(report, "dropped") == [("MO_888.txt", "picture not found"), ("MY_444.jpg", "malformed line")]
    assert (report.n_objects, report.n_dropped) == (40, 2)
    fields = fields_by_name(tmp_path / "out")
    assert fields["EO_555.jpg"].cells == ()
    cell = fields["SNE_6.jpg"].cells[0]
    assert (cell.class_name, cell.source_code, fields["SNE_6.jpg"].split) == ("segmented_neutrophil", "SNE", "train")
    # 0.5 ± 0.444444 / 2 of 36 px, 0.5 ± 0.533333 / 2 of 30 px
    assert cell.box == pytest.approx((10, 7, 26, 23), abs=0.001)


def test_bccd(tmp_path):
    report = import_dataset("voc", make_bccd(tmp_path / "bccd"), tmp_path / "out", source="bccd")
    fields = fields_by_name(tmp_path / "out")
    assert report.n_fields == 7 and report.fields_by_split == {"test": 2, "train": 3, "val": 2}
    types = {n: [c.class_name for c in f.cells if c.source_code not in ("RBC", "Platelets")] for n, f in fields.items()}
    assert types == {
        "BloodImage_00000.jpg": ["neutrophil"],
        "BloodImage_00001.jpg": ["eosinophil"],
        "BloodImage_00002.jpg": ["white_cell", "white_cell"],  # two cells: the row can't say which is which
        "BloodImage_00003.jpg": ["white_cell"],  # blank
        "BloodImage_00004.jpg": ["white_cell"],  # two types for one cell
        "BloodImage_00005.jpg": [],  # typed, but nobody drew the box
        "BloodImage_00006.jpg": ["monocyte"],
    }
    assert reasons(report, "noted") == [(f"BloodImage_0000{n}.jpg", "picture's type not used") for n in (2, 3, 4, 5)]
    assert reasons(report, "dropped") == [
        ("BloodImage_00003.jpg", "box without area"),
        ("BloodImage_00006.jpg", "box given twice"),
        ("BloodImage_00060.xml", "picture not found"),
    ]
    assert report.n_objects == report.n_cells + report.n_dropped
    assert reasons(report, "repaired") == [
        ("BloodImage_00006.jpg", "box cut at the picture's edge"),
        ("BloodImage_00006.jpg", "box cut at the picture's edge"),
        ("BloodImage_00006.jpg", "corners swapped"),
    ]
    red = [c.box for c in fields["BloodImage_00006.jpg"].cells if c.class_name == "red_cell"]
    assert red == [(50, 36, 64, 47), (0, 38, 14, 44), (2, 2, 14, 14)]
    assert report.images_without_annotation == ("JPEGImages/BloodImage_00050.jpg",)
    assert report.annotations_without_image == ("Annotations/BloodImage_00060.xml",)


def test_bccd_without_its_table_of_types(tmp_path):
    (make_bccd(tmp_path / "bccd") / "wbc_types.csv").unlink()
    report = import_dataset("voc", tmp_path / "bccd", tmp_path / "out", source="bccd")
    assert report.cells_by_class == {"platelet": 1, "red_cell": 6, "white_cell": 7}
    assert ("wbc_types.csv", "no table of types") in reasons(report, "noted")


def test_cnmc(tmp_path):
    report = import_dataset("folders", make_cnmc(tmp_path / "cnmc"), tmp_path / "out", source="cnmc")
    assert report.cells_by_class == {
        "lymphoblast": sum(LEUKAEMIC.values()),
        "lymphoid_precursor": sum(HEALTHY.values()),
    }
    assert report.n_patients == 14
    fields = read_dataset(tmp_path / "out").fields
    assert {f.key.patient_id for f in fields} == {*LEUKAEMIC, *HEALTHY}
    assert all(f.cells[0].box == (0, 0, f.width, f.height) == (0, 0, 22, 20) for f in fields)


@pytest.mark.parametrize(("source", "column"), [("jtsc", "class label"), ("cellavision", "class")])
def test_jtsc_and_cellavision(tmp_path, source, column):
    make_jtsc(tmp_path / source, label_column=column)
    report = import_dataset("csv", tmp_path / source, tmp_path / "out", source=source)
    fields = fields_by_name(tmp_path / "out")
    assert [fields[f"00{n}.png"].cells[0].class_name for n in range(1, 6)] == [
        "neutrophil", "lymphocyte", "monocyte", "eosinophil", "basophil",
    ]  # fmt: skip
    # The stray value in picture 2's corner is no part of its cell.
    assert {fields[f"00{n}.png"].cells[0].box for n in range(1, 6)} == {BOX}
    assert all(len(fields[f"00{n}.png"].cells[0].contour) > 8 for n in range(1, 6))
    assert reasons(report, "dropped") == [
        ("006.png", "unreadable box"),
        ("007.png", "unreadable box"),
        ("009.png", "picture not found"),
    ]
    # Their only cells were lost: to keep them would say that there are none.
    assert report.images_that_lost_all == ("images/006.png", "images/007.png")
    assert not {"006.png", "007.png"} & set(fields)
    assert report.images_without_annotation == ("images/008.png",)
    assert report.annotations_without_image == ("images/009.png",)


def test_draaslan(tmp_path):
    report = import_dataset("csv", make_draaslan(tmp_path / "draaslan"), tmp_path / "out", source="draaslan")
    fields = fields_by_name(tmp_path / "out")
    assert report.cells_by_class == {"red_cell": 2, "white_cell": 1}
    assert fields["image-1.png"].cells[0].box == pytest.approx((15, 10, 35, 30))
    # Over the edge by rounding: taken as the edge, nothing to report.
    assert fields["image-2.png"].cells[0].box == (25, 20, 50, 40)
    assert reasons(report, "repaired") == []
    assert reasons(report, "dropped") == [("image-2.png", "box is not a number"), ("image-2.png", "unreadable box")]


def test_the_report_is_written_and_the_source_is_left_alone(tmp_path):
    source = make_bccd(tmp_path / "bccd")
    before = sorted((p, p.stat().st_mtime_ns) for p in source.rglob("*"))
    report = import_dataset("voc", source, tmp_path / "out", source="bccd")
    written = json.loads((tmp_path / "out/import-report.json").read_text())
    assert written == json.loads(json.dumps(report.to_dict()))
    assert written["fields_sha256"] == json.loads((tmp_path / "out/dataset.json").read_text())["fields_sha256"]
    assert sorted((p, p.stat().st_mtime_ns) for p in source.rglob("*")) == before


def test_two_imports_are_identical(tmp_path):
    source = make_pbc(tmp_path / "pbc")
    for out in ("a", "b"):
        import_dataset("yolo", source, tmp_path / out, source="pbc")
    assert (tmp_path / "a/fields.jsonl").read_bytes() == (tmp_path / "b/fields.jsonl").read_bytes()


def test_patients_come_from_a_table(tmp_path):
    make_draaslan(tmp_path / "set")
    table = tmp_path / "patients.csv"
    table.write_bytes(b"\xef\xbb\xbffile;patient_id;smear_id\r\nimages\\image-1.png;P7;S1\r\n")
    report = import_dataset("csv", tmp_path / "set", tmp_path / "out", source="draaslan", patients=table)
    fields = fields_by_name(tmp_path / "out")
    assert report.n_patients == 1
    assert (fields["image-1.png"].key.patient_id, fields["image-1.png"].key.smear_id) == ("P7", "S1")
    assert fields["image-2.png"].key.patient_id == ""  # not stated is not made up


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("file,patient\nimage-1.png,P", "no column patient_id"),
        ("file,patient_id\nimage-9.png,P", "row 2 names 'image-9.png', which is no picture"),
        ("file,patient_id\nimage-1.png,P\nimages/image-1.png,Q", "a second time"),
    ],
)
def test_a_wrong_patients_table(tmp_path, text, says):
    make_draaslan(tmp_path / "set")
    (tmp_path / "patients.csv").write_text(text)
    with pytest.raises(InputError, match=says):
        import_dataset("csv", tmp_path / "set", tmp_path / "o", source="draaslan", patients=tmp_path / "patients.csv")
    with pytest.raises(InputError, match="no such file"):
        import_dataset("csv", tmp_path / "set", tmp_path / "o", source="draaslan", patients=tmp_path / "none.csv")


def test_unknown_codes_are_named_and_nothing_is_written(tmp_path):
    make_bccd(tmp_path / "set")
    with pytest.raises(TaxonomyError, match=r"'Platelets' \(1 cells, first in .*00001.jpg\).*'RBC'.*--source"):
        import_dataset("voc", tmp_path / "set", tmp_path / "out")
    with pytest.raises(TaxonomyError, match="source 'cnmc' has no class for 'Platelets'"):
        import_dataset("voc", tmp_path / "set", tmp_path / "out", source="cnmc")
    assert not (tmp_path / "out").exists()


def test_a_table_that_translates_to_an_unknown_class(tmp_path):
    make_draaslan(tmp_path / "set")
    table = tmp_path / "lab.toml"
    table.write_text('coordinates = "relative"\n[codes]\nwbc = "leucocyte"\nrbc = "red_cell"\n')
    with pytest.raises(TaxonomyError, match="translates 'wbc' to 'leucocyte', which is no class"):
        import_dataset("csv", tmp_path / "set", tmp_path / "out", source=table)
    ours = Taxonomy("ours", ("leucocyte",), ("leucocyte",))
    report = import_dataset("csv", tmp_path / "set", tmp_path / "out", source=table, taxonomy=ours)
    assert report.cells_by_class == {"leucocyte": 1, "red_cell": 2}


def test_without_a_source_the_vocabulary_is_the_code(tmp_path):
    draw_field(tmp_path / "set/train/lymphocyte/a.png", (20, 20), [(10, 10, 6)])
    draw_field(tmp_path / "set/val/myeloblast/a.png", (20, 20), [(10, 10, 6)])
    report = import_dataset("folders", tmp_path / "set", tmp_path / "out", specimen="marrow")
    assert report.cells_by_class == {"lymphocyte": 1, "myeloblast": 1}
    assert report.fields_by_split == {"train": 1, "val": 1}
    assert {f.key.specimen for f in read_dataset(tmp_path / "out").fields} == {"marrow"}


def test_all_idb2_states_its_class_in_the_file_name(tmp_path):
    for name in ("Im001_1.tif", "Im131_0.tif"):
        draw_field(tmp_path / "set" / name, (20, 20), [(10, 10, 6)])
    report = import_dataset("folders", tmp_path / "set", tmp_path / "out", source="all-idb2")
    assert report.cells_by_class == {"lymphoblast": 1, "white_cell": 1}


def test_all_idb1_fields_are_not_taken_for_cells(tmp_path):
    draw_field(tmp_path / "set/Im001_1.jpg", (20, 20), [(10, 10, 6)])
    with pytest.raises(DataError, match="no class folders"):
        import_dataset("folders", tmp_path / "set", tmp_path / "out", source="all-idb1")


def test_pictures_that_differ_in_the_suffix_only_keep_apart(tmp_path):
    for name in ("a.png", "a.jpg", "b.png"):
        draw_field(tmp_path / "set/lymphocyte" / name, (20, 20), [(10, 10, 6)])
    import_dataset("folders", tmp_path / "set", tmp_path / "out")
    ids = [f.key.field_id for f in read_dataset(tmp_path / "out").fields]
    assert ids == ["lymphocyte/a.jpg", "lymphocyte/a.png", "lymphocyte/b"]


def test_an_unreadable_picture_is_listed_and_left_out(tmp_path):
    make_cnmc(tmp_path / "set")
    (tmp_path / "set/all/UID_51_1_1_all.jpg").write_bytes(b"not a picture")
    report = import_dataset("folders", tmp_path / "set", tmp_path / "out", source="cnmc")
    assert reasons(report, "dropped") == [("UID_51_1_1_all.jpg", "unreadable picture")]
    assert report.n_fields == sum(LEUKAEMIC.values()) + sum(HEALTHY.values()) - 1


@pytest.mark.parametrize("format", ["yolo", "voc", "folders", "csv"])
def test_wrong_paths(tmp_path, format):
    with pytest.raises(InputError, match="no such folder"):
        import_dataset(format, tmp_path / "none", tmp_path / "out")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file"):
        import_dataset(format, tmp_path / "file", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/labels.csv").write_text("image,label\na.png,lymphocyte\n")
    with pytest.raises((InputError, DataError), match="no pictures under"):
        import_dataset(format, tmp_path / "empty", tmp_path / "out")
    with pytest.raises(InputError, match="is a file: expected a folder to write"):
        import_dataset(format, tmp_path / "empty", tmp_path / "file")
    draw_field(tmp_path / "pictures/a.png", (20, 20), [])
    with pytest.raises(DataError, match="is not a|no class folders|expected one .csv"):
        import_dataset(format, tmp_path / "pictures", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_importing_again_does_not_lose_a_split(tmp_path):
    src = make_pbc(tmp_path / "pbc")
    import_dataset("yolo", src, tmp_path / "out", source="pbc")
    write_split(*split_dataset(read_dataset(tmp_path / "out"), by="cluster", seed=0), tmp_path / "out")
    before = (tmp_path / "out" / "fields.jsonl").read_bytes()
    with pytest.raises(InputError, match="lose the split"):
        import_dataset("yolo", src, tmp_path / "out", source="pbc")
    assert (tmp_path / "out" / "fields.jsonl").read_bytes() == before


def test_wrong_words(tmp_path):
    with pytest.raises(InputError, match="no data set format 'pascal': expected one of yolo, voc, coco"):
        import_dataset("pascal", tmp_path, tmp_path / "out")
    with pytest.raises(InputError, match="specimen must be one of blood, marrow, got 'urine'"):
        import_dataset("csv", tmp_path, tmp_path / "out", specimen="urine")
