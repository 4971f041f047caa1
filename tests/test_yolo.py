"""YOLO11 through ultralytics: said what licence it is under, trained from our manifest, brought back as our nouns."""

from __future__ import annotations

import importlib.util
import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data.make_painted_set import paint_set

from leukoscope.errors import ConfigError

torch = pytest.importorskip("torch", reason="training needs the extra: pip install '.[study]'")
pytest.importorskip("transformers", reason="the detectors need the extra: pip install '.[study]'")

from leukoscope.dataset.detection import detection_taxonomy  # noqa: E402
from leukoscope.models.torch_yolo import build_yolo, import_ultralytics  # noqa: E402
from leukoscope.train.detector.config import YoloConfig  # noqa: E402
from leukoscope.train.detector.task import train_detector  # noqa: E402
from leukoscope.train.detector.yolo import write_data  # noqa: E402

SMALL = YoloConfig(name="small", arch="yolo11n", epochs=1, side=64, batch_size=2, plain_epochs=0, warmup_epochs=0.0)


def test_the_extra_and_its_licence_are_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ultralytics", None)
    with pytest.raises(ConfigError, match=r"leukoscope\[yolo\].*AGPL-3.0"):
        import_ultralytics()
    with pytest.raises(ConfigError, match="no weights at nowhere/yolo11m.pt: put"):
        train_detector(replace(SMALL, weights="nowhere/yolo11m.pt"), [], "run")
    with pytest.raises(ConfigError, match="arch must be one of"):
        build_yolo("yolo5", 2)


def test_the_data_are_written_with_the_taxonomys_columns(tmp_path):
    """nine classes stay nine, numbered as the taxonomy does, though two occur; a field without cells stays."""
    nine = detection_taxonomy("pcm-9")
    data = paint_set(tmp_path / "a", n_fields=3, empty=(1,))
    path = write_data(tmp_path / "yolo", {"train": [data], "val": [data]}, nine)
    content = {k: json.loads(v) for k, v in (line.split(": ", 1) for line in path.read_text().splitlines())}
    assert content["nc"] == 9 and content["names"]["1"] == "neutrophil" and Path(content["train"][0]).is_dir()
    labels = sorted(Path(content["train"][0].replace("images", "labels")).glob("*.txt"))
    rows = [[line.split() for line in f.read_text().splitlines()] for f in labels]
    assert [[r[0] for r in of_field] for of_field in rows] == [["0", "1"], [], ["0", "1"]]  # and no red cell
    x, y, w, h = (float(v) for v in rows[0][0][1:])
    box = np.array([(x - w / 2) * 96, (y - h / 2) * 80, (x + w / 2) * 96, (y + h / 2) * 80])
    assert box == pytest.approx(data.fields[0].cells[0].box, abs=1e-6)


@pytest.mark.skipif(importlib.util.find_spec("ultralytics") is None, reason="needs the extra: pip install '.[yolo]'")
def test_a_small_run_from_manifest_to_bundle(tmp_path, capsys):
    warnings.simplefilter("ignore")  # ultralytics' own
    from leukoscope.evaluate import evaluate_model
    from leukoscope.images import read_image
    from leukoscope.locate import letterbox
    from leukoscope.models.bundle import read_bundle
    from leukoscope.models.runtime import Session
    from leukoscope.train.detector.bundle import export_detector
    from leukoscope.train.detector.predict import detect, read_detector

    data = paint_set(tmp_path / "set")
    seen = []
    run = train_detector(SMALL, [data], tmp_path / "run", progress=lambda done, total: seen.append((done, total)))
    assert "AGPL-3.0" in capsys.readouterr().err and seen[-1] == (1, 1)
    assert {p.name for p in run.iterdir()} >= {"run.json", "log.csv", "best.pt", "last.pt"}
    assert (run / "log.csv").read_text().startswith("epoch,loss_box,loss_class,loss_sides,val_ap50_95")
    assert all(v.dtype != torch.float16 for v in torch.load(run / "best.pt", weights_only=True)["model"].values())
    found = detect(run, data)
    for field, boxes in zip(data.fields, found, strict=True):  # the network's, in the field's pixels
        canvas, scale = letterbox(read_image(data.path(field)), (64, 64))
        with torch.no_grad():
            raw, chances = (t[0].numpy() for t in read_detector(run).graph(torch.from_numpy(canvas)[None]))
        assert boxes.scores[0] == pytest.approx(chances.max()) and boxes.class_ids[0] == chances.argmax()
        np.testing.assert_allclose(boxes.boxes[0], np.clip(raw / (*scale, *scale), 0, (96, 80, 96, 80)), atol=1e-3)
    with pytest.raises(ConfigError, match="--resume"):
        train_detector(SMALL, [data], run)
    assert train_detector(SMALL, [data], run, resume=True) == run

    export_detector(run, run / "bundle", validation=[data.subset("val")], command="x", commit="x")
    bundle = read_bundle(run / "bundle")
    assert bundle.card.task == "locate" and "AGPL-3.0" in bundle.card.licence
    pixels = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    boxes, scores = Session(bundle).run(pixels=pixels)
    with torch.no_grad():
        expected_boxes, expected = (t.numpy() for t in read_detector(run).graph(torch.from_numpy(pixels)))
    order = np.argsort(-expected[:, 0], kind="stable")
    np.testing.assert_allclose(scores, expected[order, 0], atol=1e-4)
    np.testing.assert_allclose(np.sort(boxes, 0), np.sort(expected_boxes, 0), atol=0.5)
    assert evaluate_model(run / "bundle", data, "test", tmp_path / "out")["location"]["n_truth"] == 2
