"""Datumaro's JSON: what it draws is read, the rest is listed."""

from __future__ import annotations

import pytest
from data.almost_right import picture, put, reasons, take
from data.annotation_texts import NEUTROPHIL
from data.tool_texts import datumaro

from leukoscope.dataset.manifest import read_dataset

RLE = {"size": [100, 200], "counts": [1010, 40] + [60, 40] * 29 + [20000 - 1050 - 2900]}


@pytest.mark.parametrize(
    ("one", "box"),
    [
        ({"type": "bbox", "bbox": [10, 10, 30, 40]}, NEUTROPHIL),
        ({"type": "bbox", "bbox": [70, 40, 60, 20], "attributes": {"rotation": 90.0}}, [90, 20, 110, 80]),
        ({"type": "rotated_bbox", "rotated_bbox": [100, 50, 60, 20, 90]}, [90, 20, 110, 80]),
        ({"type": "polygon", "points": [10, 10, 40, 10, 40, 50]}, NEUTROPHIL),
        ({"type": "ellipse", "points": [10, 10, 40, 50]}, NEUTROPHIL),
        ({"type": "mask", "rle": RLE}, NEUTROPHIL),
        ({"type": "label"}, [0, 0, 200, 100]),
    ],
)
def test_datumaro_shapes(tmp_path, one, box):
    picture(tmp_path / "images/train/a.png")
    put(tmp_path / "annotations/train.json", datumaro(one))
    report, cells = take("datumaro", tmp_path)
    assert cells == {"images/train/a.png": [("neutrophil", box)]} and report.fields_by_split == {"train": 1}


@pytest.mark.parametrize("label", ["1", 1.0])
def test_datumaro_label_ids_of_another_type(tmp_path, label):
    picture(tmp_path / "a.png")
    put(tmp_path / "annotations/train.json", datumaro({"type": "bbox", "bbox": [10, 10, 30, 40], "label_id": label}))
    assert take("datumaro", tmp_path)[1] == {"a.png": [("lymphocyte", NEUTROPHIL)]}


def test_datumaro_says_what_it_knows_and_lists_what_is_no_cell(tmp_path):
    picture(tmp_path / "a.png")
    box = {"type": "bbox", "bbox": [10, 10, 30, 40]}
    told = box | {"group": 2, "attributes": {"occluded": True, "rotation": 0.0}}
    others = [box | {"attributes": {"keyframe": False}}, box | {"attributes": {"score": 0.5}},
              {"type": "points", "points": [1, 1]}, {"type": "bbox", "bbox": [1, 2]}, {"type": "caption"}]  # fmt: skip
    put(tmp_path / "annotations/default.json", datumaro(told, *others))
    report, cells = take("datumaro", tmp_path)
    assert len(cells["a.png"]) == 1 and report.n_objects == 5
    assert dict(read_dataset(tmp_path / "out").fields[0].cells[0].attributes) == {"occluded": "True", "group_id": "2"}
    assert sorted(reasons(report)) == [
        "a model's prediction, not truth (--keep-predictions)",
        "a points is no outline of a cell",
        "bbox that can't be read",
        "interpolated between key frames: nobody looked at it",
        "words about the whole picture not kept",
    ]
