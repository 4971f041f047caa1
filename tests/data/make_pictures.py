"""Tiny smear-like pictures for the fabricated data sets: a pale field with dark discs where cells are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

BACKGROUND, CYTOPLASM, NUCLEUS = (236, 226, 230), (180, 160, 205), (95, 50, 140)


def draw_field(path: Path, size: tuple[int, int], cells: list[tuple[float, float, float]], *, seed: int = 0) -> None:
    """Save a picture of width x height px with a cell at each (x, y, radius); the seed makes files differ."""
    width, height = size
    noise = np.random.default_rng(seed).integers(-6, 7, (height, width, 3))
    pixels = np.full((height, width, 3), BACKGROUND, np.int16) + noise
    ys, xs = np.mgrid[:height, :width] + 0.5
    for x, y, radius in cells:
        distance = np.hypot(xs - x, ys - y)
        pixels[distance < radius] = CYTOPLASM
        pixels[distance < radius * 0.6] = NUCLEUS
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


def draw_mask(path: Path, size: tuple[int, int], cell: tuple[float, float, float], *, stray: int | None = None) -> None:
    """Save the mask of one cell: 0 outside, 128 cytoplasm, 255 nucleus, and a stray grey value in the corner."""
    width, height = size
    ys, xs = np.mgrid[:height, :width] + 0.5
    distance = np.hypot(xs - cell[0], ys - cell[1])
    mask = np.zeros((height, width), np.uint8)
    mask[distance < cell[2]] = 128
    mask[distance < cell[2] * 0.6] = 255
    if stray is not None:
        mask[0, 0] = stray
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)
