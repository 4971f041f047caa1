"""Cells whose out-of-fold prediction contradicts their label."""

from collections import Counter

import numpy as np

from leukoscope.checks.label_quality import normalised_margin
from leukoscope.checks.observe import Observations, is_typed
from leukoscope.checks.out_of_fold import out_of_fold_probs
from leukoscope.checks.suspect import Suspect, trusted
from leukoscope.dataset.audit import find_duplicates
from leukoscope.dataset.manifest import Dataset, TruthField
from leukoscope.evaluate.classes import cohen_kappa, confusion_matrix
from leukoscope.progress import Progress, for_stages, no_progress
from leukoscope.taxonomy import PARENTS

LEAST_GROUPS = 2  # of a class: with one, the heads never see the class when they judge it


def doubt_labels(
    dataset: Dataset, seen: Observations, *, seed: int, copies: dict[str, str] | None = None
) -> tuple[list[Suspect], list[str]]:
    """Each typed cell with 1 - normalised margin of its out-of-fold probabilities as suspicion; and notes.

    copies: of `near_copies`. No patient is on both sides of a fold; where patients are not stated, no photograph, and
    with `copies` none of its near-duplicates.
    How far the suspicions may leave 0.5 is how well the heads agree with the set's labels beyond chance.
    """
    cells = [
        (f, row)
        for f in dataset.fields
        if f.key.field_id in seen.by_field
        for row, cell in enumerate(f.cells)
        if is_typed(cell) and row in seen.by_field[f.key.field_id].activations
    ]
    copies = copies or {}
    cells, notes, grouping = _judgeable(cells, copies)
    names = sorted({f.cells[row].class_name for f, row in cells})
    if len(names) < 2:
        return [], [*notes, "Types were not judged: that takes two classes with cells of two groups each."]
    labels = np.array([names.index(f.cells[row].class_name) for f, row in cells])
    features = np.stack([seen.by_field[f.key.field_id].activations[row] for f, row in cells])
    groups = np.array([_group(f, grouping, copies) for f, _ in cells])
    probs = out_of_fold_probs(features, labels, groups, n_classes=len(names), seed=seed)
    related = np.array([[are_related(a, b) for b in names] for a in names])
    quality = normalised_margin(probs, labels, related)
    agreement = agreement_beyond_chance(probs.argmax(1), labels)
    notes.append(
        f"Types of {len(cells)} cells were judged by heads fitted in folds, no {grouping} on both sides "
        f"({len(set(groups.tolist()))} {grouping}s); agreement with the labels beyond chance: kappa {agreement:.2f}."
    )
    suspects = []
    for (field, row), label, p, q in zip(cells, labels, probs, quality, strict=True):
        best = int(np.where(related[label], -1, p).argmax())
        suspects.append(
            Suspect(
                kind="wrong_type",
                suspicion=trusted(float(1 - q), agreement),
                field=field,
                row=row,
                box=field.cells[row].box,
                says=names[best],
                p_class=float(p[label]),
                p_says=float(p[best]),
            )
        )
    return suspects, notes


def agreement_beyond_chance(calls: np.ndarray, labels: np.ndarray) -> float:
    """Cohen's kappa of two columns of class numbers, at least 0."""
    table = confusion_matrix(labels, calls, n_classes=int(max(calls.max(), labels.max())) + 1)
    return float(np.fmax(0.0, cohen_kappa(table)))


def are_related(a: str, b: str) -> bool:
    """Whether one class is the other or part of it (see taxonomy.PARENTS): then they don't contradict each other."""
    return b in _line(a) or a in _line(b)


def _line(name: str) -> list[str]:
    line = [name]
    while line[-1] in PARENTS:
        line.append(PARENTS[line[-1]])
    return line


def near_copies(dataset: Dataset, *, progress: Progress = no_progress) -> dict[str, str]:
    """{field id: name of its cluster} of photographs that are near-duplicates of another (`dataset.audit`); empty where
    every photograph states its patient, for then patients are kept together."""
    if all(f.key.patient_id for f in dataset.fields):
        return {}
    duplicates = find_duplicates([dataset.path(f) for f in dataset.fields], workers=1, progress=for_stages(progress))
    return {
        dataset.fields[row].key.field_id: f"copies of {dataset.fields[cluster[0]].key.field_id}"
        for cluster in duplicates.clusters
        for row in cluster
    }


def _judgeable(
    cells: list[tuple[TruthField, int]], copies: dict[str, str]
) -> tuple[list[tuple[TruthField, int]], list[str], str]:
    """The cells of classes with enough groups, notes on the others, and what is a group: "patient" or "photograph".

    Patients, where every cell has one and every class has cells of two: else the class of a cell could be judged by
    heads that never saw it.
    """
    by_patient = _groups_of_class(cells, "patient", copies)
    everyone_known = bool(cells) and all(f.key.patient_id for f, _ in cells)
    grouping = "patient" if everyone_known and min(by_patient.values()) >= LEAST_GROUPS else "photograph"
    n_groups = _groups_of_class(cells, grouping, copies)
    rare = {name for name, n in n_groups.items() if n < LEAST_GROUPS}
    notes = []
    if rare:
        counts = Counter(f.cells[row].class_name for f, row in cells)
        listed = ", ".join(f"{name} ({counts[name]})" for name in sorted(rare))
        notes.append(f"Types not judged, for their class has cells in one {grouping} only: {listed}.")
    if everyone_known and grouping == "photograph":
        notes.append("Some class has cells of one patient only: folds are by photograph, not by patient.")
    return [(f, row) for f, row in cells if f.cells[row].class_name not in rare], notes, grouping


def _groups_of_class(cells: list[tuple[TruthField, int]], grouping: str, copies: dict[str, str]) -> Counter[str]:
    pairs = {(f.cells[row].class_name, _group(f, grouping, copies)) for f, row in cells}
    return Counter(name for name, _ in pairs)


def _group(field: TruthField, grouping: str, copies: dict[str, str]) -> str:
    """The patient, or the cluster of near-duplicates, or the picture's digest: a copy is the same photograph."""
    if grouping == "patient":
        return field.key.patient_id
    return copies.get(field.key.field_id, field.sha256)
