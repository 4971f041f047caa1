"""Class probabilities of cells from a head that never saw the cell's own label, its patient or its photograph.

The head is multinomial logistic regression on fixed features, fitted anew for each fold: few enough numbers that it
can't learn single labels by heart.
"""

from collections import defaultdict

import numpy as np

from leukoscope.models.probabilities import softmax

# Chosen on the validation split of pbc with planted errors (docs/decisions/0008).
N_FOLDS = 5
N_COMPONENTS = 64
PENALTY = 0.1
_STEPS = 150
_INTERCEPT_PENALTY = 1e-3


def out_of_fold_probs(
    features: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, n_classes: int, seed: int
) -> np.ndarray:
    """(N, n_classes) float64: row i comes from a head fitted without any row of i's group.

    features (N, F); labels (N,) columns; groups (N,) what must not be on both sides; seed deals groups to folds.
    """
    features = np.asarray(features, np.float64)
    labels, folds = np.asarray(labels), deal_folds(labels, groups, seed=seed)
    probs = np.full((len(labels), n_classes), 1 / n_classes)
    for fold in range(folds.max() + 1 if len(folds) else 0):
        train, test = folds != fold, folds == fold
        if not train.any():
            continue
        known, shown = _components(features[train], features[test])
        weights = fit_head(known, labels[train], n_classes=n_classes)
        probs[test] = softmax(_with_one(shown) @ weights)
    return probs


def deal_folds(labels: np.ndarray, groups: np.ndarray, *, seed: int, n_folds: int = N_FOLDS) -> np.ndarray:
    """(N,) fold of each row: whole groups, dealt class by class so that every fold gets a like share of each.

    A group is of the class that most of its rows have; groups of a class are stirred by the seed.
    """
    labels, groups = np.asarray(labels), np.asarray(groups)
    rows: dict[object, list[int]] = defaultdict(list)
    for row, group in enumerate(groups.tolist()):
        rows[group].append(row)
    names = sorted(rows, key=str)
    np.random.default_rng(seed).shuffle(names)
    by_class: dict[int, list[object]] = defaultdict(list)
    for name in names:
        by_class[int(np.bincount(labels[rows[name]]).argmax())].append(name)
    folds, held = np.zeros(len(labels), np.int64), np.zeros(n_folds, np.int64)
    for class_id in sorted(by_class):
        of_class = np.zeros(n_folds, np.int64)
        for name in sorted(by_class[class_id], key=lambda n: -len(rows[n])):
            fold = min(range(n_folds), key=lambda f: (of_class[f], held[f]))
            folds[rows[name]] = fold
            of_class[fold] += len(rows[name])
            held[fold] += len(rows[name])
    return folds


def fit_head(features: np.ndarray, labels: np.ndarray, *, n_classes: int) -> np.ndarray:
    """(D + 1, n_classes) weights, intercept last: mean cross entropy and PENALTY / 2 · |W|², by accelerated gradient
    steps (Nesterov 1983) of length 1 / L, where L bounds the curvature. features (N, D)."""
    x = _with_one(features)
    penalty = np.full((x.shape[1], 1), PENALTY)
    penalty[-1] = _INTERCEPT_PENALTY
    step = 1 / (0.5 * np.linalg.norm(x.T @ x / len(x), 2) + PENALTY)
    wanted = np.eye(n_classes)[labels]
    weights = ahead = np.zeros((x.shape[1], n_classes))
    pace = 1.0
    for _ in range(_STEPS):
        slope = x.T @ (softmax(x @ ahead) - wanted) / len(x) + penalty * ahead
        moved = ahead - step * slope
        next_pace = (1 + (1 + 4 * pace**2) ** 0.5) / 2
        ahead = moved + (pace - 1) / next_pace * (moved - weights)
        weights, pace = moved, next_pace
    return weights


def _components(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both in the train rows' leading principal components, each scaled to unit variance (over the train rows)."""
    middle = train.mean(0)
    centred = train - middle
    # The smaller of the two Gram matrices has the same eigenvalues.
    if len(centred) < centred.shape[1]:
        values, vectors = np.linalg.eigh(centred @ centred.T)
        axes = centred.T @ vectors
        axes /= np.maximum(np.linalg.norm(axes, axis=0), 1e-12)
    else:
        values, axes = np.linalg.eigh(centred.T @ centred)
    # The last principal component of n rows has no variance; neither have those of repeated rows.
    kept = np.argsort(-values)[: min(N_COMPONENTS, len(centred) - 1)]
    kept = kept[values[kept] > 1e-9 * max(values.max(), 1e-12)]
    scaled = axes[:, kept] / np.sqrt(values[kept] / len(centred))
    return centred @ scaled, (test - middle) @ scaled


def _with_one(features: np.ndarray) -> np.ndarray:
    return np.concatenate([features, np.ones((len(features), 1))], 1)
