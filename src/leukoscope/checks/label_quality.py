"""How well labels agree with out-of-fold probabilities: the rankings of confident learning.

C. Northcutt, L. Jiang, I. Chuang, Confident learning: estimating uncertainty in dataset labels, JAIR 70, 2021,
section 3.2. `cleanlab` (Apache-2.0 since 2.9, AGPL before) does the same; ours is compared with it in the tests.
"""

from __future__ import annotations

import numpy as np


def normalised_margin(probs: np.ndarray, labels: np.ndarray, related: np.ndarray | None = None) -> np.ndarray:
    """(N,) in [0, 1]: (p(label) - greatest p(another class) + 1) / 2; below 0.5 another class is more probable.

    probs    (N, C), rows sum to 1, from a model that did not see the row's label
    labels   (N,) columns
    related  (C, C) bool, symmetric: classes that don't contradict each other, such as neutrophil and band neutrophil;
             their probabilities count for the label. None: every class contradicts every other
    """
    probs, labels = np.asarray(probs, np.float64), np.asarray(labels)
    n_classes = probs.shape[1]
    related = np.eye(n_classes, dtype=bool) if related is None else related | np.eye(n_classes, dtype=bool)
    agrees = related[labels]  # (N, C)
    given = np.where(agrees, probs, 0).sum(1)
    other = np.where(agrees, 0, probs).max(1, initial=0)
    return (given - other + 1) / 2


def confident_joint(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(C, C) counts: row the given label, column the class that the probabilities are confident of.

    Confident of class k is a probability of at least the mean that cells labelled k have of k; among several the
    greatest counts, and a cell of which nothing is confident counts nowhere. Off the diagonal are suspected errors.
    """
    probs, labels = np.asarray(probs, np.float64), np.asarray(labels)
    n_classes = probs.shape[1]
    means = [probs[labels == k, k].mean() if (labels == k).any() else 2.0 for k in range(n_classes)]
    confident = probs >= np.array(means) - 1e-6
    guess = np.where(confident, probs, -1).argmax(1)
    joint = np.zeros((n_classes, n_classes), np.int64)
    sure = confident.any(1)
    np.add.at(joint, (labels[sure], guess[sure]), 1)
    return joint
