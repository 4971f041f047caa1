"""Outlines of masks: the enclosed area is the count of the pixels, checked against scipy on random shapes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from scipy import ndimage

from leukoscope.dataset.masks import mask_box, mask_outline, read_mask
from leukoscope.errors import DataError


def area(outline):
    x, y = np.array(outline).T
    return (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_the_outline_encloses_the_largest_part_with_its_holes(mask):
    outline = mask_outline(mask)
    if not mask.any():
        assert outline is None and mask_box(mask) is None
        return
    labels, n = ndimage.label(mask)  # parts that touch at a corner only are apart
    filled = [ndimage.binary_fill_holes(labels == i, structure=np.ones((3, 3))) for i in range(1, n + 1)]
    assert area(outline) == max(f.sum() for f in filled)


@given(arrays(bool, (7, 8)))
def test_the_box_holds_every_pixel_and_no_empty_row(mask):
    box = mask_box(mask)
    if box is None:
        assert not mask.any()
        return
    x0, y0, x1, y1 = map(int, box)
    inside = mask[y0:y1, x0:x1]
    assert inside.sum() == mask.sum()
    assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()


def test_a_square_has_four_corners():
    mask = np.zeros((6, 6), bool)
    mask[1:4, 2:5] = True
    assert mask_outline(mask) == ((2, 1), (5, 1), (5, 4), (2, 4))


def test_stray_values_belong_to_the_nearest_level(tmp_path):
    values = np.array([[0, 63, 64, 128, 155, 255]], np.uint8)
    Image.fromarray(values).save(tmp_path / "mask.png")
    assert read_mask(tmp_path / "mask.png").tolist() == [[False, False, True, True, True, True]]


def test_a_mask_that_is_no_picture(tmp_path):
    (tmp_path / "mask.png").write_bytes(b"no")
    with pytest.raises(DataError, match="can't be read as a mask"):
        read_mask(tmp_path / "mask.png")
