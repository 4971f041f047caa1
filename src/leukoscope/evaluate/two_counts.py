"""What two counts of the same patient may differ by chance alone, and what one count can assert.

Rümke's limits for one count are Clopper and Pearson's (`intervals`). For two counts (Rümke et al., Journal of Clinical
Pathology 1975) they are those of the hypergeometric distribution: given the cells of a class in both together, how
many of them may lie in the first.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leukoscope.errors import InputError
from leukoscope.intervals import clopper_pearson

LINES = (0.05, 0.10, 0.20)


@functools.lru_cache(maxsize=1 << 16)
def agree_by_chance(first: int, n_first: int, second: int, n_second: int, *, level: float = 0.95) -> bool:
    """Whether `first` of n_first and `second` of n_second cells are within the two-count limits of each other."""
    for k, n in ((first, n_first), (second, n_second)):
        if not 0 <= k <= n or n == 0:
            raise InputError(
                f"two counts need 0 <= cells of the class <= cells counted and some counted, got {k} of {n}"
            )
    low, high = _tails(first, first + second, n_first, n_second)
    return min(low, high) > (1 - level) / 2


def second_count_limits(first: int, n_first: int, n_second: int, *, level: float = 0.95) -> tuple[int, int]:
    """Fewest and most cells of a second count of `n_second` that agree with `first` of `n_first` by chance."""
    middle = min(n_second, round(first * n_second / n_first))

    def agrees(k: int) -> bool:
        return agree_by_chance(first, n_first, k, n_second, level=level)

    low = high = middle
    while low > 0 and agrees(low - 1):
        low -= 1
    while high < n_second and agrees(high + 1):
        high += 1
    return low, high


def _tails(k: int, total: int, n_first: int, n_second: int) -> tuple[float, float]:
    """P(X <= k) and P(X >= k), hypergeometric: X of `total` cells lie among n_first, the rest among n_second."""
    x = np.arange(max(0, total - n_second), min(total, n_first) + 1)
    logs = _log_choose(n_first, x) + _log_choose(n_second, total - x)
    shares = np.exp(logs - logs.max())
    shares /= shares.sum()
    place = k - int(x[0])
    return float(shares[: place + 1].sum()), float(shares[place:].sum())


def _log_choose(n: int, k: np.ndarray) -> np.ndarray:
    logs = _log_factorials(1 << max(n, 1).bit_length())
    return logs[n] - logs[k] - logs[n - k]


@functools.cache
def _log_factorials(n: int) -> np.ndarray:
    """(n + 1,) logarithms of 0! to n!."""
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])


@dataclass(frozen=True, slots=True)
class Assertable:
    """What a count of `n` cells can say of one line; shares in [0, 1], NaN where no count of so many can.

    lowest_above   smallest counted share whose limits lie wholly above the line
    highest_below  largest counted share whose limits lie wholly below it
    """

    n: int
    line: float
    lowest_above: float
    highest_below: float


def assertable(n: int, *, lines: Sequence[float] = LINES, level: float = 0.95) -> list[Assertable]:
    """For each line the shares from which n cells assert it, and down from which they exclude it."""
    if n < 1:
        raise InputError(f"what a count can assert needs a cell or more, got {n}")
    kinds = []
    for line in lines:
        above = next(
            (k for k in range(math.floor(line * n), n + 1) if clopper_pearson(k, n, level=level)[0] > line), None
        )
        below = next(
            (k for k in range(math.ceil(line * n), -1, -1) if clopper_pearson(k, n, level=level)[1] < line), None
        )
        shares = [math.nan if k is None else k / n for k in (above, below)]
        kinds.append(Assertable(n, line, *shares))
    return kinds


def missed_share(n: int, *, level: float = 0.95) -> float:
    """The share of a class that n cells without a single one of it can have missed (one-sided, exact)."""
    return 1 - (1 - level) ** (1 / n)
