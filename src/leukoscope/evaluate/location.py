"""How well cells are found, of any class and by class: the two parts of `evaluate_model` that look at boxes alone."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from leukoscope.dataset.detection import class_column
from leukoscope.evaluate.boxes import (
    FieldBoxes,
    Matches,
    average_precision,
    found_share,
    match_fields,
    summarise,
)
from leukoscope.evaluate.predict import FieldPrediction
from leukoscope.evaluate.readings import with_limits
from leukoscope.models.bundle import Card
from leukoscope.taxonomy import Taxonomy


def score_location(predictions: list[FieldPrediction], clusters: list[str], card: Card) -> dict:
    """White cells against boxes; of a detector's boxes, those that it calls a counted class."""
    truth = [FieldBoxes(p.boxes, np.zeros(len(p.boxes))) for p in predictions]
    kept = [np.ones(len(p.found), bool) for p in predictions]
    if card.task == "detect":
        counted = card.taxonomy.columns(card.taxonomy.counted)
        kept = [np.isin(p.found_classes, counted) for p in predictions]
    found = [FieldBoxes(p.found[k], np.zeros(k.sum()), p.scores[k]) for p, k in zip(predictions, kept, strict=True)]
    threshold = card.thresholds["score"]
    (matches,) = match_fields(truth, found, n_classes=1)
    fields, names = np.arange(len(matches)), np.asarray(clusters)

    at_half = [replace(m, hit=m.hit[:1]) for m in matches]

    def ap(rows: np.ndarray, of_fields: list[Matches]) -> float:
        return float(average_precision([of_fields[r] for r in rows]).mean())

    kept = [_above(m, threshold) for m in matches]
    n_false = [int((~m.hit[0]).sum()) for m in kept]

    def false_boxes(rows: np.ndarray) -> float:
        return float(np.mean([n_false[r] for r in rows]))

    return {
        "n_truth": sum(m.n_truth for m in matches),
        "ap50_95": with_limits(lambda rows: ap(rows, matches), fields, names),
        "ap50": with_limits(lambda rows: ap(rows, at_half), fields, names),
        "ap75": summarise(matches)["ap75"],
        "threshold": threshold,
        "recall_at_threshold": with_limits(lambda rows: found_share([kept[r] for r in rows]), fields, names),
        "false_per_field_at_threshold": with_limits(false_boxes, fields, names),
    }


def score_detection(predictions: list[FieldPrediction], clusters: list[str], taxonomy: Taxonomy) -> dict:
    """COCO's AP by class of a one-stage detector, each box under its best class, with limits on the means."""
    truth = []
    for p in predictions:
        columns = [class_column(c.class_name, taxonomy) for c in p.truth.cells]
        kept = [i for i, column in enumerate(columns) if column is not None and column >= 0]
        boxes = np.array([p.truth.cells[i].box for i in kept]).reshape(-1, 4)
        truth.append(FieldBoxes(boxes, [columns[i] for i in kept]))
    found = [FieldBoxes(p.found, p.found_classes, p.scores) for p in predictions]
    matches = match_fields(truth, found, n_classes=len(taxonomy.names))
    present = {n: m for n, m in zip(taxonomy.names, matches, strict=True) if sum(f.n_truth for f in m)}

    def mean_ap(rows: np.ndarray, thresholds: slice) -> float:
        of_classes = [average_precision([m[r] for r in rows])[thresholds].mean() for m in present.values()]
        return float(np.nanmean(of_classes)) if np.isfinite(of_classes).any() else math.nan

    fields, names = np.arange(len(truth)), np.asarray(clusters)
    unplaced = sum(class_column(c.class_name, taxonomy) is None for p in predictions for c in p.truth.cells)
    return {
        "map50_95": with_limits(lambda rows: mean_ap(rows, slice(None)), fields, names),
        "map50": with_limits(lambda rows: mean_ap(rows, slice(1)), fields, names),
        "classes": {name: summarise(m) for name, m in present.items()},
        "absent": [n for n in taxonomy.names if n not in present],
        "n_cells_without_a_class": unplaced,
    }


def _above(matches: Matches, threshold: float) -> Matches:
    """The same field with the boxes below a score left out. Greedy matching never looks down, so none is redone."""
    kept = matches.scores >= threshold
    return replace(matches, scores=matches.scores[kept], hit=matches.hit[:, kept])
