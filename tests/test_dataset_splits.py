"""No patient on two sides, whatever the data set; copies across splits are found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from data.make_cnmc import HEALTHY, LEUKAEMIC, make_cnmc
from data.make_pbc import make_pbc
from hypothesis import given, settings
from hypothesis import strategies as st

from leukoscope.dataset.importer import import_dataset
from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField, read_dataset
from leukoscope.dataset.splits import (
    blast_stratum,
    drop_copies,
    folds_by_subject,
    split_by_patient,
)
from leukoscope.errors import DataError
from leukoscope.types import FieldKey

SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}


def a_dataset(patients, *, blasts=()):
    """One field for each patient in the list, in that order."""
    fields = tuple(
        TruthField(
            FieldKey(f"f{i}", "", patient, "", "blood"),
            f"f{i}.png",
            f"{i:064x}",
            10,
            10,
            (TruthCell((0, 0, 10, 10), "lymphoblast" if patient in blasts else "lymphocyte", "x"),),
        )
        for i, patient in enumerate(patients)
    )
    return Dataset("made", Path("."), fields, "", "", "folders")


patients_of_fields = st.lists(st.sampled_from([f"P{i}" for i in range(12)]), min_size=1, max_size=60)


@given(patients_of_fields, st.integers(0, 5))
def test_no_patient_is_in_two_splits(patients, seed):
    dataset = a_dataset(patients)
    if len(set(patients)) < 3:
        with pytest.raises(DataError, match="can't fill 3 splits"):
            split_by_patient(dataset, SHARES, seed=seed)
        return
    split = split_by_patient(dataset, SHARES, seed=seed)
    assert [f.key for f in split.fields] == [f.key for f in dataset.fields]
    sides = {s: {f.key.patient_id for f in split.fields if f.split == s} for s in SHARES}
    assert all(sides.values())
    assert not (sides["train"] & sides["val"] or sides["train"] & sides["test"] or sides["val"] & sides["test"])
    assert split_by_patient(dataset, SHARES, seed=seed) == split


@given(patients_of_fields, st.integers(2, 5), st.integers(0, 5))
def test_folds_test_each_subject_once(patients, n_folds, seed):
    dataset = a_dataset(patients)
    if len(set(patients)) < n_folds:
        with pytest.raises(DataError, match=f"can't make {n_folds} folds"):
            folds_by_subject(dataset, n_folds, seed=seed)
        return
    folds = folds_by_subject(dataset, n_folds, seed=seed)
    assert sorted(p for f in folds for p in f.test) == sorted(set(patients))
    for fold in folds:
        assert fold.test and set(fold.train) == set(patients) - set(fold.test)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000))
def test_each_cnmc_fold_tests_one_healthy_subject(seed):
    patients = [s for s, n in {**LEUKAEMIC, **HEALTHY}.items() for _ in range(n)]
    folds = folds_by_subject(a_dataset(patients, blasts=LEUKAEMIC), 3, seed=seed, stratum=blast_stratum)
    assert [sum(p in HEALTHY for p in f.test) for f in folds] == [1, 1, 1]
    assert all(sum(p in LEUKAEMIC for p in f.test) >= 2 for f in folds)


def test_the_seed_changes_the_deal_and_the_order_of_files_does_not():
    patients = [f"P{i % 15}" for i in range(60)]
    dataset = a_dataset(patients)
    deals = {folds_by_subject(dataset, 3, seed=s) for s in range(6)}
    assert len(deals) > 1
    turned = replace(dataset, fields=dataset.fields[::-1])
    assert folds_by_subject(turned, 3, seed=1) == folds_by_subject(dataset, 3, seed=1)


def test_shares_are_kept_where_patients_allow():
    split = split_by_patient(a_dataset([f"P{i}" for i in range(50)]), SHARES, seed=3)
    counts = {s: sum(f.split == s for f in split.fields) for s in SHARES}
    assert counts == {"train": 30, "val": 10, "test": 10}


@pytest.mark.parametrize("shares", [{}, {"train": 0.5}, {"train": 1.2, "test": -0.2}, {"train": 0.5, "holdout": 0.5}])
def test_shares_that_are_none(shares):
    with pytest.raises(DataError, match="sums to 1"):
        split_by_patient(a_dataset(["a", "b"]), shares, seed=0)


def test_an_unknown_patient_is_not_made_up():
    dataset = a_dataset(["P1", "", "P2"])
    with pytest.raises(DataError, match="field f1 states no patient"):
        split_by_patient(dataset, SHARES, seed=0)
    by_field = split_by_patient(dataset, SHARES, seed=0, group=lambda f: f.key.field_id)
    assert {f.split for f in by_field.fields} == {"train", "val", "test"}


def test_folds_that_can_not_be():
    with pytest.raises(DataError, match="at least 2, got 1"):
        folds_by_subject(a_dataset(["a", "b"]), 1, seed=0)
    with pytest.raises(DataError, match="1 subjects of stratum 'leukaemic'"):
        folds_by_subject(a_dataset(["a", "b", "c"], blasts=["a"]), 2, seed=0, stratum=blast_stratum)
    mixed = a_dataset(["a", "a", "b", "c"])
    odd = mixed.fields[0]
    sick = replace(odd, cells=(replace(odd.cells[0], class_name="lymphoblast"),))
    with pytest.raises(DataError, match="subject a is in strata healthy, leukaemic"):
        folds_by_subject(replace(mixed, fields=(sick, *mixed.fields[1:])), 2, seed=0, stratum=blast_stratum)


def test_copies_across_splits_are_dropped(tmp_path):
    import_dataset("yolo", make_pbc(tmp_path / "pbc"), tmp_path / "out", source="pbc")
    dataset = read_dataset(tmp_path / "out")
    kept = drop_copies(dataset.subset("train"), dataset.subset("val"), dataset.subset("test"))
    assert len(kept.fields) == len(dataset.subset("train").fields) - 1
    assert "train/images/BA_0.jpg" not in {f.file for f in kept.fields}


def test_cnmc_splits_by_the_subject_of_the_file_name(tmp_path):
    import_dataset("folders", make_cnmc(tmp_path / "cnmc"), tmp_path / "out", source="cnmc")
    folds = folds_by_subject(read_dataset(tmp_path / "out"), 3, seed=0, stratum=blast_stratum)
    assert sorted(s for f in folds for s in f.test) == sorted([*LEUKAEMIC, *HEALTHY])
