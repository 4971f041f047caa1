"""Fabricated crops: a coloured disc a cell, its colour its class. Nothing like blood, but it can be learnt."""

from __future__ import annotations

import numpy as np

from leukoscope.models.bundle import CropRule
from leukoscope.taxonomy import Taxonomy
from leukoscope.train.crops.data import CropSet

COLOURS = ((150, 60, 160), (60, 60, 170), (190, 110, 120), (110, 40, 60), (200, 160, 220))
NAMES = ("neutrophil", "lymphocyte", "monocyte", "eosinophil", "basophil")


def make_crops(n: int = 24, *, size: int = 32, n_classes: int = 3, seed: int = 0, noise: float = 12.0) -> CropSet:
    """`n` cells of `n_classes` classes by turns, two cells a group, with masks."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    crops = np.empty((n, size, size, 3), np.uint8)
    masks = np.zeros((n, size, size), np.uint8)
    for i, label in enumerate(labels):
        radius = size * rng.uniform(0.2, 0.35)
        masks[i] = np.hypot(x, y) < radius
        picture = np.where(masks[i][..., None], COLOURS[label], (235, 225, 230)) + rng.normal(0, noise, (size, size, 3))
        crops[i] = np.clip(picture, 0, 255)
    names = NAMES[:n_classes]
    return CropSet(
        crops=crops,
        labels=labels.astype(np.int64),
        groups=np.array([f"p{i // 2}" for i in range(n)]),
        unit="patient",
        taxonomy=Taxonomy("drawn", names, names),
        class_names=np.array([names[label] for label in labels]),
        files=np.array([f"{i}.png" for i in range(n)]),
        boxes=np.tile([4.0, 4.0, size - 4.0, size - 4.0], (n, 1)),
        rule=CropRule(size=size, pad_fraction=0.2),
        sources=({"name": "drawn", "sha256": "0" * 64, "licence": "CC0"},),
        extras={"masks": masks},
    )
