"""Annotation files that are almost right (losses, units, columns): one fault each (decision 0025)."""

from __future__ import annotations

import pytest
from data.almost_right import attributes_of, picture, put, reasons, take, take_one
from data.annotation_texts import NEUTROPHIL, coco, cvat, voc, voc_object

from leukoscope.cli import main
from leukoscope.errors import DataError

# A. A loss is never recorded as truth.


def test_ids_of_another_type_are_the_same_ids(tmp_path):
    picture(tmp_path / "a.png")
    content = coco({"bbox": [10, 10, 30, 40], "image_id": "1", "category_id": 1.0})
    put(tmp_path / "a.json", content)
    assert take("coco", tmp_path)[1] == {"a.png": [("neutrophil", NEUTROPHIL)]}


@pytest.mark.parametrize(
    "line",
    [
        "1.0 0.5 0.5 0.2 0.4",
        "1.000000000000000000e+00 5.0e-01 5.0e-01 2.0e-01 4.0e-01",
        "1, 0.5, 0.5, 0.2, 0.4",
        "1;0.5;0.5;0.2;0.4",
        "1 0,5 0,5 0,2 0,4",
        "lymphocyte 0.5 0.5 0.2 0.4",
    ],
)
def test_yolo_numbers_as_tools_write_them(tmp_path, line):
    picture(tmp_path / "a.png")
    put(tmp_path / "a.txt", line + "\n")
    put(tmp_path / "any.yaml", "names: [neutrophil, lymphocyte]\n")  # any name will do: Ultralytics takes data=any.yaml
    assert take("yolo", tmp_path)[1] == {"a.png": [("lymphocyte", [80, 30, 120, 70])]}


def test_two_yaml_files_of_other_names_are_refused(tmp_path):
    picture(tmp_path / "a.png")
    put(tmp_path / "a.txt", "0 0.5 0.5 0.2 0.4\n")
    put(tmp_path / "one.yaml", "names: [neutrophil]\n")
    put(tmp_path / "two.yaml", "names: [lymphocyte]\n")
    with pytest.raises(DataError, match=r"one\.yaml and two\.yaml name the classes differently"):
        take("yolo", tmp_path)


@pytest.mark.parametrize("line", ["0 100 50 40 40", "0 0.5 0.5 0.2", "0 0.5 0.5 0.2 0.4 0.93"])
def test_a_picture_that_lost_all_of_its_objects_is_no_empty_picture(tmp_path, line):
    for name, text in (("a", line), ("b", "0 0.5 0.5 0.2 0.4"), ("c", "")):
        picture(tmp_path / f"{name}.png")
        put(tmp_path / f"{name}.txt", text + "\n")
    put(tmp_path / "data.yaml", "names: [neutrophil]\n")
    report, cells = take("yolo", tmp_path)
    assert set(cells) == {"b.png", "c.png"} and report.images_that_lost_all == ("a.png",)
    assert report.n_without_cells == 1  # c.png: somebody looked and found none


