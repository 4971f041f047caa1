"""Scoring located and typed cells: AP as in Tables 4 and 5, and end to end, where a miss or a wrong type counts."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from leukoscope.dataset.manifest import Dataset
from leukoscope.evaluate.boxes import FieldBoxes, Matches, average_precision, match_fields, score_boxes
from leukoscope.evaluate.two_stage import end_to_end_f1, end_to_end_matrices, keep
from leukoscope.experiments.intervals import RankedMatches, class_estimates, estimate, mean_ap_of, rank_matches
from leukoscope.geometry import box_iou, nms

HALF = slice(0, 1)  # the first of the IoU thresholds, 0.5
IOU = 0.5
SAME_PLACE = 0.7  # IoU of two detections that are meant for one cell


@dataclass(frozen=True, slots=True, eq=False)
class BoxSet:
    """One set's truth and detections, field by field: `truth` and `found` in the order of `files`; `groups` (F,)."""

    names: tuple[str, ...]
    files: tuple[str, ...]
    truth: list[FieldBoxes]
    detections: list[FieldBoxes]
    groups: np.ndarray
    unit: str


def truth_of(dataset: Dataset, names: Sequence[str]) -> list[FieldBoxes]:
    """The boxes of a set whose classes are all in `names`."""
    column = {name: i for i, name in enumerate(names)}
    return [
        FieldBoxes(np.array([c.box for c in f.cells]), np.array([column[str(c.class_name)] for c in f.cells]))
        for f in dataset.fields
    ]


def leave_out_ignored(
    detections: Sequence[FieldBoxes],
    truth: Sequence[FieldBoxes],
    ignored: Mapping[str, np.ndarray],
    files: Sequence[str],
) -> list[FieldBoxes]:
    """The detections without those on a cell that the taxonomy has no class for (and on no cell that it has)."""
    kept = []
    for file, pred, true in zip(files, detections, truth, strict=True):
        boxes = ignored.get(file)
        if boxes is None or not len(pred.boxes):
            kept.append(pred)
            continue
        on_ignored = box_iou(pred.boxes, boxes).max(1) >= IOU
        on_truth = box_iou(pred.boxes, true.boxes).max(1, initial=0) >= IOU
        rows = ~(on_ignored & ~on_truth)
        kept.append(FieldBoxes(pred.boxes[rows], pred.class_ids[rows], pred.scores[rows]))
    return kept


def score_detections(boxes: BoxSet) -> dict:
    """AP50-95 and AP50 with limits, each class, classes without a truth: plain types, estimates as dicts."""
    matches = match_fields(boxes.truth, boxes.detections, n_classes=len(boxes.names))
    ranked = [rank_matches(m) for m in matches]
    whole = score_boxes(boxes.truth, boxes.detections, boxes.names)
    n_cells = sum(len(t.boxes) for t in boxes.truth)
    options = {"unit": boxes.unit, "n": n_cells}
    classes = {
        name: {"n_truth": row["n_truth"]} | _class_estimates(ranked[c], boxes, row["n_truth"])
        for c, name in enumerate(boxes.names)
        if (row := whole["classes"].get(name))
    }
    return {
        "n_fields": len(boxes.files),
        "n_cells": n_cells,
        "ap50_95": estimate(mean_ap_of(ranked), boxes.groups, **options).to_dict(),
        "ap50": estimate(mean_ap_of(ranked, iou_rows=HALF), boxes.groups, **options).to_dict(),
        "ap75": whole["ap75"] if math.isfinite(whole["ap75"]) else None,
        "classes": classes,
        "absent": whole["absent"],
    }


def _class_estimates(ranked: RankedMatches, boxes: BoxSet, n_truth: int) -> dict:
    """One class's AP50-95 and AP50."""
    options = {"unit": boxes.unit, "n": n_truth}
    statistics = {"ap50_95": mean_ap_of([ranked]), "ap50": mean_ap_of([ranked], iou_rows=HALF)}
    return {name: estimate(s, boxes.groups, **options).to_dict() for name, s in statistics.items()}


def pr_points(boxes: BoxSet) -> dict[str, tuple[np.ndarray, np.ndarray, float]]:
    """{class: (recall, precision, AP50)} at IoU 0.5, of the classes that have a truth."""
    matches = match_fields(boxes.truth, boxes.detections, n_classes=len(boxes.names))
    points = {}
    for name, of_class in zip(boxes.names, matches, strict=True):
        ranked = rank_matches(of_class)
        n_truth = int(ranked.n_truth.sum())
        if not n_truth:
            continue
        hits = np.cumsum(ranked.hit[0])
        recall = np.concatenate([[0.0], hits / n_truth])
        precision = np.concatenate([[1.0], hits / np.arange(1, len(hits) + 1)])
        ap = float(average_precision([replace(m, hit=m.hit[:1]) for m in of_class])[0])
        points[name] = (*_thinned(recall, precision), ap)
    return points


