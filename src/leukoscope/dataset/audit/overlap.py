"""Photographs that overlap: the same part of a smear in two pictures, one moved against the other.

Small pictures of one scale are laid over each other at every shift at once (phase-free cross-correlation by Fourier
transform of their fine structure), and the best shifts are judged by the correlation of what both show.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image

from leukoscope.cores import usable_cores
from leukoscope.dataset.audit.align import FAINT, blur_table

LEAST_OVERLAP = 0.15  # of a picture's area
REACH = (
    40  # pairs further apart in the sequence are not compared: photographs that overlap were taken one after another
)
# Correlation over what both show. Chosen on windows cut from five sets with 35 to 80 % in common, saved again in other
# light with noise (0.78 and more), against all pairs of different fields there (0.63 and less).
PROVEN, POSSIBLE = 0.7, 0.6
# Blocks: one round cell laid over another agrees as well as a common part, but in 7 blocks at the most; real common
# parts of a third of a picture reach 9, of half 15.
LEAST_SPREAD = 9.0
_BLOCK_PX = 12
# (longer side, agreement there to look closer): nearly all pairs fail at the first, which costs a third of the second.
# The first loses no pair on windows cut from eight sets, nor in bccd, whose true pairs agree by 0.74 and more there.
_LEVELS = ((32, 0.45), (48, 0.5))
_AT_A_TIME = 256  # pictures whose transforms are held
_MOST_THREADS = 8
_MOST_CANDIDATES = 6  # a picture's best partners that are looked at
_BLUR, _NEIGHBOURHOOD = 2.0, 4.0  # px of the small pictures, as in the audit's fine structure
_BEST_SHIFTS = 3
_LEAST_STRENGTH = 0.05  # root mean square of the fine structure: below it there is nothing to be recognised by


@dataclass(frozen=True, slots=True)
class Overlap:
    """Two pictures that show a part in common.

    first, second  rows
    shift          (dx, dy) of the second's top left corner in the first, as shares of the width and the height
    agreement      correlation of the fine structure of the common part
    area           the common part's share of a picture
    spread         over how many blocks of the common part the agreement is spread (participation ratio)
    """

    first: int
    second: int
    shift: tuple[float, float]
    agreement: float
    area: float
    spread: float

    @property
    def is_proven(self) -> bool:
        """Whether it is more than a suspicion."""
        return self.agreement >= PROVEN


def find_overlaps(pictures: Sequence[np.ndarray], *, reach: int = REACH) -> tuple[Overlap, ...]:
    """Every pair of `pictures` (H, W) uint8 grey, all of one size and scale, that overlaps by LEAST_OVERLAP or more."""
    if len(pictures) < 2:
        return ()
    shape = pictures[0].shape
    n_common = _common(shape)
    padded = (2 * shape[0], 2 * shape[1])
    overlaps = []
    ready: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # a picture has several partners: its structure is found once
    for first, second in _candidates(pictures, reach):
        for row in [row for row in ready if row < first]:
            del ready[row]
        for row in (first, second):
            if row not in ready:
                fine = _fine_structure(pictures[row])
                ready[row] = fine, np.fft.rfft2(fine, s=padded)
        (one, wave), (other, other_wave) = ready[first], ready[second]
        best = _best_shift(one, other, np.fft.irfft2(wave * other_wave.conj(), s=padded), n_common)
        if best is not None:
            dy, dx, agreement, a, b = best
            shift, area = (dx / shape[1], dy / shape[0]), a.size / one.size
            overlap = Overlap(first, second, shift, agreement, area, _spread(a * b))
            if overlap.spread >= LEAST_SPREAD:
                overlaps.append(overlap)
    return tuple(overlaps)


def _candidates(pictures: Sequence[np.ndarray], reach: int) -> list[tuple[int, int]]:
    """Pairs that agree somewhat at every coarse scale, at most _MOST_CANDIDATES for each picture with later ones."""
    n, candidates = len(pictures), []
    for start in range(0, n - 1, _AT_A_TIME):
        some = pictures[start : start + _AT_A_TIME + reach]
        firsts = range(min(_AT_A_TIME, len(some) - 1))
        partners = [np.arange(first + 1, min(first + 1 + reach, len(some))) for first in firsts]
        for side, least in _LEVELS:
            alike = _agreements(some, partners, side)
            kept = [np.flatnonzero(a >= least) for a in alike]
            partners = [p[k] for p, k in zip(partners, kept, strict=True)]
        for first, rows, agreement, passed in zip(firsts, partners, alike, kept, strict=True):
            best = rows[np.argsort(-agreement[passed])][:_MOST_CANDIDATES]
            candidates += [(start + first, start + int(row)) for row in best]
    return candidates


def _agreements(pictures: Sequence[np.ndarray], partners: list[np.ndarray], side: int) -> list[np.ndarray]:
    """How well each of the first pictures agrees with each of its partners, shown `side` px long, at the best shift."""
    height, width = pictures[0].shape
    scale = min(1.0, side / max(height, width))
    size = (max(4, round(width * scale)), max(4, round(height * scale)))
    asked = np.unique(np.concatenate([np.r_[first, rows] for first, rows in enumerate(partners) if len(rows)] or [[0]]))
    row_of = np.zeros(len(pictures), int)
    row_of[asked] = np.arange(len(asked))
    small = (Image.fromarray(pictures[row]).resize(size, Image.Resampling.BOX) for row in asked)
    fine = np.stack([_fine_structure(np.asarray(p)) for p in small])
    shape = fine.shape[1:]
    padded = (2 * shape[0], 2 * shape[1])
    n_common = _common(shape)
    allowed = n_common >= LEAST_OVERLAP * shape[0] * shape[1]
    # Chance grows with the root of the number of px in common: by it the shifts compete.
    weight = np.where(allowed, 1 / np.sqrt(np.maximum(n_common, 1)), 0).ravel().astype(np.float32)
    strength = np.maximum(np.sqrt((fine**2).mean(axis=(1, 2))), 1e-6)
    waves = np.fft.rfft2(fine, s=padded)

    def of_first(first: int, rows: np.ndarray) -> np.ndarray:
        if not len(rows):
            return np.empty(0)
        one, others = row_of[first], row_of[rows]
        sums = np.fft.irfft2(waves[others] * waves[one].conj(), s=padded).reshape(len(rows), -1)
        sums *= weight
        place = sums.argmax(axis=1)
        best = sums[np.arange(len(rows)), place]
        return best * weight[place] / (strength[one] * strength[others])

    # A patient's photographs are compared when nothing else is left to be done: transforms let go of Python's lock.
    with ThreadPoolExecutor(min(usable_cores(), _MOST_THREADS)) as pool:
        return list(pool.map(of_first, range(len(partners)), partners))


def _common(shape: tuple[int, int]) -> np.ndarray:
    """(2H, 2W): how many px two pictures have in common at each shift of a padded transform."""
    return np.outer(*(_overlap_lengths(n) for n in shape))


def _fine_structure(picture: np.ndarray) -> np.ndarray:
    """(H, W) float32: what a blur takes away, at about the same contrast everywhere; zeros where there is nothing."""
    height, width = picture.shape
    pixels = picture.astype(np.float32)
    fine = pixels - blur_table(height, _BLUR) @ pixels @ blur_table(width, _BLUR).T
    around = blur_table(height, _NEIGHBOURHOOD) @ (fine * fine) @ blur_table(width, _NEIGHBOURHOOD).T
    fine /= np.sqrt(np.maximum(around, 0)) + FAINT
    return fine if np.sqrt((fine * fine).mean()) >= _LEAST_STRENGTH else np.zeros_like(fine)


def _overlap_lengths(n: int) -> np.ndarray:
    """How many px two rows of n have in common at each shift of a transform of length 2n."""
    shift = np.arange(2 * n)
    return np.maximum(n - np.minimum(shift, 2 * n - shift), 0).astype(np.float32)


def _best_shift(
    one: np.ndarray, other: np.ndarray, sums: np.ndarray, n_common: np.ndarray
) -> tuple[int, int, float, np.ndarray, np.ndarray] | None:
    """(dy, dx, agreement, the common part in each) of the best shift of `other` in `one`, if at least POSSIBLE."""
    height, width = one.shape
    least = LEAST_OVERLAP * height * width
    score = np.where(n_common >= least, sums / np.sqrt(np.maximum(n_common, 1)), -np.inf).ravel()
    best = None
    for place in np.argpartition(score, -_BEST_SHIFTS)[-_BEST_SHIFTS:]:
        dy, dx = divmod(int(place), 2 * width)
        dy, dx = dy - 2 * height * (dy >= height), dx - 2 * width * (dx >= width)
        a = one[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)]
        b = other[max(-dy, 0) : height + min(-dy, 0), max(-dx, 0) : width + min(-dx, 0)]
        norm = float(np.sqrt(np.vdot(a, a) * np.vdot(b, b)))
        agreement = float(np.vdot(a, b)) / norm if norm > 0 else 0.0
        if agreement >= POSSIBLE and (best is None or agreement > best[2]):
            best = (dy, dx, agreement, a, b)
    return best


def _spread(product: np.ndarray) -> float:
    """Participation ratio (sum e)² / sum e² of the agreement e in blocks of _BLOCK_PX."""
    rows, columns = (max(1, n // _BLOCK_PX) for n in product.shape)
    lines = np.array_split(product, rows)
    blocks = np.maximum([part.sum() for line in lines for part in np.array_split(line, columns, axis=1)], 0)
    return float(blocks.sum() ** 2 / max(float((blocks**2).sum()), 1e-12))
