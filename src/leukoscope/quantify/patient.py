"""A patient's differential and a model card's confusion matrix, by class names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from leukoscope.count import members_of
from leukoscope.errors import DataError, ModelError
from leukoscope.quantify.corrected import CorrectedRatio, Evidence, ratio_of, weigh
from leukoscope.taxonomy import Taxonomy
from leukoscope.types import Differential


def confusion_of(card_confusion: dict | None, taxonomy: Taxonomy) -> np.ndarray | None:
    """(C, C) validation cells, truth x called, in the taxonomy's order, from a card's `confusion`; None without one.

    ModelError where it is not a table of whole numbers over classes of the taxonomy. Classes that it does not name
    have no validation cell.
    """
    if card_confusion is None:
        return None
    try:
        names = list(card_confusion["names"])
        counts = np.asarray(card_confusion["counts"])
    except (KeyError, TypeError, ValueError):
        raise ModelError("the card's confusion matrix needs names and counts, a row a true class") from None
    if counts.shape != (len(names), len(names)) or not np.issubdtype(counts.dtype, np.integer) or (counts < 0).any():
        raise ModelError(f"the card's confusion matrix must hold {len(names)} rows of {len(names)} numbers of cells")
    columns = taxonomy.columns(tuple(names))
    table = np.zeros((len(taxonomy.names), len(taxonomy.names)), np.int64)
    table[np.ix_(columns, columns)] = counts
    return table


def weigh_patient(
    differential: Differential, confusion: np.ndarray, subset: str = "blasts", *, local: np.ndarray | None = None
) -> Evidence:
    """The evidence for a ratio by its name, as `count.ratio` takes it."""
    taxonomy = differential.taxonomy
    return weigh(
        differential.counts,
        confusion,
        subset=taxonomy.columns(members_of(taxonomy, subset)),
        counted=taxonomy.columns(taxonomy.counted),
        local=local,
    )


def correct_patient(
    differential: Differential,
    confusion: np.ndarray,
    subset: str = "blasts",
    *,
    local: np.ndarray | None = None,
    level: float = 0.95,
    method: str = "adjusted",
) -> CorrectedRatio:
    """The corrected ratio by its name ("blasts", "cblc", one class); see `correct_ratio`."""
    return ratio_of(weigh_patient(differential, confusion, subset, local=local), level=level, method=method)


def confusion_from_labels(truth: Sequence[str], called: Sequence[str], taxonomy: Taxonomy) -> np.ndarray:
    """(C, C) table of a few labelled cells of a centre: what each is, what it was called."""
    if len(truth) != len(called):
        raise DataError(f"each labelled cell needs a truth and a call, got {len(truth)} and {len(called)}")
    table = np.zeros((len(taxonomy.names), len(taxonomy.names)), np.int64)
    np.add.at(table, (taxonomy.columns(tuple(truth)), taxonomy.columns(tuple(called))), 1)
    return table
