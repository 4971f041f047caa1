"""`leukoscope adapt MODEL --from DB`: a model fitted to what readers signed, and kept only where it is better.

The classifier learns from calls, the locator (`--locator`) from boxes.

Better is measured on patients that had no part in the fitting: each patient is left out once, with its fold.
"""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from leukoscope.dataset.manifest import Dataset, read_dataset, write_dataset
from leukoscope.errors import DataError, InputError
from leukoscope.evaluate.patients import clustered_limits
from leukoscope.progress import Progress, no_progress
from leukoscope.train.adapt.heads import with_one
from leukoscope.train.adapt.locator_site import LocatorAdapted, adapt_locator
from leukoscope.train.adapt.site import HeardSite, adapt_heard, fit_rows, hear_site, suggest_cells
from leukoscope.train.adapt.site_head import old_weights
from leukoscope.web.learn import export_reviewed
from leukoscope.web.store import existing_store

FOLDS = 4
MOST_UNLABELLED = 1000  # cells of patients that are not signed, heard beside the labelled ones


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


def adapt_from(
    model: str | Path, db: str, out: str | Path, *, seed: int = 0, progress: Progress = no_progress
) -> Adapted:
    """Fit `model` to the reviewed cells of signed patients, and write it into `out` if it is better.

    The model that is written learnt from all patients; what is measured are models that learnt without those they are
    judged on. Limits leave out one patient after the other. InputError where the fitted model is not better: then
    nothing is written. DataError where fewer than two patients (or photographs) have reviewed cells.
    """
    with tempfile.TemporaryDirectory() as work:
        reviewed_cells(db, Path(work), seed=seed)
        site = hear_site(model, work, progress=progress)
        measured = measure_left_out(site, seed=seed)
        if not measured.gain[0] > 0:
            raise InputError(
                f"fitted to {measured.n_cells} reviewed cells the model is not better on {measured.unit}s left out"
                f" ({measured.before[0]:.3f} before, {measured.after[0]:.3f} after): nothing was written; sign more"
                " patients, or keep the model"
            )
        adapt_heard(site, out, seed=seed)
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


def reviewed_cells(db: str, folder: Path, *, seed: int = 0) -> Dataset:
    """The reviewed cells of signed patients as a data set in `folder`, and beside them cells without a label.

    Those are what nobody saw of the same patients, and about MOST_UNLABELLED cells of patients that are not signed,
    drawn by `seed`: adapting looks at what they have in common with the labelled ones.
    """
    with existing_store(db) as store:
        export_reviewed(store, folder)
        fields = read_dataset(folder).fields
        try:
            export_reviewed(store, folder / "others", signed=False, most=MOST_UNLABELLED, seed=seed)
            fields += read_dataset(folder / "others").fields
        except DataError:  # everybody is signed, or no photograph is at hand
            pass
    dataset = replace(read_dataset(folder), fields=tuple(f for f in fields if f.cells))
    write_dataset(dataset, folder)
    return dataset


def measure_left_out(site: HeardSite, *, seed: int = 0) -> Adapted:
    """Accuracy before and after on patients that were left out, FOLDS at a time, with limits by patient.

    A layer is fitted on the other patients alone, and none of the left-out ones' cells is looked at; right is a call of
    all the model's classes.
    """
    known = site.known
    unit = site.cells.unit if len(np.unique(site.cells.groups[known])) > 1 else "photograph"
    of_cell = site.cells.groups if unit == "patient" else site.cells.files
    groups = of_cell[known]
    names = np.random.default_rng(seed).permutation(np.unique(groups))
    if len(names) < 2:
        raise DataError("adapting holds out patients or photographs: sign cells of two or more of them first")
    after = np.zeros(len(known))
    n_folds = min(FOLDS, len(names))
    for fold in range(n_folds):
        out = np.isin(groups, names[fold::n_folds])
        among = np.flatnonzero(~np.isin(of_cell, names[fold::n_folds]))
        head, _ = fit_rows(site, known[~out], among=among, seed=seed)
        after[out] = _right(site, known[out], head.weights)
    before = _right(site, known, old_weights(site.network))
    measured = (
        _with_limits(values, groups, within) for values, within in (
            (before, (0.0, 1.0)), (after, (0.0, 1.0)), (after - before, (-1.0, 1.0)),
        )
    )  # fmt: skip
    return Adapted(len(known), len(names), unit, *measured)


def _right(site: HeardSite, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(n,) 1 where the layer calls a cell one of the classes that it may be."""
    calls = (with_one(site.features[rows]) @ weights).argmax(1)
    return site.allowed[rows, calls].astype(np.float64)


def _with_limits(values: np.ndarray, clusters: np.ndarray, within: tuple[float, float]) -> tuple[float, float, float]:
    return float(values.mean()), *clustered_limits(lambda r: float(values[r].mean()), clusters, within=within)


def next_cells(model: str | Path, db: str, n: int, *, seed: int = 0, progress: Progress = no_progress) -> list[dict]:
    """The n cells of patients that are not signed which would teach most (`suggest_cells`), best first."""
    with tempfile.TemporaryDirectory() as work, existing_store(db) as store:
        export_reviewed(store, work, signed=False)
        return suggest_cells(model, work, n, seed=seed, progress=progress)
