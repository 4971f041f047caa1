"""How well cells are outlined: average precision by contour IoU, and the IoU of the cells that are matched.

Average precision is COCO's, with polygon clipping in place of boxes (`evaluate.boxes` has the steps); which contours
are the same cell, for everything else, is the optimal one-to-one matching of `leukoscope.contours`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leukoscope.contours import ContourMatches, contour_iou_matrix, match_overlaps
from leukoscope.errors import DataError
from leukoscope.evaluate import boxes as box_scores


@dataclass(frozen=True, slots=True, eq=False)
class FieldContours:
    """Contours of one field: contours N of (K, 2) px; scores (N,), None for truth."""

    contours: tuple[np.ndarray, ...]
    scores: np.ndarray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "contours", tuple(self.contours))
        if self.scores is not None:
            scores = np.asarray(self.scores, np.float64).reshape(-1)
            if len(scores) != len(self.contours) or not np.isfinite(scores).all():
                raise DataError(f"{len(self.contours)} contours need as many finite scores, got {len(scores)}")
            object.__setattr__(self, "scores", scores)


@dataclass(frozen=True, slots=True, eq=False)
class FieldOverlaps:
    """One field compared: `ranked` for average precision, `matches` one to one at the threshold asked for."""

    ranked: box_scores.Matches
    matches: ContourMatches


def compare_contours(
    truth: Sequence[FieldContours], pred: Sequence[FieldContours], *, iou: float = 0.5
) -> list[FieldOverlaps]:
    """Each field's contours compared once, so that resampling fields costs nothing more; `iou` makes two one cell."""
    if len(truth) != len(pred):
        raise DataError(f"truth and predictions must list the same fields, got {len(truth)} and {len(pred)}")
    compared = []
    for known, predicted in zip(truth, pred, strict=True):
        if predicted.scores is None:
            raise DataError("predicted contours need scores")
        matrix = contour_iou_matrix(predicted.contours, known.contours)  # (D, G)
        order = np.argsort(-predicted.scores, kind="stable")
        ranked = box_scores.match_overlaps(matrix[order], predicted.scores[order])
        columns, rows = np.nonzero(matrix >= iou)
        matches = match_overlaps(
            rows, columns, matrix[columns, rows], shape=(len(known.contours), len(predicted.contours))
        )
        compared.append(FieldOverlaps(ranked, matches))
    return compared


def score_contours(truth: Sequence[FieldContours], pred: Sequence[FieldContours], *, iou: float = 0.5) -> dict:
    """`summarise_contours` of fields in the order given. Fields without any truth count: a contour there is extra."""
    return summarise_contours(compare_contours(truth, pred, iou=iou))


def summarise_contours(compared: Sequence[FieldOverlaps]) -> dict:
    """{"ap50", "ap50_95", "mean_iou", "n_truth", "n_matched", "n_missed", "n_extra"}.

    mean_iou  mean IoU of the matched cells; NaN where none matched, as ap is where there is no truth
    AP looks at the best 100 contours a field, as COCO does; matched, missed and extra count all.
    """
    ap = box_scores.average_precision([c.ranked for c in compared])
    overlap = np.concatenate([c.matches.iou for c in compared]) if compared else np.zeros(0)
    return {
        "ap50": float(ap[0]),
        "ap50_95": float(ap.mean()),
        "mean_iou": float(overlap.mean()) if len(overlap) else float("nan"),
        "n_truth": sum(c.ranked.n_truth for c in compared),
        "n_matched": len(overlap),
        "n_missed": sum(len(c.matches.missed) for c in compared),
        "n_extra": sum(len(c.matches.extra) for c in compared),
    }
