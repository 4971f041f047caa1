"""What the marrow study fixes before a number of its validation centres is made (experiments/preregistration.py)."""

import math
from operator import attrgetter
from pathlib import Path

from leukoscope.experiments.cblc.cohort import DEVELOP, VALIDATE, Cohort
from leukoscope.experiments.cblc.measure import fix_threshold, patient_scores
from leukoscope.experiments.cblc.patients import patient_ratios
from leukoscope.experiments.cblc.predictions import Predictions
from leukoscope.experiments.cblc.settings import StudyFiles
from leukoscope.experiments.preregistration import array_digest, file_digest
from leukoscope.experiments.rows import fingerprint_of

PRIMARY = (
    "Patients of the validation centres together: AUROC of AML or not by the corrected ratio (DeLong), sensitivity and "
    "specificity at the threshold registered here, mean absolute error and Lin's concordance with the expert's ratio, "
    "share of patients whose expert's ratio lies within the corrected limits"
)


def registration_facts(
    cohort: Cohort, files: StudyFiles, predictions: Predictions, out: Path, *, members: list[Path]
) -> dict:
    """Digests of data, settings, models and predictions, thresholds from development, and the analysis; plain types.

    members  run folders of the ensemble's members. Nothing here depends on the truth of a validation patient.
    """
    parts = {role: cohort.fields(lambda p, role=role: p.role == role) for role in (DEVELOP, VALIDATE)}
    rows = predictions.develop
    models = {f"member {i}": file_digest(run / "best.pt") for i, run in enumerate(members, 1)}
    for name in ("locator", "outliner"):
        path = out / "bundle" / name / "model.onnx"
        models |= {name: file_digest(path)} if path.is_file() else {}
    return {
        "study": "cblc",
        "data": {role: part.sha256() for role, part in parts.items()}
        | {"diagnoses": fingerprint_of({k: p.diagnosis for k, p in cohort.patients.items()})},
        "settings": fingerprint_of(files.settings()),
        "models": models,
        "predictions": {
            DEVELOP: array_digest(predictions.ensemble[rows]), VALIDATE: array_digest(predictions.ensemble[~rows]),
        },
        "thresholds": _thresholds(cohort, files, predictions),
        "analysis": {"composite": files.study.composite, "primary": PRIMARY, "level": 0.95},
    }  # fmt: skip


def _thresholds(cohort: Cohort, files: StudyFiles, predictions: Predictions) -> dict[str, float | None]:
    """The ratio at which a patient is called AML, by Youden's index on left-out development patients."""
    ratios = patient_ratios(
        cohort, predictions.crops, predictions.ensemble, predictions.validation, composite=files.study.composite
    )
    ratios = [r for r in ratios if r.patient.role == DEVELOP]

    def fixed(value) -> float | None:
        threshold = fix_threshold(patient_scores(ratios, value))
        return round(threshold, 9) if math.isfinite(threshold) else None

    return {"raw count": fixed(attrgetter("raw")), "corrected": fixed(attrgetter("corrected"))}
