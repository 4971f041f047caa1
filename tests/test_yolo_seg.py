"""YOLO11-seg through ultralytics: trained from our contours, brought back as cells with contours."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField
from leukoscope.errors import ConfigError, DataError
from leukoscope.types import Field, FieldKey

torch = pytest.importorskip("torch", reason="training needs the extra: pip install '.[study]'")
pytest.importorskip("transformers", reason="the detectors need the extra: pip install '.[study]'")

from leukoscope.train.outliner.yolo_seg import (  # noqa: E402
    YoloSegConfig,
    as_cells,
    open_segmenter,
    read_segmenter,
    train_yolo_seg,
    with_contours,
    write_polygons,
)

SMALL = YoloSegConfig(name="small", arch="yolo11n-seg", epochs=1, side=64, batch_size=2)
KEY = FieldKey("f", "s", "p", "c", "blood")


def paint(folder: Path, *, n_fields=4, bare=()) -> Dataset:
    """Fields of 96 x 80 px with a cell of eight corners each, and a red cell; those in `bare` without contour."""
    folder.mkdir(parents=True)
    fields = []
    for i in range(n_fields):
        contour = tuple((20.0 + 3 * i + 18 * np.cos(t), 40.0 + 18 * np.sin(t)) for t in np.linspace(0, 5.5, 8))
        picture = Image.new("RGB", (96, 80), (235, 225, 230))
        ImageDraw.Draw(picture).polygon(contour, fill=(110, 60, 150))
        picture.save(folder / f"{i}.png")
        sha256 = hashlib.sha256((folder / f"{i}.png").read_bytes()).hexdigest()
        low, high = np.min(contour, 0), np.max(contour, 0)
        cells = (
            TruthCell((*low.tolist(), *high.tolist()), "lymphocyte", "x", None if i in bare else contour),
            TruthCell((80.0, 60.0, 95.0, 75.0), "red_cell", "RBC"),
        )
        key = FieldKey(f"f{i}", "s", "p", "c", "blood")
        fields.append(TruthField(key, f"{i}.png", sha256, 96, 80, cells, split="train" if i else "val"))
    return Dataset("painted", folder, tuple(fields), "CC0", "painted here", "folders")


def test_polygons_are_written_as_one_class_and_fields_without_are_left_out(tmp_path):
    data = paint(tmp_path / "a", bare=(2,))
    train, val = with_contours(data.subset("train")), with_contours(data.subset("val"))
    assert [f.file for f in train.fields] == ["1.png", "3.png"] and [f.file for f in val.fields] == ["0.png"]
    path = write_polygons(tmp_path / "yolo", {"train": [train], "val": [val]})
    content = {k: json.loads(v) for k, v in (line.split(": ", 1) for line in path.read_text().splitlines())}
    assert content["nc"] == 1 and len(content["train"]) == len(content["val"]) == 1
    (label,) = Path(content["val"][0].replace("images", "labels")).glob("*.txt")
    number, *shares = label.read_text().split()
    assert number == "0"
    expected = data.fields[0].cells[0].contour
    np.testing.assert_allclose(np.reshape(shares, (-1, 2)).astype(float) * (96, 80), expected, atol=1e-6)


def test_predictions_become_cells_within_the_field():
    field = Field(KEY, np.zeros((80, 96, 3), np.uint8))
    square = np.array([(0, 0), (10, 0), (10, 10), (0, 10)], np.float32)
    boxes = np.array([(5, 5, 15, 15), (90, 70, 120, 90), (1, 1, 9, 9)])
    cells = as_cells(field, boxes, np.array([0.3, 0.9, 0.8]), [square + 5, square + (90, 72), np.zeros((0, 2))])
    assert cells.scores.tolist() == pytest.approx([0.9, 0.3]) and cells.boxes[0].tolist() == [90, 70, 96, 80]
    assert cells.contours[0].max(0).tolist() == [96, 80] and cells.contours[1].min(0).tolist() == [5, 5]
    assert len(as_cells(field, np.zeros((0, 4)), np.zeros(0), [])) == 0


def test_what_can_not_be_trained_is_said_first(tmp_path):
    with pytest.raises(DataError, match="all have contours"):
        train_yolo_seg(SMALL, [paint(tmp_path / "a", bare=(0,))], tmp_path / "run")
    with pytest.raises(ConfigError, match="arch"):
        YoloSegConfig(name="x", arch="yolo11n")
    with pytest.raises(ConfigError, match="AGPL"):
        YoloSegConfig(name="x", arch="yolo11n-seg", licence="MIT")


@pytest.mark.skipif(importlib.util.find_spec("ultralytics") is None, reason="needs the extra: pip install '.[yolo]'")
def test_a_small_run_from_contours_to_contours(tmp_path, capsys):
    warnings.simplefilter("ignore")  # ultralytics' own
    data = paint(tmp_path / "set")
    run = train_yolo_seg(SMALL, [data], tmp_path / "run")
    assert "AGPL-3.0" in capsys.readouterr().err
    assert json.loads((run / "run.json").read_text())["config"]["arch"] == "yolo11n-seg"
    with pytest.raises(ConfigError, match="--resume"):
        train_yolo_seg(SMALL, [data], run)
    assert train_yolo_seg(SMALL, [data], run, resume=True) == run
    record = json.loads((run / "run.json").read_text())
    record["config"]["score"] = 0.0001  # a network of one step is sure of nothing
    (run / "run.json").write_text(json.dumps(record))
    segment = read_segmenter(run)
    pixels = np.asarray(Image.open(tmp_path / "set" / "1.png"))
    cells = segment(Field(KEY, pixels))
    assert len(cells) and len(cells.contours) == len(cells)
    assert all(c.shape[1] == 2 and len(c) >= 3 for c in cells.contours)
    assert (np.diff(cells.scores) <= 0).all() and cells.boxes.max() <= 96
    again = segment(Field(KEY, pixels))
    np.testing.assert_array_equal(cells.boxes, again.boxes)
    opened = open_segmenter(run)  # as `leukoscope analyze --segmenter` does
    assert opened.name == "small" and len(opened.sha256) == 64
    np.testing.assert_array_equal(opened.find(Field(KEY, pixels)).boxes, cells.boxes)


def test_a_folder_that_is_no_run_of_a_segmenter_is_refused_in_one_line(tmp_path):
    with pytest.raises(ConfigError, match="no training run"):
        open_segmenter(tmp_path)
    (tmp_path / "run.json").write_text('{"task": "locate"}')
    with pytest.raises(ConfigError, match="run of task 'locate', expected 'segment'"):
        open_segmenter(tmp_path)
