"""How many more cells settle on which side of a threshold a patient is, if they are like those counted so far."""

import math
from collections.abc import Callable

from leukoscope.intervals import excludes
from leukoscope.quantify.corrected import Evidence
from leukoscope.quantify.groups import NUMERATOR, OTHER

ONE_SIDED_LEVEL = 0.95
NONE_SEEN_LINES = (0.05, 0.01)  # below 5 % there is no band; 1 % is what a count of some 300 cells can exclude
MOST_CELLS = 100_000  # counted cells that are searched; nobody counts more


def further_cells(numerator: int, denominator: int, threshold: float, *, level: float = 0.95) -> int | None:
    """Further counted cells until the exact binomial interval no longer holds `threshold`; 0: it doesn't now.

    None where no number up to MOST_CELLS does, or nothing was counted. Rounded up to two digits. It is a forecast
    for the share seen so far, not a promise: the share will move as cells are added.
    """
    if denominator == 0:
        return None
    share = numerator / denominator
    return _least(lambda n: excludes(share * n, n, threshold, level=level), denominator)


def most_missed(n_cells: int, *, level: float = ONE_SIDED_LEVEL) -> float:
    """Highest share that n cells without any such cell leave possible, one-sided: about 3 / n at 95 %."""
    return 1 - (1 - level) ** (1 / n_cells)


def cells_to_exclude(share: float, *, level: float = ONE_SIDED_LEVEL) -> int:
    """Cells without any such cell that exclude a share: 59 for 5 %, 299 for 1 % at 95 %."""
    return math.ceil(math.log(1 - level) / math.log(1 - share))


def further_cells_corrected(evidence: Evidence, threshold: float, *, level: float = 0.95) -> int | None:
    """The same for the corrected interval, whose classifier error no further cell makes smaller.

    None means that the classifier's error rates alone leave the side open: only more validation cells, best of this
    centre, can settle it.
    """
    n = evidence.called[NUMERATOR] + evidence.called[OTHER]
    if n == 0:
        return None

    def settled(n_cells: float) -> bool:
        _, low, high, _ = evidence.limits([c * n_cells / n for c in evidence.called], level=level)
        return not low <= threshold <= high

    return _least(settled, n)


def _least(settled: Callable[[float], bool], n_now: int) -> int | None:
    """Smallest number of further cells at which `settled(all cells)`, by doubling and halving."""
    if settled(n_now):
        return 0
    if n_now >= MOST_CELLS or not settled(MOST_CELLS):
        return None
    low, high = n_now, min(2 * n_now, MOST_CELLS)
    while high < MOST_CELLS and not settled(high):
        low, high = high, min(2 * high, MOST_CELLS)
    while high - low > max(1, 0.02 * (high - n_now)):
        middle = (low + high) // 2
        low, high = (low, middle) if settled(middle) else (middle, high)
    return _round_up(high - n_now)


def _round_up(number: int) -> int:
    """347 -> 350, 12345 -> 13000, 7 -> 7."""
    step = 10 ** max(0, math.floor(math.log10(number)) - 1)
    return math.ceil(number / step) * step
