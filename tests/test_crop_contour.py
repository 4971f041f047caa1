"""Contour-centred crops: where the cell comes to lie, how large it is, and what stands around it."""

from __future__ import annotations

import numpy as np
import pytest

from leukoscope.crop_contour import (
    area_centre,
    contour_frames,
    crop_contours,
    crop_frames,
    mask_frames,
    scale_words,
)
from leukoscope.errors import DataError, InputError
from leukoscope.geometry import contour_area

TURNS = np.linspace(0, 2 * np.pi, 90, endpoint=False)


def disc(x, y, radius):
    return np.c_[x + radius * np.cos(TURNS), y + radius * np.sin(TURNS)]


def paint(cells, *, shape=(160, 200)):
    """A field of 240 with discs (x, y, radius, grey)."""
    pixels = np.full((*shape, 3), 240, np.uint8)
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    for cx, cy, radius, grey in cells:
        pixels[(x - cx) ** 2 + (y - cy) ** 2 <= radius**2] = grey
    return pixels


@pytest.mark.parametrize(("um_per_px", "target"), [(0.1, 0.25), (None, 0.25), (0.2, None)])
def test_a_mask_lies_on_its_cell(um_per_px, target):
    """Also at the field's edge, and where the cell's box is not centred on its area."""
    for x, y, radius in ((100, 80, 24), (5.5, 150.25, 30)):
        pixels, contour = paint([(x, y, radius, 60)]), disc(x, y, radius)
        contour[:, 0] = np.maximum(contour[:, 0], 0)
        contour[:, 1] = np.minimum(contour[:, 1], 160)
        frames = contour_frames([contour], size=64, um_per_px=um_per_px, target_um_per_px=target)
        crop = crop_frames(pixels, frames, size=64)[0, ..., 1].astype(float)
        mask = mask_frames([[contour]], frames, size=64)[0]
        assert np.abs((240 - crop) / 180 - mask / 255).mean() < 0.01
        ys, xs = np.nonzero(mask > 127)
        assert abs(xs.mean() + 0.5 - 32) < 0.3 and abs(ys.mean() + 0.5 - 32) < 0.3
        area = contour_area(contour) * (64 / frames[0, 2]) ** 2
        assert abs(mask.sum() / 255 - area) < 0.005 * area


def test_a_known_scale_keeps_sizes_and_an_unknown_one_says_so():
    small, large = disc(60, 60, 10), disc(120, 90, 20)
    fixed = contour_frames([small, large], size=64, um_per_px=0.1, target_um_per_px=0.2)
    assert fixed[:, 2].tolist() == [128, 128]  # 64 px of 0.2 µm are 128 of 0.1 µm
    finer = contour_frames([2 * small, 2 * large], size=64, um_per_px=0.05, target_um_per_px=0.2)
    np.testing.assert_allclose(finer, 2 * fixed)  # another camera, the same picture
    by_diameter = contour_frames([small, large], size=64, um_per_px=None, target_um_per_px=0.2, pad=0.5)
    np.testing.assert_allclose(by_diameter[:, 2], [40, 80], rtol=1e-3)
    assert "0.2 µm" in scale_words(0.1, 0.2) and "diameter" in scale_words(None, 0.2)


def test_the_background_is_kept_blurred_or_masked_and_the_cell_never_changes():
    pixels = paint([(80, 80, 20, 60), (121, 80, 19, 100)])  # a neighbour that almost touches
    pixels[::3, 100:] //= 2  # with detail in it
    how = {"size": 96, "um_per_px": 1.0, "target_um_per_px": 1.0}
    contour = disc(80, 80, 20)
    kept, blurred, masked = (
        crop_contours(pixels, [contour], background=b, **how)[0].astype(int) for b in ("keep", "blur", "mask")
    )
    inside = mask_frames([[contour]], contour_frames([contour], **how), size=96)[0] == 255
    for crop in (blurred, masked):
        assert np.abs(crop - kept)[inside].max() <= 1
    neighbour = np.s_[30:66, 78:94]
    assert masked[neighbour].min() == 240
    assert np.abs(np.diff(blurred[neighbour], axis=0)).max() < 12 < np.abs(np.diff(kept[neighbour], axis=0)).max()
    far = np.s_[:10, :40]  # empty glass stays empty: the cell's own colour is not smeared over it
    assert blurred[far].min() >= 238
    assert blurred[20:28, 40:56].min() > 200  # nor just above the cell, where the neighbour is far


def test_rows_do_not_depend_on_each_other():
    pixels = np.random.default_rng(0).integers(0, 256, (120, 150, 3), dtype=np.uint8)
    contours = [disc(40, 40, 20), disc(90, 60, 15), disc(150, 119, 30)]
    how = {"size": 48, "um_per_px": None, "target_um_per_px": None, "background": "blur"}
    together = crop_contours(pixels, contours, **how)
    assert together.shape == (3, 48, 48, 3) and together.dtype == np.uint8
    for row, contour in enumerate(contours):
        np.testing.assert_array_equal(together[row], crop_contours(pixels, [contour], **how)[0])
    assert crop_contours(pixels, [], **how).shape == (0, 48, 48, 3)


def test_lobes_are_drawn_together_and_nothing_is_drawn_of_none():
    frames = np.array([[50.0, 50, 64], [50, 50, 64]])
    lobes, none = mask_frames([[disc(40, 50, 8), disc(60, 50, 8)], []], frames, size=64)
    assert abs(lobes.sum() / 255 - 2 * np.pi * 64) < 1 and not none.any()


def test_the_centre_of_an_area():
    half = np.array([(0, 0), (6, 0), (6, 2), (2, 2), (2, 6), (0, 6)], float)  # an L
    np.testing.assert_allclose(area_centre(half), [2.2, 2.2])
    np.testing.assert_allclose(area_centre(half[::-1] + 1e5), [100002.2, 100002.2])
    np.testing.assert_allclose(area_centre([(0, 0), (2, 2), (2, 0), (0, 2)]), [1, 1])  # halves that cancel out


def test_what_can_not_be_cropped_is_named():
    pixels, contour = paint([]), disc(50, 50, 10)
    how = {"size": 32, "um_per_px": 0.1, "target_um_per_px": 0.2}
    with pytest.raises(DataError, match="contour 1 has no area"):
        crop_contours(pixels, [contour, np.zeros((0, 2))], **how)
    with pytest.raises(DataError, match="contour 0 has no area"):
        crop_contours(pixels, [[(1, 1), (2, 1), (3, 1)]], **how)
    with pytest.raises(InputError, match="background"):
        crop_contours(pixels, [contour], **how, background="grey")
    with pytest.raises(InputError, match="um_per_px"):
        crop_contours(pixels, [contour], **how | {"um_per_px": 0.0})
    with pytest.raises(InputError, match="size"):
        crop_contours(pixels, [contour], **how | {"size": 8})
