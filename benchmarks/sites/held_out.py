"""Calibration by the very cells that a site's head is fitted to: each is called by a head without its label."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from leukoscope.errors import DataError
from leukoscope.train.adapt.heads import SiteProblem

N_FOLDS = 5


def held_out_probs(
    problem: SiteProblem, head: Callable[[SiteProblem], np.ndarray], *, groups: np.ndarray, seed: int = 0
) -> np.ndarray:
    """(L, C) of the labelled cells, each from a head without the labels of its fold (cross-conformal, Vovk 2015).

    groups (L,): what must not be divided (photographs). A fold's cells stand among the unlabelled ones, as new cells
    do. Sets from these probabilities are a little too large rather than too small: each head has a fifth fewer labels.
    DataError with fewer than two groups.
    """
    groups = np.asarray(groups)
    if len(groups) != len(problem.labels):
        raise DataError(f"each labelled cell needs a group, got {len(groups)} for {len(problem.labels)}")
    names, place = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        raise DataError("cells of one photograph can't calibrate themselves: label cells of two or more")
    fold = (np.random.default_rng(seed).permutation(len(names)) % min(N_FOLDS, len(names)))[place]
    probs = np.empty((len(groups), problem.n_classes))
    for f in range(fold.max() + 1):
        out = fold == f
        shown = np.concatenate([problem.labelled[out], problem.unlabelled])
        part = SiteProblem(
            problem.source, problem.source_labels, problem.labelled[~out], problem.labels[~out], shown,
            problem.n_classes,
        )  # fmt: skip
        probs[out] = head(part)[: out.sum()]
    return probs
