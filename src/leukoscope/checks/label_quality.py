"""How well labels agree with out-of-fold probabilities: the rankings of confident learning.

C. Northcutt, L. Jiang, I. Chuang, Confident learning: estimating uncertainty in dataset labels, JAIR 70, 2021,
section 3.2. `cleanlab` (Apache-2.0 since 2.9, AGPL before) does the same; ours is compared with it in the tests.
"""

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
