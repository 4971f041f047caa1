"""Which pictures may be copies of which: an inverted-file index over signatures, so that not all pairs are compared.

Signatures are gathered around centres (k-means on the sphere); a query looks only into the lists of its nearest
centres (Sivic and Zisserman, Video Google, 2003; Jegou et al., 2011). Every picture asks in all windows and turns.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from leukoscope.dataset.audit.signature import LENGTH, WINDOWS, Whitening, cosines, measure_whitening, signatures
from leukoscope.dataset.audit.turns import N_TURNS
from leukoscope.progress import Progress, no_progress

LEAST_SIMILARITY = 0.5  # cosine of two signatures, for a pair to be looked at more closely
MOST_CANDIDATES = 8  # a picture's best partners that are looked at
_ALL_BELOW = 1500  # pictures: one list, every signature is compared
_PROBES = 12  # lists that a query looks into
_BLOCK = 256
_ROUNDS = 8


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """M pairs to look at: target m looks like window `window[m]` of query m turned by `turn[m]`.

    query, target  (M,) rows; window  (M,) rows of WINDOWS; turn  (M,) 0..7; similarity  (M,) cosine
    """

    query: np.ndarray
    target: np.ndarray
    window: np.ndarray
    turn: np.ndarray
    similarity: np.ndarray

    def take(self, rows: np.ndarray) -> Candidates:
        """Some of them."""
        return Candidates(*(getattr(self, name)[rows] for name in ("query", "target", "window", "turn", "similarity")))


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """Signatures (N, 63) sorted into lists: rows[starts[c]:starts[c + 1]] are nearest to centre c."""

    centers: np.ndarray
    signatures: np.ndarray
    rows: np.ndarray
    starts: np.ndarray


def find_candidates(
    thumbnails: np.ndarray, *, seed: int = 0, workers: int = 2, progress: Progress = no_progress
) -> Candidates:
    """The pairs of thumbnails (N, 64, 64) that may show the same, each once, at most 8 a picture."""
    whitening = measure_whitening(thumbnails)
    index = build_index(thumbnails, whitening, seed=seed)
    starts = range(0, len(thumbnails), _BLOCK)
    blocks = []
    with ThreadPoolExecutor(workers) as pool:
        for done, part in enumerate(pool.map(lambda s: _ask(thumbnails, s, index, whitening), starts), 1):
            blocks.append(part)
            progress(min(done * _BLOCK, len(thumbnails)), len(thumbnails))
    names = ("query", "target", "window", "turn", "similarity")
    return _each_pair_once(Candidates(*(np.concatenate([getattr(p, name) for p in blocks]) for name in names)))


def build_index(thumbnails: np.ndarray, whitening: Whitening, *, seed: int) -> Index:
    """The index of the whole pictures, unturned."""
    n = len(thumbnails)
    known = np.concatenate(
        [signatures(cosines(thumbnails[s : s + _BLOCK], WINDOWS[:1])[:, 0], whitening) for s in range(0, n, _BLOCK)]
    )
    n_lists = 1 if n <= _ALL_BELOW else int(round(n**0.5))
    centers = _centers(known, n_lists, np.random.default_rng(seed))
    nearest = (known @ centers.T).argmax(axis=1)
    rows = np.argsort(nearest, kind="stable")
    starts = np.searchsorted(nearest[rows], np.arange(n_lists + 1))
    return Index(centers, known[rows], rows, starts)


def _centers(known: np.ndarray, n_lists: int, rng: np.random.Generator) -> np.ndarray:
    """(n_lists, 63) centres by a few rounds of k-means on at most 20,000 signatures."""
    sample = known[rng.choice(len(known), min(len(known), 20_000), replace=False)]
    centers = sample[rng.choice(len(sample), n_lists, replace=False)]
    for _ in range(_ROUNDS if n_lists > 1 else 0):
        nearest = (sample @ centers.T).argmax(axis=1)
        total = np.zeros_like(centers)
        np.add.at(total, nearest, sample)
        length = np.linalg.norm(total, axis=1, keepdims=True)
        centers = np.where(length > 1e-6, total / np.maximum(length, 1e-6), centers)
    return centers


def _ask(thumbnails: np.ndarray, start: int, index: Index, whitening: Whitening) -> Candidates:
    """The best partners of one block of pictures."""
    coefficients = cosines(thumbnails[start : start + _BLOCK])  # (B, W, K, K)
    n, n_windows = coefficients.shape[:2]
    asked = np.concatenate([signatures(coefficients, whitening, g).reshape(-1, LENGTH) for g in range(N_TURNS)])
    lists = _nearest_lists(asked, index)
    order = np.argsort(lists, axis=None, kind="stable")
    bounds = np.searchsorted(lists.ravel()[order], np.arange(len(index.centers) + 1))
    hits = []
    for center in range(len(index.centers)):
        questions = order[bounds[center] : bounds[center + 1]] // lists.shape[1]
        members = slice(index.starts[center], index.starts[center + 1])
        similarity = asked[questions] @ index.signatures[members].T
        q, t = np.nonzero(similarity >= LEAST_SIMILARITY)
        hits.append((questions[q], index.rows[members][t], similarity[q, t]))
    question, target, similarity = (np.concatenate(parts) for parts in zip(*hits, strict=True))
    turn, rest = np.divmod(question, n * n_windows)
    query, window = np.divmod(rest, n_windows)
    answers = Candidates(query + start, target, window, turn, similarity)
    return _best_partners(answers.take(np.flatnonzero(answers.query != answers.target)))


def _nearest_lists(asked: np.ndarray, index: Index) -> np.ndarray:
    """(n_questions, n_probes) the lists to look into."""
    n_lists = len(index.centers)
    if n_lists <= _PROBES:
        return np.broadcast_to(np.arange(n_lists), (len(asked), n_lists))
    return np.argpartition(asked @ index.centers.T, n_lists - _PROBES, axis=1)[:, n_lists - _PROBES :]


def _best_partners(candidates: Candidates) -> Candidates:
    """Each (query, target) once, in its most similar turn and window, and a query's best 8 targets only."""
    order = np.lexsort((-candidates.similarity, candidates.target, candidates.query))
    candidates = candidates.take(order)
    if len(order):
        first = np.r_[True, (np.diff(candidates.query) != 0) | (np.diff(candidates.target) != 0)]
        candidates = candidates.take(np.flatnonzero(first))
        candidates = candidates.take(np.lexsort((-candidates.similarity, candidates.query)))
        place = np.arange(len(candidates.query)) - np.searchsorted(candidates.query, candidates.query)
        candidates = candidates.take(np.flatnonzero(place < MOST_CANDIDATES))
    return candidates


def _each_pair_once(candidates: Candidates) -> Candidates:
    """Of (a, b) and (b, a) the more similar."""
    low, high = np.minimum(candidates.query, candidates.target), np.maximum(candidates.query, candidates.target)
    order = np.lexsort((-candidates.similarity, high, low))
    low, high = low[order], high[order]
    first = np.r_[True, (np.diff(low) != 0) | (np.diff(high) != 0)] if len(order) else np.zeros(0, bool)
    return candidates.take(order[first])