def test_nothing_taken_is_an_error_that_names_the_reasons(tmp_path, capsys):
    picture(tmp_path / "set/other.png")
    put(tmp_path / "set/a.json", coco({"bbox": [10, 10, 30, 40]}, {"bbox": [1, 1, 30, 40]}))
    assert main(["dataset", "import", "coco", str(tmp_path / "set"), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "2 annotated objects, 0 cells on 0 pictures; picture not found (2)" in said and said.count("\n") == 1
    assert [f.name for f in (tmp_path / "out").iterdir()] == ["import-report.json"]


def test_the_terminal_says_what_was_lost(tmp_path, capsys):
    for name, text in (("a", "0 0.5 0.5 0.2 0.4\n0 9 9 9 9\n"), ("b", ""), ("c", "0 9 9 9 9\n")):
        picture(tmp_path / f"set/{name}.png")
        put(tmp_path / f"set/{name}.txt", text)
    put(tmp_path / "set/data.yaml", "names: [neutrophil]\n")
    assert main(["dataset", "import", "yolo", str(tmp_path / "set"), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "pictures without a cell: 1 " in said and "pictures left out: 1 all of whose objects were dropped" in said
    assert "dropped: numbers over 1: px or a pose without kpt_shape, where YOLO has shares of the picture (2)" in said


def test_ellipses_are_read_exactly(tmp_path):
    picture(tmp_path / "a.png")
    put(tmp_path / "a.xml", cvat('<ellipse label="neutrophil" cx="100" cy="50" rx="30" ry="10" rotation="90"/>'))
    assert take("cvat", tmp_path)[1] == {"a.png": [("neutrophil", [90, 20, 110, 80])]}


def test_tags_of_whole_pictures_are_their_classes(tmp_path):
    picture(tmp_path / "a.png")
    put(tmp_path / "a.xml", cvat('<tag label="lymphocyte" source="manual"/>'))
    assert take("cvat", tmp_path)[1] == {"a.png": [("lymphocyte", [0, 0, 200, 100])]}


def test_choices_of_whole_pictures_are_their_classes(tmp_path):
    picture(tmp_path / "a.png")
    choice = {"type": "choices", "from_name": "c", "to_name": "image", "value": {"choices": ["monocyte"]}}
    put(tmp_path / "a.json", [{"data": {"image": "a.png"}, "annotations": [{"result": [choice]}]}])
    assert take("label-studio", tmp_path)[1] == {"a.png": [("monocyte", [0, 0, 200, 100])]}


def test_of_several_choices_the_stated_one_is_the_class(tmp_path):
    picture(tmp_path / "a.png")
    said = (("cell", "monocyte"), ("focus", "good"))
    result = [{"type": "choices", "from_name": k, "value": {"choices": [v]}} for k, v in said]
    put(tmp_path / "a.json", [{"data": {"image": "a.png"}, "annotations": [{"result": result}]}])
    with pytest.raises(DataError, match="several classes of one whole picture"):
        take("label-studio", tmp_path)
    _, cells = take("label-studio", tmp_path, stated={"code_attribute": "cell"})
    assert cells == {"a.png": [("monocyte", [0, 0, 200, 100])]} and attributes_of(tmp_path) == [{"focus": "good"}]


# B. Units.


def test_coco_in_shares_of_the_picture_is_converted(tmp_path):
    report, cells = take_one(
        "coco", tmp_path, "a.json", coco({"bbox": [0.05, 0.1, 0.15, 0.4]}, {"bbox": [0.5, 0.2, 0.504, 0.4]})
    )
    assert cells == {"a.png": [("neutrophil", NEUTROPHIL), ("neutrophil", [100, 20, 200, 60])]}
    assert reasons(report)[0] == "shares of the picture taken to px"


def test_shares_are_refused_where_px_are_the_rule_and_taken_when_stated(tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    put(
        tmp_path / "t.csv",
        "file,label,x0,y0,x1,y1\na.png,neutrophil,.05,.1,.2,.5\na.png,neutrophil,.5,.2,1.004,1\nb.png,,,,,\n",
    )
    with pytest.raises(DataError, match="looks like shares of the picture.*--coordinates relative"):
        take("csv", tmp_path)
    _, cells = take("csv", tmp_path, stated={"coordinates": "relative"})
    assert cells["a.png"][0] == ("neutrophil", NEUTROPHIL) and cells["b.png"] == []
    (tmp_path / "v").mkdir()
    picture(tmp_path / "v/a.png")
    put(tmp_path / "v/a.xml", voc(voc_object([0.05, 0.1, 0.2, 0.5])))
    with pytest.raises(DataError, match="looks like shares"):
        take("voc", tmp_path / "v")
    assert take("voc", tmp_path / "v", stated={"coordinates": "relative"})[1] == {"a.png": [("neutrophil", NEUTROPHIL)]}


def test_one_share_among_px_is_left_out_and_a_tiny_box_noted(tmp_path):
    picture(tmp_path / "a.png")
    boxes = [[10, 10, 30, 40], [0.2, 0.3, 0.1, 0.1], [60, 60, 0.4, 0.3]]
    put(tmp_path / "a.json", coco(*({"bbox": b} for b in boxes)))
    report, cells = take("coco", tmp_path)
    assert len(cells["a.png"]) == 2
    assert reasons(report) == ["box within the first pixel: a share, not px", "box of less than 2 px: a slipped click?"]


# C. Columns overlooked.


@pytest.mark.parametrize(
    "table",
    [
        "file,label,x,y,width,height\na.png,neutrophil,10,10,30,40\n",
        "label_name,bbox_x,bbox_y,bbox_width,bbox_height,image_name,image_width,image_height\n"
        "neutrophil,10,10,30,40,a.png,200,100\n",
        "neutrophil,10,10,30,40,a.png,200,100\n",  # makesense.ai, without a header
        "a.png,10,10,40,50,neutrophil\n",  # keras-retinanet
        "file,label,cx,cy,w,h\na.png,neutrophil,25,30,30,40\n",
        "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,200,100,neutrophil,10,10,40,50\n",
        "file,label,xmin,ymin,width,height\na.png,neutrophil,10,10,30,40\n",
        "file,label,x1,y1,x2,y2\na.png,neutrophil,10,10,40,50\n",
        'file,label,xywh\na.png,neutrophil,"[10, 10, 30, 40]"\n',
        "sep=;\nfile;label;xmin;ymin;xmax;ymax;;\na.png;neutrophil;10,0;10,0;40,0;50,0;;\n",
        "\ufefffile\tlabel\txmin\tymin\txmax\tymax\na.png\tneutrophil\t10,0\t10\t40\t50\n",
    ],
)
def test_boxes_in_every_form_of_table(tmp_path, table):
    picture(tmp_path / "a.png")
    put(tmp_path / "t.csv", table)
    assert take("csv", tmp_path)[1] == {"a.png": [("neutrophil", NEUTROPHIL)]}


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("file,label,bbox\na.png,neutrophil,1 2 3 4\n", "column bbox looks like a box and is not used"),
        ("file,label,x,y\na.png,neutrophil,1,2\n", "no column for w, h"),
        ("file,label,points\na.png,neutrophil,1 2 3 4\n", "column points looks like a box"),
        ("file,label,x,y,width,height\na.png,neutrophil,10,20,200,100\n", "width and height are those of the pictures"),
        ("a.png,neutrophil,3\n", "has no header line"),
        ("filename,label,region_shape_attributes\na.png,x,{}\n", "import it as via, not as csv"),
    ],
)
def test_a_table_whose_boxes_are_not_understood_is_refused(tmp_path, table, says):
    picture(tmp_path / "a.png")
    with pytest.raises(DataError, match=says):
        take("csv", put(tmp_path / "t.csv", table).parent)
