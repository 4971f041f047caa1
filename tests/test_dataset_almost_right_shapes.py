"""Annotation files that are almost right (shapes, what stands beside them): one fault each (decision 0025)."""

from __future__ import annotations

import pytest
from data.almost_right import attributes_of, picture, put, reasons, take, take_one
from data.annotation_texts import LYMPHOCYTE, NEUTROPHIL, coco, cvat, voc, voc_object
from PIL import Image

from leukoscope.cli import main
from leukoscope.dataset.manifest import read_dataset
from leukoscope.errors import DataError

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
    report, cells = take_one(format, tmp_path, file, content)
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
    report, cells = take_one(
        "coco",
        tmp_path,
        "a.json",
        coco({"bbox": [10, 10, 30, 40]}, {"bbox": [11, 10, 30, 40]}, {"bbox": [90, 10, 30, 40]}),
    )
    assert len(cells["a.png"]) == 3 and reasons(report) == ["two boxes nearly the same: one cell drawn twice?"]
    main(["dataset", "audit", str(tmp_path / "out")])
    assert "1 pairs of boxes are nearly the same" in capsys.readouterr().out


# F. Nothing silent.


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
    report, cells = take_one(format, tmp_path, file, content)
    assert [b for _, b in cells["a.png"]] == [[90, 10, 120, 50]]
    assert "a model's prediction, not truth (--keep-predictions)" in reasons(report)
    _, cells = take(format, tmp_path, keep_predictions=True, replace_set=True)
    assert [bool(a) for a in attributes_of(tmp_path)] == [True, False] and len(cells["a.png"]) == 2


def test_groups_are_kept(tmp_path):
    picture(tmp_path / "a.png")
    put(tmp_path / "a.xml", cvat('<box label="neutrophil" group_id="3" xtl="10" ytl="10" xbr="40" ybr="50"/>'))
    take("cvat", tmp_path)
    assert attributes_of(tmp_path) == [{"group_id": "3"}]
