"""Two stages scored as one: a cell counts as right when it was found and given the right type.

Stage one finds white cells (any locator or detector), stage two names what was found (any crop classifier). A cell
that was missed, or found and called something else, counts against the pair of them, as it counts against a one-stage
detector: both are scored here by the same functions (PCM, section 2.3.2).
"""

from collections.abc import Sequence

import numpy as np

from leukoscope.errors import DataError
from leukoscope.evaluate.boxes import FieldBoxes, pair_boxes

MISSED, EXTRA = "missed or outside", "extra"  # the last column and the last row of the end-to-end matrix


def keep(pred: Sequence[FieldBoxes], kept: Sequence[np.ndarray]) -> list[FieldBoxes]:
    """The boxes of each field for which `kept` (D,) is true."""
    return [
        FieldBoxes(p.boxes[k], p.class_ids[k], None if p.scores is None else p.scores[k])
        for p, k in zip(pred, kept, strict=True)
    ]


def end_to_end_matrices(
    truth: Sequence[FieldBoxes], counted: Sequence[FieldBoxes], *, n_classes: int, iou: float = 0.5
) -> np.ndarray:
    """(F, C + 1, C + 1) int64 counts a field: rows truth, the last one boxes on no cell; columns the type called, the
    last one missed cells and those called none of the types. Boxes are paired by place alone, best score first."""
    matrices = np.zeros((len(truth), n_classes + 1, n_classes + 1), np.int64)
    for matrix, t, c in zip(matrices, truth, counted, strict=True):
        if len(t.class_ids) and t.class_ids.max() >= n_classes:
            raise DataError(f"truth classes must lie in 0 to {n_classes - 1}, got {int(t.class_ids.max())}")
        paired = pair_boxes(t.boxes, c.boxes, np.asarray(c.scores), iou=iou)  # (D,) rows of the truth
        called = np.minimum(c.class_ids, n_classes)
        of_truth = np.full(len(t.boxes), n_classes)
        of_truth[paired[paired >= 0]] = called[paired >= 0]
        np.add.at(matrix, (t.class_ids, of_truth), 1)
        np.add.at(matrix, (np.full((paired < 0).sum(), n_classes), called[paired < 0]), 1)
        matrix[n_classes, n_classes] = 0  # a box on no cell, called none of the types: no error of any type
    return matrices


def class_f1(matrix: np.ndarray) -> np.ndarray:
    """(C,) F1 of finding and typing, from a matrix (C + 1, C + 1): 2 right / (true cells + cells called)."""
    right = np.diag(matrix)[:-1].astype(np.float64)
    total = matrix[:-1].sum(1) + matrix[:, :-1].sum(0)
    return np.divide(2 * right, total, out=np.zeros(len(right)), where=total > 0)


def end_to_end_f1(matrix: np.ndarray, present: np.ndarray | None = None) -> float:
    """Mean `class_f1` over the types `present` (C,) bool, None: those that have a true cell; NaN where none has."""
    present = matrix[:-1].sum(1) > 0 if present is None else present
    return float(class_f1(matrix)[present].mean()) if present.any() else float("nan")
