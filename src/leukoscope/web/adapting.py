"""`leukoscope adapt MODEL --from DB`: a model fitted to what readers signed, and kept only where it is better.

The classifier learns from calls, the locator (`--locator`) from boxes.

Better is measured on patients that had no part in the fitting: each patient is left out once, with its fold.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from leukoscope.classify import classify
from leukoscope.dataset.manifest import Dataset, TruthField, read_dataset, write_dataset
from leukoscope.errors import DataError, InputError
from leukoscope.evaluate.patients import clustered_limits
from leukoscope.images import read_field
from leukoscope.models.bundle import find_model, part_of_model
from leukoscope.models.runtime import Session
from leukoscope.train.adapt.locator_site import LocatorAdapted, adapt_locator
from leukoscope.train.adapt.site import adapt_model, allowed_classes, suggest_cells
from leukoscope.types import Cells
from leukoscope.web.learn import export_reviewed
from leukoscope.web.store import existing_store

FOLDS = 4
Show = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Adapted:
    """What came of it. before, after: accuracy on patients left out, and after - before, each (value, low, high).

    unit  "patient", or "photograph" where all cells are of one patient
    """

    n_cells: int
    n_groups: int
    unit: str
    before: tuple[float, float, float]
    after: tuple[float, float, float]
    gain: tuple[float, float, float]


def adapt_from(model: str | Path, db: str, out: str | Path, *, seed: int = 0, progress: Show | None = None) -> Adapted:
    """Fit `model` to the reviewed cells of signed patients, and write it into `out` if it is better.

    The model that is written learnt from all patients; what is measured are models that learnt without those they are
    judged on. Limits leave out one patient after the other. InputError where the fitted model is not better: then
    nothing is written. DataError where fewer than two patients (or photographs) have reviewed cells.
    """
    with tempfile.TemporaryDirectory() as work:
        dataset = reviewed_cells(db, Path(work) / "all")
        measured = measure_left_out(model, dataset, Path(work), seed=seed, progress=progress)
        if not measured.gain[0] > 0:
            raise InputError(
                f"fitted to {measured.n_cells} reviewed cells the model is not better on {measured.unit}s left out"
                f" ({measured.before[0]:.3f} before, {measured.after[0]:.3f} after): nothing was written; sign more"
                " patients, or keep the model"
            )
        adapt_model(model, Path(work) / "all", out, seed=seed, progress=progress)
    return measured


def adapt_locator_from(model: str | Path, db: str, out: str | Path, **how: object) -> LocatorAdapted:
    """Fit `model`'s locator to the fields of signed patients that a reader looked through: boxes as they were found,
    added, moved, or called no cell. `how` is `adapt_locator`'s: replay, resume, seed, progress.

    InputError where the fitted locator is not better on fields held out: then nothing is written. DataError where too
    few fields were looked through.
    """
    with tempfile.TemporaryDirectory() as work, existing_store(db) as store:
        export_reviewed(store, work, looked_through=True)
        return adapt_locator(model, work, out, **how)


def reviewed_cells(db: str, folder: Path) -> Dataset:
    """The reviewed cells of signed patients as a data set in `folder`; cells that nobody saw are left out."""
    with existing_store(db) as store:
        export_reviewed(store, folder)
    dataset = read_dataset(folder)
    typed = (replace(f, cells=tuple(c for c in f.cells if c.class_name)) for f in dataset.fields)
    dataset = replace(dataset, fields=tuple(f for f in typed if f.cells))
    write_dataset(dataset, folder)
    return dataset


def measure_left_out(
    model: str | Path, dataset: Dataset, work: Path, *, seed: int = 0, progress: Show | None = None
) -> Adapted:
    """Accuracy before and after on patients that were left out, FOLDS at a time, with limits by patient."""
    of_patient = np.array([f.key.patient_id or f.sha256 for f in dataset.fields])
    unit = "patient" if len(np.unique(of_patient)) > 1 else "photograph"
    groups = of_patient if unit == "patient" else np.array([f.sha256 for f in dataset.fields])
    names = np.random.default_rng(seed).permutation(np.unique(groups))
    if len(names) < 2:
        raise DataError("adapting holds out patients or photographs: sign cells of two or more of them first")
    rows = []
    for fold in range(min(FOLDS, len(names))):
        out = np.isin(groups, names[fold :: min(FOLDS, len(names))])
        fitted, part = work / f"model-{fold}", work / f"fold-{fold}"
        write_dataset(replace(dataset, fields=_some(dataset, ~out)), part)
        adapt_model(model, part, fitted, seed=seed)
        old, new = (called_right(m, _some(dataset, out), dataset) for m in (model, fitted))
        rows += [(group, a, b) for (group, a), (_, b) in zip(old, new, strict=True)]
        if progress is not None:
            progress(fold + 1, min(FOLDS, len(names)))
    if unit == "patient":
        clusters = np.array([patient for (patient, _), _, _ in rows])
    else:
        clusters = np.array([photograph for (_, photograph), _, _ in rows])
    before, after = (np.array([r[column] for r in rows], np.float64) for column in (1, 2))
    measured = (
        _with_limits(values, clusters, within) for values, within in (
            (before, (0.0, 1.0)), (after, (0.0, 1.0)), (after - before, (-1.0, 1.0)),
        )
    )  # fmt: skip
    return Adapted(len(rows), len(names), unit, *measured)


def _some(dataset: Dataset, keep: np.ndarray) -> tuple[TruthField, ...]:
    return tuple(field for field, wanted in zip(dataset.fields, keep, strict=True) if wanted)


def called_right(
    model: str | Path, fields: tuple[TruthField, ...], dataset: Dataset
) -> list[tuple[tuple[str, str], bool]]:
    """((patient, photograph), whether called right) of every cell, at the reviewed boxes."""
    session = Session(part_of_model(find_model(model), "classify"))
    found = []
    for truth in fields:
        boxes = np.array([c.box for c in truth.cells], np.float32)
        field = read_field(dataset.path(truth), truth.key, um_per_px=truth.um_per_px)
        calls = classify(field, Cells(truth.key, boxes, np.ones(len(boxes))), session)
        allowed = allowed_classes(np.array([c.class_name for c in truth.cells]), calls.taxonomy)
        right = allowed[np.arange(len(boxes)), calls.class_ids()]
        found += [
            ((truth.key.patient_id, truth.sha256), bool(r))
            for r, known in zip(right, allowed.any(1), strict=True)
            if known
        ]
    return found


def _with_limits(values: np.ndarray, clusters: np.ndarray, within: tuple[float, float]) -> tuple[float, float, float]:
    return float(values.mean()), *clustered_limits(lambda r: float(values[r].mean()), clusters, within=within)


def next_cells(model: str | Path, db: str, n: int, *, seed: int = 0, progress: Show | None = None) -> list[dict]:
    """The n cells of patients that are not signed which would teach most (`suggest_cells`), best first."""
    with tempfile.TemporaryDirectory() as work, existing_store(db) as store:
        export_reviewed(store, work, signed=False)
        return suggest_cells(model, work, n, seed=seed, progress=progress)
