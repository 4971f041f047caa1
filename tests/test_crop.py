"""Crops: where they are cut, what pads them, and that a crop depends on nothing but its own box."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leukoscope.crop import crop_cells, match_nuclei, padding_px
from leukoscope.errors import DataError, ModelError
from leukoscope.models.bundle import CropRule

RULES = (
    CropRule(size=32, pad_fraction=0.25),
    CropRule(size=48, pad_px=10),
    CropRule(size=224, pad_fraction=0.1, pad_um=3.0),
)


def noise(height=90, width=120, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


quarter = st.integers(-20 * 4, 110 * 4).map(lambda v: v / 4)
side = st.integers(4, 60 * 4).map(lambda v: v / 4)
box = st.tuples(quarter, quarter, side, side).map(lambda t: (t[0], t[1], t[0] + t[2], t[1] + t[3]))


@given(box, st.integers(0, 40), st.integers(0, 40), st.sampled_from(RULES))
def test_a_shifted_field_gives_the_same_crop(cell, dx, dy, rule):
    field = noise()
    moved = np.full((90 + 40, 120 + 40, 3), 240, np.uint8)
    moved[dy : dy + 90, dx : dx + 120] = field
    before = crop_cells(field, [cell], rule, um_per_px=0.1)
    after = crop_cells(moved, np.add(cell, (dx, dy, dx, dy)), rule, um_per_px=0.1)
    np.testing.assert_array_equal(before, after)


@given(st.lists(box, min_size=2, max_size=5), st.randoms(use_true_random=False))
def test_crops_stand_in_the_order_of_their_boxes(cells, random):
    field, order = noise(), list(range(len(cells)))
    random.shuffle(order)
    crops = crop_cells(field, cells, RULES[0])
    assert crops.shape == (len(cells), 32, 32, 3) and crops.dtype == np.uint8
    np.testing.assert_array_equal(crop_cells(field, [cells[i] for i in order], RULES[0]), crops[order])


def test_a_crop_of_its_own_size_is_the_very_pixels():
    field = noise()
    rule = CropRule(size=40, pad_px=5)
    np.testing.assert_array_equal(crop_cells(field, [[30, 20, 60, 50]], rule)[0], field[15:55, 25:65])
    # The square follows the longer side and keeps the middle.
    np.testing.assert_array_equal(crop_cells(field, [[30, 30, 60, 40]], rule)[0], field[15:55, 25:65])


def test_outside_the_field_is_background():
    field = noise(40, 40)
    rule = CropRule(size=40, pad_px=10)
    crop = crop_cells(field, [[-10, -10, 10, 10]], rule)[0]
    assert (crop[:20] == 240).all() and (crop[:, :20] == 240).all()
    np.testing.assert_array_equal(crop[20:, 20:], field[:20, :20])
    colour = crop_cells(field, [[-10, -10, 10, 10]], rule, background=(1, 2, 3))[0]
    assert (colour[:20] == (1, 2, 3)).all()
    assert (crop_cells(field, [[500, 500, 520, 520]], rule) == 240).all()


def test_shrinking_averages_instead_of_skipping():
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 200  # one pixel in two
    crop = crop_cells(stripes, [[0, 0, 256, 256]], CropRule(size=32, pad_px=0))[0]
    assert (np.abs(crop[2:-2, 2:-2].astype(int) - 100) <= 2).all()


def test_a_crops_rim_is_filtered_like_its_middle():
    field = noise(200, 200)
    wide = crop_cells(field, [[20, 20, 180, 180]], CropRule(size=80, pad_px=0))[0]
    near = crop_cells(field, [[60, 60, 140, 140]], CropRule(size=40, pad_px=0))[0]
    np.testing.assert_array_equal(near, wide[20:60, 20:60])


def test_padding_follows_the_scale_where_it_is_known():
    assert padding_px(40, CropRule(size=32, pad_px=50), um_per_px=0.1) == 50
    assert padding_px(40, CropRule(size=32, pad_fraction=0.25), um_per_px=0.1) == 10
    assert padding_px(40, CropRule(size=32, pad_fraction=0.25, pad_um=3), um_per_px=0.1) == pytest.approx(30)
    assert padding_px(40, CropRule(size=32, pad_fraction=0.25, pad_um=3)) == 10


@pytest.mark.parametrize("bad", [[1, 1, 1, 5], [5, 1, 1, 5], [0, 0, np.inf, 5], [0, 0, np.nan, 5]])
def test_a_box_without_area_is_refused(bad):
    with pytest.raises(DataError, match="x1 > x0"):
        crop_cells(noise(), [bad], RULES[0])


def test_no_boxes_no_crops():
    assert crop_cells(noise(), np.zeros((0, 4)), RULES[0]).shape == (0, 32, 32, 3)


@pytest.mark.parametrize("values", [{}, {"pad_px": 1, "pad_fraction": 0.1}, {"pad_px": 1, "pad_um": 2}, {"pad_um": 2}])
def test_a_crop_rule_says_one_way_to_pad(values):
    with pytest.raises(ModelError, match="pad_px"):
        CropRule(size=32, **values)


def test_nuclei_get_the_stain_asked_for_and_white_and_black_stay():
    crop = np.full((1, 64, 64, 3), 240, np.uint8)
    crop[0, 16:48, 16:48] = (140, 110, 200)
    crop[0, :4] = 0
    density = (1.0, 1.4, 0.3)
    got = match_nuclei(crop, density)
    nucleus = -np.log(got[0, 32, 32] / 240.0)
    assert np.allclose(nucleus, density, atol=0.02)
    assert (got[0, :4] == 0).all() and (got[0, 60] == 240).all()
    assert match_nuclei(crop, None) is crop


def test_a_stain_is_changed_no_more_than_a_stain_can_be():
    pale = np.full((1, 32, 32, 3), 238, np.uint8)
    assert np.abs(match_nuclei(pale, (1.3, 2.2, 0.4)).astype(int) - 238).max() <= 4


def test_paler_and_darker_stains_of_one_cell_become_alike():
    rng = np.random.default_rng(0)
    od = np.zeros((48, 48, 3))
    od[12:36, 12:36] = (1.1, 1.9, 0.5) + rng.normal(0, 0.1, (24, 24, 3))
    stains = [np.clip(240 * np.exp(-od * np.array(s)), 0, 255).astype(np.uint8) for s in ((1, 1, 1), (0.6, 0.7, 0.9))]
    a, b = (match_nuclei(s[None], (1.2, 2.0, 0.5))[0].astype(int) for s in stains)
    assert np.abs(a - b).mean() < 1.5 < np.abs(stains[0].astype(int) - stains[1]).mean()
