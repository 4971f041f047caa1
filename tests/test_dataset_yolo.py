"""YOLO's label files: CVAT's own layout, and names of classes."""

from __future__ import annotations

import pytest
from data.small_texts import picture, write

from leukoscope.dataset.yolo import read_yolo
from leukoscope.errors import DataError


def test_cvats_own_yolo(tmp_path):
    picture(tmp_path / "obj_train_data/a.png")
    picture(tmp_path / "obj_validation_data/a.png", 1)
    for part in ("train", "validation"):
        write(tmp_path / f"obj_{part}_data/a.txt", "1 0.5 0.5 0.2 0.2\n")
        write(tmp_path / f"{part}.txt", f"data/obj_{part}_data/a.png\n")
    write(tmp_path / "obj.names", "monocyte\nlymphocyte\n")
    write(tmp_path / "obj.data", "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\n")
    raw = read_yolo(tmp_path)
    assert [(f.file, f.split) for f in raw.fields] == [
        ("obj_train_data/a.png", "train"),
        ("obj_validation_data/a.png", "val"),
    ]
    assert {c.code for f in raw.fields for c in f.cells} == {"lymphocyte"}
    assert raw.issues == [] and raw.annotations_without_image == []


@pytest.mark.parametrize(
    "names", ['["a, b", "c"]', "['a, b', c]", '\n  0: "a, b"  # first\n  1: c\n', "{1: c, 0: 'a, b'}"]
)
def test_yolo_names_in_quotes(tmp_path, names):
    picture(tmp_path / "a.png")
    write(tmp_path / "a.txt", "0 0.5 0.5 0.2 0.2\n1 0.4 0.4 0.2 0.2\n")
    write(tmp_path / "data.yaml", f"nc: 2\nnames: {names}\n")
    assert [c.code for c in read_yolo(tmp_path).fields[0].cells] == ["a, b", "c"]


@pytest.mark.parametrize("names", ["[a, b", "{0: a, 0: b}", "\n  0: a\n  0: b\n", '["a]'])
def test_yolo_names_that_can_not_be(tmp_path, names):
    picture(tmp_path / "a.png")
    write(tmp_path / "a.txt", "0 0.5 0.5 0.2 0.2\n")
    write(tmp_path / "data.yaml", f"names: {names}")
    with pytest.raises(DataError, match="has no names|twice"):
        read_yolo(tmp_path)
