"""Pictures with enough structure to be told apart: coloured discs of many sizes, different for each seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (180, 170)


def smear_picture(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """A pale ground with one large dark cell near the middle and red cells anywhere."""
    width, height = size
    rng = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), (240, 228, 215), np.float32) + rng.normal(0, 3, (height, width, 1))
    ys, xs = np.mgrid[:height, :width]
    for _ in range(14):
        x, y, radius = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(10, 18)
        pixels[np.hypot(xs - x, ys - y) < radius] = (205, 165, 160)
    x, y = rng.uniform(0.4, 0.6, 2) * size
    pixels[np.hypot(xs - x, ys - y) < 32] = (170, 150, 205)
    for _ in range(3):
        dx, dy = rng.uniform(-14, 14, 2)
        pixels[np.hypot(xs - x - dx, ys - y - dy) < rng.uniform(8, 14)] = (95, 50, 140)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def save_pictures(folder: Path, n: int, *, first_seed: int = 0) -> list[Path]:
    """`n` different pictures in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{first_seed + i:03d}.jpg" for i in range(n)]
    for i, path in enumerate(paths):
        smear_picture(first_seed + i).save(path, quality=92)
    return paths
