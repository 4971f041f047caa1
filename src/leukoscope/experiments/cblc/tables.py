"""The study's tables of patients, cells and segmentation; `verdicts` has those of diagnosis and agreement."""

from collections import Counter

import numpy as np

from leukoscope.evaluate.classes import confusion_matrix, per_class
from leukoscope.experiments.cblc.cohort import AML, DEVELOP, NOT_AML, VALIDATE, expert_ratio
from leukoscope.experiments.cblc.crops import matched_cells
from leukoscope.experiments.cblc.measure import MEASURES, cell_differences, cell_scores
from leukoscope.experiments.cblc.result import DETECTOR, StudyResult
from leukoscope.experiments.cblc.segment import segmentation_rows
from leukoscope.experiments.tables import Table, study_table
from leukoscope.report.words import class_words

POOLED = "all validation centres"
SYSTEMS = {"GT to YOLO (stage 1)": "gt", "YOLO to YOLO (stage 2), one member": "single", "ensemble": "ensemble"}


def centre_masks(result: StudyResult) -> dict[str, np.ndarray]:
    """{centre, and the validation centres together: (N,) bool over predicted cells}, development first."""
    centers = result.predictions.crops.extras["centers"]
    cohort = result.cohort
    masks = {c: centers == c for c in (*cohort.centers(DEVELOP), *cohort.centers(VALIDATE))}
    return masks | {POOLED: ~result.predictions.develop}


def patients_table(result: StudyResult) -> Table:
    """Patients, fields and cells of each centre and role."""
    cohort, taxonomy, composite = result.cohort, result.cohort.taxonomy, result.files.study.composite
    n_found = Counter(result.predictions.crops.extras["centers"].tolist())
    rows = []
    for role in (DEVELOP, VALIDATE):
        for center in cohort.centers(role):
            patients = [p for p in cohort.of(role) if p.center == center]
            kinds = Counter(p.diagnosis or "unknown" for p in patients)
            expert = np.sum([p.expert for p in patients], axis=0)
            n_composite, n_counted = expert_ratio(expert, taxonomy, composite)
            share = n_composite / n_counted if n_counted else float("nan")
            rows.append(
                (center, role, len(patients), kinds[AML], kinds[NOT_AML], kinds["unknown"],
                 sum(p.n_fields for p in patients), int(expert.sum()), n_found[center], share)
            )  # fmt: skip
    return study_table("cblc/tables.toml:patients", rows, composite=composite)


def splits_table(result: StudyResult) -> Table:
    """Each patient: which fold left it out, or that it was for validation. In full in the CSV file."""
    rows = [
        (p.center, p.key.split("/", 1)[1], p.role, "" if p.fold < 0 else p.fold + 1, p.diagnosis or "unknown",
         p.n_fields, int(p.expert.sum()))
        for p in result.cohort.patients.values()
    ]  # fmt: skip
    return study_table("cblc/tables.toml:splits", rows)


def folds_table(result: StudyResult) -> Table:
    """Patients and cells of each member's training and left-out part."""
    patients = result.cohort.of(DEVELOP)
    rows = []
    for fold in range(result.files.study.folds):
        for name, part in (
            ("trained on", [p for p in patients if p.fold != fold]),
            ("left out", [p for p in patients if p.fold == fold]),
        ):
            rows.append(
                (
                    fold + 1,
                    name,
                    len(part),
                    sum(p.diagnosis == AML for p in part),
                    int(sum(p.expert.sum() for p in part)),
                )
            )
    return study_table("cblc/tables.toml:folds", rows)


def segmentation_table(result: StudyResult) -> Table:
    """Contours found, by centre."""
    measured = segmentation_rows(result.cohort.dataset, result.cells)
    rows = [
        (c, role, r["expert"], r["predicted"], r["matched"], r["missed"], r["extra"],
         r["matched"] / max(r["expert"], 1), r["matched"] / max(r["predicted"], 1), r["iou"])
        for role in (DEVELOP, VALIDATE) for c in result.cohort.centers(role) if (r := measured.get(c))
    ]  # fmt: skip
    return study_table("cblc/tables.toml:segmentation", rows, match_iou=result.files.study.match_iou)


