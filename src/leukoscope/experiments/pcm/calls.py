"""Scoring the crop classifiers: Table 6's numbers, each class, calibration, conformal sets, cells handed to a human."""

import math
from dataclasses import dataclass

import numpy as np

from leukoscope.evaluate.abstention import accuracy_when_handing, area_under_risk, selective_curve
from leukoscope.evaluate.calibration import expected_calibration_error, fit_temperature, reliability
from leukoscope.evaluate.classes import confusion_matrix
from leukoscope.evaluate.conformal import conformal_sets, coverage
from leukoscope.experiments.intervals import Estimate, accuracy_of, class_estimates, estimate, macro_f1_of
from leukoscope.experiments.pcm.labels import LabelMap

OUTSIDE = "outside"  # a call of a class that the set lacks


@dataclass(frozen=True, slots=True, eq=False)
class CallSet:
    """What a classifier says of one set's cells.

    probs   (N, L + 1): by label, the last column outside the set's classes; truth (N,) rows of labels
    sets    (N, L) bool: conformal sets by label
    groups  (N,) what limits leave out in turn, `unit` says what that is
    """

    labels: tuple[str, ...]
    probs: np.ndarray
    truth: np.ndarray
    sets: np.ndarray
    groups: np.ndarray
    unit: str

    @property
    def calls(self) -> np.ndarray:
        return self.probs.argmax(1)


def calibrate(logits: np.ndarray, truth: np.ndarray) -> float:
    """The temperature of validation cells; 1 where there are none."""
    return fit_temperature(logits, truth) if len(truth) else 1.0


def label_sets(
    val_probs: np.ndarray, val_truth: np.ndarray, probs: np.ndarray, mapping: LabelMap, *, level: float
) -> np.ndarray:
    """(N, L) bool: conformal sets in the model's classes, read as the set's labels (any of a label's classes)."""
    sets = conformal_sets(val_probs, val_truth, probs, level=level)
    return np.stack([sets[:, mapping.columns == label].any(1) for label in range(len(mapping.labels))], axis=1)


def score_calls(calls: CallSet, *, level: float, handed: tuple[float, ...]) -> dict:
    """Every number of one classifier on one set: plain types, estimates as dicts."""
    n_labels = len(calls.labels)
    called, right = calls.calls, calls.calls == calls.truth
    confidence = calls.probs.max(1)
    held = calls.sets[np.arange(len(calls.truth)), calls.truth]
    size = calls.sets.sum(1)

    def limits(statistic, **within) -> dict:
        return estimate(statistic, calls.groups, unit=calls.unit, **within).to_dict()

    matrix = confusion_matrix(calls.truth, called, n_classes=n_labels + 1)
    present = [c for c in range(n_labels) if matrix[c].any()]
    return {
        "n_cells": len(right),
        "labels": list(calls.labels),
        "accuracy": limits(accuracy_of(calls.truth, called)),
        "macro_f1": limits(macro_f1_of(calls.truth, called, n_labels + 1)),
        "n_outside": int((called == n_labels).sum()),
        "classes": _class_rows(calls, present),
        "confusion": matrix.tolist(),
        "ece": limits(lambda rows: expected_calibration_error(confidence[rows], right[rows])),
        "reliability": reliability(confidence, right),
        "conformal": {
            "level": level,
            "coverage": limits(lambda rows: float(held[rows].mean()) if len(rows) else math.nan),
            "size": limits(lambda rows: float(size[rows].mean()) if len(rows) else math.nan, within=(0, n_labels)),
            "by_class": {calls.labels[c]: v for c, v in coverage(calls.sets, calls.truth)["by_class"].items()},
            **{k: v for k, v in coverage(calls.sets, calls.truth).items() if k in ("single", "empty", "several")},
        },
        "handed": [_handed(calls, share) for share in handed],
        "area_under_risk": area_under_risk(calls.probs, calls.truth),
        "selective": _thinned(selective_curve(calls.probs, calls.truth)),
    }


def _class_rows(calls: CallSet, present: list[int]) -> dict[str, dict]:
    """Precision, recall and F1 of each class that the set has."""
    size = len(calls.labels) + 1
    matrices = np.zeros((len(calls.truth), size, size))
    matrices[np.arange(len(calls.truth)), calls.truth, calls.calls] = 1
    scores = class_estimates(matrices, calls.groups, unit=calls.unit)
    return {calls.labels[c]: {k: of[c].to_dict() for k, of in scores.items()} for c in present}


def _handed(calls: CallSet, share: float) -> dict:
    def statistic(rows: np.ndarray) -> float:
        return accuracy_when_handing(calls.probs[rows], calls.truth[rows], share)

    kept = len(calls.truth) - math.ceil(share * len(calls.truth) - 1e-9)
    interval = estimate(statistic, calls.groups, unit=calls.unit, n=kept)
    return {"share": share, "accuracy": interval.to_dict()}


def _thinned(curve: list[dict], most: int = 120) -> list[list[float]]:
    """[[share handed over, accuracy of the rest], …] for the figure."""
    if not curve:
        return []
    rows = np.unique(np.linspace(0, len(curve) - 1, most).round().astype(int))
    return [[curve[r]["handed"], curve[r]["accuracy"]] for r in rows]


def summary(scores: dict) -> tuple[Estimate, Estimate]:
    """(macro-F1, accuracy) of `score_calls` as estimates."""
    return Estimate.from_dict(scores["macro_f1"]), Estimate.from_dict(scores["accuracy"])
