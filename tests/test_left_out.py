"""Runs with a laboratory left out: what they train on is not what measures them."""

import numpy as np
import pytest

from benchmarks.sites.left_out import LEFT_OUT, measuring_rows, training_cells
from leukoscope.train.classifier.data import CellStore


def made_store() -> CellStore:
    """Six patients of each set, two cells each; every set that has splits has all three; each cell its own diameter."""
    kinds = {"pbc": "lymphocyte", "raabin": "monocyte", "lmu": "myeloblast", "cnmc": "lymphoblast", "bccd": "basophil"}
    rows = [(s, kind, f"{s}{p}") for s, kind in kinds.items() for p in range(6) for _ in range(2)]
    sets, classes, patients = (np.array(column) for column in zip(*rows, strict=True))
    n = len(rows)
    has_splits = np.isin(sets, ["pbc", "raabin", "lmu"])
    splits = np.where(has_splits, np.array(["train", "train", "val", "test"])[np.arange(n) // 2 % 4], "")
    pixels = np.zeros((n, 1, 1, 3), np.uint8)
    return CellStore(
        windows=pixels, masks=pixels[..., 0], diameters=np.arange(n, dtype=np.float32), box_shapes=np.ones((n, 2)),
        masked=sets == "cnmc", sets=sets, classes=classes, patients=patients, splits=splits,
        attributes=np.zeros((n, 0), np.int64), backgrounds=pixels[:4],
        ground_sets=np.array(["pbc", "raabin", "lmu", "bccd"]),
    )  # fmt: skip


@pytest.mark.parametrize("name", LEFT_OUT)
def test_a_run_measures_nothing_that_it_trains_on(name):
    store = made_store()
    trained = training_cells(name, store)
    measured = measuring_rows(name, store)
    seen = set(trained.diameters.tolist())
    assert seen and name not in trained.sets and "bccd" not in trained.sets
    assert name not in trained.ground_sets and "bccd" not in trained.ground_sets
    for rows in measured.values():
        assert len(rows) and not seen & set(store.diameters[rows].tolist())
    # Whole patients of C-NMC, and no patient on both sides.
    assert not set(trained.patients.tolist()) & set(store.patients[measured["fold"]].tolist())


def test_the_runs_together_measure_each_patient_of_cnmc_once():
    store = made_store()
    folds = [set(store.patients[measuring_rows(name, store)["fold"]].tolist()) for name in LEFT_OUT]
    assert set.union(*folds) == {f"cnmc{p}" for p in range(6)} and sum(map(len, folds)) == 6
