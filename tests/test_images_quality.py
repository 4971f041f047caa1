"""Quality checks, background colour and white balance, on drawn smears and on real ones where they are present."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter

from leukoscope.errors import InputError
from leukoscope.images import PROBLEMS, background_color, check_quality, read_image, white_balance

PAPER = (228, 214, 205)
RED_CELL = (190, 130, 140)
NUCLEUS = (85, 40, 125)


def draw_smear(*, height=240, width=320, red=25, radius=20, background=PAPER, seed=0) -> np.ndarray:
    """Red cells and one nucleus on an even background, with a camera's noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    pixels = np.full((height, width, 3), background, np.float64)
    for _ in range(red):
        pixels[(y - rng.uniform(0, height)) ** 2 + (x - rng.uniform(0, width)) ** 2 < radius**2] = RED_CELL
    pixels[(y - height / 2) ** 2 + (x - width / 2) ** 2 < (1.3 * radius) ** 2] = NUCLEUS
    sharp = Image.fromarray(pixels.astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.7))
    return np.clip(np.asarray(sharp) + rng.normal(0, 2, pixels.shape), 0, 255).astype(np.uint8)


def blurred(pixels: np.ndarray, sigma: float) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(sigma)))


# Background colour and white balance


def test_background_among_a_few_red_cells():
    np.testing.assert_allclose(background_color(draw_smear()), PAPER, atol=3)


def test_background_where_red_cells_cover_most_of_the_field():
    pixels = draw_smear(red=110, seed=3)
    covered = (pixels[..., 1] < 180).mean()
    assert covered > 0.6
    np.testing.assert_allclose(background_color(pixels), PAPER, atol=3)


def test_background_in_the_corners_of_a_crop_filled_by_a_cell():
    y, x = np.mgrid[:120, :120]
    crop = np.full((120, 120, 3), PAPER, np.uint8)
    crop[(y - 60) ** 2 + (x - 60) ** 2 < 62**2] = (150, 140, 200)
    crop[(y - 60) ** 2 + (x - 60) ** 2 < 50**2] = NUCLEUS
    np.testing.assert_allclose(background_color(crop), PAPER, atol=3)


def test_black_frame_is_not_background():
    framed = np.zeros((900, 900, 3), np.uint8)
    framed[300:420, 400:560] = draw_smear(height=120, width=160, red=6)  # 2 % of the frame
    np.testing.assert_allclose(background_color(framed), PAPER, atol=3)


@pytest.mark.parametrize("color", [(0, 0, 0), NUCLEUS, (60, 30, 90), RED_CELL, (100, 90, 0)])
def test_no_plausible_background(color):
    """Black, a nucleus, a dark cell, one red cell, no blue: the answer is 240, which changes nothing."""
    pixels = np.full((50, 50, 3), color, np.uint8)
    background = background_color(pixels)
    assert background.dtype == np.float32
    np.testing.assert_array_equal(background, (240, 240, 240))
    assert white_balance(pixels, background) is pixels


def test_few_bright_spots_are_not_the_background():
    pixels = draw_smear(red=5)
    pixels[:48, :64] = 255  # 4 %: light scattered by debris
    np.testing.assert_allclose(background_color(pixels), PAPER, atol=3)


def test_white_balance_puts_the_background_at_240_and_keeps_black():
    pixels = draw_smear(background=(250, 200, 140))
    pixels[:5] = 0
    balanced = white_balance(pixels, background_color(pixels))
    assert balanced.dtype == np.uint8 and balanced.shape == pixels.shape and balanced.flags.writeable
    np.testing.assert_allclose(background_color(balanced), (240, 240, 240), atol=3)
    assert (balanced[:5] == 0).all()
    assert (pixels[:5] == 0).all() and pixels[10:, :, 2].max() < 170  # the caller's array is as it was


def test_white_balance_is_the_rounded_scaling():
    levels = np.arange(256, dtype=np.uint8)
    pixels = np.stack([levels, levels, levels], 1)[None]  # (1, 256, 3)
    expected = np.clip(np.rint(levels[:, None] * (240 / np.array([120.0, 240.0, 255.0]))), 0, 255)[None]
    np.testing.assert_array_equal(white_balance(pixels, np.array([120.0, 240.0, 255.0])), expected)


@pytest.mark.parametrize("background", [(0, 240, 240), (240, 240), (np.nan, 240, 240), 240, (-5, 1, 1)])
def test_white_balance_refuses_what_is_no_colour(background):
    with pytest.raises(InputError, match="three positive numbers"):
        white_balance(np.zeros((2, 2, 3), np.uint8), background)


