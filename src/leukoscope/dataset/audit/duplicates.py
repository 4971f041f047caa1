"""Which of many pictures show the same: files that are the same, and copies that no digest finds.

Three steps: signatures name candidates through an index, each candidate is laid over its partner and their fine
structure compared, and what agrees is gathered into clusters. docs/decisions/0007 has the thresholds' origin.
"""

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leukoscope.cores import one_blas_thread
from leukoscope.dataset.audit.align import align, fine_structure, structure_strength
from leukoscope.dataset.audit.index import Candidates, find_candidates
from leukoscope.dataset.audit.signature import WINDOWS
from leukoscope.dataset.audit.thumbnails import Thumbnails, read_thumbnails
from leukoscope.dataset.audit.turns import turn_pixels, turn_points
from leukoscope.progress import Progress, StageProgress, no_stages, of_stage

# Chosen on copies planted among the training pictures of pbc (benchmarks/sets/near_duplicates.py --part development):
# the least agreement of theirs was 0.87, the greatest among different pictures 0.46; on cells alone on an empty ground
# (jtsc) different ones reach 0.74.
LEAST_AGREEMENT = 0.75
_LEAST_COARSE = 0.55  # at half the resolution, for a pair to be aligned further; copies reach 0.89
_LEAST_STRUCTURE = 1.0  # grey levels, root mean square: a picture with less has nothing to be recognised by
_COARSE, _FINE_STEPS = 32, 3
# Steps at half the resolution, and the agreement there that goes on. Most candidates are different pictures, and two
# steps tell: copies (cropped to 80 % of each side at the most) then agree by 0.38 and more, of different photographs
# of smears one in thirty by 0.3.
_COARSE_STAGES = ((2, 0.3), (4, _LEAST_COARSE))
_BLOCK = 256


@dataclass(frozen=True, slots=True)
class Pair:
    """Two pictures that show the same.

    first, second  rows of the paths
    is_same_file   byte by byte
    agreement      correlation of their fine structure once aligned, 1 for the same file
    turn, window   the second shows window (x, y, width, height; shares) of the first turned by `turn` (turns.py)
    brightness     of the second over that of the first, in the part that both show
    """

    first: int
    second: int
    is_same_file: bool
    agreement: float
    turn: int = 0
    window: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    brightness: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class _Chosen:
    """Some of many thumbnails (N, 64, 64), copied a few at a time: all of 200,000 once more are 0.8 GB."""

    pixels: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int | slice | np.ndarray) -> np.ndarray:
        return self.pixels[self.rows[place]]


@dataclass(frozen=True, slots=True)
class Duplicates:
    """What `find_duplicates` found.

    pairs       the surest first; of n files that are the same, n - 1 pairs with the first of them
    clusters    rows that are connected by pairs, two or more each
    unreadable  {row: why}: not compared with anything
    blank       rows with nothing to be recognised by: compared by their digest only
    sha256      each file's digest as it is now, "" where there is no file
    """

    pairs: tuple[Pair, ...]
    clusters: tuple[tuple[int, ...], ...]
    unreadable: dict[int, str]
    blank: tuple[int, ...]
    sha256: tuple[str, ...]


def find_duplicates(
    paths: Sequence[str | Path],
    *,
    least_agreement: float = LEAST_AGREEMENT,
    seed: int = 0,
    workers: int = 2,
    progress: StageProgress = no_stages,
) -> Duplicates:
    """The duplicates among picture files: the same file, or turned, mirrored, saved again, rescaled, brighter or
    darker, or cropped (to about 85 % of each side or more).

    Files that can't be read are listed, not raised. The answer depends on the files, their order and `seed` alone.
    """
    seen = read_thumbnails(paths, workers=workers, progress=of_stage(progress, "reading pictures"))
    return compare_thumbnails(seen, least_agreement=least_agreement, seed=seed, workers=workers, progress=progress)


def compare_thumbnails(
    seen: Thumbnails,
    *,
    least_agreement: float = LEAST_AGREEMENT,
    seed: int = 0,
    workers: int = 2,
    progress: StageProgress = no_stages,
) -> Duplicates:
    """`find_duplicates` of pictures that were read before."""
    pairs, rows, blank = _same_files(seen)
    if len(rows) > 1:
        small = _Chosen(seen.pixels, rows)
        with one_blas_thread():
            candidates = find_candidates(
                small, seed=seed, workers=workers, progress=of_stage(progress, "looking for candidates")
            )
            near = _verify(
                small, candidates, least_agreement, workers=workers, progress=of_stage(progress, "comparing candidates")
            )
        pairs += [_renumbered(pair, rows) for pair in near]
    order = sorted(pairs, key=lambda p: (not p.is_same_file, -p.agreement, p.first, p.second))
    return Duplicates(tuple(order), connected(order), seen.unreadable, blank, seen.sha256)


