"""How well cells are found, of any class and by class: the two parts of `evaluate_model` that look at boxes alone."""

import math

import numpy as np

from leukoscope.dataset.detection import class_column
from leukoscope.evaluate.boxes import FieldBoxes, boxes_above, found_share, match_fields, mean_ap, summarise
from leukoscope.evaluate.predict import FieldPrediction
from leukoscope.evaluate.readings import with_limits
from leukoscope.models.bundle import Card
from leukoscope.taxonomy import Taxonomy


def score_location(predictions: list[FieldPrediction], clusters: list[str], card: Card) -> dict:
    """White cells against boxes; of a detector's boxes, those that it calls a counted class.

    AP is COCO's, of the best 100 boxes a field; what happens at the threshold is of every box.
    """
    truth = [FieldBoxes(p.boxes, np.zeros(len(p.boxes))) for p in predictions]
    kept = [np.ones(len(p.found_boxes), bool) for p in predictions]
    if card.task == "detect":
        counted = card.taxonomy.columns(card.taxonomy.counted)
        kept = [np.isin(p.found_classes, counted) for p in predictions]
    predicted = [
        FieldBoxes(p.found_boxes[k], np.zeros(k.sum()), p.scores[k]) for p, k in zip(predictions, kept, strict=True)
    ]
    threshold = card.thresholds["score"]
    (matches,) = match_fields(truth, predicted, n_classes=1)
    fields, names = np.arange(len(matches)), np.asarray(clusters)

    having = [matches] if sum(m.n_truth for m in matches) else []
    kept = [boxes_above(m, threshold) for m in matches]
    n_false = [int((~m.hit[0]).sum()) for m in kept]

    def false_boxes(rows: np.ndarray) -> float:
        return float(np.mean([n_false[r] for r in rows]))

    return {
        "n_truth": sum(m.n_truth for m in matches),
        "ap50_95": with_limits(lambda rows: mean_ap(having, rows), fields, names),
        "ap50": with_limits(lambda rows: mean_ap(having, rows, slice(1)), fields, names),
        "ap75": summarise(matches)["ap75"],
        "threshold": threshold,
        "recall_at_threshold": with_limits(lambda rows: found_share([kept[r] for r in rows]), fields, names),
        "false_per_field_at_threshold": with_limits(false_boxes, fields, names, within=(0, math.inf)),
    }


def score_detection(predictions: list[FieldPrediction], clusters: list[str], taxonomy: Taxonomy) -> dict:
    """COCO's AP by class of a one-stage detector, each box under its best class, with limits on the means."""
    truth = []
    for p in predictions:
        columns = [class_column(c.class_name, taxonomy) for c in p.truth.cells]
        kept = [i for i, column in enumerate(columns) if column is not None and column >= 0]
        boxes = np.array([p.truth.cells[i].box for i in kept]).reshape(-1, 4)
        truth.append(FieldBoxes(boxes, [columns[i] for i in kept]))
    predicted = [FieldBoxes(p.found_boxes, p.found_classes, p.scores) for p in predictions]
    matches = match_fields(truth, predicted, n_classes=len(taxonomy.names))
    present = {n: m for n, m in zip(taxonomy.names, matches, strict=True) if sum(f.n_truth for f in m)}

    having = list(present.values())
    fields, names = np.arange(len(truth)), np.asarray(clusters)
    unplaced = sum(class_column(c.class_name, taxonomy) is None for p in predictions for c in p.truth.cells)
    return {
        "map50_95": with_limits(lambda rows: mean_ap(having, rows), fields, names),
        "map50": with_limits(lambda rows: mean_ap(having, rows, slice(1)), fields, names),
        "classes": {name: summarise(m) for name, m in present.items()},
        "absent": [n for n in taxonomy.names if n not in present],
        "n_cells_without_a_class": unplaced,
    }