@settings(max_examples=40, deadline=None)
@given(st.tuples(st.integers(190, 240), st.integers(195, 235), st.integers(130, 240)), st.integers(0, 10**6))
def test_background_is_found_whatever_its_tint(background, seed):
    pixels = draw_smear(background=background, height=100, width=120, red=6, radius=10, seed=seed)
    np.testing.assert_allclose(background_color(pixels), background, atol=4)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 10**6))
def test_any_picture_is_judged(height, width, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    quality = check_quality(pixels)
    assert set(quality.problems) <= set(PROBLEMS)
    assert white_balance(pixels, background_color(pixels)).shape == pixels.shape


# Quality


def test_a_good_smear_has_no_problems():
    quality = check_quality(draw_smear())
    assert quality.problems == ()
    assert quality.exposure == pytest.approx(np.mean(PAPER) / 255, abs=0.02)
    assert 0.7 < quality.stain < 0.9
    assert 0.1 < quality.content < 0.6


@pytest.mark.parametrize("size", [(32, 32), (100, 2000), (3000, 4000)])
def test_every_size_is_judged(size):
    height, width = size
    pixels = draw_smear(height=height, width=width, radius=min(size) // 10)
    quality = check_quality(pixels)
    assert "too_dark" not in quality.problems and "empty" not in quality.problems
    assert 0 < quality.focus < float("inf")


def test_blur_lowers_focus_and_is_flagged():
    pixels = draw_smear()
    focus = [check_quality(blurred(pixels, sigma)).focus for sigma in (0, 1, 2, 4, 8)]
    assert focus == sorted(focus, reverse=True)
    assert check_quality(blurred(pixels, 4)).problems == ("blurred",)


def test_focus_does_not_depend_on_contrast_or_light():
    pixels = draw_smear()
    dim = (pixels * 0.6).astype(np.uint8)
    assert check_quality(dim).focus == pytest.approx(check_quality(pixels).focus, rel=0.1)


def test_the_edge_of_a_mask_is_not_taken_for_focus():
    pixels = blurred(draw_smear(), 4).copy()
    pixels[:, :100] = 0
    assert "blurred" in check_quality(pixels).problems


def test_light():
    pixels = draw_smear()
    assert "too_dark" in check_quality((pixels * 0.45).astype(np.uint8)).problems
    assert "too_bright" in check_quality(np.minimum(pixels * 2.2, 255).astype(np.uint8)).problems
    assert check_quality(np.zeros((40, 40, 3), np.uint8)).problems == ("too_dark", "empty")


def test_pale_stain():
    pixels = draw_smear()
    pale = (np.array(PAPER) + (pixels - np.array(PAPER, float)) * 0.3).clip(0, 255).astype(np.uint8)
    assert "low_stain_contrast" in check_quality(pale).problems


def test_empty_and_crowded():
    empty = np.random.default_rng(0).normal(220, 2, (200, 300, 3)).astype(np.uint8)
    quality = check_quality(empty)
    assert quality.problems == ("empty",) and quality.content == 0
    heap = draw_smear(red=300)
    assert "crowded" in check_quality(heap).problems


def test_a_cell_cut_out_on_black():
    """As in sets of segmented cells: no background, no crowd, and its own edge is not the mask's."""
    y, x = np.mgrid[:200, :200]
    from_middle = (y - 100) ** 2 + (x - 100) ** 2
    pixels = np.zeros((200, 200, 3), np.uint8)
    pixels[from_middle < 90**2] = (75, 35, 90)
    assert check_quality(pixels).focus is None
    pixels[from_middle < 70**2] = (60, 18, 80)
    assert check_quality(pixels).problems == ("too_dark",)


@pytest.mark.parametrize("folder", ["pbc/train/images", "bccd/JPEGImages", "jtsc/images", "cellavision/images", "draaslan/images"])  # fmt: skip  # noqa: E501
def test_real_photographs_pass_and_their_blurred_copies_do_not(shared_data, folder):
    files = sorted((shared_data / folder).iterdir())[::20][:15]
    pictures = [read_image(f) for f in files]
    flagged = [check_quality(p).problems for p in pictures]
    assert sum(bool(f) for f in flagged) <= 1
    assert all("blurred" in check_quality(blurred(p, 4)).problems for p in pictures)
    for pixels in pictures:
        balanced = white_balance(pixels, background_color(pixels))
        found = background_color(balanced)
        assert np.ptp(found) <= 6, "the background is neutral"
        assert found.min() >= 234, "and bright; brighter than 240 where the light was uneven and its peak is clipped"


def test_checks_are_cheap():
    """Limits ten times what was measured, against decoding the picture: a loop over pixels in Python would not pass."""
    pixels = draw_smear(height=480, width=640)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")

    def fastest(action) -> float:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            action()
            times.append(time.perf_counter() - start)
        return min(times)

    decoding = fastest(lambda: np.array(Image.open(io.BytesIO(file.getvalue()))))
    assert fastest(lambda: check_quality(pixels)) < 20 * decoding
    assert fastest(lambda: white_balance(pixels, background_color(pixels))) < 15 * decoding


# Is it a stained smear at a usable scale?


def test_a_grey_photograph_is_no_stained_smear():
    grey = np.repeat(draw_smear()[..., 1:2], 3, axis=2)
    assert check_quality(grey).problems == ("no_color",)


@pytest.mark.parametrize("tint", [(1, 1, 1), (0.7, 1, 1), (1, 1, 0.6), (0.8, 1, 0.8)])
def test_red_and_blue_exchanged(tint):
    pixels = (draw_smear() * np.array(tint)).astype(np.uint8)
    assert check_quality(pixels).problems == ()
    swapped = (draw_smear()[..., ::-1] * np.array(tint)).astype(np.uint8)
    assert check_quality(swapped).problems == ("channels_swapped",)


@pytest.mark.parametrize("size", [7, 12])
def test_an_overview_is_too_small(size):
    """Red cells of `size` px."""
    overview = draw_smear(height=480, width=640, red=int(640 * 480 * 0.3 / size**2), radius=size / 2)
    assert "too_small" in check_quality(overview).problems
    usable = draw_smear(height=480, width=640, red=60, radius=20)
    assert check_quality(usable).problems == ()


def test_what_is_no_smear_is_never_fine():
    rng = np.random.default_rng(0)
    page = Image.new("RGB", (640, 480), "white")
    pen = ImageDraw.Draw(page)
    for line in range(20, 460, 16):
        pen.text((20, line), "differential count of 200 cells, ward 7 " * 3, fill=(30, 30, 120))
    y, x = np.mgrid[:480, :640]
    meadow = np.stack([60 + 60 * np.sin(x / 19), 120 + 50 * np.cos(y / 23), 40 + 0 * x], axis=2)
    face = np.stack(
        [230 - 80 * np.sin(x / 60) ** 2, 180 - 90 * np.sin(x / 60) ** 2, 150 - 110 * np.sin(y / 50) ** 2], 2
    )
    dusk = np.linspace((250, 200, 230), (110, 60, 140), 640)[None].repeat(480, axis=0)
    others = [
        np.asarray(page),
        dusk,
        meadow.clip(0, 255),
        face.clip(0, 255),
        rng.integers(0, 256, (480, 640, 3)),
    ]
    for pixels in others:
        assert check_quality(pixels.astype(np.uint8)).problems


@pytest.mark.parametrize("folder", ["pbc/train/images", "bccd/JPEGImages", "bionet/images", "cnmc/all", "jtsc/images", "raabin/images"])  # fmt: skip  # noqa: E501
def test_real_smears_in_any_light_have_a_smears_colours(shared_data, folder):
    files = sorted((shared_data / folder).iterdir())
    pictures = [read_image(f) for f in files[:: max(1, len(files) // 20)][:20]]
    strange = {"no_color", "not_stained", "channels_swapped", "too_small"}
    assert sum(bool(strange & set(check_quality(p).problems)) for p in pictures) <= 1
    swapped = [check_quality(np.ascontiguousarray(p[..., ::-1])).problems for p in pictures]
    assert sum(bool(strange & set(problems)) for problems in swapped) >= 14
    assert all("no_color" in check_quality(np.repeat(p[..., 1:2], 3, 2)).problems for p in pictures)


def test_a_large_photograph_is_balanced_in_bands_to_the_same_pixels(monkeypatch):
    pixels = draw_smear(background=(250, 200, 140))
    whole = white_balance(pixels, np.array((250.0, 200.0, 140.0)))
    monkeypatch.setattr("leukoscope.images.color._BAND_PIXELS", 1000)
    np.testing.assert_array_equal(white_balance(pixels, np.array((250.0, 200.0, 140.0))), whole)
