"""The study's tables of patients' diagnosis, of agreement with the expert, and of what the pipeline must beat."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from leukoscope.evaluate.roc import compare_delong
from leukoscope.experiments.cblc import baselines
from leukoscope.experiments.cblc.calibration import calibrated_ratios
from leukoscope.experiments.cblc.cohort import DEVELOP, VALIDATE
from leukoscope.experiments.cblc.measure import (
    agreement,
    area,
    coverage,
    error_difference,
    fix_threshold,
    operate,
    patient_scores,
)
from leukoscope.experiments.cblc.patients import (
    PatientRatio,
    local_confusions,
    patient_ratios,
    smear_ratios,
    smear_trends,
)
from leukoscope.experiments.cblc.result import DETECTOR, StudyResult
from leukoscope.experiments.cblc.tables import POOLED
from leukoscope.experiments.intervals import as_estimate
from leukoscope.experiments.tables import Table, study_table
from leukoscope.intervals import Limits
from leukoscope.quantify.trend import Trend

HELD = 0.92  # asked of nominal 95 % limits
BY_MATRIX, BY_LINE = "confusion matrix", "line of the development patients"
Value = Callable[[PatientRatio], float]


@dataclass(frozen=True, slots=True, eq=False)
class Ratios:
    """Each patient's ratio: as the study's pipeline gives it, by labelled cells of the patient's centre besides, and on
    the line of the development patients."""

    patients: list[PatientRatio]
    local: list[PatientRatio]
    smears: list[PatientRatio]
    trends: dict[str, Trend]
    calibrated: Sequence[PatientRatio] = ()

    def systems(self) -> dict[str, tuple[list[PatientRatio], Value]]:
        """{system: (ratios, which value)}."""
        systems = {"raw count": (self.patients, raw), "corrected": (self.patients, corrected)}
        systems |= {"calibrated on development": (list(self.calibrated), corrected)} if self.calibrated else {}
        return systems | ({"corrected, with cells of the centre": (self.local, corrected)} if self.local else {})


def raw(r: PatientRatio) -> float:
    """The called share."""
    return r.raw


def corrected(r: PatientRatio) -> float:
    """The share with the classifier's errors taken out."""
    return r.corrected


def make_ratios(result: StudyResult) -> Ratios:
    """Count every patient and smear."""
    p, study = result.predictions, result.files.study
    validation = p.validation
    shared = {"composite": study.composite}
    local = []
    if study.local_cells:
        centers = result.cohort.centers(VALIDATE)
        few = local_confusions(p.crops, p.ensemble, centers, study.local_cells, seed=study.seed)
        local = patient_ratios(result.cohort, p.crops, p.ensemble, validation, local=few, **shared)
    patients = patient_ratios(result.cohort, p.crops, p.ensemble, validation, **shared)
    return Ratios(
        patients,
        local,
        smear_ratios(result.cohort, p.crops, p.ensemble, validation, **shared),
        smear_trends(result.cohort, p.crops, p.ensemble, validation, **shared),
        calibrated_ratios(patients),
    )


def parts(ratios: Sequence[PatientRatio]) -> dict[str, list[PatientRatio]]:
    """Development together, each validation centre, and those together."""
    held = [r for r in ratios if r.patient.role == VALIDATE]
    centers = dict.fromkeys(r.patient.center for r in held)
    by_part = {"development, left out": [r for r in ratios if r.patient.role == DEVELOP]}
    return by_part | {c: [r for r in held if r.patient.center == c] for c in centers} | {POOLED: held}


def diagnosis_table(ratios: Ratios) -> Table:
    """AML or not by the ratio: AUROC, and what the threshold fixed in development does."""
    rows = []
    for name, (of_patients, value) in ratios.systems().items():
        by_part = parts(of_patients)
        threshold = fix_threshold(patient_scores(by_part["development, left out"], value))
        for part, chosen in by_part.items():
            scores = patient_scores(chosen, value)
            n, n_aml = len(scores.score), int(scores.positive.sum())
            point = operate(scores, threshold)
            judged = (
                [as_estimate(getattr(point, k), n) for k in ("sensitivity", "specificity", "accuracy")]
                if point
                else [None] * 3
            )
            rows.append((part, name, n, n_aml, scores.n_left_out, as_estimate(area(scores), n), threshold, *judged))
    return study_table("cblc/tables.toml:diagnosis", rows)


