"""labelme's files: what they draw is read, the rest is listed."""

from __future__ import annotations

import base64

import pytest
from data.almost_right import picture, put, reasons, take
from data.annotation_texts import NEUTROPHIL
from data.tool_texts import MASK, OUTLINE, labelme, png, shape

from leukoscope.dataset.manifest import read_dataset


@pytest.mark.parametrize(
    ("one", "box"),
    [
        (shape("rectangle", [[40, 50], [10, 10]]), NEUTROPHIL),
        (shape("polygon", OUTLINE), NEUTROPHIL),
        (shape("circle", [[100, 50], [130, 90]]), [50, 0, 150, 100]),
        (shape("mask", [[10, 10], [39, 49]], mask=base64.b64encode(png(MASK)).decode()), NEUTROPHIL),
    ],
)
def test_labelme_shapes(tmp_path, one, box):
    picture(tmp_path / "images/a.png")
    put(tmp_path / "json/a.json", labelme(one, imagePath="..\\images\\a.png"))
    assert take("labelme", tmp_path)[1] == {"images/a.png": [("neutrophil", box)]}


def test_labelme_says_what_it_knows_and_lists_what_is_no_cell(tmp_path):
    picture(tmp_path / "a.png")
    told = shape("rectangle", [[10, 10], [40, 50]], group_id=3, flags={"blurred": True}, description="odd")
    others = [
        shape("point", [[1, 1]]),
        shape("rectangle", [[1, 1]]),
        shape("rectangle", OUTLINE[::2], label=""),
        shape("rectangle", [[60, 10], [90, 50]], score=0.8),
        shape("mask", [[1, 1], [5, 5]], mask="!"),
    ]
    put(tmp_path / "a.json", labelme(told, *others))
    report, cells = take("labelme", tmp_path)
    assert len(cells["a.png"]) == 1 and report.n_objects == 6
    assert dict(read_dataset(tmp_path / "out").fields[0].cells[0].attributes) == {
        "blurred": "true", "group_id": "3", "description": "odd",
    }  # fmt: skip
    assert sorted(reasons(report)) == [
        "a model's prediction, not truth (--keep-predictions)",
        "a point is no outline of a cell",
        "mask that can't be read",
        "rectangle that can't be read",
        "shape without a label",
    ]


def test_labelme_flags_of_whole_pictures_are_their_classes(tmp_path):
    picture(tmp_path / "a.png")
    put(tmp_path / "a.json", labelme(flags={"lymphocyte": True, "monocyte": False}))
    assert take("labelme", tmp_path)[1] == {"a.png": [("lymphocyte", [0, 0, 200, 100])]}
