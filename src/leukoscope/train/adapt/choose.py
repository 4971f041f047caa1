"""Which cells of a new site to label: cells that stand for many others, not the next ones on the stage.

Nothing here knows a label of the site. Features are those of a frozen network, probabilities those of the classifier
before adaptation.
"""

import numpy as np

from leukoscope.errors import InputError
from leukoscope.train.adapt.heads import squared_distances

METHODS = ("random", "coverage", "centres", "typical", "uncertain", "typical_by_call")
_ROUNDS = 30
_NEAREST = 10


def choose_cells(
    features: np.ndarray,
    probs: np.ndarray | None,
    n: int,
    *,
    method: str = "typical",
    seed: int = 0,
) -> np.ndarray:
    """(n,) rows of the cells to label, in the order in which to label them.

    features (N, D); probs (N, C) of the classifier, needed by the last two methods.
    random           drawn without looking
    coverage         greedy k-centre: always the cell furthest from those chosen (Sener and Savarese 2018)
    centres          the cell nearest to each of n k-means centres
    typical          the cell with the nearest neighbours in each of n clusters, large clusters first
                     (TypiClust, Hacohen et al. 2022)
    uncertain        the smallest margin between the two most probable classes
    typical_by_call  `typical` among the cells of each class called, each class its share of n by the root of its size
    InputError for an unknown method, or fewer cells than asked for.
    """
    features = np.asarray(features, np.float64)
    if method not in METHODS:
        raise InputError(f"no way {method!r} to choose cells: there are {', '.join(METHODS)}")
    if not 0 <= n <= len(features):
        raise InputError(f"can't choose {n} of {len(features)} cells")
    if method in ("uncertain", "typical_by_call") and probs is None:
        raise InputError(f"choosing cells by {method!r} needs the classifier's probabilities")
    rng = np.random.default_rng(seed)
    if n == 0:
        return np.zeros(0, np.int64)
    if method == "random":
        return rng.permutation(len(features))[:n]
    if method == "uncertain":
        top = np.sort(np.asarray(probs), axis=1)
        return np.argsort(top[:, -1] - top[:, -2], kind="stable")[:n]
    if method == "coverage":
        return _coverage(features, n)
    if method == "typical_by_call":
        return _by_call(features, np.asarray(probs), n, rng)
    return _by_cluster(features, n, rng, typical=method == "typical")


def k_means(x: np.ndarray, k: int, rng: np.random.Generator, *, restarts: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Centres (k, D) and the cluster (N,) of each row: Lloyd's rounds from k-means++ starts, the best of `restarts`."""
    best: tuple[float, np.ndarray, np.ndarray] = np.inf, x[:0], np.zeros(0, np.int64)
    for _ in range(restarts):
        centres = _spread_start(x, k, rng)
        for _ in range(_ROUNDS):
            cluster = squared_distances(x, centres).argmin(1)
            counts = np.bincount(cluster, minlength=k)
            moved = centres.copy()
            sums = np.zeros_like(centres)
            np.add.at(sums, cluster, x)
            moved[counts > 0] = sums[counts > 0] / counts[counts > 0, None]
            if np.allclose(moved, centres):
                break
            centres = moved
        distance = squared_distances(x, centres)
        inertia = distance.min(1).sum()
        if inertia < best[0]:
            best = float(inertia), centres, distance.argmin(1)
    return best[1], best[2]


def _spread_start(x: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """k rows, each drawn in proportion to the squared distance from those before (k-means++)."""
    rows = [int(rng.integers(len(x)))]
    distance = squared_distances(x, x[rows])[:, 0]
    while len(rows) < k:
        total = distance.sum()
        row = int(rng.choice(len(x), p=distance / total)) if total > 0 else int(rng.integers(len(x)))
        rows.append(row)
        distance = np.minimum(distance, squared_distances(x, x[row : row + 1])[:, 0])
    return x[rows].copy()


def _coverage(x: np.ndarray, n: int) -> np.ndarray:
    """From the cell nearest to the middle, always the one furthest from all chosen."""
    rows = [int(((x - x.mean(0)) ** 2).sum(1).argmin())]
    distance = squared_distances(x, x[rows])[:, 0]
    while len(rows) < n:
        distance[rows] = -1
        rows.append(int(distance.argmax()))
        distance = np.minimum(distance, squared_distances(x, x[rows[-1:]])[:, 0])
    return np.array(rows)


def _by_cluster(x: np.ndarray, n: int, rng: np.random.Generator, *, typical: bool) -> np.ndarray:
    """One cell of each of n clusters, large clusters first; duplicates leave clusters empty: then the rest by turns."""
    centres, cluster = k_means(x, n, rng)
    order = np.argsort(-np.bincount(cluster, minlength=n), kind="stable")
    rows = []
    for c in order:
        members = np.flatnonzero(cluster == c)
        if len(members):
            worth = typicality(x[members]) if typical else -squared_distances(x[members], centres[c : c + 1])[:, 0]
            rows.append(int(members[worth.argmax()]))
    left = np.setdiff1d(np.arange(len(x)), rows)
    return np.r_[rows, rng.permutation(left)[: n - len(rows)]].astype(np.int64)


def typicality(x: np.ndarray) -> np.ndarray:
    """(N,) inverse of the mean distance to the ten nearest other rows: how much of the same there is around a cell."""
    if len(x) < 3:
        return np.ones(len(x))
    distance = np.sqrt(squared_distances(x, x))
    np.fill_diagonal(distance, np.inf)
    k = min(_NEAREST, len(x) - 1)
    return 1 / np.maximum(np.sort(distance, axis=1)[:, :k].mean(1), 1e-12)


def _by_call(x: np.ndarray, probs: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Clusters within each class called; the classes' shares follow the root of their sizes, so rare ones get more, and
    each class gets a cell where n allows it."""
    called = probs.argmax(1)
    classes, counts = np.unique(called, return_counts=True)
    share = np.sqrt(counts)
    least = 1 if n >= len(classes) else 0
    quota = np.minimum(np.maximum(np.floor(n * share / share.sum()).astype(int), least), counts)
    while quota.sum() > n:  # where the ones that are due to rare classes came on top
        quota[np.where(quota > least, quota - n * share / share.sum(), -np.inf).argmax()] -= 1
    while quota.sum() < n:  # the next cell goes where most is missing
        quota[np.where(quota < counts, n * share / share.sum() - quota, -np.inf).argmax()] += 1
    rows = []
    for c, k in zip(classes, quota, strict=True):
        members = np.flatnonzero(called == c)
        if k:
            rows.append(members[_by_cluster(x[members], int(k), rng, typical=True)])
    return np.concatenate(rows)
