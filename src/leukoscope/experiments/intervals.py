"""An interval on every number of a study: whole patients, or whole clusters of near duplicates, are left out in turn.

`group_fields` says which unit a set allows; `estimate` and `paired_difference` leave it out; `rank_matches` and
`weighted_ap` make average precision cheap enough to be computed hundreds of times. Classes are fixed beforehand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from leukoscope.dataset.manifest import Dataset
from leukoscope.evaluate.boxes import RECALLS, Matches, best_boxes
from leukoscope.evaluate.classes import confusion_matrix, macro_f1
from leukoscope.evaluate.patients import ANY, SHARE, clustered_limits, limits_of_moves
from leukoscope.intervals import Limits

PATIENT, CLUSTER = "patient", "near-duplicate cluster"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its limits; NaN limits where there are fewer than two groups.

    n         what it is a share or mean of (cells, boxes, fields, as the table says)
    n_groups  groups that were left out in turn; `unit` says what a group is
    """

    value: float
    low: float
    high: float
    n: int
    n_groups: int
    unit: str

    def to_dict(self) -> dict:
        """Plain types; NaN becomes None."""
        numbers = {k: getattr(self, k) for k in ("value", "low", "high")}
        plain = {k: float(v) if math.isfinite(v) else None for k, v in numbers.items()}
        return plain | {"n": self.n, "n_groups": self.n_groups, "unit": self.unit}

    @classmethod
    def from_dict(cls, values: dict) -> Estimate:
        """The inverse of `to_dict`."""
        numbers = {k: math.nan if values[k] is None else values[k] for k in ("value", "low", "high")}
        return cls(**numbers, n=values["n"], n_groups=values["n_groups"], unit=values["unit"])


def as_estimate(limits: Limits, n: int) -> Estimate:
    """Limits that were found by patients, n of them, as an estimate of a table."""
    return Estimate(limits.value, limits.low, limits.high, n, n, PATIENT)


@dataclass(frozen=True, slots=True)
class FieldGroups:
    """What varies in one set: `unit`, and the group of each field, told by its file."""

    unit: str
    of_file: dict[str, str]

    def of(self, files: Sequence[str]) -> np.ndarray:
        """(N,) group of each file."""
        return np.array([self.of_file[f] for f in files], dtype=str)


def group_fields(dataset: Dataset, clusters: Sequence[Sequence[int]] = ()) -> FieldGroups:
    """Patients (told by centre and id together) where every field states one and there are two or more; else clusters.

    clusters  rows of the data set's fields that show the same (`dataset.audit`); a field in none is its own group
    """
    fields = dataset.fields
    patients = [f"{f.key.center}/{f.key.patient_id}" for f in fields]
    if fields and all(f.key.patient_id for f in fields) and len(set(patients)) > 1:
        return FieldGroups(PATIENT, {f.file: p for f, p in zip(fields, patients, strict=True)})
    of_file = {f.file: f"field {row}" for row, f in enumerate(fields)}
    for cluster in clusters:
        for row in cluster:
            of_file[fields[row].file] = f"cluster {min(cluster)}"
    return FieldGroups(CLUSTER, of_file)


def estimate(
    statistic: Callable[[np.ndarray], float],
    groups: np.ndarray,
    *,
    unit: str,
    n: int | None = None,
    within: tuple[float, float] = SHARE,
) -> Estimate:
    """A statistic of all rows with its 95 % limits by groups (`evaluate.patients.clustered_limits`).

    statistic  takes row numbers (M,); groups (N,) the group of each row
    n          the denominator to print; the number of rows unless given
    within     the range of the statistic
    """
    groups = np.asarray(groups)
    rows = np.arange(len(groups))
    value = float(statistic(rows)) if len(rows) else math.nan
    low, high = clustered_limits(statistic, groups, within=within)
    return Estimate(value, low, high, len(rows) if n is None else n, len(np.unique(groups)), unit)


def paired_difference(
    first: Callable[[np.ndarray], float], second: Callable[[np.ndarray], float], groups: np.ndarray, *, unit: str
) -> Estimate:
    """first - second on the same rows, the same groups left out of both: how much two systems differ."""
    return estimate(lambda r: first(r) - second(r), groups, unit=unit, within=ANY)


def accuracy_of(truth: np.ndarray, calls: np.ndarray) -> Callable[[np.ndarray], float]:
    """Accuracy as a statistic of rows. truth, calls (N,)."""
    right = np.asarray(truth) == np.asarray(calls)
    return lambda rows: float(right[rows].mean()) if len(rows) else math.nan


def macro_f1_of(
    truth: np.ndarray, calls: np.ndarray, n_classes: int, *, classes: Sequence[int] | None = None
) -> Callable[[np.ndarray], float]:
    """Macro-F1 as a statistic of rows, over `classes` (None: those of the whole truth). Columns (N,)."""
    truth, calls = np.asarray(truth), np.asarray(calls)
    classes = np.unique(truth) if classes is None else classes
    return lambda rows: macro_f1(confusion_matrix(truth[rows], calls[rows], n_classes=n_classes), classes)


