"""What `benchmarks/sets/label_errors.py` plants and counts."""

from __future__ import annotations

import sys

import pytest
from data.make_checked_set import make_checked_set


@pytest.fixture
def label_errors(root, monkeypatch):
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    from benchmarks.sets import label_errors

    yield label_errors
    for name in ("label_errors", "locate_accuracy", "provenance", "public_sets"):
        sys.modules.pop(name, None)


def test_a_twentieth_of_the_types_is_flipped_and_nothing_else(label_errors, tmp_path):
    drawn = make_checked_set(tmp_path)
    planted, places = label_errors.flip_types(drawn, 3)
    changed = {
        (f.key.field_id, row)
        for f, before in zip(planted.fields, drawn.fields, strict=True)
        for row, (a, b) in enumerate(zip(f.cells, before.cells, strict=True))
        if a != b
    }
    assert changed == places and len(places) == 2
    assert label_errors.flip_types(drawn, 3)[1] == places != label_errors.flip_types(drawn, 4)[1]


def test_a_twentieth_of_the_boxes_is_dropped(label_errors, tmp_path):
    drawn = make_checked_set(tmp_path)
    planted, dropped = label_errors.drop_boxes(drawn, 0)
    assert len(dropped) == 2 and sum(len(f.cells) for f in planted.fields) == 38
    left = {(f.key.field_id, c.box) for f in planted.fields for c in f.cells}
    assert not left & {(field, box) for field, box in dropped}


def test_boxes_are_the_same_cell_where_each_holds_the_others_middle(label_errors):
    assert label_errors.same_cell((0, 0, 10, 10), (2, 2, 12, 12))
    assert not label_errors.same_cell((0, 0, 10, 10), (8, 8, 18, 18))
    assert not label_errors.same_cell((0, 0, 100, 100), (0, 0, 10, 10))
