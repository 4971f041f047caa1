"""Augmentations keep boxes on their cells: whatever is done, dark cell pixels fill the boxes and lie nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

pytest.importorskip("torch", reason="training needs the extra: pip install '.[study]'")
pytest.importorskip("transformers", reason="the detectors need the extra: pip install '.[study]'")

from leukoscope.train.detector.augment import (  # noqa: E402
    Picture,
    distort_colour,
    flip,
    iou_crop,
    mosaic,
    turn,
    zoom_out,
)


def discs():
    """Two dark discs with their exact boxes."""
    picture = Image.new("RGB", (160, 120), (240, 240, 240))
    draw = ImageDraw.Draw(picture)
    boxes = [(20, 30, 60, 70), (100, 50, 130, 80)]
    for x0, y0, x1, y1 in boxes:
        draw.ellipse((x0, y0, x1 - 1, y1 - 1), fill=(20, 20, 20))
    return Picture(np.asarray(picture), np.array(boxes, np.float32), np.array([0, 1]))


def fits(picture, *, slack=2.0):
    """The dark pixels inside each box reach its sides to `slack` px, and none lies outside all boxes."""
    dark = (picture.pixels < 100).all(2)
    for x0, y0, x1, y1 in picture.boxes:
        inside = dark[max(0, int(y0)) : int(np.ceil(y1)), max(0, int(x0)) : int(np.ceil(x1))]
        rows, columns = np.nonzero(inside)
        assert len(rows)
        low = np.array([columns.min() + int(x0), rows.min() + int(y0)])
        high = np.array([columns.max() + int(x0) + 1, rows.max() + int(y0) + 1])
        assert np.abs(low - (x0, y0)).max() <= slack and np.abs(high - (x1, y1)).max() <= slack
    return picture


@pytest.mark.parametrize("degrees", [0.0, 10.0, -37.0, 50.0])
def test_a_turned_disc_keeps_its_size(degrees):
    turned = fits(turn(discs(), degrees))
    whole = [b for b in turned.boxes if b.min() > 1 and b[2] < 159 and b[3] < 119]
    assert any(abs((b[2] - b[0]) - 40) < 0.1 for b in whole)  # a turned rectangle's box would be up to 57 px wide


@pytest.mark.parametrize("seed", range(6))
def test_every_step_keeps_boxes_on_cells(seed):
    rng = np.random.default_rng(seed)
    assert len(fits(flip(discs(), rng, vertical=True)).boxes) == 2
    assert len(fits(zoom_out(discs(), rng, probability=1.0)).boxes) == 2
    cropped = iou_crop(discs(), rng, probability=1.0)
    assert len(cropped.boxes) >= 1 and cropped.pixels.size <= discs().pixels.size
    fits(cropped)
    fits(mosaic([discs()] * 4, 256, rng))
    assert (distort_colour(discs(), rng).boxes == discs().boxes).all()


def test_a_mosaic_holds_four_pictures_cells():
    counts = [len(mosaic([discs()] * 4, 256, np.random.default_rng(s)).boxes) for s in range(20)]
    assert max(counts) == 8 and min(counts) >= 2


def test_a_cell_that_is_mostly_out_of_sight_loses_its_box():
    from leukoscope.train.detector.augment import clip

    seen = clip(discs()._replace(boxes=np.array([[-10, 0, 30, 40], [-30, 0, 10, 40]], np.float32)))
    assert seen.boxes.tolist() == [[0, 0, 30, 40]] and seen.labels.tolist() == [0]


def test_pictures_without_cells_pass():
    empty = Picture(np.full((40, 50, 3), 240, np.uint8), np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    rng = np.random.default_rng(0)
    for step in (zoom_out, iou_crop, distort_colour):
        assert len(step(empty, rng).boxes) == 0
    assert len(mosaic([empty] * 4, 64, rng).boxes) == 0 and len(turn(empty, 5.0).boxes) == 0