def agreement_table(ratios: Ratios) -> Table:
    """The automated ratio against the expert's."""
    rows = []
    keys = ("pearson", "spearman", "lin", "bias", "lower", "upper", "slope", "intercept", "mae")
    for name, (of_patients, value) in ratios.systems().items():
        for part, chosen in parts(of_patients).items():
            agreed = agreement(chosen, value)
            values = [as_estimate(agreed[k], agreed["n"]) if k in agreed else None for k in keys]
            rows.append((part, name, agreed["n"], agreed["n_left_out"], *values))
    return study_table("cblc/tables.toml:agreement", rows)


def correction_table(ratios: Ratios) -> Table:
    """What the correction changes, on the same patients."""
    ways = {BY_MATRIX: ratios.patients, BY_LINE: ratios.calibrated}
    rows = [
        _correction_row(part, way, of_patients)
        for way, every in ways.items()
        if every
        for part, of_patients in parts(every).items()
    ]
    words = {"matrix": BY_MATRIX.capitalize(), "line": BY_LINE.capitalize(), "held": 100 * HELD}
    return study_table("cblc/tables.toml:correction", rows, **words)


def _correction_row(part: str, way: str, of_patients: Sequence[PatientRatio]) -> tuple:
    a, b = patient_scores(of_patients, corrected), patient_scores(of_patients, raw)
    shared = [k for k in a.keys if k in b.keys]
    both = [[s.score[s.keys.index(k)] for k in shared] for s in (a, b)]
    positive = [bool(a.positive[a.keys.index(k)]) for k in shared]
    gain = compare_delong(positive, *both) if shared else None
    moved = Limits(gain.difference, gain.low, gain.high) if gain else Limits(*[math.nan] * 3)
    held, n = coverage(of_patients), len(of_patients)
    areas = [as_estimate(area(s), len(s.score)) for s in (a, b)]
    change = as_estimate(error_difference(of_patients, corrected, raw), n)
    within = [as_estimate(held[k], n) for k in ("corrected", "raw")]
    return part, way, n, *areas, as_estimate(moved, len(shared)), gain.p if gain else math.nan, change, *within


def baselines_table(result: StudyResult, ratios: Ratios) -> Table:
    """Every system on the patients of the validation centres, each at its own threshold from development."""
    rows = []
    expert = parts(ratios.patients)
    noise = baselines.manual_noise(
        expert[POOLED], n_cells=result.files.study.manual_cells, seed=result.files.study.seed
    )
    n = len(expert[POOLED])
    rows.append(("expert count itself", *_judged(ratios.patients, lambda r: r.expert), ""))
    words = f"binomial draws of {result.files.study.manual_cells} cells; limits: percentiles of the draws"
    values = [as_estimate(noise[k], n) for k in ("auroc", "pearson", "mae")]
    rows.append(("manual count's noise alone", n, values[0], None, None, *values[1:], words))
    for name, (of_patients, value) in ratios.systems().items():
        rows.append((f"pipeline, {name}", *_judged(of_patients, value), ""))
    rows.append(_nucleus_row(result, ratios))
    rows.append(_detector_row(result, ratios))
    return study_table("cblc/tables.toml:baselines", rows, pooled=POOLED)


def _judged(
    of_patients: Sequence[PatientRatio], value: Value, *, fixed_on: Callable[[PatientRatio], bool] | None = None
) -> tuple:
    """Patients, AUROC, sensitivity, specificity, correlation and error on validation patients.

    fixed_on  which development patients the threshold is fixed on: those that the system was not trained on
    """
    by_part = parts(of_patients)
    development = [r for r in by_part["development, left out"] if fixed_on is None or fixed_on(r)]
    threshold = fix_threshold(patient_scores(development, value))
    scores = patient_scores(by_part[POOLED], value)
    point, n = operate(scores, threshold), len(scores.score)
    agreed = agreement(by_part[POOLED], value)
    rates = [as_estimate(point.sensitivity, n), as_estimate(point.specificity, n)] if point else [None, None]
    close = [as_estimate(agreed[k], agreed["n"]) if k in agreed else None for k in ("pearson", "mae")]
    return n, as_estimate(area(scores), n), *rates, *close


