"""Two stages joined and scored as one: a locator or detector finds cells, a crop classifier types them.

Both kinds of system, one stage and two, are scored by the same functions (`leukoscope.evaluate.two_stage`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from leukoscope.classify import classify
from leukoscope.dataset.manifest import Dataset, TruthField
from leukoscope.evaluate.boxes import FieldBoxes, average_precision, match_fields, mean_ap, pair_boxes
from leukoscope.evaluate.readings import with_limits
from leukoscope.evaluate.two_stage import EXTRA, MISSED, class_f1, end_to_end_f1, end_to_end_matrices, keep
from leukoscope.images import read_field
from leukoscope.locate import locate
from leukoscope.models.runtime import Session
from leukoscope.types import Cells, Field

NOT_WHITE = ("red_cell", "platelet")
ClassifyBoxes = Callable[[Field, np.ndarray], np.ndarray]  # a photograph as read, boxes (N, 4) → probabilities (N, C)
ToTypes = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # probabilities → columns (N,), confidence (N,)


def typed_fields(
    dataset: Dataset, column: Callable[[str | None], int | None]
) -> tuple[list[TruthField], list[FieldBoxes], list[str]]:
    """The fields whose every white cell has a type, their truth, and the files of those left out.

    column  a manifest's class name → its column, None where the types have none
    On a field with a white cell of no known type, a box on that cell could be called neither right nor wrong.
    """
    fields, truth, left_out = [], [], []
    for field in dataset.fields:
        cells = [c for c in field.cells if c.class_name not in NOT_WHITE]
        columns = [column(c.class_name) for c in cells]
        if any(c is None for c in columns):
            left_out.append(field.file)
        else:
            fields.append(field)
            truth.append(FieldBoxes(np.array([c.box for c in cells]).reshape(-1, 4), np.array(columns, np.int64)))
    return fields, truth, left_out


def locate_fields(locator: Session, dataset: Dataset, fields: Sequence[TruthField]) -> list[FieldBoxes]:
    """What a locator finds on each field, down to its card's score threshold; class 0 for every box."""
    located = []
    for truth in fields:
        cells = locate(_read(dataset, truth), locator)
        located.append(FieldBoxes(cells.boxes, np.zeros(len(cells)), cells.scores))
    return located


def session_classifier(classifier: Session) -> ClassifyBoxes:
    """A bundle's classifier as `type_boxes` asks for it."""

    def classify_boxes(field: Field, boxes: np.ndarray) -> np.ndarray:
        return classify(field, Cells(field.key, boxes, np.ones(len(boxes))), classifier).probs

    return classify_boxes


def type_boxes(
    dataset: Dataset, fields: Sequence[TruthField], located: Sequence[FieldBoxes], classify_boxes: ClassifyBoxes
) -> list[np.ndarray]:
    """Probabilities (D, C) of each field's boxes, cut out of its photograph."""
    return [classify_boxes(_read(dataset, t), f.boxes) for t, f in zip(fields, located, strict=True)]


def join_stages(located: Sequence[FieldBoxes], probs: Sequence[np.ndarray], to_types: ToTypes) -> list[FieldBoxes]:
    """Detections of the pair: each box with its most probable type, score = stage one's score × that probability.

    to_types  gives a column beyond the types for "none of them"
    """
    joined = []
    for f, p in zip(located, probs, strict=True):
        columns, confidence = to_types(np.asarray(p, np.float64))
        joined.append(FieldBoxes(f.boxes, columns, f.scores * confidence))
    return joined


def most_probable(probs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The `ToTypes` of a classifier whose classes are the types: columns (N,) and their probabilities (N,)."""
    if not len(probs):
        return np.zeros(0, np.int64), np.zeros(0)
    return probs.argmax(1), probs.max(1)


def score_typed(
    truth: Sequence[FieldBoxes],
    pred: Sequence[FieldBoxes],
    counted: Sequence[FieldBoxes],
    class_names: Sequence[str],
    clusters: Sequence[str],
) -> dict:
    """The numbers of typed detections on fields, each with limits by clusters (a name a field).

    pred     every box with its score, for average precision
    counted  the boxes that would be counted (above a threshold), for the F1 of finding and typing
    Returns {"map50", "map50_95", "macro_f1", "right", "found": {"value", "low", "high"}; "classes", "confusion",
    "labels", "n_truth"}. right: share of true cells found and rightly typed; found: share found at all.
    """
    n_classes = len(class_names)
    typed = keep(pred, [p.class_ids < n_classes for p in pred])
    matches = match_fields(truth, typed, n_classes=n_classes)
    matrices = end_to_end_matrices(truth, counted, n_classes=n_classes)
    n_found = np.array([_n_paired(t, c) for t, c in zip(truth, counted, strict=True)])
    n_truth = np.array([len(t.boxes) for t in truth])
    right = matrices[:, np.arange(n_classes), np.arange(n_classes)].sum(1)
    rows, names = np.arange(len(truth)), np.asarray(clusters)

    def share(part: np.ndarray) -> Callable[[np.ndarray], float]:
        return lambda kept: float(part[kept].sum() / max(n_truth[kept].sum(), 1))

    total = matrices.sum(0)
    present = total[:-1].sum(1) > 0
    having = [m for m in matches if sum(f.n_truth for f in m)]
    return {
        "map50": with_limits(lambda kept: mean_ap(having, kept, slice(0, 1)), rows, names),
        "map50_95": with_limits(lambda kept: mean_ap(having, kept), rows, names),
        "macro_f1": with_limits(lambda kept: end_to_end_f1(matrices[kept].sum(0), present), rows, names),
        "right": with_limits(share(right), rows, names),
        "found": with_limits(share(n_found), rows, names),
        "classes": {
            name: {"ap50": float(average_precision(m)[0]), "f1": float(f1), "n_truth": int(n)}
            for name, m, f1, n in zip(class_names, matches, class_f1(total), total[:-1].sum(1), strict=True)
        },
        "confusion": total.tolist(),
        "labels": [[*class_names, EXTRA], [*class_names, MISSED]],
        "n_truth": int(n_truth.sum()),
    }


def _n_paired(truth: FieldBoxes, counted: FieldBoxes) -> int:
    return int((pair_boxes(truth.boxes, counted.boxes, counted.scores) >= 0).sum())


def _read(dataset: Dataset, truth: TruthField) -> Field:
    return read_field(dataset.path(truth), truth.key, um_per_px=truth.um_per_px)
