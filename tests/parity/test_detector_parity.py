"""The boxes that detectors give, with nine classes and one box under several, scored as pycocotools scores them."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from leukoscope.evaluate.boxes import FieldBoxes
from leukoscope.taxonomy import PCM_9

pytest.importorskip("pycocotools")
pytest.importorskip("torch", reason="the detectors need the extra: pip install '.[study]'")
pytest.importorskip("transformers", reason="the detectors need the extra: pip install '.[study]'")


@pytest.mark.parametrize("nms_iou", [None, 0.7])  # a transformer's, YOLO's
def test_nine_class_detections_equal_pycocotools(nms_iou, root, monkeypatch):
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    from benchmarks.models.detector_parity import compare
    from leukoscope.train.detector.predict import best_pairs

    rng = np.random.default_rng(4)
    truth, found = [], []
    for _ in range(12):
        n = int(rng.integers(0, 5))
        low = rng.uniform(0, 60, (n, 2))
        boxes = np.concatenate([low, low + rng.uniform(10, 30, (n, 2))], 1)
        truth.append(FieldBoxes(boxes, rng.integers(0, 7, n)))  # two classes never occur
        drawn = np.concatenate([boxes + rng.normal(0, 2, boxes.shape), rng.uniform(0, 20, (30, 4)) + (0, 0, 30, 30)])
        found.append(best_pairs(drawn, rng.random((len(drawn), 9)), nms_iou=nms_iou, most=100))
    row = compare("random", truth, found, PCM_9)
    assert row["met"] == "yes" and float(row["difference"]) <= 1e-6 and 0 < row["map50"] < 1
    assert row["classes_present"] == 7 and row["n_boxes"] > 12 * 50
    for name in ("detector_parity", "provenance", "public_sets"):
        sys.modules.pop(name, None)
