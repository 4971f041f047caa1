"""Label Studio's JSON: shapes, answers of several people, what is dropped and refused."""

from __future__ import annotations

import pytest
from data.small_texts import issues, one_cell, picture, write

from leukoscope.dataset.label_studio import read_label_studio
from leukoscope.errors import DataError


def region(**value):
    return {"id": "r", "type": "rectanglelabels", "value": {"x": 5, "y": 10, "width": 25, "height": 40,
                                                           "rectanglelabels": ["lymphocyte"]} | value}  # fmt: skip


def task(*results, image="/data/upload/3/0a1b2c3d-a.png", **answer):
    return {"id": 1, "data": {"image": image}, "annotations": [{"result": list(results)} | answer]}


@pytest.mark.parametrize(
    "image",
    ["/data/upload/3/0a1b2c3d-a.png", "s3://bucket/x/a.png", "/data/local-files/?d=set/a.png", "a.png",
     "https://example.org/a.png?token=1.5", "D:\\pictures\\a.png"],
)  # fmt: skip
def test_label_studio_boxes_wherever_the_picture_was(tmp_path, image):
    picture(tmp_path / "a.png")
    write(tmp_path / "export.json", [task(region(), image=image)])
    assert one_cell(read_label_studio, tmp_path).box == pytest.approx((2, 3, 12, 15))


def test_label_studio_polygons_turned_boxes_and_attributes(tmp_path):
    picture(tmp_path / "a.png")
    polygon = {
        "id": "p",
        "type": "polygonlabels",
        "value": {"points": [[5, 10], [50, 10], [50, 90]], "polygonlabels": ["b"]},
    }
    focus = {"id": "p", "type": "choices", "from_name": "focus", "value": {"choices": ["sharp"]}}
    whole = {"id": "w", "type": "choices", "from_name": "stain", "value": {"choices": ["pale"]}}
    turned = region(rotation=90) | {"id": "t"}
    write(tmp_path / "export.json", [task(polygon, focus, whole, turned)])
    raw = read_label_studio(tmp_path)
    outline, box = raw.fields[0].cells
    assert (outline.contour, outline.attributes) == (((2, 3), (20, 3), (20, 27)), (("focus", "sharp"),))
    assert box.box == pytest.approx((-10, 3, 2, 13))  # about its top left corner
    assert issues(raw) == ["answers about the whole picture not kept"]
    assert issues(raw, "repaired") == ["rotated box: the box around it"]


def test_label_studio_takes_one_persons_answer_and_lists_the_rest(tmp_path):
    for name in "abc":
        picture(tmp_path / f"{name}.png")
    two = task(region()) | {"annotations": [
        {"result": [region(), region(x=50)], "ground_truth": True}, {"result": [region()]},
        {"result": [region()], "was_cancelled": True},
    ]}  # fmt: skip
    none = task(image="b.png") | {"annotations": [], "predictions": [{"result": [region()]}]}
    empty = task(image="c.png")
    write(tmp_path / "export.json", [two, none, empty])
    raw = read_label_studio(tmp_path)
    assert [(f.file, len(f.cells)) for f in raw.fields] == [("a.png", 2), ("c.png", 0)]
    assert raw.images_without_annotation == ["b.png"]
    assert issues(raw, "dropped") == ["another person's annotation not used", "cancelled annotation"]
    assert raw.n_objects == 4


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"type": "brushlabels"}, "a region of type brushlabels is not read: draw rectangles, ellipses or polygons"),
        ({"value": {"x": 1, "y": 1, "width": 5, "height": 5, "rectanglelabels": []}}, "region without a label"),
        (
            {"value": {"x": 1, "y": 1, "width": 5, "height": 5, "rectanglelabels": ["a", "b"]}},
            "region of several labels",
        ),
        ({"value": {"x": "?", "y": 1, "width": 5, "height": 5, "rectanglelabels": ["a"]}}, "region without numbers"),
    ],
)
def test_label_studio_drops(tmp_path, change, reason):
    picture(tmp_path / "a.png")
    write(tmp_path / "export.json", [task(region() | change)])
    assert issues(read_label_studio(tmp_path), "dropped") == [reason]


@pytest.mark.parametrize(
    "content", [{"images": []}, [{"image": "a.png", "label": []}], [task(region()) | {"annotations": 3}]]
)
def test_label_studio_refuses(tmp_path, content):
    picture(tmp_path / "a.png")
    write(tmp_path / "export.json", content)
    with pytest.raises(DataError, match="export it again|export as JSON"):
        read_label_studio(tmp_path)
