"""Annotation files that are almost right (pictures, encodings, archives): one fault each (decision 0025)."""

from __future__ import annotations

import unicodedata
import zipfile

import pytest
from data.almost_right import attributes_of, picture, put, reasons, take
from data.annotation_texts import NEUTROPHIL, coco, cvat, voc, voc_object

from leukoscope.cli import main
from leukoscope.dataset.importer import import_dataset
from leukoscope.dataset.manifest import read_dataset
from leukoscope.errors import DataError, InputError, TaxonomyError

# D. The wrong picture.


def test_a_folder_that_contradicts_is_another_picture(tmp_path):
    picture(tmp_path / "P2/001.png")
    picture(tmp_path / "P3/002.png")
    content = coco({"bbox": [10, 10, 30, 40]}, name="P1/001.png")
    content["images"].append({"id": 2, "file_name": "/home/lab/set/P3/002.png"})
    content["annotations"].append({"id": 9, "image_id": 2, "category_id": 1, "bbox": [10, 10, 30, 40]})
    put(tmp_path / "a.json", content)
    report, cells = take("coco", tmp_path)
    assert cells == {"P3/002.png": [("neutrophil", NEUTROPHIL)]}
    assert ("P1/001.png", "picture only in another folder than stated") in [(i.file, i.reason) for i in report.issues]


@pytest.mark.parametrize("table", ["patients", "attributes"])
def test_side_tables_name_one_picture(tmp_path, table):
    picture(tmp_path / "set/A/neutrophil/001.png")
    picture(tmp_path / "set/A/neutrophil/002.png")
    put(tmp_path / "t.csv", "file,patient_id\nA/neutrophil/001.png,P1\nC/neutrophil/002.png,P9\n")
    if table == "patients":
        with pytest.raises(InputError, match="row 3 names 'C/neutrophil/002.png', which is no picture"):
            take("folders", tmp_path / "set", patients=tmp_path / "t.csv")
        return
    report, _ = take("folders", tmp_path / "set", attributes=tmp_path / "t.csv")
    assert report.n_with_attributes == 1 and "attributes of a picture that is not here" in reasons(report)


def test_a_split_file_names_one_picture(tmp_path):
    picture(tmp_path / "set/A/neutrophil/001.png")
    take("folders", tmp_path / "set")
    table = put(tmp_path / "split.csv", "file,split\nC/neutrophil/001.png,test\n")
    assert main(["dataset", "split", str(tmp_path / "set/out"), "--file", str(table)]) == 2


@pytest.mark.parametrize(
    "stated",
    [unicodedata.normalize("NFC", "zelle é.png"), "zelle%20e%CC%81.png", "zelle%20%C3%A9.png?t=1",
     "/data/upload/3/0f6142fb-zelle_é.png", "/data/local-files/?d=set/zelle é.png"],
)  # fmt: skip
def test_names_that_mean_a_picture(tmp_path, stated):
    picture(tmp_path / unicodedata.normalize("NFD", "zelle é.png"))
    put(tmp_path / "a.json", coco({"bbox": [10, 10, 30, 40]}, name=stated))
    assert [len(c) for c in take("coco", tmp_path)[1].values()] == [1]


def test_a_stale_filename_is_passed_over(tmp_path):
    picture(tmp_path / "cell_a.png")
    picture(tmp_path / "cell_b.png")
    put(tmp_path / "cell_b.xml", voc(voc_object(NEUTROPHIL), name="cell_a.png"))
    report, cells = take("voc", tmp_path)
    assert list(cells) == ["cell_b.png"] and report.images_without_annotation == ("cell_a.png",)
    assert reasons(report) == ["the stated picture is not the file's own: its own name taken"]


def ls_region(x, to_name, **more):
    value = {"x": x, "y": 10, "width": 20, "height": 40, "rotation": 0, "rectanglelabels": ["neutrophil"]}
    return {"type": "rectanglelabels", "to_name": to_name, "id": f"{x}{to_name}", "value": value, **more}


