"""Copies of pictures as they come to stand in data sets: turned, saved again, rescaled, brighter, cropped."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

QUALITY = 92  # of the JPEGs that are written, where the kind says no other
_TURNS = tuple(Image.Transpose)


def _turned(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return image.transpose(_TURNS[rng.integers(len(_TURNS))])


def _rescaled(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    size = (round(image.width * 0.75), round(image.height * 0.75))
    return image.resize(size, Image.Resampling.BICUBIC)


def _brightened(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    factor = 1.15 if rng.integers(2) else 0.85
    return image.point(lambda v: min(255, round(v * factor)))


def cropped(share: float) -> Callable[[Image.Image, np.random.Generator], Image.Image]:
    """A crop of `share` of each side, anywhere in the picture."""

    def crop(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        width, height = round(image.width * share), round(image.height * share)
        left, top = rng.integers(image.width - width + 1), rng.integers(image.height - height + 1)
        return image.crop((int(left), int(top), int(left) + width, int(top) + height))

    return crop


def _unchanged(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return image


def _all_at_once(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return _rescaled(_brightened(cropped(0.9)(_turned(image, rng), rng), rng), rng)


# kind -> (what is done, JPEG quality). The first five are asked for; the others say how far it carries.
KINDS = {
    "rotated or flipped": (_turned, QUALITY),
    "JPEG quality 60": (_unchanged, 60),
    "rescaled to 75 %": (_rescaled, QUALITY),
    "brightness +-15 %": (_brightened, QUALITY),
    "cropped to 90 % of each side": (cropped(0.9), QUALITY),
    "cropped to 85 % of each side": (cropped(0.85), QUALITY),
    "cropped to 80 % of each side": (cropped(0.80), QUALITY),
    "turned, cropped to 90 %, brightness +-15 %, rescaled to 75 %, JPEG quality 60": (_all_at_once, 60),
}


def plant(path: Path, kind: str, out: Path, rng: np.random.Generator) -> None:
    """Write a copy of picture `path` of one of KINDS to `out` (a .jpg)."""
    change, quality = KINDS[kind]
    with Image.open(path) as image:
        changed = change(image.convert("RGB"), rng)
    data = io.BytesIO()
    changed.save(data, "JPEG", quality=quality)
    out.write_bytes(data.getvalue())
