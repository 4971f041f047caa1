"""Small heads on frozen features: what a few labelled cells of a new site can fit.

Every head sees the same four arrays: features and labels of source cells, features and labels of the site's labelled
cells, and features of the site's cells without labels (so the heads that use those are transductive). Rows are cells,
columns are features already reduced by `features.reduce_together`; labels are columns of one taxonomy.
"""

from dataclasses import dataclass

import numpy as np

from leukoscope.models.probabilities import softmax

_STEPS = 200
_TINY = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class SiteProblem:
    """source (S, D), source_labels (S,), labelled (L, D), labels (L,), unlabelled (U, D), n_classes."""

    source: np.ndarray
    source_labels: np.ndarray
    labelled: np.ndarray
    labels: np.ndarray
    unlabelled: np.ndarray
    n_classes: int


def site_shift(problem: SiteProblem, *, strength: float = 3.0) -> np.ndarray:
    """(D,) by how much the site's cells lie apart from the source's cells of the same class.

    The mean over labelled cells of their distance to the source's class mean, pulled to zero by `strength` cells, so
    that one labelled cell moves little. A class that the source lacks says nothing.
    """
    means, known = class_means(problem.source, problem.source_labels, problem.n_classes)
    rows = known[problem.labels]
    if not rows.any():
        return np.zeros(problem.source.shape[1])
    apart = problem.labelled[rows] - means[problem.labels[rows]]
    return apart.sum(0) / (rows.sum() + strength)


