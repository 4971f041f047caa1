"""What a run knows of itself, for the reporting checklists."""

from __future__ import annotations

import math

from leukoscope.experiments.cblc.cohort import AML, DEVELOP, VALIDATE
from leukoscope.experiments.cblc.measure import area, fix_threshold, patient_scores
from leukoscope.experiments.cblc.result import StudyResult
from leukoscope.experiments.cblc.tables import POOLED
from leukoscope.experiments.cblc.verdicts import Ratios, corrected, parts
from leukoscope.experiments.tables import Table


def known_facts(result: StudyResult, ratios: Ratios, every: dict[str, Table]) -> dict[str, str]:
    """{fact of checklists.toml: words}."""
    study, cohort = result.files.study, result.cohort
    n = {role: len(cohort.of(role)) for role in (DEVELOP, VALIDATE)}
    aml = {role: sum(p.diagnosis == AML for p in cohort.of(role)) for role in (DEVELOP, VALIDATE)}
    centers = {role: ", ".join(cohort.centers(role)) for role in (DEVELOP, VALIDATE)}
    dataset, classifier = cohort.dataset, result.files.classifier
    by_part = parts(ratios.patients)
    threshold = fix_threshold(patient_scores(by_part["development, left out"], corrected))
    auroc = area(patient_scores(by_part[POOLED], corrected))
    unknown = sum(not p.diagnosis for p in cohort.patients.values())
    doubtful = sum(not math.isfinite(r.corrected) for r in ratios.patients)
    components = [*study.imbalance, *study.center_border] + (["morphology"] if study.morphology_weight else [])
    return {
        "use": "Research use only, not for diagnosis; a morphologist must review every cell called a blast.",
        "objective": f"Development on {centers[DEVELOP]}; external validation on {centers[VALIDATE]}.",
        "sources": f"Data set {dataset.name}, digest {dataset.sha256()[:12]}, licence: {dataset.licence}.",
        "centres": f"{len(cohort.centers(DEVELOP))} development centres ({centers[DEVELOP]}), "
        f"{len(cohort.centers(VALIDATE))} validation centres ({centers[VALIDATE]}).",
        "preparation": "White balance by each photograph's own background"
        + (
            "; nuclei brought to the development centres' stain density."
            if study.stain
            else "; no stain normalisation."
        ),
        "outcome": "AML or not AML, by patient, as the diagnosis table says; of cells: the expert's class.",
        "predictors": f"The share of {study.composite} among counted cells, as the classifier calls them.",
        "size": f"{n[DEVELOP]} and {n[VALIDATE]} patients were there; no sample size was computed.",
        "missing": f"{unknown} patients without a diagnosis, left out of AML or not; {doubtful} without a ratio.",
        "partition": f"By centre; development patients in {study.folds} folds, each left out by one member "
        "(tables/splits.csv).",
        "scaling": "The ratio as it is, in [0, 1]; corrected by adjusted classify-and-count.",
        "model": f"{classifier.arch}, crops of {classifier.size} px, two stages (expert's, then predicted contours); "
        f"{study.folds} members averaged; components: {', '.join(components) or 'none'}; settings in study.json.",
        "heterogeneity": "Every number by centre: tables cells, diagnosis, agreement.",
        "measures": "AUROC (DeLong), sensitivity, specificity, accuracy (exact), weighted F1, Pearson, Bland-Altman, "
        "Passing-Bablok, Lin's concordance, mean absolute error, coverage.",
        "updating": f"The ratio corrected once more with {study.local_cells} labelled cells of each centre."
        if study.local_cells
        else "None.",
        "prediction": "Locate, outline, crop, classify, count, correct: `leukoscope analyze` with the bundle.",
        "imbalance": (f"{', '.join(study.imbalance)} in training" if study.imbalance else "not handled")
        + "; probabilities recalibrated by one temperature on left-out cells.",
        "threshold": f"The corrected ratio; threshold {100 * threshold:.1f} %, Youden's on development patients."
        if math.isfinite(threshold)
        else "The corrected ratio; no threshold: development patients of both kinds are needed.",
        "difference": "Centres differ in stain, focus and camera; tables patients and segmentation compare them.",
        "data": f"{dataset.name}; cite: {dataset.citation}.",
        "code": f"Leukoscope, {result.about['commit']}; command: {result.about['command']}.",
        "flow": "Table patients: patients, AML, photographs and cells by centre.",
        "events": f"Development: {n[DEVELOP]} patients, {aml[DEVELOP]} AML; validation: {n[VALIDATE]}, {aml[VALIDATE]}",
        "bundle": "The folder bundle/: networks as ONNX with their cards, thresholds, confusion matrix.",
        "performance": f"Validation AUROC, corrected ratio: {auroc.value:.3f} ({auroc.low:.3f} to {auroc.high:.3f}); "
        "tables diagnosis and cells.",
        "limits": _limits(result),
        "preregistration": result.registration,
        "same_cells": "None: both read the same photographs.",
        "crosstab": _crosstab(ratios, threshold) if math.isfinite(threshold) else "",
        "errors": "Confusion matrix and the surest wrong calls: section Cells named; patients outside their limits: "
        "tables/ratios.csv.",
        "available": f"Code: Leukoscope, {result.about['commit']}. Model: bundle/, with its card. Data: "
        f"{dataset.name}, {dataset.licence}.",
        "software": f"{result.about['versions']}; {result.about['machine']}.",
        "start": f"Weights: {classifier.weights or 'random'}; stage 2 begins where stage 1 ended.",
        "training": f"{classifier.epochs} and {study.second_epochs} epochs, batches of {classifier.batch_size}, "
        f"rate {classifier.learning_rate:g}, augmentation {classifier.augment}; {study.folds} members; study.json.",
        "choice": "Each member's epoch on a fifth of its own training patients; nothing on the patients it leaves out.",
        "ensemble": f"Mean of {study.folds} members' probabilities, weights "
        f"{', '.join(map(str, study.ensemble_weights)) or 'alike'}.",
        "uncertainty": "Limits leave out whole patients in turn; DeLong, Newcombe, Clopper-Pearson as each table says.",
        "robustness": f"Each component left out in turn ({'table ablation' if study.ablation else 'not run'}); every "
        "number by centre.",
        "internal": "Development patients, each by the member that left it out, beside the validation centres.",
        "poor_input": "A photograph that can't be read is listed, never counted; poor focus and few cells are flagged.",
    }


def _crosstab(ratios: Ratios, threshold: float) -> str:
    scores = patient_scores(parts(ratios.patients)[POOLED], corrected)
    called = scores.score >= threshold
    pairs = {
        "AML called so": scores.positive & called,
        "AML missed": scores.positive & ~called,
        "not AML, called AML": ~scores.positive & called,
        "not AML, called so": ~scores.positive & ~called,
    }
    counted = ", ".join(f"{name} {int(rows.sum())}" for name, rows in pairs.items())
    return f"Validation patients at {100 * threshold:.1f} % of the corrected ratio: {counted}."


def _limits(result: StudyResult) -> str:
    parts_of = [
        f"{len(result.cohort.patients)} patients: intervals are wide, and of a single centre wider still.",
        "Locator and outliner saw most development patients, so their contours are better there than elsewhere.",
        f"{result.files.study.composite} is not the WHO's blasts: no diagnostic line for blasts applies to it.",
        "The expert's count is a sample of cells too, and one expert's reading.",
    ]
    return " ".join(parts_of)
