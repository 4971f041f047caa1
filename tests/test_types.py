"""The nouns: what they refuse, and that nobody can change them."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from leukoscope.errors import DataError
from leukoscope.taxonomy import Taxonomy
from leukoscope.types import Calls, Cells, Differential, Field, FieldKey, Ratio

KEY = FieldKey("field", "smear", "patient", "center", "blood")
TWO = Taxonomy(name="two", names=("a", "b", "dirt"), counted=("a", "b"), blasts=("b",), artefacts=("dirt",))
BOX = [[1, 2, 3, 4]]


def test_a_specimen_is_blood_or_marrow():
    with pytest.raises(DataError, match="blood, marrow.*'urine'"):
        FieldKey("f", "s", "p", "c", "urine")


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        [[[0, 0, 0]]],
    ],
)
def test_a_field_refuses_other_pixels(pixels):
    with pytest.raises(DataError, match=r"uint8 \(H, W, 3\)"):
        Field(KEY, pixels)


@pytest.mark.parametrize("scale", [0, -0.1, 100, math.inf, math.nan])
def test_a_field_refuses_an_impossible_scale(scale):
    with pytest.raises(DataError, match="um_per_px"):
        Field(KEY, np.zeros((4, 4, 3), np.uint8), scale)


def test_a_record_is_read_only_and_leaves_the_callers_array_alone():
    pixels = np.zeros((4, 4, 3), np.uint8)
    field = Field(KEY, pixels)
    with pytest.raises(ValueError, match="read-only"):
        field.pixels[0, 0] = 1
    with pytest.raises(FrozenInstanceError):
        field.um_per_px = 1.0
    pixels[0, 0] = 1  # still the caller's own


@pytest.mark.parametrize(
    ("boxes", "scores", "message"),
    [
        ([[1, 2, 1, 4]], [1], "x1 > x0"),
        ([[1, 4, 3, 2]], [1], "y1 > y0"),
        ([[1, 2, math.nan, 4]], [1], "finite"),
        (BOX, [], "1 boxes and 0 scores"),
        (BOX, [1.5], "scores"),
        (BOX, [math.nan], "scores"),
    ],
)
def test_cells_refuse(boxes, scores, message):
    with pytest.raises(DataError, match=message):
        Cells(KEY, boxes, scores)


def test_cells_want_a_contour_each_or_none_at_all():
    with pytest.raises(DataError, match="0 for 1"):
        Cells(KEY, BOX, [1], ())
    assert len(Cells(KEY, [], [])) == 0


@pytest.mark.parametrize("probs", [[[0.5, 0.5]], [[0.5, 0.4, 0.0]], [[1.5, -0.5, 0.0]], np.zeros((2, 3))])
def test_calls_refuse_what_are_no_probabilities(probs):
    with pytest.raises(DataError, match="probabilities|shape"):
        Calls(Cells(KEY, BOX, [1]), probs, TWO)


def test_calls_of_no_cells_have_no_class():
    calls = Calls(Cells(KEY, [], []), [], TWO)
    assert calls.probs.shape == (0, 3)
    assert calls.class_ids().tolist() == []


def test_a_differential_counts_only_what_the_taxonomy_counts():
    assert Differential("p", "blood", [2, 3, 9], [2, 3, 9], 1, TWO).n_counted == 5


@pytest.mark.parametrize(
    ("counts", "expected"), [([1, 2], [1, 2, 3]), ([-1, 0, 0], [0, 0, 0]), ([0, 0, 0], [0, -1, 0])]
)
def test_a_differential_refuses(counts, expected):
    with pytest.raises(DataError, match="differential"):
        Differential("p", "blood", counts, expected, 1, TWO)


@pytest.mark.parametrize("count", [math.nan, math.inf, 1e300])
def test_a_differential_takes_no_number_that_is_no_count(count):
    with pytest.raises(DataError, match="whole numbers of cells"):
        Differential("p", "blood", [1, count, 0], [1, 1, 0], 1, TWO)


def test_a_ratio_of_nothing_is_not_a_number():
    assert math.isnan(Ratio("blasts", 0, 0, math.nan, math.nan, 0.95, "clopper-pearson").value)
    assert Ratio("blasts", 1, 4, 0, 1, 0.95, "clopper-pearson").value == 0.25
