"""A last layer that calls like cells alike: what the site's own cells say about one another, without a label.

On a new stain a cell's call may be a coin's toss while most cells that look like it are called right. Probabilities
are spread over a graph of the site's nearest cells (Zhou et al. 2003), and the layer is fitted to what comes of that,
pulled to the layer it started from. What is kept is a linear layer again: at analysis it costs nothing.
"""

import numpy as np

from leukoscope.models.probabilities import softmax
from leukoscope.train.adapt.heads import logistic_weights, nearest_graph, with_one

NEIGHBOURS = 8
REACH = 0.8  # share of a cell's probabilities that comes from its neighbours; chosen on development sets
PULL = 0.1
MOST_CELLS = 2000  # drawn from a larger site: the graph is quadratic
_ROUNDS = 25


def lean_on_neighbours(features: np.ndarray, weights: np.ndarray, *, temperature: float, seed: int = 0) -> np.ndarray:
    """The layer `weights` (F + 1, C), fitted to the site's cells heard (N, F); as sure on average as it was."""
    drawn = np.random.default_rng(seed).permutation(len(features))[:MOST_CELLS]
    x = np.asarray(features, np.float64)[np.sort(drawn)]
    probs = softmax(with_one(x) @ weights / temperature)
    spread = _spread(nearest_graph(_compared(x), NEIGHBOURS), probs)
    fitted = logistic_weights(x, spread, penalty=PULL, start=weights / temperature)
    return fitted * as_sure(with_one(x) @ fitted, float(probs.max(1).mean())) * temperature


def _compared(x: np.ndarray) -> np.ndarray:
    """Features by their own spread, and what hardly varies not blown up."""
    spread = x.std(0)
    return (x - x.mean(0)) / (spread + max(float(spread.mean()), 1e-12))


def _spread(edges: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    out = seeds
    for _ in range(_ROUNDS):
        out = REACH * (edges @ out) + (1 - REACH) * seeds
    return out / np.maximum(out.sum(1, keepdims=True), 1e-12)


def as_sure(logits: np.ndarray, wanted: float) -> float:
    """By what to multiply logits (N, C) for their best probabilities to have a mean of `wanted`: spreading makes calls
    right more often and less sure."""
    low, high = 0.25, 4.0
    for _ in range(30):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if softmax(middle * logits).max(1).mean() < wanted else (low, middle)
    return (low * high) ** 0.5
