"""Cells counted by people or by a run: a table of patients and classes, read from a CSV file or a record.

Two tables are compared in the classes that both can say: where one knows bands and the other only neutrophils, both are
neutrophils (`align`). What only one side states is named, stays in its denominator, and is not compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from leukoscope.errors import InputError
from leukoscope.taxonomy import PARENTS, VOCABULARY, Taxonomy

SPECIMENS = ("blood", "marrow")
NOT_COUNTED = ("red_cell", "platelet", "smudge_cell", "artefact", "not_identifiable", "naked_nucleus", "fat_cell")


@dataclass(frozen=True, slots=True, eq=False)
class CountTable:
    """counts (P, C) int64: cells of each patient and class, rows `patients`, columns `classes`; `notes` for people.

    conditions  (P,) what each row repeats, in a table of repeated counts; else ()
    """

    name: str
    patients: tuple[str, ...]
    classes: tuple[str, ...]
    counts: np.ndarray
    notes: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Aligned:
    """Two tables in the same patients and classes.

    reference, test    (P, C) int64; n_reference, n_test (P,) cells of the denominator
    only_reference, only_test   classes that one side alone states, left out of the comparison
    """

    names: tuple[str, str]
    specimen: str
    patients: tuple[str, ...]
    classes: tuple[str, ...]
    reference: np.ndarray
    test: np.ndarray
    n_reference: np.ndarray
    n_test: np.ndarray
    only_reference: tuple[str, ...]
    only_test: tuple[str, ...]
    notes: tuple[str, ...]


def align(reference: CountTable, test: CountTable, specimen: str, *, shared_only: bool = False) -> Aligned:
    """Both tables over the same patients and classes; InputError for a patient that only one has.

    shared_only  compare the patients that both have, and name the others in the notes
    """
    if specimen not in SPECIMENS:
        raise InputError(f"specimen must be {' or '.join(SPECIMENS)}, got {specimen!r}")
    shared = [p for p in reference.patients if p in set(test.patients)]
    apart = {t.name: [p for p in t.patients if p not in set(shared)] for t in (reference, test)}
    words = "; ".join(f"{name} alone has {_some(p)}" for name, p in apart.items() if p)
    if not shared:
        raise InputError(f"no patient stands in both tables ({words}): are the ids written alike?")
    if words and not shared_only:
        raise InputError(
            f"{words}: correct the ids, or compare the {len(shared)} shared patients alone with --shared-only"
        )
    tops = _tops({*reference.classes, *test.classes})
    sides = [_merged(t, shared, tops) for t in (reference, test)]
    names = [tuple(dict.fromkeys(tops[c] for c in t.classes)) for t in (reference, test)]
    classes = tuple(c for c in VOCABULARY if c in names[0] and c in names[1])
    if not classes:
        raise InputError(
            f"{reference.name} and {test.name} have no class in common: {_some(names[0])}; {_some(names[1])}"
        )
    totals = [_denominator(side, specimen) for side in sides]
    for table, total in zip((reference, test), totals, strict=True):
        none = [p for p, n in zip(shared, total, strict=True) if not n]
        if none:
            raise InputError(f"{table.name}: no cell of the {specimen} differential was counted for {_some(none)}")
    notes = (*reference.notes, *test.notes, *((f"left out: {words}",) if words else ()))
    tables = [np.array([[row.get(c, 0) for c in classes] for row in side], np.int64) for side in sides]
    alone = [
        tuple(c for c in classes if c not in other and c not in NOT_COUNTED) for classes, other in (names, names[::-1])
    ]
    return Aligned(
        (reference.name, test.name), specimen, tuple(shared), classes, tables[0], tables[1], totals[0], totals[1],
        alone[0], alone[1], notes,
    )  # fmt: skip


def pooled(tables: Sequence[CountTable]) -> CountTable:
    """Several readers' counts of the same patients as one: what two readers of 200 cells each make together."""
    patients = tuple(p for p in tables[0].patients if all(p in t.patients for t in tables))
    classes = tuple(dict.fromkeys(c for t in tables for c in t.classes))
    counts = np.zeros((len(patients), len(classes)), np.int64)
    for t in tables:
        rows = [t.patients.index(p) for p in patients]
        counts[:, [classes.index(c) for c in t.classes]] += t.counts[rows]
    name = " and ".join(t.name for t in tables)
    return replace(tables[0], name=name, patients=patients, classes=classes, counts=counts,
                   notes=tuple(n for t in tables for n in t.notes))  # fmt: skip


def ancestors(name: str) -> list[str]:
    """The class and every coarser one that it belongs to, "white_cell" left out: it says no type."""
    above: list[str] = []
    current: str | None = name
    while current is not None and (current != "white_cell" or not above):
        above.append(current)
        current = PARENTS.get(current)
    return above


def _tops(names: set[str]) -> dict[str, str]:
    """{class: the coarsest class it belongs to that either table has}."""
    return {n: next(a for a in reversed(ancestors(n)) if a in names) for n in names}


def _merged(table: CountTable, patients: Sequence[str], tops: dict[str, str]) -> list[dict[str, int]]:
    merged = []
    for patient in patients:
        of_patient: dict[str, int] = {}
        for name, n in zip(table.classes, table.counts[table.patients.index(patient)].tolist(), strict=True):
            of_patient[tops[name]] = of_patient.get(tops[name], 0) + n
        merged.append(of_patient)
    return merged


def counted_classes(names: Sequence[str], specimen: str) -> tuple[str, ...]:
    """Those of some classes that a specimen's differential is made of."""
    counted = tuple(n for n in names if n not in NOT_COUNTED)
    return Taxonomy("counts", tuple(names), counted).denominator(specimen)


def _denominator(side: Sequence[dict[str, int]], specimen: str) -> np.ndarray:
    names = counted_classes(tuple(dict.fromkeys(n for row in side for n in row)), specimen)
    return np.array([sum(row.get(n, 0) for n in names) for row in side], np.int64)


def _some(names: Sequence[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
