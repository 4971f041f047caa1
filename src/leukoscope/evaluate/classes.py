"""How well cells are named: confusion matrix and what follows from it, and the area under the ROC curve.

Steps: `confusion_matrix` validates and counts; the other functions reduce it. Equal to scikit-learn (tests/parity).
"""

from collections.abc import Sequence

import numpy as np

from leukoscope.errors import DataError


def confusion_matrix(truth: np.ndarray, pred: np.ndarray, *, n_classes: int) -> np.ndarray:
    """(C, C) int64 counts, rows truth, columns calls. truth and pred: (N,) class columns."""
    truth, pred = np.asarray(truth, np.int64).reshape(-1), np.asarray(pred, np.int64).reshape(-1)
    if len(truth) != len(pred):
        raise DataError(f"truth and calls must be as many as each other, got {len(truth)} and {len(pred)}")
    for name, ids in (("truth", truth), ("calls", pred)):
        if len(ids) and not (0 <= ids.min() and ids.max() < n_classes):
            raise DataError(f"{name} must lie in 0 to {n_classes - 1}, got {ids.min()} to {ids.max()}")
    return np.bincount(truth * n_classes + pred, minlength=n_classes**2).reshape(n_classes, n_classes)


def accuracy(matrix: np.ndarray) -> float:
    """Share of cells called right; NaN without cells."""
    total = matrix.sum()
    return float(np.trace(matrix) / total) if total else float("nan")


def cohen_kappa(matrix: np.ndarray) -> float:
    """Agreement beyond chance of two callers, from their (C, C) table (Cohen, Educ. Psychol. Meas. 1960).

    NaN without a cell, and where both call every cell the same one class: chance alone then agrees.
    """
    total = matrix.sum()
    if not total:
        return float("nan")
    chance = float(matrix.sum(0) @ matrix.sum(1)) / float(total) ** 2
    return (accuracy(matrix) - chance) / (1 - chance) if chance < 1 else float("nan")


def per_class(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall and F1, each (C,) float64, and support (C,) int64: cells of that truth.

    A ratio without a denominator is 0, as scikit-learn's zero_division=0: a class never called has precision 0.
    """
    right = np.diag(matrix).astype(np.float64)
    called, support = matrix.sum(0), matrix.sum(1)
    return {
        "precision": _divide(right, called),
        "recall": _divide(right, support),
        "f1": _divide(2 * right, called + support),
        "support": support,
    }


def macro_f1(matrix: np.ndarray, classes: Sequence[int] | None = None) -> float:
    """Mean F1 over `classes`; None: over the classes that the truth has. NaN over none."""
    scores = per_class(matrix)
    chosen = np.flatnonzero(scores["support"]) if classes is None else np.asarray(classes, np.int64)
    return float(scores["f1"][chosen].mean()) if len(chosen) else float("nan")


def weighted_f1(matrix: np.ndarray) -> float:
    """Mean F1 weighted by the cells of each truth; NaN without cells."""
    scores = per_class(matrix)
    total = scores["support"].sum()
    return float((scores["f1"] * scores["support"]).sum() / total) if total else float("nan")


def roc_auc(positive: np.ndarray, scores: np.ndarray) -> float:
    """Chance that a positive's score is above a negative's, ties counting half. positive (N,) bool, scores (N,).

    NaN where all are of one kind.
    """
    positive, scores = np.asarray(positive, bool).reshape(-1), np.asarray(scores, np.float64).reshape(-1)
    if len(positive) != len(scores):
        raise DataError(f"each score needs its truth, got {len(scores)} scores and {len(positive)} truths")
    if not np.isfinite(scores).all():
        raise DataError("scores must be finite numbers")
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if n_positive == 0 or n_negative == 0:
        return float("nan")
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts - 1) / 2  # of equal scores
    rank_sum = mean_rank[place][positive].sum()
    return float((rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros(len(numerator)), where=denominator > 0)
