"""Overlap and matching of contours against slow, independent computations: exact fractions, and every assignment."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leukoscope.errors import DataError, InputError

pytest.importorskip("shapely", reason="needs the extra: pip install '.[study]'")
pytest.importorskip("scipy", reason="needs the extra: pip install '.[study]'")

from leukoscope.contours import contour_iou_matrix, match_contours, match_overlaps, overlapping_contours  # noqa: E402

corner = st.tuples(st.integers(0, 9), st.integers(0, 9))
anything = st.lists(corner, min_size=0, max_size=6)  # crossing itself, repeated, collinear, too short: all of it


def exact_areas(*polygons) -> Fraction:
    """Area that all the polygons (lists of integer corners) enclose by the even-odd rule, in exact fractions.

    Cuts the plane into slabs at every corner and crossing, where edges can't cross: trapezoids, added up.
    """
    edges = [
        [(tuple(map(Fraction, p[i - 1])), tuple(map(Fraction, p[i]))) for i in range(len(p)) if p[i - 1][1] != p[i][1]]
        for p in polygons
    ]
    every = [e for polygon in edges for e in polygon]
    levels = {y for (_, y0), (_, y1) in every for y in (y0, y1)}
    for (a, b), (c, d) in combinations(every, 2):
        slope_1, slope_2 = (b[0] - a[0]) / (b[1] - a[1]), (d[0] - c[0]) / (d[1] - c[1])
        if slope_1 != slope_2:
            levels.add((c[0] - a[0] + slope_1 * a[1] - slope_2 * c[1]) / (slope_1 - slope_2))
    total, levels = Fraction(0), sorted(levels)
    for low, high in zip(levels, levels[1:], strict=False):
        middle = (low + high) / 2
        spans = []
        for polygon in edges:
            spans.append(
                sorted(
                    a[0] + (middle - a[1]) * (b[0] - a[0]) / (b[1] - a[1])
                    for a, b in polygon
                    if min(a[1], b[1]) < middle < max(a[1], b[1])
                )
            )
        cuts = sorted({x for s in spans for x in s})
        for left, right in zip(cuts, cuts[1:], strict=False):
            if all(sum(x <= left for x in s) % 2 for s in spans):
                total += (right - left) * (high - low)
    return total


def exact_iou(a, b) -> float:
    shared = exact_areas(a, b)
    union = exact_areas(a) + exact_areas(b) - shared
    return float(shared / union) if union else 0.0


@settings(max_examples=40)
@given(st.lists(anything, min_size=1, max_size=3), st.lists(anything, min_size=1, max_size=3))
def test_iou_is_exact_for_any_polygon(a, b):
    expected = [[exact_iou(p, q) for q in b] for p in a]
    np.testing.assert_allclose(contour_iou_matrix(a, b), expected, atol=1e-12)
    np.testing.assert_allclose(contour_iou_matrix(b, a), np.transpose(expected), atol=1e-12)


def test_polygons_that_cross_themselves_enclose_what_the_even_odd_rule_says():
    square, bow = [(0, 0), (4, 0), (4, 4), (0, 4)], [(0, 0), (4, 4), (4, 0), (0, 4)]
    star = [(3 * np.cos(4 * np.pi * k / 5), 3 * np.sin(4 * np.pi * k / 5)) for k in range(5)]  # its middle is open
    assert contour_iou_matrix([bow], [square])[0, 0] == 0.5
    assert contour_iou_matrix([star], [[(-0.1, -0.1), (0.1, -0.1), (0.1, 0.1), (-0.1, 0.1)]])[0, 0] == 0
    assert contour_iou_matrix([bow], [bow])[0, 0] == 1
    there_and_back = [(0, 0), (4, 0), (4, 4), (9, 4), (4, 4), (0, 4)]  # a square with a whisker
    assert contour_iou_matrix([there_and_back], [square])[0, 0] == 1


def test_contours_without_area_overlap_nothing():
    square = [(0, 0), (4, 0), (4, 4), (0, 4)]
    flat = [[], [(1, 1)], [(0, 0), (4, 4)], [(0, 0), (2, 2), (4, 4)], np.zeros((0, 2))]
    assert not contour_iou_matrix(flat, [square, *flat]).any()
    assert contour_iou_matrix([], [square]).shape == (0, 1)
    matches = match_contours([square, flat[0]], [flat[1], square])
    assert matches.pairs.tolist() == [[0, 1]] and matches.missed.tolist() == [1] and matches.extra.tolist() == [0]


@settings(max_examples=40)
@given(
    st.integers(0, 5).flatmap(
        lambda n: st.integers(0, 5).flatmap(
            lambda m: st.lists(
                st.lists(st.sampled_from([0, 0, 0.1, 0.3, 0.5, 0.7, 1.0]), min_size=m, max_size=m),
                min_size=n,
                max_size=n,
            ).map(lambda rows: np.array(rows, float).reshape(n, m))
        )
    )
)
def test_matching_is_the_best_of_all_assignments(iou):
    """Against trying every assignment: most pairs first, then the largest sum; and every contour is accounted for."""
    n, m = iou.shape
    best = (0, 0.0)
    few, many, at = (n, m, iou) if n <= m else (m, n, iou.T)
    for order in permutations(range(many), few):
        chosen = [at[r, c] for r, c in enumerate(order) if at[r, c] > 0]
        best = max(best, (len(chosen), round(sum(chosen), 9)))
    rows, columns = np.nonzero(iou)
    got = match_overlaps(rows, columns, iou[rows, columns], shape=(n, m))
    assert (len(got.pairs), round(float(got.iou.sum()), 9)) == best
    assert np.array_equal(iou[got.pairs[:, 0], got.pairs[:, 1]], got.iou)
    assert sorted([*got.pairs[:, 0], *got.missed]) == list(range(n))
    assert sorted([*got.pairs[:, 1], *got.extra]) == list(range(m))


def test_the_threshold_decides_and_the_order_of_contours_does_not():
    rng = np.random.default_rng(3)
    turns = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    truth = [np.c_[np.cos(turns), np.sin(turns)] * 10 + (x, y) for x in (0, 25, 50) for y in (0, 25)]
    pred = [c + rng.normal(0, 1, 2) for c in truth[1:]] + [truth[0] + (9, 0)]
    loose, strict = match_contours(truth, pred, iou=0.2), match_contours(truth, pred, iou=0.6)
    assert loose.pairs.tolist() == [[0, 5], [1, 0], [2, 1], [3, 2], [4, 3], [5, 4]]
    assert strict.missed.tolist() == [0] and strict.extra.tolist() == [5] and (strict.iou >= 0.6).all()
    order = rng.permutation(6)
    again = match_contours([truth[i] for i in order], pred, iou=0.2)
    assert {(int(order[r]), int(c)) for r, c in again.pairs} == {(r, c) for r, c in loose.pairs.tolist()}
    rows, columns, iou = overlapping_contours(truth, pred, at_least=0.6)
    matrix = contour_iou_matrix(truth, pred)
    assert len(rows) == (matrix >= 0.6).sum() and np.array_equal(matrix[rows, columns], iou)


def test_what_is_no_contour_is_refused():
    square = np.array([(0, 0), (4, 0), (4, 4), (0, 4)], float)
    with pytest.raises(DataError, match="contour 1 .* finite"):
        contour_iou_matrix([square, square * np.nan], [square])
    with pytest.raises(DataError, match="shape"):
        contour_iou_matrix([np.zeros((3, 3))], [square])
    with pytest.raises(InputError, match="above 0"):
        match_contours([square], [square], iou=0)
