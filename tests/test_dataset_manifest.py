"""The manifest: what is written is read back, old versions are read for ever, damage is named."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField, read_dataset, write_dataset
from leukoscope.errors import DataError
from leukoscope.types import FieldKey

ARCHIVE = Path(__file__).parent / "archive" / "manifest-v1"

words = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=12)
px = st.integers(0, 5000).map(lambda v: v / 8)  # three decimals hold eighths exactly
boxes = st.tuples(px, px, px, px).map(lambda v: (v[0], v[1], v[0] + v[2] + 0.125, v[1] + v[3] + 0.125))
contours = st.none() | st.lists(st.tuples(px, px), min_size=3, max_size=6).map(tuple)
cells = st.builds(TruthCell, boxes, st.none() | st.just("lymphocyte"), words, contours)
keys = st.builds(FieldKey, words, words, words, words, st.sampled_from(["blood", "marrow"]))
fields = st.builds(
    TruthField,
    keys,
    words,
    st.just("0" * 64),
    st.integers(1, 9999),
    st.integers(1, 9999),
    st.lists(cells, max_size=3).map(tuple),
    st.none() | st.just(0.1),
    st.sampled_from([None, "train", "val", "test"]),
)


@settings(deadline=None)
@given(st.lists(fields, max_size=4).map(tuple))
def test_write_then_read_is_identity(tmp_path_factory, made):
    folder = tmp_path_factory.mktemp("manifest")
    dataset = Dataset("made", (folder / "pictures").resolve(), made, "CC0", "nobody", "folders")
    write_dataset(dataset, folder / "set")
    again = read_dataset(folder / "set")
    assert again == dataset
    assert again.sha256() == dataset.sha256()


def test_a_version_1_set_is_read_for_ever():
    dataset = read_dataset(ARCHIVE / "set")
    first, second, third = dataset.fields
    assert (dataset.name, dataset.licence, dataset.source_format) == ("archive", "CC0-1.0", "folders")
    assert first.key == FieldKey("field-1", "S1", "P1", "Centre A", "blood")
    assert (first.width, first.height, first.um_per_px, first.split) == (32, 24, 0.25, "train")
    assert first.cells == (
        TruthCell((4, 4, 16, 16), "band_neutrophil", "BNE", ((4, 10), (10, 4), (16, 10), (10, 16))),
        TruthCell((20.125, 10.5, 28, 18), None, "?"),
    )
    assert (second.file, second.key.specimen, second.key.patient_id) == ("crops/cell 2.png", "marrow", "")
    assert second.key.center == "Zürich"
    assert (third.cells, third.split, third.um_per_px) == ((), None, None)
    for field in dataset.fields:
        assert hashlib.sha256(dataset.path(field).read_bytes()).hexdigest() == field.sha256
    # The digest is in model cards: it must come out the same with every later Leukoscope.
    assert dataset.sha256() == json.loads((ARCHIVE / "set/dataset.json").read_text())["fields_sha256"]
    assert dataset.sha256() == "6cf757414d672a84a8bd62fed40cb850d556a827517c925c1e6c813135ab403e"


def test_the_set_can_move_with_its_pictures(tmp_path):
    shutil.copytree(ARCHIVE, tmp_path / "elsewhere")
    dataset = read_dataset(tmp_path / "elsewhere/set")
    assert all(dataset.path(f).is_file() and tmp_path in dataset.path(f).parents for f in dataset.fields)


def test_the_digest_follows_every_part_that_a_model_sees():
    dataset = read_dataset(ARCHIVE / "set")
    first = dataset.fields[0]
    cell = first.cells[0]
    changes = [
        replace(first, sha256="0" * 64),
        replace(first, split="val"),
        replace(first, cells=first.cells[:1]),
        replace(first, cells=(replace(cell, class_name="neutrophil"), *first.cells[1:])),
        replace(first, cells=(replace(cell, box=(4, 4, 16, 17)), *first.cells[1:])),
    ]
    digests = {replace(dataset, fields=(c, *dataset.fields[1:])).sha256() for c in (first, *changes)}
    assert len(digests) == 1 + len(changes)
    assert replace(dataset, name="other", image_root=Path("/")).sha256() == dataset.sha256()


def test_subset():
    dataset = read_dataset(ARCHIVE / "set")
    assert [f.key.field_id for f in dataset.subset("test").fields] == ["crops/cell 2"]
    with pytest.raises(DataError, match="no fields in split 'val'; its splits: test, train"):
        dataset.subset("val")


def damaged(tmp_path, *, head=None, line=None):
    folder = tmp_path / "set"
    shutil.copytree(ARCHIVE / "set", folder)
    if head is not None:
        (folder / "dataset.json").write_text(head(json.loads((folder / "dataset.json").read_text())))
    if line is not None:
        lines = (folder / "fields.jsonl").read_text().splitlines()
        lines[0] = line(json.loads(lines[0]))
        (folder / "fields.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (lambda h: "{", "is not a manifest"),
        (lambda h: "[]", "is not a manifest"),
        (lambda h: json.dumps({}), "is not a manifest.*manifest_version"),
        (lambda h: json.dumps(h | {"manifest_version": 2}), "has manifest_version 2; this Leukoscope reads 1"),
        (lambda h: json.dumps({k: v for k, v in h.items() if k != "image_root"}), "lacks image_root"),
        (lambda h: json.dumps(h | {"n_fields": 4}), "has 3 fields, dataset.json says 4"),
    ],
)
def test_a_damaged_head_is_named(tmp_path, head, says):
    with pytest.raises(DataError, match=says):
        read_dataset(damaged(tmp_path, head=head))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (lambda d: "{", "line 1: JSONDecodeError"),
        (lambda d: json.dumps(d | {"split": "holdout"}), "line 1: .*split must be one of"),
        (lambda d: json.dumps(d | {"specimen": "urine"}), "line 1: .*specimen must be one of"),
        (lambda d: json.dumps({k: v for k, v in d.items() if k != "cells"}), "line 1: KeyError.'cells'"),
        (lambda d: json.dumps(d | {"cells": [d["cells"][0] | {"box": [4, 4, 4, 9]}]}), "line 1: .*x1 > x0"),
        (lambda d: json.dumps(d | {"cells": [d["cells"][0] | {"box": [4, 4, 9]}]}), "line 1: "),
        (lambda d: json.dumps(d | {"cells": [d["cells"][0] | {"box": [4, 4, float("nan"), 9]}]}), "line 1: .*x1 > x0"),
        (lambda d: json.dumps(d | {"cells": [d["cells"][0] | {"box": [4, 4, float("inf"), 9]}]}), "line 1: .*x1 > x0"),
    ],
)
def test_a_damaged_line_is_named(tmp_path, line, says):
    with pytest.raises(DataError, match=says):
        read_dataset(damaged(tmp_path, line=line))


def test_what_is_no_data_set(tmp_path):
    with pytest.raises(DataError, match="has no dataset.json"):
        read_dataset(tmp_path)
    folder = damaged(tmp_path)
    (folder / "fields.jsonl").unlink()
    with pytest.raises(DataError, match="no fields.jsonl"):
        read_dataset(folder)
