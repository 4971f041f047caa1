"""Sketches of features: short vectors whose angles are about those of the long ones.

A random projection (Johnson and Lindenstrauss 1984): with SHORT numbers a squared distance is off by an eighth of
itself, one standard deviation. That is enough to find the few hundred cells among which the nearest are; those are
then compared by all of their features.
"""

from functools import lru_cache

import numpy as np

SHORT = 128
_SEED = 20261126  # sketches of one database are compared with each other: this never changes


def sketch(vectors: np.ndarray) -> np.ndarray:
    """(N, SHORT) float16 of features (N, F), each of about length 1; zeros for a vector of zeros."""
    vectors = np.asarray(vectors, np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(lengths, 1e-9) @ _projection(vectors.shape[1])).astype(np.float16)


@lru_cache(4)
def _projection(n_features: int) -> np.ndarray:
    rng = np.random.default_rng(_SEED)
    return rng.standard_normal((n_features, SHORT), dtype=np.float32) / np.float32(SHORT**0.5)