def _thinned(recall: np.ndarray, precision: np.ndarray, most: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """At most `most` points: a curve of 100,000 boxes would make a page of many megabytes."""
    if len(recall) <= most:
        return recall, precision
    rows = np.unique(np.linspace(0, len(recall) - 1, most).round().astype(int))
    return recall[rows], precision[rows]


def one_call_a_place(detections: Sequence[FieldBoxes]) -> list[FieldBoxes]:
    """The detections with one class a place: of boxes that overlap by SAME_PLACE, whatever they are called, the best.

    A detector may give one box under several classes (as COCO scores it); a count has each cell once.
    """
    kept = []
    for pred in detections:
        rows = nms(pred.boxes, pred.scores, SAME_PLACE) if len(pred.boxes) else np.zeros(0, np.int64)
        kept.append(FieldBoxes(pred.boxes[rows], pred.class_ids[rows], pred.scores[rows]))
    return kept


def best_threshold(boxes: BoxSet) -> float:
    """The score above which detections are counted: the best micro-F1 of cell and type together, on validation fields.

    0.5 where validation has no cell or nothing is found.
    """
    matches = match_fields(boxes.truth, one_call_a_place(boxes.detections), n_classes=len(boxes.names))
    of_all = [m for of_class in matches for m in of_class]
    scores = np.concatenate([m.scores for m in of_all]) if of_all else np.zeros(0)
    n_truth = sum(len(t.boxes) for t in boxes.truth)
    if not len(scores) or not n_truth:
        return 0.5
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(np.concatenate([m.hit[0] for m in of_all])[order])
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + n_truth)
    last = np.r_[np.diff(scores[order]) != 0, True]  # a threshold can't part equal scores
    return float(scores[order][np.where(last, f1, -1).argmax()])


def count_end_to_end(boxes: BoxSet, threshold: float) -> np.ndarray:
    """(F, C + 1, C + 1) matrices of `evaluate.two_stage.end_to_end_matrices`: detections above the threshold, one a
    place, paired with cells by place alone; the last column is missed cells, the last row detections on no cell."""
    counted = one_call_a_place(boxes.detections)
    counted = keep(counted, [p.scores >= threshold for p in counted])
    return end_to_end_matrices(boxes.truth, counted, n_classes=len(boxes.names))


def score_end_to_end(boxes: BoxSet, threshold: float) -> dict:
    """Macro-F1 over the classes with a truth, cells found, and cells found and rightly typed, each with limits.

    F1 of a class is 2 TP / (cells + detections of that class): a miss, a wrong type and a false detection all count.
    """
    matrices, none = count_end_to_end(boxes, threshold), len(boxes.names)
    total = matrices.sum(0)
    n_truth = matrices[:, :none].sum((1, 2))
    present = total[:none].sum(1) > 0
    paired, right = matrices[:, :none, :none].sum((1, 2)), matrices[:, range(none), range(none)].sum(1)
    n_cells = int(n_truth.sum())

    def limits(statistic) -> dict:
        options = {"unit": boxes.unit, "n": n_cells}
        return estimate(statistic, boxes.groups, **options).to_dict()

    def share(part: np.ndarray):
        return lambda rows: float(part[rows].sum() / n_truth[rows].sum()) if n_truth[rows].sum() else math.nan

    return {
        "threshold": threshold,
        "n_cells": n_cells,
        "n_found": int(paired.sum()),
        "n_false": int(total[none].sum()),
        "macro_f1": limits(lambda rows: end_to_end_f1(matrices[rows].sum(0), present)),
        "found": limits(share(paired)),
        "found_and_right": limits(share(right)),
        "f1": _f1_by_class(boxes, matrices),
        "confusion": total.tolist(),
        "absent": [n for n, row in zip(boxes.names, total, strict=False) if not row.sum()],
    }


def _f1_by_class(boxes: BoxSet, matrices: np.ndarray) -> dict:
    scores = class_estimates(matrices, boxes.groups, unit=boxes.unit)["f1"]
    present = matrices.sum((0, 2))
    return {n: scores[c].to_dict() for c, n in enumerate(boxes.names) if present[c]}


def save_boxes(boxes: Sequence[FieldBoxes]) -> dict[str, np.ndarray]:
    """Detections as flat arrays for one `.npz`: boxes (D, 4), class_ids, scores, field (D,)."""
    return {
        "boxes": np.concatenate([b.boxes for b in boxes] or [np.zeros((0, 4))]).astype(np.float32),
        "class_ids": np.concatenate([b.class_ids for b in boxes] or [np.zeros(0)]).astype(np.int16),
        "scores": np.concatenate([b.scores for b in boxes] or [np.zeros(0)]).astype(np.float32),
        "field": np.repeat(np.arange(len(boxes)), [len(b.boxes) for b in boxes]).astype(np.int32),
    }


def load_boxes(saved: Mapping[str, np.ndarray], n_fields: int) -> list[FieldBoxes]:
    """The inverse of `save_boxes`."""
    rows = [saved["field"] == f for f in range(n_fields)]
    return [FieldBoxes(saved["boxes"][r], saved["class_ids"][r], saved["scores"][r]) for r in rows]


def matches_of(boxes: BoxSet) -> list[list[Matches]]:
    """Matches by class and field: what a paired difference between two detectors reads."""
    return match_fields(boxes.truth, boxes.detections, n_classes=len(boxes.names))