def cells_table(result: StudyResult) -> Table:
    """Matched cells named, by centre and system, with limits over patients."""
    p, composite = result.predictions, result.files.study.composite
    rows = []
    for center, mask in centre_masks(result).items():
        chosen = mask & matched_cells(p.crops)
        for name, attribute in SYSTEMS.items():
            calls = getattr(p, attribute)[chosen].argmax(1)
            if not len(calls) or (attribute == "ensemble" and p.develop[chosen].any()):
                continue  # a development patient is called by one member only
            scores = cell_scores(p.crops.labels[chosen], calls, p.crops.groups[chosen], p.crops.taxonomy, composite)
            role = "development, left out" if p.develop[chosen].any() else "validation"
            rows.append((center, role, name, int(chosen.sum()), *(scores[m] for m in MEASURES)))
    return study_table("cblc/tables.toml:cells", rows, composite=composite)


def classes_table(result: StudyResult) -> Table:
    """Precision, recall and F1 of each class, ensemble, validation centres."""
    p = result.predictions
    matrix = validation_confusion(result)
    scores = per_class(matrix)
    rows = [
        (
            class_words(n),
            int(scores["support"][i]),
            *(float(scores[k][i]) if scores["support"][i] else float("nan") for k in ("precision", "recall", "f1")),
        )
        for i, n in enumerate(p.crops.taxonomy.names)
    ]
    return study_table("cblc/tables.toml:classes", rows)


def validation_confusion(result: StudyResult) -> np.ndarray:
    """(C, C) of labelled cells of the validation centres, artefacts in their own row; ensemble."""
    p = result.predictions
    rows = ~p.develop & (p.crops.labels >= 0)
    n_classes = len(p.crops.taxonomy.names)
    return confusion_matrix(p.crops.labels[rows], p.ensemble[rows].argmax(1), n_classes=n_classes)


def confusion_table(result: StudyResult) -> Table:
    """The ensemble's confusion matrix on validation centres, rows truth."""
    names = result.cohort.taxonomy.names
    rows = [(n, *row.tolist()) for n, row in zip(names, validation_confusion(result), strict=True)]
    return study_table("cblc/tables.toml:confusion", rows, classes=names)


def ablation_table(result: StudyResult) -> Table:
    """Effect of each component on the validation centres' matched cells: with it minus without it."""
    p, composite = result.predictions, result.files.study.composite
    chosen = ~p.develop & matched_cells(p.crops)
    labels, groups, taxonomy = p.crops.labels[chosen], p.crops.groups[chosen], p.crops.taxonomy
    full = p.single[chosen].argmax(1)
    pairs = {"YOLO to YOLO (stage 2)": (full, p.gt[chosen].argmax(1)), "ensemble": (p.ensemble[chosen].argmax(1), full)}
    for name, row in result.ablation.items():
        probs = np.zeros_like(p.single)
        probs[row["rows"]] = row["probs"]
        pairs[name.removeprefix("without ")] = (full, probs[chosen].argmax(1))
    rows = []
    for name, (on, off) in pairs.items():
        gain = cell_differences(labels, on, off, groups, taxonomy, composite)
        rows.append((name, gain["weighted F1"], gain["composite F1"]))
    failed = [f"{n} ({r.status}: {r.reason})" for n, r in result.rows.items() if n != DETECTOR and not r.is_done]
    more = f"Not measured: {'; '.join(failed)}." if failed else ""
    return study_table("cblc/tables.toml:ablation", rows, composite=composite, more=more)


def seconds_table(result: StudyResult) -> Table:
    """How long each step took."""
    rows = tuple((name, round(s)) for name, s in result.seconds.items())
    total = (("all steps", round(sum(result.seconds.values()))),)
    return study_table("cblc/tables.toml:seconds", [*rows, *total])