def _nucleus_row(result: StudyResult, ratios: Ratios) -> tuple:
    p = result.predictions
    composite = result.files.study.composite
    least = baselines.nucleus_threshold(p.crops, p.nucleus_um2, p.develop, composite)
    if not math.isfinite(least):
        return ("nucleus area alone", 0, None, None, None, None, None, "no nucleus could be measured")
    folds = np.array([result.cohort.patients[g].fold for g in p.crops.groups])
    shares = baselines.nucleus_ratios(p.crops, p.nucleus_um2, folds, composite)

    def value(r: PatientRatio) -> float:
        return shares.get(r.patient.key, math.nan)

    return ("nucleus area alone", *_judged(ratios.patients, value), f"cells with a nucleus of at least {least:.0f} µm²")


def _detector_row(result: StudyResult, ratios: Ratios) -> tuple:
    row = result.rows[DETECTOR]
    if not row.is_done:
        why = (
            "no detector.toml in the configuration" if result.files.detector is None else f"{row.status}: {row.reason}"
        )
        return ("one-stage detector", 0, None, None, None, None, None, why)
    taxonomy = result.cohort.taxonomy
    inside = taxonomy.columns(taxonomy.composites[result.files.study.composite])
    counted = taxonomy.columns(taxonomy.counted)
    shares = {}
    for key, counts in zip(row.result["patients"], np.array(row.result["counts"]), strict=True):
        total = counts[counted].sum()
        shares[key] = float(counts[inside].sum() / total) if total else math.nan
    detector = result.files.detector
    note = f"{detector.arch}, {detector.epochs} epochs at {detector.side} px, counted as it calls; threshold fixed on "
    judged = _judged(
        ratios.patients, lambda r: shares.get(r.patient.key, math.nan), fixed_on=lambda r: r.patient.fold == 0
    )
    return ("one-stage detector", *judged, note + "the development patients it was not trained on")


def composites_table(result: StudyResult) -> Table:
    """Agreement for every composite of the taxonomy, the user's own among them; validation patients."""
    p = result.predictions
    rows = []
    for name, members in result.cohort.taxonomy.composites.items():
        of_patients = patient_ratios(result.cohort, p.crops, p.ensemble, p.validation, composite=name)
        held = parts(of_patients)[POOLED]
        for system, value in (("raw count", raw), ("corrected", corrected)):
            agreed = agreement(held, value)
            values = [as_estimate(agreed[k], agreed["n"]) if k in agreed else None for k in ("lin", "bias", "mae")]
            rows.append((name, ", ".join(members), system, agreed["n"], *values))
    return study_table("cblc/tables.toml:composites", rows)


def ratios_table(ratios: Ratios) -> Table:
    """Every patient's numbers: in the CSV file."""
    rows = [
        (r.patient.center, r.patient.key.split("/", 1)[1], r.patient.role, r.patient.diagnosis or "unknown", r.n_expert,
         r.expert, r.n_cells, r.raw, r.raw_low, r.raw_high, r.corrected, r.low, r.high, r.reason)
        for r in ratios.patients
    ]  # fmt: skip
    return study_table("cblc/tables.toml:ratios", rows)


def smears_table(ratios: Ratios) -> Table:
    """Every smear, and how it moved from the one before; where there are three or more, whether they rise or fall."""
    moved = {(key, step.after): step for key, t in ratios.trends.items() for step in t.steps}
    rows = []
    for s in ratios.smears:
        step, course = moved.get((s.patient.key, s.smear)), ratios.trends.get(s.patient.key)
        values = (step.difference, step.low, step.high, step.p) if step else (None,) * 4
        who = (s.patient.center, s.patient.key.split("/", 1)[1], s.smear, s.n_cells)
        rows.append((*who, s.expert, s.corrected, s.low, s.high, *values, course.rising_p if course else None))
    return study_table("cblc/tables.toml:smears", rows)
