"""A patient's differential and a model card's confusion matrix, by class names."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from leukoscope.count import denominator_of, members_of
from leukoscope.errors import DataError, ModelError
from leukoscope.quantify.corrected import UNIDENTIFIED, CorrectedRatio, Evidence, ratio_of, weigh
from leukoscope.quantify.scatter import Scatter
from leukoscope.taxonomy import Taxonomy
from leukoscope.types import Differential, is_identified


def confusion_of(card_confusion: dict | None, taxonomy: Taxonomy) -> np.ndarray | None:
    """(C, C) validation cells, truth x called, in the taxonomy's order, from a card's `confusion`; None without one.

    Keys: names; counts, a row a true class; and, of a model with a threshold "unidentified", unidentified: the cells of
    each true class below it, which are not in counts. They make a last column: (C, C + 1).
    ModelError where it is not a table of whole numbers over classes of the taxonomy. Classes that it does not name
    have no validation cell.
    """
    if card_confusion is None:
        return None
    try:
        names = list(card_confusion["names"])
        counts = np.asarray(card_confusion["counts"])
        apart = np.asarray(card_confusion["unidentified"]) if "unidentified" in card_confusion else None
    except (KeyError, TypeError, ValueError):
        raise ModelError("the card's confusion matrix needs names and counts, a row a true class") from None
    if counts.shape != (len(names), len(names)) or not np.issubdtype(counts.dtype, np.integer) or (counts < 0).any():
        raise ModelError(f"the card's confusion matrix must hold {len(names)} rows of {len(names)} numbers of cells")
    if apart is not None and (
        apart.shape != (len(names),) or not np.issubdtype(apart.dtype, np.integer) or (apart < 0).any()
    ):
        raise ModelError(f"the confusion matrix's unidentified must be {len(names)} numbers of cells")
    columns = taxonomy.columns(tuple(names))
    n_classes = len(taxonomy.names)
    table = np.zeros((n_classes, n_classes + (apart is not None)), np.int64)
    table[np.ix_(columns, columns)] = counts
    if apart is not None:
        table[columns, -1] = apart
    return table


def cells_by_patient(card_cells: dict | None, taxonomy: Taxonomy, *, least: int = 2) -> np.ndarray | None:
    """(P, C, C + 1) validation cells of each patient, truth x called, from a card's `confusion_by_patient`.

    Keys: names; patients, each with id and cells, a list of [truth, called, number] by index into names, where called =
    len(names) means not identified (the last column). What a patient is may be a person, or a laboratory where a set
    names no persons: `unit`, for people. None without one, or where fewer than `least` patients have cells.
    """
    if card_cells is None:
        return None
    try:
        names = list(card_cells["names"])
        columns = np.array([*taxonomy.columns(tuple(names)), len(taxonomy.names)])
        patients = card_cells["patients"]
        table = np.zeros((len(patients), len(taxonomy.names), len(taxonomy.names) + 1), np.int64)
        for row, patient in enumerate(patients):
            cells = np.asarray(patient["cells"], np.int64).reshape(-1, 3)
            if len(cells) and (cells.min() < 0 or cells[:, 0].max() >= len(names) or cells[:, 1].max() > len(names)):
                raise ValueError("an index or a number of cells is out of range")
            np.add.at(table[row], (columns[cells[:, 0]], columns[cells[:, 1]]), cells[:, 2])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ModelError(
            f"the card's confusion_by_patient needs names and patients with id and cells: {error}"
        ) from None
    return table if (table.sum((1, 2)) > 0).sum() >= least else None


def by_patient_for_card(
    truth: Sequence[str], called: Sequence[str | None], patients: Sequence[str], taxonomy: Taxonomy, *, unit: str
) -> dict:
    """A card's `confusion_by_patient` from validation cells: the class of each, what it was called (None: not
    identified), and whose it is. `cells_by_patient` reads it."""
    names = list(taxonomy.names)
    calls_of: dict[str, Counter] = {}
    for is_class, as_class, patient in zip(truth, called, patients, strict=True):
        key = (names.index(is_class), len(names) if as_class is None else names.index(as_class))
        calls_of.setdefault(patient, Counter())[key] += 1
    rows = [
        {"id": patient, "cells": [[*pair, n] for pair, n in sorted(calls_of[patient].items())]}
        for patient in sorted(calls_of)
    ]
    return {"unit": unit, "names": names, "patients": rows}


def confusion_for_card(
    truth: Sequence[int],
    probs: np.ndarray,
    taxonomy: Taxonomy,
    *,
    patients: Sequence[str] | None = None,
    unit: str = "patient",
    least_prob: float = 0.0,
) -> dict[str, dict]:
    """A card's `confusion` and, where patients are told, `confusion_by_patient`, from validation cells.

    truth (N,) columns and probs (N, C) of cells that the model did not train on, best of laboratories left out;
    patients (N,) whose each is (`unit` says what that is); least_prob  the card's threshold "unidentified"
    """
    columns, names = np.asarray(truth, np.int64), list(taxonomy.names)
    known, called = is_identified(probs, least_prob), np.asarray(probs).argmax(1)
    counts = np.zeros((len(names), len(names)), np.int64)
    np.add.at(counts, (columns[known], called[known]), 1)
    table = {"rows": "truth", "columns": "pred", "names": names, "counts": counts.tolist()}
    if least_prob > 0:
        table["unidentified"] = np.bincount(columns[~known], minlength=len(names)).tolist()
    keys = {"confusion": table}
    if patients is not None:
        said = [names[c] if k else None for c, k in zip(called, known, strict=True)]
        keys["confusion_by_patient"] = by_patient_for_card(
            [names[t] for t in truth], said, list(patients), taxonomy, unit=unit
        )
    return keys


def weigh_patient(
    differential: Differential,
    confusion: np.ndarray,
    subset: str = "blasts",
    *,
    local: np.ndarray | None = None,
    scatter: Scatter | np.ndarray | None = None,
) -> Evidence:
    """The evidence for a ratio by its name, as `count.ratio` takes it.

    confusion, local, and `scatter` where it is tables by patient, may have a last column of cells that were not
    identified. Where the patient has such cells and `confusion` has not, no value is given: they may be blasts more
    often than the others are.
    """
    taxonomy = differential.taxonomy
    _, denominator = denominator_of(taxonomy, differential.specimen, subset)
    with_apart = [t for t in (confusion, local) if t is not None and t.shape[-1] > len(taxonomy.names)]
    wide = bool(with_apart) or differential.n_unidentified > 0
    evidence = weigh(
        np.append(differential.counts, differential.n_unidentified) if wide else differential.counts,
        _square(confusion, wide),
        subset=taxonomy.columns(members_of(taxonomy, subset)),
        counted=taxonomy.columns(denominator),
        local=None if local is None else _square(local, wide),
        scatter=_square(scatter, wide) if isinstance(scatter, np.ndarray) else scatter,
    )
    unknown = differential.n_unidentified > 0 and not with_apart
    return replace(evidence, withheld=UNIDENTIFIED) if unknown else evidence


def _square(table: np.ndarray, wide: bool) -> np.ndarray:
    """(..., C, C) or (..., C, C + 1) -> (..., C + 1, C + 1) if wide, where not identified is a class without cells of
    its own; else (..., C, C)."""
    n_classes = table.shape[-2]
    if not wide:
        return table[..., :n_classes]
    square = np.zeros((*table.shape[:-2], n_classes + 1, n_classes + 1), np.int64)
    square[..., :n_classes, : table.shape[-1]] = table
    return square


def correct_patient(
    differential: Differential,
    confusion: np.ndarray,
    subset: str = "blasts",
    *,
    level: float = 0.95,
    method: str = "adjusted",
    **known: Any,
) -> CorrectedRatio:
    """The corrected ratio by its name ("blasts", "cblc", one class); `known`: `local` and `scatter` of `weigh_patient`,
    the rest as in `correct_ratio`."""
    return ratio_of(weigh_patient(differential, confusion, subset, **known), level=level, method=method)


def confusion_from_labels(truth: Sequence[str], called: Sequence[str], taxonomy: Taxonomy) -> np.ndarray:
    """(C, C) table of a few labelled cells of a centre: what each is, what it was called."""
    if len(truth) != len(called):
        raise DataError(f"each labelled cell needs a truth and a call, got {len(truth)} and {len(called)}")
    table = np.zeros((len(taxonomy.names), len(taxonomy.names)), np.int64)
    np.add.at(table, (taxonomy.columns(tuple(truth)), taxonomy.columns(tuple(called))), 1)
    return table
