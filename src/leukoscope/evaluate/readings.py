"""How a classifier's probabilities are read against a set's labels, and the numbers of each reading.

as_labelled            every class of the model; a truth finer than the model is judged by its nearest class
five_types_strict      see `coarse`
five_types_restricted  see `coarse`
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from leukoscope.evaluate.calibration import expected_calibration_error, reliability
from leukoscope.evaluate.classes import confusion_matrix, macro_f1, per_class, weighted_f1
from leukoscope.evaluate.coarse import FIVE_TYPES, OUTSIDE, TYPES, restricted_types, strict_types, type_of
from leukoscope.evaluate.patients import SHARE, clustered_limits
from leukoscope.taxonomy import Taxonomy, nearest_class

# Classes whose cells may rightly be called blasts; every other typed cell is normal for `called_blast`.
BLAST_CLASSES = (
    "blast", "myeloblast", "monoblast", "promonocyte", "lymphoblast", "megakaryoblast", "apl_promyelocyte",
    "faggot_cell", "immature_lymphocyte", "proerythroblast", "not_identifiable", "other",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """rows (N,) of the cells it can judge; truth, calls (N,) columns in `labels`; confidence (N,) of the calls."""

    name: str
    labels: tuple[str, ...]
    rows: np.ndarray
    truth: np.ndarray
    calls: np.ndarray
    confidence: np.ndarray


def read_probs(probs: np.ndarray, class_names: Sequence[str | None], taxonomy: Taxonomy) -> list[Reading]:
    """The readings that a set allows, the main one first. probs (N, C), class_names N truths (None: unstated).

    A set that states "neutrophil" and nothing finer than the five types has no as_labelled reading.
    """
    probs = np.asarray(probs, np.float64)
    readings = []
    stated = {name for name in class_names if name is not None}
    if not ("neutrophil" in stated and stated <= set(FIVE_TYPES)) or "neutrophil" in taxonomy.names:
        nearest = [None if n is None else nearest_class(n, taxonomy.names) for n in class_names]
        rows = np.array([i for i, n in enumerate(nearest) if n is not None], np.int64)
        truth = np.array([taxonomy.index(nearest[i]) for i in rows], np.int64)
        of_rows = probs[rows]
        readings.append(Reading("as_labelled", taxonomy.names, rows, truth, of_rows.argmax(1), of_rows.max(1)))
    types = [type_of(n) for n in class_names]
    rows = np.array([i for i, t in enumerate(types) if t is not None], np.int64)
    if any(type_of(n) is not None for n in taxonomy.names):
        truth = np.array([types[i] for i in rows], np.int64)
        strict, restricted = strict_types(probs[rows], taxonomy), restricted_types(probs[rows], taxonomy)
        readings.append(Reading("five_types_strict", (*TYPES, OUTSIDE), rows, truth, *strict))
        readings.append(Reading("five_types_restricted", TYPES, rows, truth, *restricted))
    return [r for r in readings if len(r.rows)]


def _matrix(reading: Reading, rows: np.ndarray) -> np.ndarray:
    return confusion_matrix(reading.truth[rows], reading.calls[rows], n_classes=len(reading.labels))


def _right(reading: Reading, rows: np.ndarray) -> np.ndarray:
    return reading.truth[rows] == reading.calls[rows]


# name → (reading, classes that the whole truth has, rows drawn) → one number; each gets limits by clusters.
MEASURES: dict[str, Callable[[Reading, list[int], np.ndarray], float]] = {
    "accuracy": lambda reading, present, rows: float(_right(reading, rows).mean()),
    "macro_f1": lambda reading, present, rows: macro_f1(_matrix(reading, rows), present),
    "weighted_f1": lambda reading, present, rows: weighted_f1(_matrix(reading, rows)),
    "ece": lambda reading, present, rows: expected_calibration_error(reading.confidence[rows], _right(reading, rows)),
}


def score_reading(reading: Reading, clusters: np.ndarray, class_names: Sequence[str | None]) -> dict:
    """Numbers of one reading, each with limits by clusters (N,); class_names: of all cells.

    F1 is averaged over the classes that the whole truth has, whichever clusters are left out.
    """
    n_classes = len(reading.labels)
    right = reading.truth == reading.calls
    clusters = np.asarray(clusters)[reading.rows]
    matrix = confusion_matrix(reading.truth, reading.calls, n_classes=n_classes)
    present = np.flatnonzero(matrix.sum(1)).tolist()
    whole = np.arange(len(right))
    scores = per_class(matrix)
    rows_of_class = {reading.labels[c]: {k: v[c].item() for k, v in scores.items()} for c in present}
    left_out = Counter(str(class_names[i]) for i in set(range(len(class_names))) - set(reading.rows.tolist()))
    return {
        "n_cells": len(right),
        **{name: with_limits(partial(of, reading, present), whole, clusters) for name, of in MEASURES.items()},
        "per_class": rows_of_class,
        "labels": list(reading.labels),
        "confusion": matrix.tolist(),
        "reliability": reliability(reading.confidence, right),
        "classes_without_cells": [n for i, n in enumerate(reading.labels) if i not in present and n != OUTSIDE],
        "cells_not_judged": dict(sorted(left_out.items())),
        "truth_read_as": _read_as(reading, class_names),
    }


def called_blast(
    probs: np.ndarray, class_names: Sequence[str | None], clusters: np.ndarray, taxonomy: Taxonomy
) -> dict:
    """Share of typed cells that are no blasts but were called one; also for each blast class alone."""
    normal = np.array([i for i, n in enumerate(class_names) if n is not None and n not in BLAST_CLASSES], np.int64)
    calls, clusters = np.asarray(probs)[normal].argmax(1), np.asarray(clusters)[normal]
    groups = {"any": taxonomy.columns(taxonomy.blasts)} | {n: [taxonomy.index(n)] for n in taxonomy.blasts}
    result: dict = {"n_normal_cells": len(normal)}
    for name, columns in groups.items():
        wrong = np.isin(calls, columns)
        share = with_limits(lambda rows, wrong=wrong: _mean(wrong[rows]), np.arange(len(wrong)), clusters)
        result[name] = {"n": int(wrong.sum()), **share}
    return result


def with_limits(
    statistic, rows: np.ndarray, clusters: np.ndarray, *, within: tuple[float, float] = SHARE
) -> dict[str, float]:
    """{"value", "low", "high"}: a statistic of all rows and its 95 % limits by clusters; `within` is its range."""
    low, high = clustered_limits(statistic, clusters, within=within)
    return {"value": statistic(rows), "low": low, "high": high}


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _read_as(reading: Reading, class_names: Sequence[str | None]) -> dict[str, str]:
    """Truth names that were judged by another name: {"band_neutrophil": "neutrophil"}."""
    pairs = zip(reading.rows.tolist(), reading.truth.tolist(), strict=True)
    named = {class_names[i]: reading.labels[t] for i, t in pairs}
    return {a: b for a, b in sorted(named.items()) if a != b}
