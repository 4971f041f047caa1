"""Who has what: diseases, the cells that go with them, and a patient's true ratios and diagnosis."""

from collections import Counter
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from leukoscope.dataset.manifest import TruthField
from leukoscope.simulate.smear import dealt, patient_id_of
from leukoscope.taxonomy import MARROW_16, PCM_9

TAXONOMY_OF = {"blood": PCM_9, "marrow": MARROW_16}
AML_RATIO = 0.20  # myeloid blasts and equivalents among counted cells (ELN 2022, without its genetic exceptions)
LOW, HIGH = (0.0, 0.17), (0.23, 0.90)  # planned blast ratios of patients without and with acute leukaemia
NEAR_LOW, NEAR_HIGH = (0.08, 0.19), (0.21, 0.36)  # of a cohort whose patients are hard to tell apart
LOW_SHARE = 0.45
NOT_COUNTED_SHARE = {"blood": 0.10, "marrow": 0.05}
NOT_COUNTED = {"smudge_cell": 0.45, "cut_cell": 0.35, "artefact": 0.20}

# Diseases: shares of the blast classes. Patients with acute leukaemia take turns; so do those without.
LEUKAEMIAS = {
    "blood": (
        ("AML", {"myeloblast": 1.0}),
        ("ALL", {"lymphoblast": 1.0}),
        ("APL", {"apl_promyelocyte": 0.9, "myeloblast": 0.1}),
    ),
    "marrow": (
        ("AML with maturation", {"myeloblast": 1.0}),
        ("AML, monocytic", {"monoblast": 0.6, "promonocyte": 0.4}),
        ("AML, myelomonocytic", {"myeloblast": 0.45, "monoblast": 0.25, "promonocyte": 0.3}),
        ("AML, megakaryoblastic", {"megakaryoblast": 0.75, "myeloblast": 0.25}),
    ),
}
BELOW = {
    "blood": (
        ("reactive", {"myeloblast": 1.0}),
        ("low count of blasts", {"myeloblast": 1.0}),
        ("low count of blasts", {"lymphoblast": 1.0}),
    ),
    "marrow": (
        ("normal", {"myeloblast": 1.0}),
        ("left shift", {"myeloblast": 1.0}),
        ("erythroid hyperplasia", {"myeloblast": 1.0}),
        ("MDS", {"myeloblast": 0.85, "monoblast": 0.1, "megakaryoblast": 0.05}),
    ),
}

# The other cells, by (class, drawing): shares.
_NEUTROPHILS = {("neutrophil", "segmented_neutrophil"): 0.43, ("neutrophil", "band_neutrophil"): 0.09}
_OTHERS = {("other", "basophil"): 0.012, ("other", "plasma_cell"): 0.018, ("other", "megakaryocyte"): 0.010}
_BLOOD = _NEUTROPHILS | {
    ("lymphocyte", "lymphocyte"): 0.27, ("monocyte", "monocyte"): 0.10, ("eosinophil", "eosinophil"): 0.07,
    ("basophil", "basophil"): 0.04,
}  # fmt: skip
_MARROW = _OTHERS | {
    ("promyelocyte", "promyelocyte"): 0.03, ("myelocyte", "myelocyte"): 0.12, ("metamyelocyte", "metamyelocyte"): 0.13,
    ("neutrophil", "band_neutrophil"): 0.12, ("neutrophil", "segmented_neutrophil"): 0.15,
    ("eosinophil", "eosinophil"): 0.02, ("eosinophil", "eosinophilic_myelocyte"): 0.015,
    ("monocyte", "monocyte"): 0.025, ("lymphocyte", "lymphocyte"): 0.11,
    ("proerythroblast", "proerythroblast"): 0.012, ("early_erythroblast", "early_erythroblast"): 0.03,
    ("erythroblast", "erythroblast"): 0.19, ("promegakaryocyte", "promegakaryocyte"): 0.008,
}  # fmt: skip
_MORE_OF = {
    "reactive": {"lymphocyte": 2.0, "monocyte": 2.5},
    "ALL": {"neutrophil": 0.35, "lymphocyte": 1.5},
    "AML": {"monocyte": 2.0},
    "left shift": {"promyelocyte": 5.0, "myelocyte": 2.0},
    "erythroid hyperplasia": {"proerythroblast": 5.0, "early_erythroblast": 5.0, "erythroblast": 1.6},
    "AML, megakaryoblastic": {"promegakaryocyte": 6.0},
    "AML, monocytic": {"monocyte": 4.0},
    "MDS": {"early_erythroblast": 2.0, "promyelocyte": 1.6, "promegakaryocyte": 2.0},
}

Cell = tuple[str, str]  # class, drawing


class _Sizes(Protocol):
    specimen: str
    patients: int
    centers: int

    def set_name(self) -> str: ...
    def n_fields(self) -> int: ...
    def n_cells(self) -> tuple[int, int]: ...
    def ratios(self) -> tuple[tuple[float, float], tuple[float, float]]: ...


