"""Standardised crops: the study's are the analysis's, by card; planted neighbours stay behind the cell."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from leukoscope.crop import crop_cells
from leukoscope.crop_contour import crop_by_rule, crop_contours
from leukoscope.errors import InputError, ModelError
from leukoscope.models.bundle import CropRule
from leukoscope.types import Cells, FieldKey

KEY = FieldKey("f", "s", "p", "c", "marrow")
BOX, OTHER = np.array([10.0, 12.0, 30.0, 28.0]), np.array([34.0, 30.0, 50.0, 52.0])
TRIANGLE = np.array([(10.0, 12.0), (30.0, 12.0), (10.0, 28.0)], np.float32)


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)


def test_a_rule_by_contour_cuts_what_crop_contours_cuts(pixels):
    rule = CropRule(size=24, pad_fraction=0.3, center="contour", um_per_px=0.5, background="mask")
    cells = Cells(KEY, BOX[None], np.ones(1), (TRIANGLE,))
    asked = crop_contours(pixels, [TRIANGLE], size=24, um_per_px=0.4, target_um_per_px=0.5, pad=0.3, background="mask")
    assert np.array_equal(crop_by_rule(pixels, cells, rule, um_per_px=0.4), asked)


def test_a_rule_by_box_is_the_old_one(pixels):
    rule = CropRule(size=24, pad_fraction=0.3)
    cells = Cells(KEY, np.stack([BOX, OTHER]), np.ones(2), (TRIANGLE, TRIANGLE))
    assert np.array_equal(crop_by_rule(pixels, cells, rule), crop_cells(pixels, cells.boxes, rule))


def test_a_cell_without_a_contour_is_taken_by_its_box_at_the_same_scale(pixels):
    rule = CropRule(size=24, pad_fraction=0.3, center="contour", um_per_px=0.5)
    cells = Cells(KEY, np.stack([BOX, OTHER]), np.ones(2), (TRIANGLE, np.zeros((0, 2), np.float32)))
    without = Cells(KEY, OTHER[None], np.ones(1))
    both = crop_by_rule(pixels, cells, rule, um_per_px=0.4)
    assert np.array_equal(both[1:], crop_by_rule(pixels, without, rule, um_per_px=0.4))
    corners = np.array([(34.0, 30.0), (50.0, 30.0), (50.0, 52.0), (34.0, 52.0)])
    asked = crop_contours(pixels, [corners], size=24, um_per_px=0.4, target_um_per_px=0.5)
    assert np.array_equal(both[1:], asked)


def test_a_background_can_be_replaced_only_around_a_contour(pixels):
    rule = CropRule(size=24, pad_fraction=0.3, center="contour", background="blur")
    with pytest.raises(InputError, match="no contour"):
        crop_by_rule(pixels, Cells(KEY, BOX[None], np.ones(1)), rule)


@pytest.mark.parametrize(
    "wrong",
    [
        {"pad_fraction": 0.2, "center": "middle"},
        {"pad_fraction": 0.2, "um_per_px": 0.1},
        {"pad_fraction": 0.2, "background": "mask"},
        {"pad_px": 10, "center": "contour"},
    ],
)
def test_crop_rules_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ModelError):
        CropRule(size=24, **wrong)


def test_masks_lie_on_the_crops_of_either_rule():
    pytest.importorskip("shapely")
    pytest.importorskip("torch")
    from leukoscope.experiments.cblc.crops import CELL, NUCLEUS, mask_cells

    square = np.array([(16.0, 16.0), (48.0, 16.0), (48.0, 48.0), (16.0, 48.0)], np.float32)
    inner = np.array([(24.0, 24.0), (40.0, 24.0), (40.0, 40.0), (24.0, 40.0)], np.float32)
    drawn = np.full((64, 64, 3), 240, np.uint8)
    drawn[16:48, 16:48], drawn[24:40, 24:40] = 150, 50
    cells = Cells(KEY, np.array([[16.0, 16.0, 48.0, 48.0]]), np.ones(1), (square,))
    by_contour = CropRule(size=64, pad_fraction=0.5, center="contour", um_per_px=0.5)
    for rule in (by_contour, CropRule(size=64, pad_fraction=0.5)):
        crop = crop_by_rule(drawn, cells, rule, um_per_px=0.5)[0, ..., 0]
        mask = mask_cells(cells, [[inner]], rule, um_per_px=0.5)[0]
        assert np.array_equal(mask == NUCLEUS, crop < 100)
        assert np.array_equal(mask == CELL, (crop >= 100) & (crop < 200))


def test_a_planted_neighbour_stays_behind_the_cell(monkeypatch):
    pytest.importorskip("shapely")
    pytest.importorskip("torch")
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "benchmarks"))
    from benchmarks.studies.planted_neighbours import paste

    crops = np.stack([np.full((32, 32, 3), 10, np.uint8), np.full((32, 32, 3), 99, np.uint8)])
    masks = np.zeros((2, 32, 32), np.uint8)
    masks[:, 8:24, 8:24] = 128
    cells = SimpleNamespace(crops=crops, extras={"masks": masks}, labels=np.array([0, 1]))
    crop = paste(cells, 0, 1, np.array([12.0, 0.0]))
    assert (crop[8:24, 8:24] == 10).all()
    assert (crop[8:24, 24:32] == 99).all()
    assert (crop[:8] == 10).all() and (crop[:, :8] == 10).all()
