"""What a run knows of itself, for the reporting checklists."""

import math

from leukoscope.experiments.cblc.cohort import AML, DEVELOP, VALIDATE
from leukoscope.experiments.cblc.measure import area, fix_threshold, patient_scores
from leukoscope.experiments.cblc.result import StudyResult
from leukoscope.experiments.cblc.tables import POOLED
from leukoscope.experiments.cblc.verdicts import Ratios, corrected, parts
from leukoscope.experiments.checklists import filled_facts


def known_facts(result: StudyResult, ratios: Ratios) -> dict[str, str]:
    """{fact of checklists.toml: words}."""
    study, cohort, classifier = result.files.study, result.cohort, result.files.classifier
    words: dict[str, object] = {"study": study, "dataset": cohort.dataset, "classifier": classifier}
    for role, name in ((DEVELOP, "develop"), (VALIDATE, "validate")):
        patients, centers = cohort.of(role), cohort.centers(role)
        words |= {name: ", ".join(centers), f"n_{name}": len(centers), f"{name}_patients": len(patients)}
        words[f"{name}_aml"] = sum(p.diagnosis == AML for p in patients)
    by_part = parts(ratios.patients)
    threshold = fix_threshold(patient_scores(by_part["development, left out"], corrected))
    is_fixed = math.isfinite(threshold)
    components = [*study.imbalance, *study.center_border] + (["morphology"] if study.morphology_weight else [])
    stain = "nuclei brought to the development centres' stain density" if study.stain else "no stain normalisation"
    local = f"The ratio corrected once more with {study.local_cells} labelled cells of each centre."
    words |= {
        "about": result.about,
        "digest": cohort.dataset.sha256()[:12],
        "stain": stain,
        "unknown": sum(not p.diagnosis for p in cohort.patients.values()),
        "doubtful": sum(not math.isfinite(r.corrected) for r in ratios.patients),
        "components": ", ".join(components) or "none",
        "updating": local if study.local_cells else "None.",
        "imbalance": f"{', '.join(study.imbalance)} in training" if study.imbalance else "not handled",
        "threshold": f"threshold {100 * threshold:.1f} %, Youden's on development patients"
        if is_fixed
        else "no threshold: development patients of both kinds are needed",
        "auroc": area(patient_scores(by_part[POOLED], corrected)),
        "limits": _limits(result),
        "registration": result.registration,
        "crosstab": _crosstab(ratios, threshold) if is_fixed else "",
        "start": classifier.weights or "random",
        "weights": ", ".join(map(str, study.ensemble_weights)) or "alike",
        "ablation": "table ablation" if study.ablation else "not run",
    }
    return filled_facts("cblc/facts.toml", words)


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