@dataclass(frozen=True, slots=True)
class Patient:
    """What is to be drawn: on each field, cells of (class, drawing). `background`: the disease that was planned."""

    patient_id: str
    center: int
    background: str
    fields: tuple[tuple[Cell, ...], ...]


def plan_patients(rng: np.random.Generator, sizes: _Sizes) -> list[Patient]:
    """Patients with blast ratios over `sizes.ratios()`, dealt out so that every centre has high and low ones."""
    n_low = round(LOW_SHARE * sizes.patients)
    low, high = (np.linspace(*ends, n) for ends, n in zip(sizes.ratios(), (n_low, sizes.patients - n_low), strict=True))
    order = rng.permutation(sizes.patients)  # a patient's number says nothing of ratio or centre
    plan: list[Patient | None] = [None] * sizes.patients
    for place, ratio in enumerate([*low, *high]):
        groups = BELOW if place < n_low else LEUKAEMIAS
        turns = groups[sizes.specimen]
        disease, blasts = turns[(place if place < n_low else place - n_low) % len(turns)]
        number = int(order[place])
        cells = _fields(rng, sizes, disease, blasts, float(ratio))
        plan[number] = Patient(patient_id_of(sizes.set_name(), number), place % sizes.centers, disease, cells)
    return [p for p in plan if p is not None]


def _fields(
    rng: np.random.Generator, sizes: _Sizes, disease: str, blasts: dict[str, float], ratio: float
) -> tuple[tuple[Cell, ...], ...]:
    low, high = sizes.n_cells()
    per_field = rng.integers(low, high + 1, sizes.n_fields())
    n_cells = int(per_field.sum())
    n_other = round(NOT_COUNTED_SHARE[sizes.specimen] * n_cells)
    n_blasts = round(ratio * (n_cells - n_other))
    names = [(name, name) for name in _drawn(rng, blasts, n_blasts)]
    names += _drawn(rng, _background(sizes.specimen, disease), n_cells - n_other - n_blasts)
    names += [("other", name) for name in _drawn(rng, NOT_COUNTED, n_other)]
    return dealt(rng, names, per_field.tolist())


def _background(specimen: str, disease: str) -> dict[Cell, float]:
    mix = _BLOOD if specimen == "blood" else _MARROW
    more = _MORE_OF.get(disease, {})
    return {cell: share * more.get(cell[0], 1.0) for cell, share in mix.items()}


def _drawn(rng: np.random.Generator, shares: dict, n: int) -> list:
    """`n` keys at random by their shares."""
    keys, weights = list(shares), np.array(list(shares.values()))
    return [keys[i] for i in rng.choice(len(keys), n, p=weights / weights.sum())]


def patient_truth(patient: Patient, fields: list[TruthField], specimen: str) -> dict:
    """The patient's entry in truth.json: from the cells that were drawn, not from those that were planned."""
    taxonomy = TAXONOMY_OF[specimen]
    counts = Counter(cell.class_name for field in fields for cell in field.cells)
    n_counted = sum(counts[name] for name in taxonomy.denominator(specimen))
    cblc = taxonomy.composites.get("cblc")
    disease, diagnosis = _diagnosis(patient, counts, n_counted, specimen)
    return {
        "patient_id": patient.patient_id,
        "center": fields[0].key.center,
        "diagnosis": diagnosis,
        "disease": disease,
        "n_fields": len(fields),
        "n_counted": n_counted,
        "n_blasts": sum(counts[name] for name in taxonomy.blasts),
        "blast_ratio": _share(counts, taxonomy.blasts, n_counted),
        "cblc_ratio": _share(counts, cblc, n_counted) if cblc else None,
        "counts": dict(sorted(counts.items())),
    }


def _share(counts: Counter, names: tuple[str, ...], n_counted: int) -> float | None:
    return sum(counts[name] for name in names) / n_counted if n_counted else None


def _diagnosis(patient: Patient, counts: Counter, n_counted: int, specimen: str) -> tuple[str, str]:
    """Disease, and AML or not-AML, by the cells that were drawn: a ratio just below the line is no leukaemia."""
    myeloid = TAXONOMY_OF[specimen].myeloid_blasts
    is_aml = n_counted > 0 and sum(counts[n] for n in myeloid) >= AML_RATIO * n_counted
    is_all = n_counted > 0 and counts["lymphoblast"] >= AML_RATIO * n_counted
    planned = {name for name, _ in LEUKAEMIAS[specimen]}
    if is_aml:
        return (patient.background if patient.background in planned - {"ALL"} else "AML"), "AML"
    if is_all:
        return "ALL", "not-AML"
    below = "no leukaemia" if patient.background in planned | {"low count of blasts"} else patient.background
    n_blasts = sum(counts[n] for n in TAXONOMY_OF[specimen].blasts)
    return ("low count of blasts" if specimen == "blood" and n_blasts else below), "not-AML"
