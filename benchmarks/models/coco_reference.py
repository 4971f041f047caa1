"""Somebody else's average precision: pycocotools on our boxes, for the parity test and the benchmark of detectors."""

from __future__ import annotations

import contextlib
import io
import warnings

from leukoscope.evaluate.boxes import FieldBoxes


def coco_evaluation(truth: list[FieldBoxes], found: list[FieldBoxes], n_classes: int):
    """pycocotools' finished COCOeval: `stats`, and `eval["precision"]` (T, R, K, A, M)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pycocotools imports matplotlib in an old way
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    annotations, results = [], []
    for i, (t, p) in enumerate(zip(truth, found, strict=True), 1):
        for (x0, y0, x1, y1), c in zip(t.boxes.tolist(), t.class_ids.tolist(), strict=True):
            box = [x0, y0, x1 - x0, y1 - y0]
            known = {"id": len(annotations) + 1, "image_id": i, "category_id": c, "iscrowd": 0}
            annotations.append({**known, "bbox": box, "area": box[2] * box[3]})
        for (x0, y0, x1, y1), c, s in zip(p.boxes.tolist(), p.class_ids.tolist(), p.scores.tolist(), strict=True):
            results.append({"image_id": i, "category_id": c, "bbox": [x0, y0, x1 - x0, y1 - y0], "score": s})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": i} for i in range(1, len(truth) + 1)],
            "categories": [{"id": c} for c in range(n_classes)],
            "annotations": annotations,
        }
        coco.createIndex()
        evaluator = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator
