"""From cells to a patient: counts, raw and corrected ratios with intervals, by patient and by smear; trends."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from leukoscope.evaluate.classes import confusion_matrix
from leukoscope.experiments.cblc.cohort import Cohort, Patient, expert_counts, expert_ratio, patient_key
from leukoscope.intervals import clopper_pearson
from leukoscope.quantify import Scatter, correct_ratio, scatter_of
from leukoscope.quantify.groups import groups_of
from leukoscope.quantify.trend import Smear, Trend, trend
from leukoscope.taxonomy import Taxonomy
from leukoscope.train.crops.data import CropSet


@dataclass(frozen=True, slots=True)
class PatientRatio:
    """The ratio of one patient (or one smear of a patient), all in [0, 1]; NaN where it can't be had.

    expert                of the annotated cells, with n_expert cells
    raw, raw_low, raw_high  of the called cells, with exact limits for sampling error only; n_cells called and counted
    corrected, low, high  the classifier's errors taken out; limits cover sampling and classifier error
    reason                why there is no corrected ratio, else ""
    """

    patient: Patient
    smear: str
    composite: str
    expert: float
    n_expert: int
    raw: float
    raw_low: float
    raw_high: float
    n_cells: int
    corrected: float
    low: float
    high: float
    reason: str


def called_counts(crops: CropSet, probs: np.ndarray, names: np.ndarray) -> dict[str, np.ndarray]:
    """{name: (C,) int64 cells by most probable class} for names (N,) of the cells, all predicted cells alike."""
    calls = probs.argmax(1) if len(probs) else np.zeros(0, np.int64)
    n_classes = len(crops.taxonomy.names)
    return {str(n): np.bincount(calls[names == n], minlength=n_classes) for n in np.unique(names)}


def left_out_confusion(crops: CropSet, probs: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(C, C) matrix, rows truth, of labelled cells `rows` (bool): cells that what called them was not trained on."""
    rows = rows & (crops.labels >= 0)
    return confusion_matrix(crops.labels[rows], probs[rows].argmax(1), n_classes=len(crops.taxonomy.names))


def by_patient(crops: CropSet, probs: np.ndarray, rows: np.ndarray) -> dict[str, np.ndarray]:
    """{patient: `left_out_confusion` of the patient's own cells among `rows`}, patients with a labelled cell."""
    rows = rows & (crops.labels >= 0)
    return {str(key): left_out_confusion(crops, probs, rows & (crops.groups == key))
            for key in np.unique(crops.groups[rows])}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Validation:
    """What called cells are corrected by: (C, C) cells of each patient, called by what did not learn on the patient."""

    tables: dict[str, np.ndarray]
    known: dict[tuple[str, bytes], Scatter] = field(default_factory=dict)  # scatter takes long, and is asked for often

    def for_patient(self, key: str, subset: Sequence[int], counted: Sequence[int]) -> tuple[np.ndarray, Scatter]:
        """(C, C) of all patients but this one, and how much those differ: nobody is corrected by their own cells."""
        others = np.stack([t for k, t in self.tables.items() if k != key])
        groups = groups_of(others.shape[1], subset, counted)
        name = (key if key in self.tables else "", groups.tobytes())
        if name not in self.known:
            self.known[name] = scatter_of(others, groups)
        return others.sum(0), self.known[name]


def patient_ratios(
    cohort: Cohort,
    crops: CropSet,
    probs: np.ndarray,
    validation: Validation,
    *,
    composite: str,
    local: dict[str, np.ndarray] | None = None,
) -> list[PatientRatio]:
    """One entry a patient, in the cohort's order. local: {patient: (C, C)} labelled cells of others of the centre."""
    counts = called_counts(crops, probs, crops.groups)
    zeros = np.zeros(len(cohort.taxonomy.names), np.int64)
    local = local or {}
    return [
        make_ratio(p, p.expert, counts.get(key, zeros), cohort.taxonomy, composite, validation=validation,
                   local=local.get(key))
        for key, p in cohort.patients.items()
    ]  # fmt: skip


def smear_ratios(
    cohort: Cohort, crops: CropSet, probs: np.ndarray, validation: Validation, *, composite: str
) -> list[PatientRatio]:
    """One entry a smear; a patient's smears in the order of their names (dates first sort by time)."""
    names = np.char.add(np.char.add(crops.groups.astype(str), "\t"), crops.extras["smears"].astype(str))
    counts = called_counts(crops, probs, names)
    zeros = np.zeros(len(cohort.taxonomy.names), np.int64)
    by_smear: dict[str, list] = {}
    for truth in cohort.dataset.fields:
        by_smear.setdefault(f"{patient_key(truth)}\t{truth.key.smear_id}", []).append(truth)
    ratios = []
    for name in sorted(by_smear):
        key, smear = name.split("\t")
        expert = expert_counts(by_smear[name], cohort.taxonomy)
        patient, of_smear = cohort.patients[key], counts.get(name, zeros)
        ratios.append(
            make_ratio(patient, expert, of_smear, cohort.taxonomy, composite, validation=validation, smear=smear)
        )
    return ratios


def make_ratio(
    patient: Patient,
    expert: np.ndarray,
    counts: np.ndarray,
    taxonomy: Taxonomy,
    composite: str,
    *,
    validation: Validation,
    local: np.ndarray | None = None,
    smear: str = "",
) -> PatientRatio:
    """Raw and corrected ratio of counts (C,), beside the expert's counts (C,)."""
    subset, counted = taxonomy.columns(taxonomy.composites[composite]), taxonomy.columns(taxonomy.counted)
    n_true, n_expert = expert_ratio(expert, taxonomy, composite)
    confusion, scatter = validation.for_patient(patient.key, subset, counted)
    fixed = correct_ratio(counts, confusion, subset=subset, counted=counted, local=local, scatter=scatter)
    raw_low, raw_high = clopper_pearson(fixed.numerator, fixed.denominator)
    return PatientRatio(
        patient=patient,
        smear=smear,
        composite=composite,
        expert=n_true / n_expert if n_expert else math.nan,
        n_expert=n_expert,
        raw=fixed.raw,
        raw_low=raw_low,
        raw_high=raw_high,
        n_cells=fixed.denominator,
        corrected=fixed.value,
        low=fixed.low,
        high=fixed.high,
        reason=fixed.reason or "",
    )


def smear_trends(
    cohort: Cohort, crops: CropSet, probs: np.ndarray, validation: Validation, *, composite: str
) -> dict[str, Trend]:
    """{patient: the course over the patient's smears, in the order of their names}, for patients with several."""
    taxonomy = cohort.taxonomy
    tables = {"subset": taxonomy.columns(taxonomy.composites[composite]), "counted": taxonomy.columns(taxonomy.counted)}
    trends = {}
    for key in cohort.patients:
        of_patient = crops.groups == key
        counts = called_counts(crops.subset(of_patient), probs[of_patient], crops.extras["smears"][of_patient])
        if len(counts) > 1:
            confusion, scatter = validation.for_patient(key, **tables)
            smears = [Smear(name, counts[name]) for name in sorted(counts)]
            trends[key] = trend(smears, confusion, **tables, scatter=scatter)
    return trends


def local_confusions(crops: CropSet, probs: np.ndarray, centers: Sequence[str], n: int, *, seed: int) -> dict:
    """{patient: (C, C)} of n labelled cells of the patient's centre, drawn at random from its other patients.

    What a few labelled cells there would say. A patient's own cells would tell the ratio that is to be estimated.
    """
    rng = np.random.default_rng(seed)
    confusions = {}
    for center in centers:
        of_center = (crops.extras["centers"] == center) & (crops.labels >= 0)
        for key in np.unique(crops.groups[crops.extras["centers"] == center]):
            rows = np.flatnonzero(of_center & (crops.groups != key))
            chosen = np.zeros(len(crops), bool)
            chosen[rng.permutation(rows)[:n]] = True
            if len(rows):
                confusions[str(key)] = left_out_confusion(crops, probs, chosen)
    return confusions
