"""Sets of classes that hold the true one at a stated rate: split conformal prediction, class by class.

A cell's score is 1 minus the probability of its true class; calibration cells, which the model did not train on, say
how large scores get, and a new cell's set is every class whose score would not be unusually large (Sadinle, Lei and
Wasserman 2019, "least ambiguous sets"). By class (Mondrian; Vovk 2012) each class has its own threshold, so that the
rate holds for rare classes too, and not only on average. Exchangeable calibration and new cells are all that is
assumed: cells of another laboratory are not exchangeable with those of this one, which is what `coverage` shows.

A set may be empty: no class is likely enough. Like a set of several classes, it is a cell for a human.
"""

import math

import numpy as np

from leukoscope.errors import DataError


def conformal_sets(
    val_probs: np.ndarray, val_labels: np.ndarray, probs: np.ndarray, *, level: float = 0.9, by_class: bool = True
) -> np.ndarray:
    """(N, C) bool: the classes in each cell's set.

    val_probs (M, C), val_labels (M,) columns: calibration cells; probs (N, C): cells to be called.
    See `conformal_thresholds` for classes with few calibration cells. DataError for shapes or a level that can't be.
    """
    thresholds = conformal_thresholds(val_probs, val_labels, level=level, by_class=by_class)
    probs = np.asarray(probs, np.float64)
    if probs.ndim != 2 or probs.shape[1] != len(thresholds):
        raise DataError(f"conformal sets need probabilities (N, {len(thresholds)}), got {probs.shape}")
    return 1 - probs <= thresholds


def conformal_thresholds(
    val_probs: np.ndarray, val_labels: np.ndarray, *, level: float = 0.9, by_class: bool = True
) -> np.ndarray:
    """(C,) the largest score, 1 - probability, with which a class is in a set.

    A class with fewer than `least_cells(level)` calibration cells has no finite threshold of its own: it takes the
    one over all calibration cells, which holds on average over classes only. With too few cells altogether every
    threshold is infinite, and every set is all classes: nothing less is guaranteed.
    """
    val_probs, val_labels = np.asarray(val_probs, np.float64), np.asarray(val_labels, np.int64).reshape(-1)
    if not 0 < level < 1:
        raise DataError(f"a conformal level must lie between 0 and 1, got {level}")
    if val_probs.ndim != 2 or len(val_probs) != len(val_labels):
        raise DataError(
            f"calibration needs probabilities (M, C) and M labels, got {val_probs.shape} and {len(val_labels)} labels"
        )
    n_classes = val_probs.shape[1]
    if len(val_labels) and not (0 <= val_labels.min() and val_labels.max() < n_classes):
        raise DataError(f"calibration labels must lie in 0 to {n_classes - 1}")
    scores = 1 - val_probs[np.arange(len(val_labels)), val_labels]
    thresholds = np.full(n_classes, conformal_quantile(scores, level=level))
    if by_class:
        for c in range(n_classes):
            of_class = scores[val_labels == c]
            if len(of_class) >= least_cells(level):
                thresholds[c] = conformal_quantile(of_class, level=level)
    return thresholds


def conformal_quantile(scores: np.ndarray, *, level: float) -> float:
    """The ceil((n + 1) · level)-th smallest of n scores; infinite where n is smaller than that."""
    scores = np.sort(np.asarray(scores, np.float64).reshape(-1))
    rank = math.ceil((len(scores) + 1) * level - 1e-9)
    return float(scores[rank - 1]) if 0 < rank <= len(scores) else math.inf


def least_cells(level: float) -> int:
    """The fewest calibration cells with a finite threshold: 9 at 90 %, 19 at 95 %."""
    return math.ceil(level / (1 - level) - 1e-9)


def coverage(sets: np.ndarray, labels: np.ndarray) -> dict:
    """How often the sets (N, C) hold the truth (N,), and what they cost.

    "coverage" overall; "by_class" {column: coverage} of the classes that occur; "size" mean number of classes;
    "single", "empty", "several" shares of cells. NaN without cells.
    """
    sets, labels = np.asarray(sets, bool), np.asarray(labels, np.int64).reshape(-1)
    if len(sets) != len(labels):
        raise DataError(f"each set needs its truth, got {len(sets)} sets and {len(labels)} labels")
    if not len(labels):
        return dict.fromkeys(("coverage", "size", "single", "empty", "several"), float("nan")) | {"by_class": {}}
    held = sets[np.arange(len(labels)), labels]
    size = sets.sum(1)
    return {
        "coverage": float(held.mean()),
        "by_class": {int(c): float(held[labels == c].mean()) for c in np.unique(labels)},
        "size": float(size.mean()),
        "single": float((size == 1).mean()),
        "empty": float((size == 0).mean()),
        "several": float((size > 1).mean()),
    }
