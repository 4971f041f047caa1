"""Splits by group, in folds, by centre or from a file: nothing on two sides, classes spread, and a true report."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from data.make_cnmc import HEALTHY, LEUKAEMIC
from data.make_smear_pictures import save_pictures
from hypothesis import given, settings
from hypothesis import strategies as st

from leukoscope import cli
from leukoscope.dataset.dealing import deal
from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField, read_dataset, write_dataset
from leukoscope.dataset.split_file import apply_split_file, find_split_problems
from leukoscope.dataset.splitting import leave_one_center_out, split_dataset, split_folds
from leukoscope.errors import DataError, InputError
from leukoscope.types import FieldKey

CLASSES = ("neutrophil", "lymphocyte", "monocyte")


def a_dataset(rows, folder=Path(".")):
    """One field for each (patient, class[, center[, smear]])."""
    fields = []
    for i, (patient, label, *more) in enumerate(rows):
        center, smear = (*more, "", "")[:2]
        key = FieldKey(f"f{i}", smear, patient, center, "blood")
        cell = TruthCell((0, 0, 10, 10), label, "x")
        fields.append(TruthField(key, f"{i:03d}.jpg", f"{i:064x}", 180, 170, (cell,)))
    return Dataset("made", folder, tuple(fields), "none", "none", "made")


def sides_of(dataset, what):
    sides = {}
    for field in dataset.fields:
        sides.setdefault(what(field), set()).add(field.split)
    return sides


some_rows = st.lists(
    st.tuples(
        st.sampled_from([f"P{i}" for i in range(9)]),
        st.sampled_from(CLASSES),
        st.sampled_from("AB"),
        st.sampled_from("st"),
    ),
    min_size=1,
    max_size=50,
)


@settings(max_examples=60)
@given(some_rows, st.sampled_from(["patient", "smear", "center", "cluster"]), st.integers(0, 3))
def test_no_group_is_on_two_sides_and_the_seed_fixes_the_deal(rows, by, seed):
    dataset = a_dataset(rows)
    clusters = [(0, len(rows) - 1)] if len(rows) > 1 else []
    name = {
        "patient": lambda f: f.key.patient_id,
        "smear": lambda f: (f.key.center, f.key.patient_id, f.key.smear_id),
        "center": lambda f: f.key.center,
        "cluster": lambda f: f.file if f.file not in (dataset.fields[0].file, dataset.fields[-1].file) else "both",
    }[by]
    n_groups = len({name(f) for f in dataset.fields})
    if n_groups < 3:
        with pytest.raises(DataError, match=f"has {n_groups} groups: can't fill 3 splits"):
            split_dataset(dataset, by=by, seed=seed, clusters=clusters)
        return
    made, report = split_dataset(dataset, by=by, seed=seed, clusters=clusters)
    assert all(len(s) == 1 for s in sides_of(made, name).values())
    assert [replace(f, split=None) for f in made.fields] == list(dataset.fields)
    assert report.fields == {s: sum(f.split == s for f in made.fields) for s in ("train", "val", "test")}
    assert min(report.fields.values()) > 0 and sum(report.groups.values()) == report.n_groups == n_groups
    assert report.fields_sha256 == made.sha256()
    assert split_dataset(dataset, by=by, seed=seed, clusters=clusters) == (made, report)


def test_shares_are_of_all_and_of_the_rest():
    rows = [(f"P{i}", CLASSES[i % 3]) for i in range(300)]
    made, report = split_dataset(a_dataset(rows))
    assert report.fields == {"train": 204, "val": 51, "test": 45}
    assert report.asked == {"train": 0.68, "val": 0.17, "test": 0.15}
    for shares in report.class_shares.values():
        assert shares == pytest.approx(report.asked, abs=0.011)
    assert set(split_dataset(a_dataset(rows), val=0)[1].fields) == {"train", "test"}
    assert split_dataset(a_dataset(rows), seed=1)[0] != made


def test_rare_classes_reach_every_split_where_groups_allow():
    rows = [(s, "lymphoblast") for s, n in LEUKAEMIC.items() for _ in range(n * 10)]
    rows += [(s, "lymphoid_precursor") for s, n in HEALTHY.items() for _ in range(n * 10)]
    for seed in range(4):
        _, report = split_dataset(a_dataset(rows), seed=seed)
        assert all(share > 0 for shares in report.class_shares.values() for share in shares.values())
    counted = Counter(f.split for f in split_dataset(a_dataset(rows))[0].fields)
    assert counted["train"] > counted["val"] and counted["train"] > counted["test"]


def test_dealing_is_as_even_as_trying_everything():
    from itertools import product

    sizes = {"a": 5, "b": 4, "c": 3, "d": 3, "e": 2, "f": 1}
    members = {g: list(a_dataset([(g, "neutrophil")] * n).fields) for g, n in sizes.items()}
    shares = {"train": 0.5, "test": 0.5}
    best = min(
        abs(9 - sum(n for n, s in zip(sizes.values(), sides, strict=True) if s)) for sides in product((0, 1), repeat=6)
    )
    for seed in range(5):
        dealt = deal(members, shares, seed=seed, name="made")
        assert abs(9 - sum(n for g, n in sizes.items() if dealt[g] == "train")) == best == 0


def test_folds_test_each_patient_once():
    rows = [(f"P{i % 20}", CLASSES[i % 3]) for i in range(120)]
    folds = split_folds(a_dataset(rows), 4, seed=2)
    assert [name for name, _, _ in folds] == ["fold-1", "fold-2", "fold-3", "fold-4"]
    tested = [{f.key.patient_id for f in made.fields if f.split == "test"} for _, made, _ in folds]
    assert sorted(p for t in tested for p in t) == sorted({p for p, _ in rows})
    for _, made, report in folds:
        assert all(len(s) == 1 for s in sides_of(made, lambda f: f.key.patient_id).values())
        assert set(report.fields) == {"train", "val", "test"} and report.method == "folds"
    with pytest.raises(InputError, match="at least 2, got 1"):
        split_folds(a_dataset(rows), 1)
    with pytest.raises(DataError, match="20 groups: can't fill 21"):
        split_folds(a_dataset(rows), 21)


def test_each_centre_is_left_out_once():
    rows = [(f"P{i % 4}", CLASSES[i % 3], "ABC"[i % 3]) for i in range(90)]  # each centre has its own P0 to P3
    parts = leave_one_center_out(a_dataset(rows))
    assert [name for name, _, _ in parts] == ["A", "B", "C"]
    for name, made, report in parts:
        assert {f.key.center for f in made.fields if f.split == "test"} == {name}
        assert all(f.split == "test" for f in made.fields if f.key.center == name)
        who = sides_of(made, lambda f: (f.key.center, f.key.patient_id))
        assert all(len(s) == 1 for s in who.values()) and report.notes == ()
    with pytest.raises(DataError, match="states one centre"):
        leave_one_center_out(a_dataset([(p, c, "A") for p, c, _ in rows]))
    with pytest.raises(DataError, match="1 clusters of near duplicates stand in more than one centre"):
        leave_one_center_out(a_dataset(rows), by="cluster", clusters=[(0, 1)])


def test_what_a_split_can_not_rule_out_is_said():
    nobody = a_dataset([("", c) for c in CLASSES * 5])
    with pytest.raises(DataError, match="f0 states no patient"):
        split_dataset(nobody)
    for by, word in (("smear", "no smear"), ("center", "no centre")):
        with pytest.raises(DataError, match=word):
            split_dataset(nobody, by=by)
    _, report = split_dataset(nobody, by="cluster")
    assert "15 of 15 fields state no patient: near duplicates are kept together" in report.notes[0]
    stated = a_dataset([(f"P{i % 4}", CLASSES[i % 3], "A", f"s{i}") for i in range(30)])
    assert "prefer --by patient" in split_dataset(stated, by="cluster")[1].notes[-1]
    assert split_dataset(stated, by="smear")[1].notes == ("4 patients stand in more than one split",)
    for wrong in ({"test": 1.0}, {"val": -0.1}, {"by": "field"}):
        with pytest.raises(InputError):
            split_dataset(stated, **wrong)


@pytest.mark.parametrize(
    "text, words",
    [
        ("picture,split\n000.jpg,train\n", "has no column file"),
        ("file,split\n000.jpg,holdout\n", "row 2: split must be one of train, val, test, got 'holdout'"),
        ("file,split\n000.jpg,train\n000.jpg,test\n", "row 3 puts 000.jpg into test, another row into train"),
        (
            "file,split\n000.jpg,train\nnone.jpg,test\n001.jpg,test\n",
            "1 rows that name no picture of the set: none.jpg",
        ),
        ("file,split\n000.jpg,train\n", "1 pictures of the set without a row: 001.jpg"),
    ],
)
def test_a_split_file_that_does_not_fit_is_refused(text, words, tmp_path):
    (tmp_path / "split.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        apply_split_file(a_dataset([("P1", "neutrophil"), ("P2", "neutrophil")]), tmp_path / "split.csv")
    with pytest.raises(InputError, match="no such file"):
        apply_split_file(a_dataset([("P1", "neutrophil")]), tmp_path / "none.csv")


@pytest.fixture
def on_disk(tmp_path):
    """A manifest of six pictures, the last one the same as the first, of three patients."""
    save_pictures(tmp_path, 5)
    (tmp_path / "005.jpg").write_bytes((tmp_path / "000.jpg").read_bytes())
    write_dataset(a_dataset([(f"P{i % 3}", "neutrophil") for i in range(6)], tmp_path), tmp_path / "set")
    return tmp_path


def test_a_split_file_is_checked_not_trusted(on_disk, capsys):
    table = on_disk / "split.csv"
    table.write_text("﻿file;split\r\n" + "".join(f"{i:03d}.jpg;{'test' if i > 3 else 'train'}\r\n" for i in range(6)))
    made = apply_split_file(read_dataset(on_disk / "set"), table)
    problems = find_split_problems(made)
    assert [p.split(" stands")[0] for p in problems[:2]] == ["patient P1", "patient P2"]
    assert "000.jpg" in problems[2] and "005.jpg" in problems[2] and "the same file" in problems[2]
    command = ["dataset", "split", str(on_disk / "set"), "--file", str(table), "--out", str(on_disk / "out")]
    with pytest.raises(SystemExit) as stop:
        cli.main(command)
    assert stop.value.code == 1 and not (on_disk / "out").exists()
    assert "3 problems; nothing was written" in capsys.readouterr().out
    assert cli.main([*command, "--keep-leaks"]) == 0
    report = json.loads((on_disk / "out" / "split-report.json").read_text("utf-8"))
    assert report["method"] == "file" and set(problems) <= set(report["notes"])
    assert [f.split for f in read_dataset(on_disk / "out").fields] == ["train"] * 4 + ["test"] * 2


def test_the_command_splits_in_place_in_folds_and_by_cluster(on_disk, capsys):
    directory = str(on_disk / "set")
    assert cli.main(["dataset", "split", directory]) == 0
    assert "3 groups by patient" in capsys.readouterr().out
    assert {f.split for f in read_dataset(directory).fields} == {"train", "val", "test"}
    assert json.loads((on_disk / "set" / "split-report.json").read_text("utf-8"))["replaced"] == {"none": 6}
    assert cli.main(["dataset", "split", directory, "--folds", "3", "--val", "0", "--out", str(on_disk / "folds")]) == 0
    assert [len(read_dataset(on_disk / "folds" / f"fold-{k}").subset("test").fields) for k in (1, 2, 3)] == [2, 2, 2]
    assert cli.main(["dataset", "split", directory, "--by", "cluster", "--out", str(on_disk / "clusters")]) == 0
    by_cluster = read_dataset(on_disk / "clusters").fields
    assert by_cluster[0].split == by_cluster[5].split
    assert "5 groups by cluster" in capsys.readouterr().out
    assert cli.main(["dataset", "split", directory, "--folds", "3"]) == 2
    assert cli.main(["dataset", "split", directory, "--keep-leaks"]) == 2
