"""Micrometres a pixel, measured at red cells."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from leukoscope.classify import diameters_um
from leukoscope.scale import RED_CELL_UM, measure_um_per_px, red_cell_px, scale_doubt, with_scale
from leukoscope.types import Cells, Field, FieldKey

KEY = FieldKey("f", "s", "p", "c", "blood")


def smear(red_px: float, *, n: int = 12, white_px: float = 2.0, side: float = 8.0) -> tuple[np.ndarray, np.ndarray]:
    """A white cell in the middle, n red cells with pale centres on a circle around it; sizes in red cells."""
    size = round(side * red_px)
    picture = Image.new("RGB", (size, size), (240, 240, 240))
    draw = ImageDraw.Draw(picture)
    middle, half = size / 2, white_px * red_px / 2
    for angle in np.linspace(0, 2 * np.pi, n, endpoint=False):
        x, y = middle + 2.4 * red_px * np.cos(angle), middle + 2.4 * red_px * np.sin(angle)
        draw.ellipse((x - red_px / 2, y - red_px / 2, x + red_px / 2, y + red_px / 2), fill=(225, 150, 160))
        draw.ellipse((x - red_px / 6, y - red_px / 6, x + red_px / 6, y + red_px / 6), fill=(238, 205, 210))
    draw.ellipse((middle - half, middle - half, middle + half, middle + half), fill=(90, 50, 140))
    pixels = np.asarray(picture.filter(ImageFilter.GaussianBlur(red_px / 30)))
    return pixels, np.array([[middle - half, middle - half, middle + half, middle + half]])


@pytest.mark.parametrize("red_px", [18, 40, 75, 140])
def test_red_cells_of_any_size_give_the_scale(red_px):
    pixels, boxes = smear(red_px)
    assert measure_um_per_px(pixels, boxes) == pytest.approx(RED_CELL_UM / red_px, rel=0.08)


def test_thick_red_cells_end_where_the_glass_ends():
    """Cells as thick as a dome: the steepest place lies at a quarter of their width."""
    size, red_px = 320, 40
    y, x = np.mgrid[:size, :size]
    density = np.zeros((size, size))
    middles = [(160 + 96 * np.cos(a), 160 + 96 * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 12, endpoint=False)]
    for at in middles:
        r = np.hypot(x - at[0], y - at[1]).clip(max=red_px / 2)
        density = np.maximum(density, 0.6 * np.cos(np.pi * r / red_px) ** 2)
    density[np.hypot(x - 160, y - 160) < red_px] = 1.2
    pixels = (240 * np.exp(-density)).astype(np.uint8)[..., None].repeat(3, 2)
    measured = measure_um_per_px(pixels, np.array([[120, 120, 200, 200]], float))
    assert RED_CELL_UM / measured > 0.8 * red_px


def test_the_white_cell_size_does_not_bias_the_ruler():
    measured = [measure_um_per_px(*smear(50, white_px=w)) for w in (1.4, 2.0, 2.6)]
    assert measured == pytest.approx([RED_CELL_UM / 50] * 3, rel=0.1)


def test_without_red_cells_the_scale_is_unknown():
    pixels, boxes = smear(40, n=0)
    assert measure_um_per_px(pixels, boxes) is None
    assert measure_um_per_px(pixels, np.empty((0, 4))) is None
    assert measure_um_per_px(np.zeros((40, 40, 3), np.uint8), np.array([[2, 2, 38, 38]])) is None


def test_a_stated_scale_is_kept():
    pixels, boxes = smear(40)
    cells = Cells(KEY, boxes, np.ones(1))
    assert with_scale(Field(KEY, pixels, 0.3), cells).um_per_px == 0.3
    assert with_scale(Field(KEY, pixels), cells).um_per_px == pytest.approx(RED_CELL_UM / 40, rel=0.08)


def test_a_cell_cut_by_the_frame_has_no_known_diameter():
    field = Field(KEY, np.zeros((100, 80, 3), np.uint8), 0.1)
    boxes = np.array([[10, 10, 50, 70], [0, 10, 50, 70], [30, 10, 80, 70], [10, 60, 50, 100]], float)
    assert diameters_um(field, boxes).tolist() == pytest.approx([6, 0, 0, 0])
    unknown = Field(KEY, field.pixels)
    assert not diameters_um(unknown, boxes).any()


@pytest.mark.parametrize(("red_px", "within"), [(9, 0.25), (24, 0.15), (60, 0.15), (150, 0.15), (300, 0.15)])
def test_red_cells_are_found_at_any_scale_without_a_white_cell(red_px, within):
    pixels, _ = smear(red_px, n=16, white_px=0, side=7)
    assert red_cell_px(pixels) == pytest.approx(red_px, rel=within)


def test_a_mirrored_field_has_the_same_ruler():
    pixels, _ = smear(40, n=14)
    rulers = [red_cell_px(p) for p in (pixels, pixels[:, ::-1], pixels[::-1], pixels.transpose(1, 0, 2))]
    assert rulers == pytest.approx([rulers[0]] * 4, rel=0.03)


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (40, 40), (600, 800)])
def test_empty_glass_has_no_ruler(shape):
    noise = np.random.default_rng(1).normal(240, 3, (*shape, 3)).clip(0, 255).astype(np.uint8)
    assert red_cell_px(noise) is None


def test_the_smears_ruler_goes_before_the_fields_own():
    pixels, boxes = smear(40)
    cells = Cells(KEY, boxes, np.ones(1))
    assert with_scale(Field(KEY, pixels), cells, red_px=50.0).um_per_px == pytest.approx(0.14)
    assert with_scale(Field(KEY, pixels, 0.3), cells, red_px=50.0).um_per_px == 0.3


def test_a_scale_is_doubtful_when_unknown_or_a_quarter_off():
    assert scale_doubt(None, um_per_px=None, red_px=None) == "unknown"
    assert scale_doubt(0.1, um_per_px=0.1, red_px=None) is None  # lysed red cells say nothing
    assert scale_doubt(0.1, um_per_px=0.1, red_px=80.0) is None  # 8 µm: a macrocyte
    assert scale_doubt(0.1, um_per_px=0.1, red_px=95.0) == "red_cells_disagree"
    assert scale_doubt(0.1, um_per_px=0.1, red_px=50.0) == "red_cells_disagree"