def class_means(x: np.ndarray, labels: np.ndarray, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """(C, D) means, zero where a class has no cell, and (C,) bool whether it has one."""
    onehot = np.eye(n_classes)[labels]
    counts = onehot.sum(0)
    return onehot.T @ x / np.maximum(counts, 1)[:, None], counts > 0


def nearest_mean_probs(problem: SiteProblem, *, source_cells: float = 3.0, scale: float = 1.0) -> np.ndarray:
    """(U, C): softmax of minus the squared distance to class means, over 2 · `scale` times the mean within-class one.

    A class's mean is that of the site's labelled cells and of `source_cells` cells at the source's mean, moved by the
    site's shift; 0 leaves the source out except for classes that nobody labelled at the site.
    """
    source, in_source = class_means(problem.source, problem.source_labels, problem.n_classes)
    counts = np.bincount(problem.labels, minlength=problem.n_classes).astype(np.float64)
    site_means, _ = class_means(problem.labelled, problem.labels, problem.n_classes)
    weight = np.maximum(source_cells, 1e-6) * in_source
    prior = source + site_shift(problem)
    means = (site_means * counts[:, None] + prior * weight[:, None]) / np.maximum(counts + weight, _TINY)[:, None]
    known = counts + weight > 0
    spread = ((problem.source - source[problem.source_labels]) ** 2).sum(1).mean()
    distance = squared_distances(problem.unlabelled, means)
    return softmax(np.where(known, -distance / (2 * scale * max(spread, _TINY)) * problem.source.shape[1], -np.inf))


def logistic_weights(
    x: np.ndarray,
    targets: np.ndarray,
    *,
    penalty: float,
    weights: np.ndarray | None = None,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """(D + 1, C) weights, intercept last, that minimise the weighted mean cross entropy + penalty / 2 · |W - start|².

    x (N, D); targets (N, C) rows of probabilities; weights (N,); start (D + 1, C) or None for zero: the head that the
    penalty pulls to (L2-SP, Li et al. 2018). The intercept is pulled a hundredth as much. Accelerated gradient steps
    (Nesterov 1983) of length 1 / L, L the bound of the curvature.
    """
    x = np.asarray(x, np.float64)
    start = np.zeros((x.shape[1] + 1, targets.shape[1])) if start is None else start
    weights = np.ones(len(x)) if weights is None else np.asarray(weights, np.float64)
    settings = {"penalty": penalty, "offset": with_one(x) @ start}
    if x.shape[1] <= len(x):
        return start + _steps(with_one(x), targets, weights / weights.sum(), **settings)
    # The answer lies in the span of the rows: the same steps there are a fraction of the work.
    sides, lengths, turn = np.linalg.svd(x, full_matrices=False)
    moved = _steps(with_one(sides * lengths), targets, weights / weights.sum(), **settings)
    return start + np.concatenate([turn.T @ moved[:-1], moved[-1:]])


def _steps(
    x: np.ndarray, targets: np.ndarray, weights: np.ndarray, *, penalty: float, offset: np.ndarray
) -> np.ndarray:
    """What to add to the layer whose logits are `offset` (N, C): `logistic_weights`' steps from zero."""
    pull = np.full((x.shape[1], 1), penalty)
    pull[-1] *= 0.01
    step = 1 / (0.5 * np.linalg.norm(x * np.sqrt(weights)[:, None], 2) ** 2 + penalty)
    fitted = ahead = np.zeros((x.shape[1], targets.shape[1]))
    pace = 1.0
    for _ in range(_STEPS):
        slope = x.T @ ((softmax(offset + x @ ahead) - targets) * weights[:, None]) + pull * ahead
        moved = ahead - step * slope
        next_pace = (1 + (1 + 4 * pace**2) ** 0.5) / 2
        ahead = moved + (pace - 1) / next_pace * (moved - fitted)
        fitted, pace = moved, next_pace
    return fitted


def logistic_probs(
    problem: SiteProblem, *, penalty: float = 0.003, replay: float = 1.0, shifted: bool = True, rounds: int = 0
) -> np.ndarray:
    """(U, C) of a logistic head on the site's labelled cells and, with weight `replay` altogether, the source's.

    The labelled cells have weight 1 altogether; replay 0 leaves the source out. `shifted` moves the source cells by
    the site's shift first. `rounds` of self-training refit with the unlabelled cells at the head's own probabilities,
    with weight 1 altogether.
    """
    source = problem.source + site_shift(problem) if shifted else problem.source
    onehot = np.eye(problem.n_classes)
    x = [problem.labelled, source]
    targets = [onehot[problem.labels], onehot[problem.source_labels]]
    weights = [balanced(problem.labels, problem.n_classes), replay * balanced(problem.source_labels, problem.n_classes)]

    def refit(*extra: list[np.ndarray]) -> np.ndarray:
        parts = (np.concatenate(of + more) for of, more in zip((x, targets, weights), extra, strict=True))
        cells, wanted, of_cells = parts
        fitted = logistic_weights(cells, wanted, penalty=penalty, weights=of_cells)
        return softmax(with_one(problem.unlabelled) @ fitted)

    probs = refit([], [], [])
    for _ in range(rounds):
        probs = refit([problem.unlabelled], [probs], [np.full(len(probs), 1 / len(probs))])
    return probs


def balanced(labels: np.ndarray, n_classes: int, *, power: float = 0.5) -> np.ndarray:
    """(N,) weights that sum to 1: a class weighs its number of cells to the `power` (1 as they are, 0 all alike)."""
    counts = np.bincount(labels, minlength=n_classes).astype(np.float64)
    weights = np.maximum(counts, 1)[labels] ** (power - 1)
    return weights / weights.sum() if len(weights) else weights


def mixture_probs(
    problem: SiteProblem,
    *,
    source_cells: float = 3.0,
    unlabelled: float = 0.3,
    temper: float = 0.5,
    shrink: float = 0.5,
    rounds: int = 15,
) -> np.ndarray:
    """(U, C) of a mixture of Gaussians with one covariance, fitted by EM to the site's cells, labelled or not.

    source_cells  cells that the source's class mean (moved by the site's shift) counts for in the site's
    unlabelled    weight of an unlabelled cell beside a labelled one's 1
    temper        exponent of the likelihood: features are not independent, so that 1 is far too sure
    shrink        of the within-class covariance towards a multiple of the identity
    """
    n_classes, d = problem.n_classes, problem.source.shape[1]
    source, in_source = class_means(problem.source, problem.source_labels, n_classes)
    centred = problem.source - source[problem.source_labels]
    scatter_source = centred.T @ centred / len(centred)
    x = np.concatenate([problem.labelled, problem.unlabelled])
    share = np.zeros((len(x), n_classes))
    share[: len(problem.labels)] = np.eye(n_classes)[problem.labels]
    weights = np.r_[np.ones(len(problem.labels)), np.full(len(problem.unlabelled), unlabelled)]
    shift, covariance = site_shift(problem), scatter_source
    for done in range(rounds + 1):
        used = share * weights[:, None] if done else share * (np.arange(len(x)) < len(problem.labels))[:, None]
        counts = used.sum(0)
        weight = np.maximum(source_cells, 1e-6) * in_source
        means = (used.T @ x + (source + shift) * weight[:, None]) / np.maximum(counts + weight, _TINY)[:, None]
        known = counts + weight > 0
        if done:
            cross = means.T @ (used.T @ x)  # the sum of u (x - m)(x - m)' over cells and classes, multiplied out
            scatter = (x * used.sum(1)[:, None]).T @ x - cross - cross.T + (means * counts[:, None]).T @ means
            covariance = (scatter + scatter_source * len(problem.labels)) / (used.sum() + len(problem.labels))
            shift = (counts[:, None] * (means - source) * in_source[:, None]).sum(0) / (counts @ in_source + 3.0)
        level = np.trace(covariance) / d
        root = np.linalg.cholesky(np.linalg.inv((1 - shrink) * covariance + shrink * level * np.eye(d)))
        log_density = -0.5 * temper * squared_distances(problem.unlabelled @ root, means @ root)
        prior = np.log((counts + 1) / (counts + 1).sum())
        probs = softmax(np.where(known, log_density + prior, -np.inf))
        share[len(problem.labels) :] = probs
    return probs


def spread_probs(
    problem: SiteProblem,
    prior: np.ndarray | None = None,
    *,
    neighbours: int = 8,
    reach: float = 0.8,
    trust: float = 0.2,
) -> np.ndarray:
    """(U, C): labels spread over a graph of the site's nearest cells (Zhou et al. 2003), from a prior (U, C).

    prior       what the unlabelled cells start from; None: `logistic_probs`
    neighbours  of each cell, by cosine similarity around the site's mean, made mutual
    reach       share of a cell's label that comes from its neighbours
    trust       weight of an unlabelled cell's prior beside a labelled cell's 1
    """
    prior = logistic_probs(problem) if prior is None else prior
    x = np.concatenate([problem.labelled, problem.unlabelled])
    edge = nearest_graph(x, neighbours)
    seeds = np.concatenate([np.eye(problem.n_classes)[problem.labels], trust * prior])
    spread = np.linalg.solve(np.eye(len(x)) - reach * edge, (1 - reach) * seeds)[len(problem.labels) :]
    return spread / np.maximum(spread.sum(1, keepdims=True), _TINY)


def nearest_graph(x: np.ndarray, neighbours: int) -> np.ndarray:
    """(N, N) edges between each row of x (N, D) and its nearest by cosine around the mean, mutual and normalised."""
    x = x - x.mean(0)
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), _TINY)
    near = x @ x.T
    np.fill_diagonal(near, -np.inf)
    k = min(neighbours, len(x) - 1)
    edge = np.zeros_like(near)
    rows = np.repeat(np.arange(len(x)), k)
    columns = np.argpartition(-near, k - 1, axis=1)[:, :k].ravel()
    edge[rows, columns] = np.exp(4 * (near[rows, columns] - 1))
    edge = np.maximum(edge, edge.T)
    degree = np.sqrt(np.maximum(edge.sum(1), _TINY))
    return edge / degree[:, None] / degree


def ensemble_probs(problem: SiteProblem) -> np.ndarray:
    """(U, C): the geometric mean of `logistic_probs`, of what `spread_probs` makes of it, and of `mixture_probs`."""
    logistic = logistic_probs(problem)
    members = (logistic, spread_probs(problem, logistic), mixture_probs(problem))
    total: np.ndarray = sum((np.log(p + 1e-3) for p in members), np.zeros(1))
    return softmax(total / len(members))


METHODS = {
    "nearest-mean": nearest_mean_probs,
    "logistic, no source": lambda problem: logistic_probs(problem, replay=0.0),
    "logistic": logistic_probs,
    "logistic, self-trained": lambda problem: logistic_probs(problem, rounds=2),
    "mixture": mixture_probs,
    "spread": spread_probs,
    "ensemble": ensemble_probs,
}


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(A, B) squared distances between rows of a (A, D) and b (B, D)."""
    return np.maximum((a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1), 0)


def with_one(x: np.ndarray) -> np.ndarray:
    """(N, D + 1): a column of ones at the end, for the intercept."""
    return np.concatenate([x, np.ones((len(x), 1))], 1)
