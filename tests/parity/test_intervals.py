"""Exact and Wilson limits against scipy, and against the values haematologists know from Rümke's table."""

import math

import pytest
from scipy.stats import binomtest

from leukoscope.errors import InputError
from leukoscope.intervals import clopper_pearson, wilson

CASES = [(k, n) for n in (1, 2, 7, 100, 200, 500, 4873) for k in {0, 1, n // 5, n // 2, n - 1, n}]


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_limits_equal_scipy(level):
    for k, n in CASES:
        for ours, name in ((clopper_pearson, "exact"), (wilson, "wilson")):
            theirs = binomtest(k, n).proportion_ci(level, method=name)
            assert ours(k, n, level=level) == pytest.approx((theirs.low, theirs.high), abs=1e-9), (k, n, name)


def test_limits_are_those_of_the_table():
    assert [round(100 * v, 1) for v in clopper_pearson(20, 100)] == [12.7, 29.2]
    assert [round(100 * v, 1) for v in clopper_pearson(100, 500)] == [16.6, 23.8]


def test_nothing_counted_has_no_limits():
    assert all(math.isnan(v) for v in (*clopper_pearson(0, 0), *wilson(0, 0)))


@pytest.mark.parametrize("k, n, level", [(-1, 5, 0.95), (6, 5, 0.95), (1, 5, 0.0), (1, 5, 1.0)])
def test_impossible_counts_are_refused(k, n, level):
    with pytest.raises(InputError):
        clopper_pearson(k, n, level=level)
