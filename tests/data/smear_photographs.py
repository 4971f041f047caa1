"""Photographs of drawn smears, and the JSON that a run writes of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from data.make_bundles import draw_field
from PIL import Image

HEIGHT, WIDTH = 256, 320


def save(path: Path, cells, *, shape=(HEIGHT, WIDTH), blur=0.0, **more) -> Path:
    """One photograph: discs on noisy glass, so that it has something to focus on."""
    noise = np.random.default_rng(1).integers(-4, 5, (*shape, 1))
    pixels = np.clip(draw_field(*shape, cells).astype(int) + noise, 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **more)
    return path


def read(path: Path) -> dict:
    return json.loads(path.read_text("utf-8"))
