"""Annotation files that are almost right: read where that is certain, else left out and said; never a silent loss.

Each test has one fault that tools and people make in public; the kinds are those of docs/decisions/0025.
"""

from __future__ import annotations

import json
import unicodedata
import zipfile

import pytest
from PIL import Image

from leukoscope.cli import main
from leukoscope.dataset.importer import import_dataset
from leukoscope.dataset.manifest import read_dataset
from leukoscope.errors import DataError, InputError, TaxonomyError

NEUTROPHIL, LYMPHOCYTE = [10, 10, 40, 50], [100, 20, 140, 60]


def picture(path, size=(200, 100), *, orientation=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    # Each picture its own colour: two alike would be one field.
    colour = tuple(sum(map(ord, path.name)) * k % 200 for k in (3, 5, 7))
    Image.new("RGB", size, colour).save(path, exif=exif)
    return path


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def take(format, root, **options):
    """(report, {picture: [(class, box), …]}) of an import; every object is accounted for."""
    report = import_dataset(format, root, root / "out", **options)
    assert report.n_objects == report.n_cells + report.n_dropped
    fields = read_dataset(root / "out").fields
    return report, {f.file: [(c.class_name, [round(v, 2) for v in c.box]) for c in f.cells] for f in fields}


def reasons(report):
    return [i.reason for i in report.issues]


def coco(*annotations, name="a.png", size=(200, 100), **image):
    return {
        "images": [{"id": 1, "file_name": name, "width": size[0], "height": size[1], **image}],
        "annotations": [{"id": n, "image_id": 1, "category_id": 1, **a} for n, a in enumerate(annotations)],
        "categories": [{"id": 1, "name": "neutrophil"}],
    }


def voc(objects="", name="a.png", size=(200, 100), head=""):
    return (
        f"{head}<annotation><filename>{name}</filename><size><width>{size[0]}</width><height>{size[1]}</height></size>"
        f"{objects}</annotation>"
    )


def voc_object(box, more="", name="neutrophil"):
    x0, y0, x1, y1 = box
    corners = f"<bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox>"
    return f"<object><name>{name}</name>{corners}{more}</object>"


def cvat(shapes, more="", name="a.png"):
    return (
        f'<annotations><version>1.1</version><image id="0" name="{name}" width="200" height="100">{shapes}</image>'
        f"{more}</annotations>"
    )


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
    picture(tmp_path / "a.png")
    put(tmp_path / "a.json", coco({"bbox": [0.05, 0.1, 0.15, 0.4]}, {"bbox": [0.5, 0.2, 0.504, 0.4]}))
    report, cells = take("coco", tmp_path)
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
    from test_tool_formats import labelme, shape

    picture(tmp_path / "v/P2/a.png")
    put(tmp_path / "v/P1/a.xml", voc(voc_object(NEUTROPHIL)))
    picture(tmp_path / "l/P2/a.png")
    put(tmp_path / "l/P1/a.json", labelme(shape("rectangle", [[10, 10], [40, 50]])))
    for format in ("voc", "labelme"):
        with pytest.raises(DataError, match="picture only in another folder than stated"):
            take(format, tmp_path / format[0])


@pytest.mark.parametrize("format", ["coco", "cvat", "datumaro"])
def test_a_picture_in_another_split_is_another_picture(tmp_path, format):
    from test_tool_formats import datumaro

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


# E. Geometry.

TURNED = [90, 20, 110, 80]  # 60 x 20 at (70, 40), turned by 90 degrees about its middle
ROTATION = "<attributes><attribute><name>rotation</name><value>90.0</value></attribute></attributes>"


@pytest.mark.parametrize(
    ("format", "file", "content"),
    [
        ("coco", "a.json", coco({"bbox": [70, 40, 60, 20], "attributes": {"rotation": 90.0}})),
        ("voc", "a.xml", voc(voc_object([70, 40, 130, 60], ROTATION))),
        ("cvat", "a.xml", cvat('<box label="neutrophil" xtl="70" ytl="40" xbr="130" ybr="60" rotation="90"/>')),
        (
            "voc",
            "a.xml",
            voc("<object><name>neutrophil</name><robndbox><cx>100</cx><cy>50</cy><w>60</w><h>20</h>"
                "<angle>1.5707963</angle></robndbox></object>"),
        ),
    ],
)  # fmt: skip
def test_a_turned_box_is_one_box_in_every_format(tmp_path, format, file, content):
    picture(tmp_path / "a.png")
    put(tmp_path / file, content)
    report, cells = take(format, tmp_path)
    assert cells == {"a.png": [("neutrophil", TURNED)]} and reasons(report) == ["rotated box: the box around it"]


def test_a_box_written_as_corners_is_known_by_its_outline_or_area(tmp_path):
    picture(tmp_path / "a.png")
    outline = {"segmentation": [[100, 20, 140, 20, 140, 60, 100, 60]], "bbox": LYMPHOCYTE}
    put(tmp_path / "a.json", coco(outline, {"bbox": [120, 10, 160, 90], "area": 3200}))
    report, cells = take("coco", tmp_path)
    assert [box for _, box in cells["a.png"]] == [LYMPHOCYTE, [120, 10, 160, 90]]
    assert reasons(report) == ["box was written as corners, not as corner and size"] * 2


def test_boxes_that_would_fit_as_corners_are_doubted(tmp_path):
    picture(tmp_path / "a.png")
    corners = [{"bbox": [100, 20, 190, 90]}, {"bbox": [120, 10, 180, 80]}, {"bbox": [80, 30, 199, 99]}]
    put(tmp_path / "a.json", coco(corners[0], {"bbox": [10, 10, 30, 40]}))
    assert "box leaves its picture and would fit as corners" in reasons(take("coco", tmp_path)[0])
    put(tmp_path / "a.json", coco(*corners))
    with pytest.raises(DataError, match="3 of 3 boxes leave their picture"):
        take("coco", tmp_path, replace_set=True)


@pytest.mark.parametrize("size", [(200, 100), (400, 200), None])
def test_a_picture_that_exif_turns(tmp_path, size):
    picture(tmp_path / "a.jpg", orientation=6)  # stored 200 x 100, seen 100 x 200
    content = coco({"bbox": [150, 10, 40, 30]}, {"bbox": [20, 10, 30, 30]}, name="a.jpg")
    if size is None:
        del content["images"][0]["width"]
    elif size == (400, 200):
        content["images"][0] |= {"width": 400, "height": 200}
        for a in content["annotations"]:
            a["bbox"] = [2 * v for v in a["bbox"]]
    put(tmp_path / "a.json", content)
    report, cells = take("coco", tmp_path)
    assert [box for _, box in cells["a.jpg"]] == [[60, 150, 90, 190], [60, 20, 90, 50]]
    assert "boxes turned as EXIF turns the picture" in reasons(report)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_turn_of_exif_is_the_picture_libraries_turn(orientation):
    import numpy as np
    from PIL import ImageOps

    from leukoscope.dataset.fitting import exif_move

    pixels = np.zeros((30, 50), np.uint8)
    pixels[5:9, 12:20] = 255
    stored = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.info["exif"] = exif.tobytes()
    ys, xs = np.nonzero(np.asarray(ImageOps.exif_transpose(stored)))
    move = exif_move(orientation, (50, 30))
    (x0, y0), (x1, y1) = move(12, 5), move(20, 9)
    seen = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
    assert seen == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)


