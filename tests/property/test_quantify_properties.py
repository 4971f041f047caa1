"""What must hold of a corrected ratio whatever the numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leukoscope.intervals import clopper_pearson, excludes
from leukoscope.quantify import Smear, correct_ratio, further_cells, no_scatter, trend

CONFUSION = np.array([[57, 2, 1], [6, 190, 4], [1, 3, 46]])  # blasts, other cells, artefacts
COUNTED = {"subset": [0], "counted": [0, 1]}
counts = st.lists(st.integers(0, 400), min_size=3, max_size=3)
tables = st.lists(st.lists(st.integers(0, 80), min_size=3, max_size=3), min_size=3, max_size=3)
few = settings(max_examples=25, deadline=None)


@few
@given(counts, tables)
def test_limits_hold_the_value_and_lie_in_0_to_1(cells, table):
    corrected = correct_ratio(cells, table, **COUNTED)
    assert 0 <= corrected.low <= corrected.high <= 1
    if corrected.reason is None:
        assert corrected.low <= corrected.value <= corrected.high
    assert 0 <= corrected.unseen <= 1
    assert math.isnan(corrected.value) == (corrected.reason not in (None, "calls_do_not_fit"))


@few
@given(counts, st.permutations(range(3)))
def test_the_order_of_classes_changes_nothing(cells, order):
    place = {old: new for new, old in enumerate(order)}
    shuffled = correct_ratio(
        np.array(cells)[list(order)],
        CONFUSION[np.ix_(order, order)],
        subset=[place[0]],
        counted=[place[0], place[1]],
    )
    corrected = correct_ratio(cells, CONFUSION, **COUNTED)
    for name in ("value", "low", "high"):
        assert getattr(shuffled, name) == pytest.approx(getattr(corrected, name), abs=1e-9, nan_ok=True)


@few
@given(counts, st.integers(0, 300))
def test_cells_of_an_artefact_that_is_always_recognised_never_move_a_ratio(cells, more):
    table = CONFUSION.copy()
    table[2] = [0, 0, 0]  # no artefact was validated: they are taken as recognised
    table[:2, 2] = 0
    before = correct_ratio(cells, table, **COUNTED)
    after = correct_ratio([*cells[:2], cells[2] + more], table, **COUNTED)
    for name in ("value", "low", "high", "numerator", "denominator"):
        assert getattr(after, name) == pytest.approx(getattr(before, name), abs=1e-6, nan_ok=True)


@few
@given(st.integers(0, 300), st.integers(1, 300))
def test_more_called_blasts_never_lower_the_ratio(blasts, others):
    table = CONFUSION[:2, :2]
    fewer, more = (correct_ratio([b, others], table, subset=[0]) for b in (blasts, blasts + 5))
    assert more.value >= fewer.value - 1e-9
    if fewer.reason is None and more.reason is None:  # a misfit's limits are wider, by design
        assert more.low >= fewer.low - 1e-6 and more.high >= fewer.high - 1e-6


@few
@given(st.integers(0, 200), st.integers(30, 800))
def test_a_perfect_classifier_gives_back_the_binomial_interval(blasts, others):
    n = blasts + others
    corrected = correct_ratio([blasts, others], [[100_000, 0], [0, 100_000]], subset=[0])
    low, high = clopper_pearson(blasts, n)
    slack = 1.5 / n + 1e-3  # Clopper-Pearson is the wider of the two, by about a cell at either end
    assert low - slack <= corrected.low <= low + slack and high - slack <= corrected.high <= high + slack
    assert corrected.value == pytest.approx(blasts / n, abs=1e-4)


@few
@given(st.integers(1, 20))
def test_more_validation_cells_never_widen_the_interval(times):
    scant, ample = (correct_ratio([60, 240], k * CONFUSION[:2, :2], subset=[0]) for k in (1, 1 + times))
    assert ample.high - ample.low <= scant.high - scant.low + 1e-6


@few
@given(counts)
def test_the_same_numbers_give_the_same_result(cells):
    assert repr(correct_ratio(cells, CONFUSION, **COUNTED)) == repr(correct_ratio(list(cells), CONFUSION, **COUNTED))


@few
@given(st.integers(0, 200), st.integers(1, 200), st.sampled_from([0.05, 0.1, 0.2]))
def test_further_cells_settle_the_line(blasts, others, line):
    n, needed = blasts + others, further_cells(blasts, blasts + others, line)
    low, high = clopper_pearson(blasts, n)
    assert (needed == 0) == (not low <= line <= high)
    if needed:
        scale = (n + needed) / n
        assert excludes(blasts * scale, n + needed, line)
        assert not excludes(blasts * (n + 0.8 * needed) / n, n + 0.8 * needed, line) or needed < 10


@few
@given(st.lists(counts, min_size=2, max_size=4))
def test_a_smear_against_itself_has_not_changed(rows):
    smears = [Smear(str(k), np.array(c)) for k, c in enumerate([*rows, rows[0]])]
    course = trend(smears, CONFUSION, **COUNTED)
    if not math.isnan(course.whole.p):
        assert course.whole.low <= 0 <= course.whole.high and course.whole.p > 0.5


@settings(max_examples=12, deadline=None)
@given(counts, st.lists(tables, min_size=2, max_size=6))
def test_scatter_between_patients_never_moves_the_value_and_never_makes_cells_worth_more(cells, by_patient):
    """Nor does it narrow the interval by more than the draws' own coarseness, where there is a value."""
    told = np.array(by_patient)
    confusion = told.sum(0)
    alike = correct_ratio(cells, confusion, **COUNTED, scatter=no_scatter())
    apart = correct_ratio(cells, confusion, **COUNTED, scatter=told)
    if alike.reason is None and apart.reason is None:
        inside = apart.low - 1e-9 <= alike.value <= apart.high + 1e-9
        assert inside and apart.value == pytest.approx(alike.value, abs=1e-6)
        assert apart.worth <= sum(cells[:2]) + 1e-6
        assert apart.high - apart.low >= 0.9 * (alike.high - alike.low) - 0.01
