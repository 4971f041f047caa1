"""A classifier's error rates for one numerator, read from its validation confusion matrix.

Every class belongs to one of three groups: the numerator (blasts, CBLC), the other counted cells, and what is not
counted (artefacts, smudges). The full C x C matrix is collapsed to the rates between those groups, for a patient's
ratio depends on nothing finer. Two plain collapses are wrong, though, and this one is neither:

- adding up the rows takes the mix of cells of the validation set for the patient's own; where false blasts come from
  monocytes, a patient with many has more. So each row is weighted by its share among *this patient's* cells, found
  by expectation maximisation through the full matrix (Saerens, Latinne and Decaestecker, Neural Computation 2002,
  applied to counts): direct standardisation, as epidemiologists do it for age.
- inverting the full matrix lets two classes that are easily taken for each other (band and segmented neutrophil)
  swing against one another without end, though neither is in the numerator.

Weighted rows know less than their sum: a rate weighs as many cells as a binomial sample of the same variance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leukoscope.errors import DataError

NUMERATOR, OTHER, UNCOUNTED = range(3)
MIX_ROUNDS = 50


@dataclass(frozen=True, slots=True)
class Tally:
    """`hits` of `cells`, both real numbers: a rate as if it had been seen in so many independent cells."""

    hits: float
    cells: float


@dataclass(frozen=True, slots=True)
class GroupRates:
    """What becomes of the cells of one true group.

    uncounted  cells called something that is not counted, of all of the group
    numerator  cells called the numerator, of those called anything that is counted
    n_cells    validation cells of the group; n_numerator of them were called the numerator, n_uncounted not counted
    unseen     share of the patient's cells of the group, as estimated, whose class has no labelled cell at all
    """

    uncounted: Tally
    numerator: Tally
    n_cells: int
    n_numerator: int
    n_uncounted: int
    unseen: float = 0.0

    @classmethod
    def none(cls) -> GroupRates:
        """Of no cells at all."""
        return cls(Tally(0.0, 0.0), Tally(0.0, 0.0), 0, 0, 0)


def groups_of(n_classes: int, subset: Sequence[int], counted: Sequence[int] | None) -> np.ndarray:
    """(C,) group of each class; DataError where the numerator is empty or reaches outside the counted classes."""
    subset = sorted(set(subset))
    counted = list(range(n_classes)) if counted is None else sorted(set(counted))
    columns = [*subset, *counted]
    if not subset or not columns or not (0 <= min(columns) and max(columns) < n_classes):
        raise DataError(f"a ratio needs columns from 0 to {n_classes - 1} for its numerator and denominator")
    if not set(subset) < set(counted):
        raise DataError("a ratio's numerator must be a part of its counted classes, and not all of them")
    groups = np.full(n_classes, UNCOUNTED)
    groups[counted] = OTHER
    groups[subset] = NUMERATOR
    return groups


def mix_of(counts: np.ndarray, confusion: np.ndarray) -> np.ndarray:
    """(C,) share of each true class among a patient's cells, from calls (C,) and the matrix (C, C), truth x called.

    Maximum likelihood by expectation maximisation, with one cell in all as prior, spread as the validation cells are.
    A class without validation cells is taken as always called right.
    """
    n_classes = len(counts)
    rows = confusion.sum(1, keepdims=True)
    rates = (confusion + np.eye(n_classes) / n_classes) / (rows + 1 / n_classes)
    prior = (rows[:, 0] + 1) / (rows.sum() + n_classes)
    mix = prior
    for _ in range(MIX_ROUNDS):
        called = mix @ rates  # (C,)
        new = mix * (rates @ np.divide(counts, called, out=np.zeros(n_classes), where=called > 0)) + prior
        new /= new.sum()
        if np.abs(new - mix).max() < 1e-4:
            break
        mix = new
    return mix


def group_rates(
    confusion: np.ndarray, groups: np.ndarray, mix: np.ndarray, *, known: np.ndarray | None = None
) -> tuple[GroupRates, ...]:
    """The rates of the three true groups for a patient of this mix (C,); see the module's text.

    known  (C,) labelled cells of each class in all tables together; None: this table is the only one
    """
    called = confusion @ np.eye(3)[groups]  # (C, 3)
    known = confusion.sum(1) if known is None else known
    return tuple(
        _rates(called[groups == group], mix[groups == group], known[groups == group] > 0) for group in range(3)
    )


def _rates(table: np.ndarray, weights: np.ndarray, known: np.ndarray) -> GroupRates:
    """The rates of one group from its classes' validation cells by called group (K, 3), their weights (K,), and whether
    any cell of a class was labelled (K,)."""
    cells = table.sum(1)
    if not cells.sum():
        return GroupRates.none()
    counted = table[:, NUMERATOR] + table[:, OTHER]
    keeps = np.divide(counted, cells, out=np.zeros(len(table)), where=cells > 0)
    return GroupRates(
        uncounted=_standardised(table[:, UNCOUNTED], cells, weights),
        numerator=_standardised(table[:, NUMERATOR], counted, weights * keeps),
        n_cells=int(table.sum()),
        n_numerator=int(table[:, NUMERATOR].sum()),
        n_uncounted=int(table[:, UNCOUNTED].sum()),
        unseen=float(weights[~known].sum() / weights.sum()),
    )


def _standardised(hits: np.ndarray, cells: np.ndarray, weights: np.ndarray) -> Tally:
    """Weighted rate over classes (K,), as a tally of as many cells as have its variance, at most all of them."""
    seen = (cells > 0) & (weights > 0)
    if not seen.any():
        return Tally(0.0, 0.0)
    hits, cells, weights = hits[seen], cells[seen], weights[seen] / weights[seen].sum()
    pooled = (hits.sum() + 0.5) / (cells.sum() + 1)
    smooth = (hits + pooled) / (cells + 1)  # a class that was never called wrong is not for ever right
    mean = weights @ smooth
    variance = (weights**2) @ (smooth * (1 - smooth) / cells)
    effective = min(mean * (1 - mean) / variance, cells.sum())
    return Tally(float(effective * (weights @ (hits / cells))), float(effective))