@pytest.mark.parametrize(
    ("size", "box", "kept", "reason"),
    [
        ((400, 200), [20, 20, 60, 80], NEUTROPHIL, "boxes of another size: scaled"),
        ((100, 50), [5, 5, 15, 20], NEUTROPHIL, "boxes of another size: scaled"),
        ((100, 50), [120, 20, 40, 60], [120, 20, 160, 80], "stated size differs"),  # only the picture's own px fit
        ((201, 100), [10, 10, 30, 40], NEUTROPHIL, "stated size differs"),
        ((300, 300), [10, 10, 30, 40], None, "stated size is not the picture's: which boxes are meant can't be told"),
    ],
)
def test_a_picture_of_another_size_than_stated(tmp_path, size, box, kept, reason):
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    content = coco({"bbox": box}, size=size)
    content["images"].append({"id": 2, "file_name": "b.png"})
    put(tmp_path / "a.json", content)
    report, cells = take("coco", tmp_path) if kept else (None, None)
    if kept:
        assert [b for _, b in cells["a.png"]] == [kept] and reasons(report) == [reason]
    else:
        with pytest.raises(DataError, match=reason[:30]):
            take("coco", tmp_path)


@pytest.mark.parametrize("shape", ["[2, 3]", "[2,3]  # x, y, visible", "\n- 2\n- 3"])
def test_pose_lines_are_their_boxes(tmp_path, shape):
    picture(tmp_path / "a.png")
    put(tmp_path / "a.txt", "0 0.5 0.5 0.4 0.4 0.4 0.5 2 0.6 0.5 1\n")
    put(tmp_path / "data.yaml", f"names: [neutrophil]\nkpt_shape: {shape}\n")
    assert take("yolo", tmp_path)[1] == {"a.png": [("neutrophil", [60, 30, 140, 70])]}


def test_one_cell_drawn_twice_is_noted(tmp_path, capsys):
    picture(tmp_path / "a.png")
    put(tmp_path / "a.json", coco({"bbox": [10, 10, 30, 40]}, {"bbox": [11, 10, 30, 40]}, {"bbox": [90, 10, 30, 40]}))
    report, cells = take("coco", tmp_path)
    assert len(cells["a.png"]) == 3 and reasons(report) == ["two boxes nearly the same: one cell drawn twice?"]
    main(["dataset", "audit", str(tmp_path / "out")])
    assert "1 pairs of boxes are nearly the same" in capsys.readouterr().out


# F. Nothing silent.


def attributes_of(root):
    return [dict(c.attributes) for f in read_dataset(root / "out").fields for c in f.cells]


