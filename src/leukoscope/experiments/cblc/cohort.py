"""Who is in the study: patients of development and validation centres, their diagnosis and the expert's count."""

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from leukoscope.dataset.manifest import Dataset, TruthField, read_dataset
from leukoscope.dataset.splits import folds_by_subject
from leukoscope.errors import DataError, InputError
from leukoscope.files import unguarded
from leukoscope.taxonomy import Taxonomy, nearest_class

DEVELOP, VALIDATE = "development", "validation"
AML, NOT_AML = "AML", "not-AML"


@dataclass(frozen=True, slots=True, eq=False)
class Patient:
    """One patient.

    key        centre and id together, for ids repeat between centres
    role       "development" or "validation"; fold: the ensemble member that never sees this patient, -1 in validation
    diagnosis  "AML", "not-AML" or "" (unknown: the patient counts for agreement, not for accuracy)
    expert     (C,) int64 cells of each class as annotated
    """

    key: str
    center: str
    role: str
    fold: int
    diagnosis: str
    expert: np.ndarray
    n_fields: int


@dataclass(frozen=True, slots=True, eq=False)
class Cohort:
    """The fields of the study's centres, and its patients by key."""

    dataset: Dataset
    taxonomy: Taxonomy
    patients: dict[str, Patient]

    def centers(self, role: str) -> list[str]:
        """Centres of one role, in their order."""
        return list(dict.fromkeys(p.center for p in self.patients.values() if p.role == role))

    def of(self, role: str) -> list[Patient]:
        """Patients of one role."""
        return [p for p in self.patients.values() if p.role == role]

    def fields(self, keep) -> Dataset:
        """The fields of the patients for which `keep(patient)` holds."""
        chosen = tuple(f for f in self.dataset.fields if keep(self.patients[patient_key(f)]))
        return replace(self.dataset, fields=chosen)


def patient_key(field: TruthField) -> str:
    """CENTER/PATIENT; DataError where either is not stated."""
    if not field.key.patient_id or not field.key.center:
        raise DataError(
            f"field {field.key.field_id} states no patient or no centre: import the set again with --patients"
        )
    return f"{field.key.center}/{field.key.patient_id}"


def read_cohort(
    data: str | Path,
    taxonomy: Taxonomy,
    *,
    develop: Sequence[str],
    validate: Sequence[str],
    diagnosis: str | Path | None = None,
    folds: int = 3,
    seed: int = 0,
) -> Cohort:
    """The cohort of a data set folder.

    diagnosis  CSV with columns patient_id and diagnosis (AML or not-AML), and center where ids repeat; None: the
               set's own patients.csv where it has these columns
    InputError for centres that the set lacks or that stand on both sides.
    """
    data = Path(data)
    dataset = read_dataset(data)
    _check_centers(dataset, develop, validate)
    kept = tuple(f for f in dataset.fields if f.key.center in (*develop, *validate))
    dataset = replace(dataset, fields=kept)
    table = Path(diagnosis) if diagnosis else data / "patients.csv"
    if diagnosis and not table.is_file():
        raise InputError(f"no diagnosis table {table}: expected a CSV with columns patient_id and diagnosis")
    known = read_diagnoses(table) if table.is_file() else {}
    fold_of = _folds(dataset, develop, known, folds=folds, seed=seed)
    by_patient: dict[str, list[TruthField]] = defaultdict(list)
    for field in dataset.fields:
        by_patient[patient_key(field)].append(field)
    patients = {}
    for key, fields in sorted(by_patient.items()):
        first = fields[0].key
        role = DEVELOP if first.center in develop else VALIDATE
        patients[key] = Patient(
            key=key,
            center=first.center,
            role=role,
            fold=fold_of.get(key, -1),
            diagnosis=known.get(key) or known.get(first.patient_id, ""),
            expert=expert_counts(fields, taxonomy),
            n_fields=len(fields),
        )
    return Cohort(dataset, taxonomy, patients)


def expert_counts(fields: Sequence[TruthField], taxonomy: Taxonomy) -> np.ndarray:
    """(C,) int64 annotated cells by class; a class that the taxonomy lacks counts as its nearest coarser one."""
    counts = np.zeros(len(taxonomy.names), np.int64)
    for field in fields:
        for cell in field.cells:
            name = nearest_class(cell.class_name, taxonomy.names) if cell.class_name else None
            if name is not None:
                counts[taxonomy.index(name)] += 1
    return counts


def expert_ratio(expert: np.ndarray, taxonomy: Taxonomy, composite: str) -> tuple[int, int]:
    """Cells of a composite, and counted cells, among counts (C,)."""
    members = taxonomy.composites[composite] if composite in taxonomy.composites else taxonomy.blasts
    return int(expert[taxonomy.columns(members)].sum()), int(expert[taxonomy.columns(taxonomy.counted)].sum())


def read_diagnoses(path: str | Path) -> dict[str, str]:
    """{patient id, or CENTER/ID where the table has centres: "AML" or "not-AML"}; InputError names a wrong row.

    A table without a column `diagnosis` gives nothing.
    """
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = [{k: unguarded(v or "") for k, v in row.items() if k} for row in csv.DictReader(file)]
    if not rows or "diagnosis" not in rows[0] or "patient_id" not in rows[0]:
        return {}
    diagnoses: dict[str, str] = {}
    for number, row in enumerate(rows, 2):
        text = (row["diagnosis"] or "").strip()
        if not text:
            continue
        value = {"aml": AML, "not-aml": NOT_AML, "not aml": NOT_AML, "non-aml": NOT_AML}.get(text.lower())
        if value is None:
            raise InputError(f"{path} line {number}: diagnosis must be AML or not-AML, got {text!r}")
        key = f"{row['center']}/{row['patient_id']}" if row.get("center") else row["patient_id"]
        if diagnoses.setdefault(key, value) != value:
            raise InputError(f"{path} line {number}: patient {key} is both {diagnoses[key]} and {value}")
    return diagnoses


def _folds(dataset: Dataset, develop: Sequence[str], known: dict[str, str], *, folds: int, seed: int) -> dict[str, int]:
    """{development patient: fold}, folds alike in diagnosis where each has enough patients."""
    developed = replace(dataset, fields=tuple(f for f in dataset.fields if f.key.center in develop))

    def stratum(field: TruthField) -> str:
        return known.get(patient_key(field)) or known.get(field.key.patient_id, "")

    n_of: dict[str, set] = defaultdict(set)
    for field in developed.fields:
        n_of[stratum(field)].add(patient_key(field))
    use = stratum if min(len(s) for s in n_of.values()) >= folds else None
    made = folds_by_subject(developed, folds, seed=seed, group=patient_key, stratum=use)
    return {key: number for number, fold in enumerate(made) for key in fold.test}


def _check_centers(dataset: Dataset, develop: Sequence[str], validate: Sequence[str]) -> None:
    have = sorted({f.key.center for f in dataset.fields})
    both = sorted(set(develop) & set(validate))
    if both:
        raise InputError(f"centre {', '.join(both)} can't be for development and for validation: name it once")
    unknown = [c for c in (*develop, *validate) if c not in have]
    if unknown or not develop or not validate:
        what = f"has no centre {', '.join(unknown)}" if unknown else "needs a centre on each side"
        raise InputError(f"data set {dataset.name!r} {what}; its centres: {', '.join(have)}")
