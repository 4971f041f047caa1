"""Deal groups of fields to splits or folds so that each gets its share of the fields and of every class.

The order of preference: every split has a group; every class that enough groups hold is in every split; the shares come
near what is asked for (chi-squared over the fields and the classes' cells).
"""

import random
from collections import Counter
from collections.abc import Iterator

import numpy as np

from leukoscope.dataset.manifest import TruthCell, TruthField
from leukoscope.errors import DataError

_MOVED_UP_TO = 1000  # groups: with more, dealing alone comes near enough
_SWAPPED_UP_TO = 100
_ROUNDS = 100


def deal(members: dict[str, list[TruthField]], shares: dict[str, float], *, seed: int, name: str) -> dict[str, str]:
    """{group: split} for groups (name -> its fields) and shares (split -> its share, summing to 1).

    Groups are dealt one by one, large ones rather first, each to where it takes most off the distance to what is asked;
    then single groups are moved, and two swapped, while that improves the deal. `name` is the data set's, for the
    DataError when there are fewer groups than splits.
    """
    if len(members) < len(shares):
        raise DataError(
            f"data set {name!r} has {len(members)} groups: can't fill {len(shares)} splits without sharing one"
        )
    rng = random.Random(seed)
    weight = {g: len(members[g]) * rng.uniform(0.5, 1.0) for g in sorted(members)}
    order = sorted(weight, key=lambda g: (-weight[g], g))
    counts = count_groups([members[g] for g in order])
    asked = np.array(list(shares.values()))
    chosen = _improved(_dealt(counts, asked), counts, asked)
    labels = list(shares)
    return {group: labels[c] for group, c in zip(order, chosen, strict=True)}


def count_groups(groups: list[list[TruthField]]) -> np.ndarray:
    """(G, 1 + n_classes): each group's fields, then its cells of each class in alphabetical order."""
    names = sorted({class_of(c) for fields in groups for f in fields for c in f.cells})
    column = {name: i for i, name in enumerate(names, 1)}
    counts = np.zeros((len(groups), 1 + len(names)))
    for row, fields in enumerate(groups):
        counts[row, 0] = len(fields)
        for name, n in Counter(class_of(c) for f in fields for c in f.cells).items():
            counts[row, column[name]] = n
    return counts


def class_of(cell: TruthCell) -> str:
    """A cell's class as a word, also where nobody stated one."""
    return cell.class_name or "not stated"


def _dealt(counts: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """(G,) the split of each group, dealt in order."""
    total = np.maximum(counts.sum(axis=0), 1)
    missing = asked[:, None] * total  # (n_splits, 1 + n_classes)
    chosen, is_empty = np.empty(len(counts), np.int64), np.ones(len(asked), bool)
    for row, count in enumerate(counts):
        # (missing - count)^2 / total, less what it was: the split where this falls most
        gain = ((2 * missing * count - count**2) / total).sum(axis=1)
        if len(counts) - row <= is_empty.sum():  # the last groups go to splits that would stay empty
            gain[~is_empty] = -np.inf
        chosen[row] = gain.argmax()
        missing[chosen[row]] -= count
        is_empty[chosen[row]] = False
    return chosen


def _improved(chosen: np.ndarray, counts: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The deal after the moves and swaps that improve it, the best of each round first."""
    if len(counts) > _MOVED_UP_TO:
        return chosen
    total = np.maximum(counts.sum(axis=0), 1)
    is_shareable = (counts > 0).sum(axis=0) >= len(asked)

    def cost(deal: np.ndarray) -> tuple[int, int, float]:
        held = np.stack([counts[deal == s].sum(axis=0) for s in range(len(asked))])
        lacking = int(((held == 0) & is_shareable).sum())
        distance = float(((held - asked[:, None] * total) ** 2 / total).sum())
        return int((held[:, 0] == 0).sum()), lacking, round(distance, 9)

    best = cost(chosen)
    for _ in range(_ROUNDS):
        cheapest = min(((cost(c), i) for i, c in enumerate(_neighbours(chosen, len(asked)))), default=(best, 0))
        if cheapest[0] >= best:
            break
        best = cheapest[0]
        chosen = next(c for i, c in enumerate(_neighbours(chosen, len(asked))) if i == cheapest[1])
    return chosen


def _neighbours(chosen: np.ndarray, n_splits: int) -> Iterator[np.ndarray]:
    """Every deal that differs by one group moved, or (among few groups) by two swapped."""
    for row in range(len(chosen)):
        for split in range(n_splits):
            if split != chosen[row]:
                changed = chosen.copy()
                changed[row] = split
                yield changed
    for row in range(len(chosen) if len(chosen) <= _SWAPPED_UP_TO else 0):
        for other in range(row):
            if chosen[row] != chosen[other]:
                changed = chosen.copy()
                changed[row], changed[other] = chosen[other], chosen[row]
                yield changed
