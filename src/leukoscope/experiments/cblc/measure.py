"""What is measured: cells and patients by centre, at a threshold fixed in development; agreement with the expert."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from leukoscope.evaluate.agreement import bland_altman, lin_ccc, passing_bablok, pearson, spearman
from leukoscope.evaluate.classes import confusion_matrix, weighted_f1
from leukoscope.evaluate.patients import ANY
from leukoscope.evaluate.roc import OperatingPoint, at_threshold, auroc_delong, choose_threshold
from leukoscope.experiments.cblc.cohort import AML
from leukoscope.experiments.cblc.patients import PatientRatio
from leukoscope.experiments.intervals import PATIENT, Estimate, accuracy_of, estimate, macro_f1_of, paired_difference
from leukoscope.intervals import Limits, clopper_pearson
from leukoscope.taxonomy import Taxonomy

MEASURES = ("weighted F1", "composite F1", "accuracy", "macro F1")


def cell_scores(
    labels: np.ndarray, calls: np.ndarray, groups: np.ndarray, taxonomy: Taxonomy, composite: str
) -> dict[str, Estimate]:
    """Numbers of matched cells with limits by patients: the keys of MEASURES.

    labels, calls (N,) columns of the taxonomy; composite F1 is the weighted F1 of "in the composite or not".
    """
    statistics = cell_statistics(labels, calls, taxonomy, composite)
    return {name: estimate(s, groups, unit=PATIENT) for name, s in statistics.items()}


def cell_differences(
    labels: np.ndarray, first: np.ndarray, second: np.ndarray, groups: np.ndarray, taxonomy: Taxonomy, composite: str
) -> dict[str, Estimate]:
    """first - second of two systems on the same matched cells, paired by patients."""
    a, b = (cell_statistics(labels, calls, taxonomy, composite) for calls in (first, second))
    return {k: paired_difference(a[k], b[k], groups, unit=PATIENT) for k in ("weighted F1", "composite F1")}


def cell_statistics(
    labels: np.ndarray, calls: np.ndarray, taxonomy: Taxonomy, composite: str
) -> dict[str, Callable[[np.ndarray], float]]:
    """Statistics of row numbers, of cells."""
    n = len(taxonomy.names)
    inside = np.isin(np.arange(n), taxonomy.columns(taxonomy.composites[composite]))
    return {
        "weighted F1": _weighted_f1_of(labels, calls, n),
        "composite F1": _weighted_f1_of(inside[labels].astype(np.int64), inside[calls].astype(np.int64), 2),
        "accuracy": accuracy_of(labels, calls),
        "macro F1": macro_f1_of(labels, calls, n),
    }


def _weighted_f1_of(truth: np.ndarray, calls: np.ndarray, n_classes: int) -> Callable[[np.ndarray], float]:
    def statistic(rows: np.ndarray) -> float:
        return weighted_f1(confusion_matrix(truth[rows], calls[rows], n_classes=n_classes)) if len(rows) else math.nan

    return statistic


@dataclass(frozen=True, slots=True, eq=False)
class PatientScores:
    """One system's numbers of patients: `score` (N,) a ratio each, `positive` (N,) AML, patients of both kinds known.

    n_left_out  patients without a diagnosis or without a ratio
    """

    positive: np.ndarray
    score: np.ndarray
    keys: tuple[str, ...]
    n_left_out: int


def patient_scores(ratios: Sequence[PatientRatio], value: Callable[[PatientRatio], float]) -> PatientScores:
    """The patients that can be judged by `value` of their ratio."""
    kept = [r for r in ratios if r.patient.diagnosis and math.isfinite(value(r))]
    positive = np.array([r.patient.diagnosis == AML for r in kept], bool)
    score = np.array([value(r) for r in kept], np.float64)
    return PatientScores(positive, score, tuple(r.patient.key for r in kept), len(ratios) - len(kept))


def fix_threshold(scores: PatientScores) -> float:
    """Youden's threshold of development patients; NaN where they are all of one kind."""
    if not len(scores.positive) or scores.positive.all() or not scores.positive.any():
        return math.nan
    return choose_threshold(scores.positive, scores.score)


def area(scores: PatientScores) -> Limits:
    """AUROC with DeLong's limits; NaN for no patients or one kind only."""
    return auroc_delong(scores.positive, scores.score) if len(scores.score) else Limits(math.nan, math.nan, math.nan)


def operate(scores: PatientScores, threshold: float) -> OperatingPoint | None:
    """What a frozen threshold does to these patients; None without patients or without a threshold."""
    return (
        at_threshold(scores.positive, scores.score, threshold)
        if len(scores.score) and math.isfinite(threshold)
        else None
    )


def agreement(ratios: Sequence[PatientRatio], value: Callable[[PatientRatio], float]) -> dict:
    """Agreement of a ratio with the expert's: a dict of Limits and numbers, and how many patients were left out."""
    kept = [r for r in ratios if math.isfinite(value(r)) and math.isfinite(r.expert)]
    reference, test = np.array([r.expert for r in kept]), np.array([value(r) for r in kept])
    result: dict = {"n": len(kept), "n_left_out": len(ratios) - len(kept)}
    if len(kept) < 3:
        return result
    plot, line = bland_altman(reference, test), passing_bablok(reference, test)
    return result | {
        "pearson": pearson(reference, test),
        "spearman": spearman(reference, test),
        "lin": lin_ccc(reference, test),
        "bias": plot.bias,
        "lower": plot.lower,
        "upper": plot.upper,
        "slope": line.slope,
        "intercept": line.intercept,
        "mae": _mean_absolute_error(reference, test),
    }


def _mean_absolute_error(reference: np.ndarray, test: np.ndarray) -> Limits:
    """Mean absolute error with limits by patients."""
    off = np.abs(test - reference)
    error = estimate(lambda rows: float(off[rows].mean()), np.arange(len(off)), unit=PATIENT)
    return Limits(error.value, error.low, error.high)


def error_difference(
    ratios: Sequence[PatientRatio], first: Callable[[PatientRatio], float], second: Callable[[PatientRatio], float]
) -> Limits:
    """Mean absolute error of `first` minus that of `second`, paired by patients."""
    kept = [r for r in ratios if all(map(math.isfinite, (first(r), second(r), r.expert)))]
    if len(kept) < 2:
        return Limits(math.nan, math.nan, math.nan)
    gain = np.array([abs(first(r) - r.expert) - abs(second(r) - r.expert) for r in kept])
    difference = estimate(lambda rows: float(gain[rows].mean()), np.arange(len(gain)), unit=PATIENT, within=ANY)
    return Limits(difference.value, difference.low, difference.high)


def coverage(ratios: Sequence[PatientRatio]) -> dict[str, Limits]:
    """Share of patients whose expert ratio lies in the limits (raw: sampling alone), itself with exact limits."""
    kept = [r for r in ratios if math.isfinite(r.expert) and r.n_cells]
    held = {
        "corrected": sum(r.low <= r.expert <= r.high for r in kept),
        "raw": sum(r.raw_low <= r.expert <= r.raw_high for r in kept),
    }
    n = len(kept)
    return {k: Limits(v / n if n else math.nan, *clopper_pearson(v, n)) for k, v in held.items()}
