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
_BLOCK = 256  # pictures asked about at once; `_hits` has eight bits for them
_TWO = np.uint32(0x3FFFFFFF)  # the largest float32 below 2
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
    nearest = np.concatenate([(known[s : s + _BLOCK] @ centers.T).argmax(axis=1) for s in range(0, n, _BLOCK)])
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
    """The best partners of one block of pictures, each asked in all turns and windows."""
    coefficients = cosines(thumbnails[start : start + _BLOCK])  # (B, W, K, K)
    n, n_windows = coefficients.shape[:2]
    asked = np.stack([signatures(coefficients, whitening, g) for g in range(N_TURNS)], axis=1)
    asked = asked.reshape(n, N_TURNS * n_windows, LENGTH)
    query, place = _most_similar(_hits(asked, index), n)
    other = query + start != index.rows[place]
    query, place = query[other], place[other]
    rank = np.arange(len(query)) - np.searchsorted(query, query)
    query, place = query[rank < MOST_CANDIDATES], place[rank < MOST_CANDIDATES]
    seen = np.matmul(asked[query], index.signatures[place][:, :, None])[..., 0]  # (M, turns * windows)
    best = seen.argmax(axis=1)
    turn, window = np.divmod(best, n_windows)
    return Candidates(query + start, index.rows[place], window, turn, seen[np.arange(len(best)), best])


def _hits(asked: np.ndarray, index: Index) -> np.ndarray:
    """Of each pair that is similar enough, in a list that one of the picture's questions (B, Q, 63) looks into, the
    most similar question.

    (M,) uint64 that hold, from the highest bits on, the picture of the block, how unlike, and the place in the index.
    Of large sets they are millions, which took gigabytes as numbers of their own.
    """
    questions = asked.reshape(-1, LENGTH)
    lists = _nearest_lists(questions, index)
    order = np.argsort(lists, axis=None, kind="stable")  # within a list by picture
    bounds = np.searchsorted(lists.ravel()[order], np.arange(len(index.centers) + 1))
    rows = order // lists.shape[1]
    hits = []
    for center in range(len(index.centers)):
        looking, members = rows[bounds[center] : bounds[center + 1]], slice(*index.starts[center : center + 2])
        whose = looking // asked.shape[1]
        firsts = np.flatnonzero(np.diff(whose, prepend=-1))
        if len(firsts):
            # Of one pair some of eighty questions are similar, and one is wanted: most of the work was to sort them.
            most = np.maximum.reduceat(questions[looking] @ index.signatures[members].T, firsts, axis=0)
            picture, place = np.nonzero(most >= LEAST_SIMILARITY)
            # A cosine of 0.5 or more has the same leading bits as all others: 24 bits say it exactly.
            unlike = (_TWO - most[picture, place].view(np.uint32)).astype(np.uint64)
            hits.append(
                whose[firsts][picture].astype(np.uint64) << 56
                | unlike << 32
                | (members.start + place).astype(np.uint64)
            )
    return np.concatenate(hits)


def _most_similar(hits: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """(picture, place) of each of n pictures' most similar places, the best first: one more than MOST_CANDIDATES, for
    every picture is most like itself."""
    hits.sort()
    first = np.searchsorted(hits, np.arange(n, dtype=np.uint64) << 56)
    best = np.concatenate([of[: MOST_CANDIDATES + 1] for of in np.split(hits, first[1:])])
    return (best >> 56).astype(np.int64), (best & 0xFFFFFFFF).astype(np.int64)


def _nearest_lists(asked: np.ndarray, index: Index) -> np.ndarray:
    """(n_questions, n_probes) the lists to look into."""
    n_lists = len(index.centers)
    if n_lists <= _PROBES:
        return np.broadcast_to(np.arange(n_lists), (len(asked), n_lists))
    return np.argpartition(asked @ index.centers.T, n_lists - _PROBES, axis=1)[:, n_lists - _PROBES :]


def _each_pair_once(candidates: Candidates) -> Candidates:
    """Of (a, b) and (b, a) the more similar."""
    low, high = np.minimum(candidates.query, candidates.target), np.maximum(candidates.query, candidates.target)
    order = np.lexsort((-candidates.similarity, high, low))
    low, high = low[order], high[order]
    first = np.r_[True, (np.diff(low) != 0) | (np.diff(high) != 0)] if len(order) else np.zeros(0, bool)
    return candidates.take(order[first])
