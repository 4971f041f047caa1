"""Accuracy against the share of cells handed to a human: the least sure go first.

A cell's confidence is the probability of the class called. Handing over the cells below a threshold leaves fewer
and surer calls (selective classification, El-Yaniv and Wiener 2010).
"""

import numpy as np

from leukoscope.errors import DataError


def selective_curve(probs: np.ndarray, labels: np.ndarray) -> list[dict]:
    """One row a threshold, from no cell handed over to all but the surest: probs (N, C), labels (N,) columns.

    "threshold"  cells with a confidence below it are handed over
    "handed"     their share, in [0, 1]
    "n_kept"     cells that the model calls
    "accuracy"   of those
    "combined"   of all, if the human is always right
    Cells of one confidence go together. No row without cells.
    """
    confidence, right = _validate(probs, labels)
    if not len(right):
        return []
    order = np.argsort(-confidence, kind="stable")
    confidence, right = confidence[order], right[order]
    last = np.flatnonzero(np.r_[confidence[1:] != confidence[:-1], True])  # of each run of equal confidences
    n_right = np.cumsum(right)[last]
    n_kept, total = last + 1, len(right)
    rows = [
        {
            "threshold": float(confidence[i]),
            "handed": float(1 - kept / total),
            "n_kept": int(kept),
            "accuracy": float(good / kept),
            "combined": float((good + total - kept) / total),
        }
        for i, kept, good in zip(last, n_kept, n_right, strict=True)
    ]
    return rows[::-1]


def accuracy_when_handing(probs: np.ndarray, labels: np.ndarray, share: float) -> float:
    """Accuracy on the cells kept when the least sure `share` of them is handed over (rounded up to whole cells).

    Ties at the border are broken by the order of rows; NaN when none is kept.
    """
    confidence, right = _validate(probs, labels)
    if not 0 <= share <= 1:
        raise DataError(f"the share handed over must lie in [0, 1], got {share}")
    kept = np.argsort(-confidence, kind="stable")[: len(right) - int(np.ceil(share * len(right) - 1e-9))]
    return float(right[kept].mean()) if len(kept) else float("nan")


def area_under_risk(probs: np.ndarray, labels: np.ndarray) -> float:
    """Mean error over all numbers of cells kept, 1 to N (AURC, Geifman and El-Yaniv 2017): lower is better; NaN
    without cells. Ties in confidence share their mean error, so that the order of rows does not matter."""
    confidence, right = _validate(probs, labels)
    if not len(right):
        return float("nan")
    values, place = np.unique(-confidence, return_inverse=True)
    errors = np.bincount(place, weights=~right) / np.bincount(place, minlength=len(values))
    wrong = np.cumsum(errors[np.sort(place)])
    return float((wrong / np.arange(1, len(right) + 1)).mean())


def _validate(probs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    probs, labels = np.asarray(probs, np.float64), np.asarray(labels, np.int64).reshape(-1)
    if probs.ndim != 2 or len(probs) != len(labels):
        raise DataError(f"each cell needs its probabilities and its truth, got {probs.shape} and {len(labels)}")
    if not len(labels):
        return np.zeros(0), np.zeros(0, bool)
    return probs.max(1), probs.argmax(1) == labels