def test_regions_of_two_pictures_in_one_task(tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    result = [ls_region(10, "image"), ls_region(50, "image2"), ls_region(70, "elsewhere")]
    task = {"data": {"image": "a.png", "image2": "b.png"}, "annotations": [{"result": result}]}
    put(tmp_path / "e.json", [task])
    report, cells = take("label-studio", tmp_path)
    assert {f: c[0][1] for f, c in cells.items()} == {"a.png": [20, 10, 60, 50], "b.png": [100, 10, 140, 50]}
    assert reasons(report) == ["which of the task's pictures a region is on can't be told"]


def test_ids_spelled_twice_are_noted_by_the_import_and_the_audit(tmp_path, capsys):
    for n in range(3):
        picture(tmp_path / f"set/neutrophil/{n}.png")
    table = put(tmp_path / "p.csv", "file,patient_id\n0.png,7\n1.png,7.0\n2.png,70\n")
    report, _ = take("folders", tmp_path / "set", patients=table)
    assert [i.detail for i in report.issues if "patients whose ids differ" in i.reason] == ["'7' and '7.0'"]
    main(["dataset", "audit", str(tmp_path / "set/out")])
    assert "patients '7' and '7.0' may be one, spelled twice" in capsys.readouterr().out


def test_an_annotation_in_another_patients_folder_is_of_another_picture(tmp_path):
    from data.tool_texts import labelme, shape

    picture(tmp_path / "v/P2/a.png")
    put(tmp_path / "v/P1/a.xml", voc(voc_object(NEUTROPHIL)))
    picture(tmp_path / "l/P2/a.png")
    put(tmp_path / "l/P1/a.json", labelme(shape("rectangle", [[10, 10], [40, 50]])))
    for format in ("voc", "labelme"):
        with pytest.raises(DataError, match="picture only in another folder than stated"):
            take(format, tmp_path / format[0])


@pytest.mark.parametrize("format", ["coco", "cvat", "datumaro"])
def test_a_picture_in_another_split_is_another_picture(tmp_path, format):
    from data.tool_texts import datumaro

    picture(tmp_path / "images/val/a.png")
    box = '<box label="neutrophil" xtl="10" ytl="10" xbr="40" ybr="50"/>'
    contents = {
        "coco": ("annotations/instances_train.json", coco({"bbox": [10, 10, 30, 40]})),
        "cvat": ("a.xml", cvat(box).replace("<image ", '<image subset="train" ')),
        "datumaro": ("annotations/train.json", datumaro({"type": "bbox", "bbox": [10, 10, 30, 40]})),
    }
    put(tmp_path / contents[format][0], contents[format][1])
    with pytest.raises(DataError, match="stated in train, but here only images/val/a.png"):
        take(format, tmp_path)


# G. Encodings.


@pytest.mark.parametrize("declared, used", [("gb2312", "gb2312"), ("GBK", "gb18030"), ("utf8", "utf-8"),
                                            ("UTF-8-latin", "utf-8"), ("windows-1252", "cp1252"),
                                            ("Shift_JIS", "shift_jis")])  # fmt: skip
def test_xml_in_every_encoding(tmp_path, declared, used):
    word = "é" if used == "cp1252" else "日本"
    picture(tmp_path / f"{word}.png")
    text = voc(voc_object(NEUTROPHIL), name=f"{word}.png", head=f'<?xml version="1.0" encoding="{declared}"?>')
    put(tmp_path / "x.xml", text.encode(used))
    assert take("voc", tmp_path)[1] == {f"{word}.png": [("neutrophil", NEUTROPHIL)]}


def test_xml_of_an_encoding_that_is_not_so(tmp_path):
    picture(tmp_path / "a.png")
    put(tmp_path / "a.xml", b'<?xml version="1.0" encoding="gb2312"?><annotation>\xff\xff\xff</annotation>')
    with pytest.raises(DataError, match="declares the encoding 'gb2312' and can't be read so"):
        take("voc", tmp_path)


# J and the rest.


def test_a_zip_file_is_read_as_it_is(tmp_path):
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        archive.write(picture(tmp_path / "made/a.png"), "images/a.png")
        archive.writestr("annotations.xml", cvat('<box label="neutrophil" xtl="10" ytl="10" xbr="40" ybr="50"/>'))
    report = import_dataset("cvat", tmp_path / "export.zip", tmp_path / "out")
    assert (report.n_cells, report.name) == (1, "export")
    dataset = read_dataset(tmp_path / "out")
    assert dataset.path(dataset.fields[0]).is_file()


@pytest.mark.parametrize("name", ["../a.png", "/a.png", "C:\\a.png"])
def test_a_zip_file_that_leaves_its_folder_is_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        archive.writestr(name, b"")
    with pytest.raises(DataError, match="leaves its folder"):
        import_dataset("cvat", tmp_path / "export.zip", tmp_path / "out")
    put(tmp_path / "damaged.zip", (tmp_path / "export.zip").read_bytes()[:-30])
    with pytest.raises(InputError, match="expected the data set's folder, or a .zip"):
        import_dataset("cvat", tmp_path / "damaged.zip", tmp_path / "out")


def test_key_frames_of_tracks_are_read_and_interpolated_boxes_left_out(tmp_path):
    for n in range(3):
        picture(tmp_path / f"images/frame_{n:06d}.png")
    box = '<box frame="{}" keyframe="{}" outside="{}" occluded="0" xtl="10" ytl="10" xbr="40" ybr="50"/>'
    shapes = box.format(0, 1, 0) + box.format(1, 0, 0) + box.format(2, 1, 1)
    track = f'<track id="0" label="neutrophil" source="manual">{shapes}</track>'
    put(tmp_path / "annotations.xml", f"<annotations><version>1.1</version>{track}</annotations>")
    report, cells = take("cvat", tmp_path)
    assert cells == {"images/frame_000000.png": [("neutrophil", NEUTROPHIL)]} and report.n_objects == 2
    assert reasons(report) == ["interpolated between key frames: nobody looked at it"]
    assert report.images_without_annotation == ("images/frame_000001.png", "images/frame_000002.png")


def test_a_set_is_written_over_only_when_asked(tmp_path):
    picture(tmp_path / "neutrophil/a.png")
    take("folders", tmp_path)
    with pytest.raises(InputError, match="holds a data set already: .*--replace"):
        take("folders", tmp_path)
    assert take("folders", tmp_path, replace_set=True)[0].n_cells == 1


def test_a_class_that_stands_in_an_attribute(tmp_path):
    picture(tmp_path / "a.png")
    box = '<box label="WBC" xtl="{}" ytl="10" xbr="{}" ybr="50"><attribute name="type">{}</attribute></box>'
    put(tmp_path / "a.xml", cvat(box.format(10, 40, "Neutrophil") + box.format(60, 90, "lymphocyte")))
    source = put(tmp_path / "wbc.toml", '[codes]\n"WBC" = "white_cell"\n')
    report, _ = take("cvat", tmp_path, source=source)
    assert reasons(report) == ["an attribute holds class names: --code-attribute takes them"]
    report, cells = take("cvat", tmp_path, stated={"code_attribute": "type"}, replace_set=True)
    assert [name for name, _ in cells["a.png"]] == ["neutrophil", "lymphocyte"]
    assert attributes_of(tmp_path) == [{}, {}] and reasons(report) == ["class name spelled otherwise"]


def test_class_names_without_case_and_did_you_mean(tmp_path):
    picture(tmp_path / "Band Neutrophil/a.png")
    assert take("folders", tmp_path)[1]["Band Neutrophil/a.png"][0][0] == "band_neutrophil"
    picture(tmp_path / "Lymphocytes/b.png")
    with pytest.raises(TaxonomyError, match=r"'Lymphocytes' \(1 cells, first in .*\), did you mean lymphocyte"):
        take("folders", tmp_path, replace_set=True)
