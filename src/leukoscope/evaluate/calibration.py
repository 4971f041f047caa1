"""Whether probabilities are what they say: reliability, expected calibration error, temperature.

A call's confidence is the probability of the class called (top label). Bins are 15 of equal width over (0, 1],
right edge included (Guo et al., On calibration of modern neural networks, ICML 2017).
"""

import numpy as np

from leukoscope.errors import DataError

N_BINS = 15


def reliability(confidence: np.ndarray, right: np.ndarray, *, n_bins: int = N_BINS) -> list[dict]:
    """One row a bin that has calls: low, high, n, confidence, accuracy. confidence (N,) in [0, 1], right (N,) bool."""
    confidence, right = _validate(confidence, right)
    edges = np.linspace(0, 1, n_bins + 1)
    place = _bins(confidence, n_bins)
    rows = []
    for b in range(n_bins):
        inside = place == b
        if inside.any():
            rows.append(
                {
                    "low": float(edges[b]),
                    "high": float(edges[b + 1]),
                    "n": int(inside.sum()),
                    "confidence": float(confidence[inside].mean()),
                    "accuracy": float(right[inside].mean()),
                }
            )
    return rows


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray, *, n_bins: int = N_BINS) -> float:
    """Mean distance between confidence and accuracy over bins, weighted by calls; NaN without calls."""
    confidence, right = _validate(confidence, right)
    if not len(right):
        return float("nan")
    # n |mean confidence - accuracy| of a bin is |sum of (confidence - right)|.
    gaps = np.bincount(_bins(confidence, n_bins), weights=confidence - right, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(right))


def fit_temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """The temperature T that minimises the negative log likelihood of softmax(logits / T), between 0.05 and 20.

    logits (N, C), truth (N,) class columns. Log probabilities do as well as logits. The loss is convex in 1 / T:
    a golden-section search over log T finds its only minimum to 1e-6.
    """
    logits, truth = np.asarray(logits, np.float64), np.asarray(truth, np.int64).reshape(-1)
    if logits.ndim != 2 or len(logits) != len(truth) or not len(truth):
        raise DataError(f"a temperature needs logits (N, C) and N truths, got {logits.shape} and {len(truth)}")
    if not np.isfinite(logits).all():
        raise DataError("a temperature needs finite logits")
    low, high, golden = np.log(0.05), np.log(20.0), (np.sqrt(5) - 1) / 2
    while high - low > 1e-7:
        left, right = high - golden * (high - low), low + golden * (high - low)
        losses = [negative_log_likelihood(logits / np.exp(t), truth) for t in (left, right)]
        if losses[0] < losses[1]:
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def negative_log_likelihood(logits: np.ndarray, truth: np.ndarray) -> float:
    """Mean over cells of -log softmax(logits)[truth]."""
    shifted = logits - logits.max(1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(1))
    return float((log_sum - shifted[np.arange(len(truth)), truth]).mean())


def _bins(confidence: np.ndarray, n_bins: int) -> np.ndarray:
    """(N,) bin of each confidence: a bin holds its right edge, the first one also 0."""
    return np.clip(np.searchsorted(np.linspace(0, 1, n_bins + 1), confidence, side="left") - 1, 0, n_bins - 1)


def _validate(confidence: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    confidence, right = np.asarray(confidence, np.float64).reshape(-1), np.asarray(right, bool).reshape(-1)
    if len(confidence) != len(right):
        raise DataError(f"each confidence needs its outcome, got {len(confidence)} and {len(right)}")
    if not ((confidence >= 0) & (confidence <= 1 + 1e-6)).all():
        raise DataError("confidences must lie in [0, 1]")
    return np.minimum(confidence, 1.0), right
