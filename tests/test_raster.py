"""A raster is an array of pixels in every way that counts, without one being made."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leukoscope.crop import crop_cells
from leukoscope.errors import DataError
from leukoscope.images import background_color, check_quality, white_balance
from leukoscope.locate import letterbox
from leukoscope.models.bundle import CropRule
from leukoscope.pipeline.looks import look_of
from leukoscope.raster import Raster
from leukoscope.scale import red_cell_px
from leukoscope.types import Field, FieldKey

KEY = FieldKey("a", "s", "p", "c", "blood")


@pytest.fixture(scope="module", params=[(61, 47), (640, 480), (1500, 1100), (5, 9)], ids=str)
def pixels(request) -> np.ndarray:
    """Round things on a bright ground."""
    width, height = request.param
    rng = np.random.default_rng(width)
    y, x = np.mgrid[:height, :width]
    picture = np.full((height, width, 3), (222, 226, 231), float)
    for _ in range(width // 12):
        apart = np.hypot(x - rng.uniform(0, width), y - rng.uniform(0, height))
        picture[apart < rng.uniform(8, 14)] = (200, 150, 170)
    return np.clip(picture + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)


def test_slices_are_those_of_an_array(pixels):
    raster = Raster.of(pixels)
    assert raster.shape == pixels.shape and np.array_equal(np.asarray(raster), pixels)
    for key in (
        np.s_[2:5, 1:4],
        np.s_[1:, :3],
        np.s_[::2, 1::3],
        np.s_[2:4, :, 1],
        np.s_[..., 1],
        np.s_[3],
        np.s_[-4:-1, -3:],
        np.s_[:, ::-1],
        np.s_[4:2, :],
    ):
        assert np.array_equal(raster[key], pixels[key]), key
    for step in (1, 2, 3, 4):
        assert np.array_equal(raster.thinned(step), pixels[step // 2 :: step, step // 2 :: step])
    assert np.array_equal(np.asarray(raster.green()), pixels[..., 1])
    assert np.array_equal(np.asarray(raster.part((1, 2, 4, 5))), pixels[2:5, 1:4])


def test_what_is_measured_is_the_same(pixels):
    raster = Raster.of(pixels)
    assert np.array_equal(background_color(raster), background_color(pixels))
    assert check_quality(raster) == check_quality(pixels)
    assert look_of(raster) == look_of(pixels)
    assert red_cell_px(raster) == red_cell_px(pixels)


def test_white_balance_of_what_is_cut_out_is_that_of_the_whole(pixels):
    background = np.array([210.0, 220.5, 231.0])
    whole, raster = white_balance(pixels, background), white_balance(Raster.of(pixels), background)
    assert np.array_equal(np.asarray(raster), whole) and np.array_equal(raster[2:5, 1:4], whole[2:5, 1:4])
    assert np.array_equal(np.asarray(raster.green()), whole[..., 1])
    assert np.array_equal(raster.thinned(2), whole[1::2, 1::2])
    again = white_balance(raster, background)
    assert np.array_equal(np.asarray(again), white_balance(whole, background))
    height, width = pixels.shape[:2]
    corner = [width - 3.5, height - 4.0, width + 9, height + 9]
    boxes = np.array([[1.3, 1.2, 4.9, 4.4], [-6.0, -5.0, 9.5, 8.25], corner])
    rule = CropRule(size=24, pad_fraction=0.25)
    assert np.array_equal(crop_cells(raster, boxes, rule), crop_cells(whole, boxes, rule))


def test_the_locators_picture_is_balanced_small(pixels):
    """Balanced before or after it is made smaller: the same but for rounding, as long as nothing is clipped."""
    background = np.array([225.0, 230.0, 235.0])
    before, scale = letterbox(white_balance(pixels, background), (64, 64))
    after, same = letterbox(white_balance(Raster.of(pixels), background), (64, 64))
    assert scale == same and np.abs(before.astype(int) - after).max() <= 2


def test_a_field_takes_either(pixels):
    assert Field(KEY, Raster.of(pixels)).pixels.shape == Field(KEY, pixels).pixels.shape
    with pytest.raises(DataError, match="uint8"):
        Field(KEY, Image.fromarray(pixels))


HELD_BY_THREADS = """
import io, sys, threading
import numpy as np
from PIL import Image
from leukoscope.raster import Raster

data = io.BytesIO()
Image.new("RGB", (6000, 5000), (220, 200, 210)).save(data, "JPEG")
kept = []

def work():
    raster = Raster(Image.open(io.BytesIO(data.getvalue())))
    kept.append([bytes(raster.thinned(50)) for _ in range(50)])

for _ in range(6):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS")))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_what_threads_decoded_goes_back_to_the_system():
    """Six threads decode 30 megapixels, 120 MB, one after another: none of it may stay with them."""
    ran = subprocess.run([sys.executable, "-c", HELD_BY_THREADS], capture_output=True, text=True, check=True)
    assert int(ran.stdout) / 1024 < 160