def class_estimates(matrices: np.ndarray, groups: np.ndarray, *, unit: str) -> dict[str, list[Estimate]]:
    """{"precision", "recall", "f1"}: an estimate a class, from one confusion matrix a row (cell or photograph).

    matrices (N, C, C) counts, rows truth; groups (N,), left out as in `estimate`, all classes at once. A ratio without
    a denominator is 0, as in `evaluate.classes.per_class`.
    """
    names, place = np.unique(groups, return_inverse=True)
    by_group = np.zeros((len(names), *matrices.shape[1:]))
    np.add.at(by_group, place, matrices)
    total = by_group.sum(0)
    values = _class_scores(total[None])
    n = {"precision": total.sum(0), "recall": total.sum(1), "f1": total.sum(1)}
    limits = {k: np.full((2, len(total)), math.nan) for k in values}
    if len(names) > 1:
        for k, left in _class_scores(total - by_group).items():
            for c in range(len(total)):
                limits[k][:, c] = limits_of_moves(float(values[k][0, c]), left[:, c])
    return {
        k: [
            Estimate(float(v[0, c]), *map(float, limits[k][:, c]), n=int(n[k][c]), n_groups=len(names), unit=unit)
            for c in range(len(total))
        ]
        for k, v in values.items()
    }


def _class_scores(matrices: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall and F1, each (R, C), of matrices (R, C, C)."""
    right = np.diagonal(matrices, axis1=1, axis2=2)
    called, truth = matrices.sum(1), matrices.sum(2)
    parts = {"precision": (right, called), "recall": (right, truth), "f1": (2 * right, called + truth)}
    return {k: np.divide(a, b, out=np.zeros(a.shape), where=b > 0) for k, (a, b) in parts.items()}


@dataclass(frozen=True, slots=True, eq=False)
class RankedMatches:
    """One class over F fields, boxes of all fields best first: hit (T, D), field (D,), n_truth (F,)."""

    hit: np.ndarray
    field: np.ndarray
    n_truth: np.ndarray


def rank_matches(matches: Sequence[Matches]) -> RankedMatches:
    """Sort once what `weighted_ap` reads often. matches: each field's; its best 100 boxes count."""
    matches = [best_boxes(m) for m in matches]
    field = np.repeat(np.arange(len(matches)), [len(m.scores) for m in matches])
    order = np.argsort(-np.concatenate([m.scores for m in matches]), kind="stable") if matches else np.zeros(0, int)
    hit = np.concatenate([m.hit for m in matches], axis=1)[:, order] if matches else np.zeros((10, 0), bool)
    return RankedMatches(hit, field[order], np.array([m.n_truth for m in matches], np.int64))


def weighted_ap(ranked: RankedMatches, weights: np.ndarray) -> np.ndarray:
    """(T,) average precision where field f occurs weights[f] times; NaN without a truth.

    Equal to `evaluate.boxes.average_precision` over the repeated fields: copies of a box stand next to each other, and
    within such a run precision only rises (hits) or recall does not change (misses).
    """
    weights = np.asarray(weights, np.float64)
    n_truth = float(ranked.n_truth @ weights)
    if n_truth == 0:
        return np.full(len(ranked.hit), math.nan)
    of_box = weights[ranked.field]
    kept = of_box > 0
    hit, of_box = ranked.hit[:, kept], of_box[kept]
    hits, rank = np.cumsum(hit * of_box, axis=1), np.cumsum(of_box)
    precision = hits / (rank + np.spacing(1))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    result = np.empty(len(hit))
    for t in range(len(hit)):
        first = np.searchsorted(hits[t] / n_truth, RECALLS, side="left")
        result[t] = np.append(precision[t], 0.0)[first].mean()
    return result


def mean_ap_of(ranked: Sequence[RankedMatches], *, iou_rows: slice = slice(None)) -> Callable[[np.ndarray], float]:
    """mAP over classes as a statistic of field rows, over the classes that all fields together have a truth of.

    iou_rows  which IoU thresholds: all ten (AP50-95), or slice(0, 1) for AP50
    A class whose truths are all on other rows counts 0, as its F1 does: the mean is always over the same classes.
    """
    ranked = [RankedMatches(r.hit[iou_rows], r.field, r.n_truth) for r in ranked if r.n_truth.any()]

    def statistic(rows: np.ndarray) -> float:
        if not ranked:
            return math.nan
        weights = np.bincount(rows, minlength=len(ranked[0].n_truth))
        return float(np.mean(np.nan_to_num([weighted_ap(r, weights).mean() for r in ranked])))

    return statistic