def test_what_a_voc_object_says_is_kept(tmp_path):
    picture(tmp_path / "a.png")
    said = "<difficult>1</difficult><truncated>0</truncated><occluded>1</occluded><pose>Left</pose>"
    quality = "<attributes><attribute><name>quality</name><value>poor</value></attribute></attributes>"
    outline = "<polygon><x1>10</x1><y1>10</y1><x2>40</x2><y2>10</y2><x3>40</x3><y3>50</y3></polygon>"
    put(tmp_path / "a.xml", voc(voc_object(NEUTROPHIL, said + quality + outline)))
    take("voc", tmp_path)
    assert attributes_of(tmp_path) == [{"difficult": "1", "occluded": "1", "pose": "Left", "quality": "poor"}]
    assert read_dataset(tmp_path / "out").fields[0].cells[0].contour == ((10, 10), (40, 10), (40, 50))


def test_an_outline_without_a_box_in_voc(tmp_path):
    picture(tmp_path / "a.png")
    points = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in ((10, 10), (40, 10), (40, 50)))
    gone = "<object><name>neutrophil</name><deleted>1</deleted></object>"
    web = (
        f"<object><name>neutrophil</name><deleted>0</deleted><polygon><username>x</username>{points}</polygon></object>"
    )
    put(tmp_path / "a.xml", voc(web + gone))
    report, cells = take("voc", tmp_path)
    assert cells == {"a.png": [("neutrophil", NEUTROPHIL)]} and reasons(report) == ["object that was deleted"]


def test_a_list_of_a_split_names_what_is_not_here(tmp_path):
    picture(tmp_path / "a.png")
    put(tmp_path / "a.txt", "0 0.5 0.5 0.2 0.4\n")
    put(tmp_path / "train.txt", "/content/set/a.png\n/content/set/b.png\n")
    put(tmp_path / "data.yaml", "names: [neutrophil]\n")
    report, _ = take("yolo", tmp_path)
    assert report.fields_by_split == {"train": 1} and reasons(report) == ["pictures listed for a split and not here"]


def test_splits_that_only_data_yaml_states(tmp_path):
    for day in ("day1", "day2"):
        picture(tmp_path / f"images/{day}/{day}.png")
        put(tmp_path / f"labels/{day}/{day}.txt", "0 0.5 0.5 0.2 0.4\n")
    put(
        tmp_path / "data.yaml",
        "path: ../somewhere\ntrain: images/day1\nval:\n  - images/day2  # one\nnames: [neutrophil]\n",
    )
    assert take("yolo", tmp_path)[0].fields_by_split == {"train": 1, "val": 1}


def test_splits_of_autosplit(tmp_path):
    for name, split in (("a", "train"), ("b", "val")):
        picture(tmp_path / f"images/{name}.png")
        put(tmp_path / f"labels/{name}.txt", "0 0.5 0.5 0.2 0.4\n")
        put(tmp_path / f"autosplit_{split}.txt", f"./images/{name}.png\n")
    put(tmp_path / "data.yaml", "names: [neutrophil]\n")
    assert take("yolo", tmp_path)[0].fields_by_split == {"train": 1, "val": 1}


@pytest.mark.parametrize(
    ("format", "file", "content"),
    [
        ("coco", "a.json", coco({"bbox": [10, 10, 30, 40], "score": 0.93}, {"bbox": [90, 10, 30, 40]})),
        ("cvat", "a.xml", cvat('<box label="neutrophil" source="auto" xtl="10" ytl="10" xbr="40" ybr="50"/>'
                               '<box label="neutrophil" source="manual" xtl="90" ytl="10" xbr="120" ybr="50"/>')),
        ("voc", "a.xml", voc(voc_object(NEUTROPHIL, "<score>0.9</score>") + voc_object([90, 10, 120, 50]))),
        ("csv", "a.csv", "file,label,x0,y0,x1,y1,score\na.png,neutrophil,10,10,40,50,0.9\n"
                         "a.png,neutrophil,90,10,120,50,\n"),
    ],
)  # fmt: skip
def test_a_models_objects_are_no_truth(tmp_path, format, file, content):
    picture(tmp_path / "a.png")
    put(tmp_path / file, content)
    report, cells = take(format, tmp_path)
    assert [b for _, b in cells["a.png"]] == [[90, 10, 120, 50]]
    assert "a model's prediction, not truth (--keep-predictions)" in reasons(report)
    _, cells = take(format, tmp_path, keep_predictions=True, replace_set=True)
    assert [bool(a) for a in attributes_of(tmp_path)] == [True, False] and len(cells["a.png"]) == 2


def test_groups_are_kept(tmp_path):
    picture(tmp_path / "a.png")
    put(tmp_path / "a.xml", cvat('<box label="neutrophil" group_id="3" xtl="10" ytl="10" xbr="40" ybr="50"/>'))
    take("cvat", tmp_path)
    assert attributes_of(tmp_path) == [{"group_id": "3"}]


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