def connected(pairs: Sequence[Pair]) -> tuple[tuple[int, ...], ...]:
    """The clusters that pairs make, each sorted, the one with the lowest row first (union-find)."""
    parent: dict[int, int] = {}

    def root(row: int) -> int:
        parent.setdefault(row, row)
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for pair in pairs:
        a, b = root(pair.first), root(pair.second)
        parent[max(a, b)] = min(a, b)
    members = defaultdict(list)
    for row in sorted(parent):
        members[root(row)].append(row)
    return tuple(tuple(m) for m in members.values())


def _same_files(seen: Thumbnails) -> tuple[list[Pair], np.ndarray, tuple[int, ...]]:
    """(pairs of the same file, one row of each different readable picture, the blank ones among those)."""
    first: dict[str, int] = {}
    pairs = []
    for row, digest in enumerate(seen.sha256):
        if digest and first.setdefault(digest, row) != row:
            pairs.append(Pair(first[digest], row, True, 1.0))
    rows = np.array([r for r in first.values() if r not in seen.unreadable], np.int64)
    structure = np.empty(len(rows))
    for start in range(0, len(rows), _BLOCK):
        structure[start : start + _BLOCK] = structure_strength(seen.pixels[rows[start : start + _BLOCK]])
    is_blank = structure < _LEAST_STRUCTURE
    return pairs, rows[~is_blank], tuple(int(r) for r in rows[is_blank])


def _verify(
    thumbnails: np.ndarray, candidates: Candidates, least: float, *, workers: int, progress: Progress
) -> list[Pair]:
    """The candidates that agree once aligned."""
    starts = range(0, len(candidates.query), _BLOCK)
    blocks = (candidates.take(np.arange(s, min(s + _BLOCK, len(candidates.query)))) for s in starts)
    pairs: list[Pair] = []
    with ThreadPoolExecutor(workers) as pool:
        for done, part in enumerate(pool.map(lambda b: _verify_block(thumbnails, b, least), blocks), 1):
            pairs += part
            progress(min(done * _BLOCK, len(candidates.query)), len(candidates.query))
    return pairs


def _verify_block(thumbnails: np.ndarray, candidates: Candidates, least: float) -> list[Pair]:
    query = np.stack(
        [turn_pixels(thumbnails[q], int(g)) for q, g in zip(candidates.query, candidates.turn, strict=True)]
    )
    target = thumbnails[candidates.target]
    kept, windows = np.arange(len(query)), _turned_windows(candidates)
    coarse_query, coarse_target = fine_structure(query, _COARSE), fine_structure(target, _COARSE)
    for steps, goes_on in _COARSE_STAGES:
        coarse = align(coarse_query[kept], coarse_target[kept], windows, steps=steps)
        near = coarse.agreement >= min(goes_on, least)
        kept, windows = kept[near], coarse.windows[near]
        if not len(kept):
            return []
    fine = align(fine_structure(query[kept]), fine_structure(target[kept]), windows, steps=_FINE_STEPS)
    pairs = []
    for row, window, agreement in zip(kept, fine.windows, fine.agreement, strict=True):
        if agreement >= least:
            pairs.append(
                Pair(
                    int(candidates.query[row]),
                    int(candidates.target[row]),
                    False,
                    min(float(agreement), 1.0),
                    int(candidates.turn[row]),
                    tuple(float(v) for v in window),
                    _brightness(query[row], target[row], window),
                )
            )
    return pairs


def _turned_windows(candidates: Candidates) -> np.ndarray:
    """(M, 4) x, y, width, height of each candidate's window in the turned query."""
    sides = np.array([(x, y, x + side, y + side) for x, y, side in WINDOWS], np.float32)[candidates.window]
    corners = sides.reshape(-1, 2, 2)
    for turn in np.unique(candidates.turn):
        rows = candidates.turn == turn
        corners[rows] = turn_points(corners[rows], int(turn))
    low, high = corners.min(axis=1), corners.max(axis=1)
    return np.concatenate([low, high - low], axis=1).astype(np.float32)


def _brightness(query: np.ndarray, target: np.ndarray, window: np.ndarray) -> float:
    """Mean of the target over the mean of the query's window that it shows."""
    side = len(query)
    x0, y0 = (int(np.clip(np.rint(v * side), 0, side - 1)) for v in window[:2])
    x1, y1 = (int(np.clip(np.rint((a + b) * side), 1, side)) for a, b in zip(window[:2], window[2:], strict=True))
    part = query[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
    return float(target.mean() / max(float(part.mean()), 1.0))


def _renumbered(pair: Pair, rows: np.ndarray) -> Pair:
    return Pair(
        int(rows[pair.first]), int(rows[pair.second]), False, pair.agreement, pair.turn, pair.window, pair.brightness
    )
