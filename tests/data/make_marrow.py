"""A tiny marrow cohort, drawn in milliseconds: round cells of three colours, with contours, of three centres."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField, write_dataset
from leukoscope.types import FieldKey

COLORS = {"myeloblast": (110, 110, 220), "neutrophil": (225, 160, 190), "erythroblast": (150, 190, 160)}  # cytoplasm
NUCLEUS = (80, 40, 130)  # of all: what the stain is normalised by
SIDE = 160


def make_marrow(root: Path, *, patients_per_center: int = 6, smears: int = 1, seed: int = 0) -> Path:
    """Centres a and b to develop, c to validate; every second patient has AML: mostly myeloblasts. Returns `root`."""
    rng = np.random.default_rng(seed)
    fields, rows = [], []
    for center in "abc":
        for number in range(patients_per_center):
            patient, is_aml = f"{center}{number}", number % 2 == 0
            for smear in range(smears):
                share = 0.75 if is_aml else 0.15
                fields.append(_field(root, rng, center, patient, f"{patient}-s{smear}", share / (smear + 1)))
            rows.append((patient, center, "AML" if is_aml else "not-AML"))
    write_dataset(Dataset("tiny-marrow", root, tuple(fields), "made up", "nobody", "made"), root)
    with open(root / "patients.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("patient_id", "center", "diagnosis"), *rows])
    return root


def _field(root: Path, rng: np.random.Generator, center: str, patient: str, smear: str, share: float) -> TruthField:
    pixels = np.full((SIDE, SIDE, 3), 238, np.uint8)
    pixels[..., 2] -= np.uint8({"a": 0, "b": 6, "c": 12}[center])
    y, x = np.mgrid[:SIDE, :SIDE]
    cells = []
    for place in range(9):
        cx, cy = 27 + 52 * (place % 3) + rng.integers(-3, 4), 27 + 52 * (place // 3) + rng.integers(-3, 4)
        name = "myeloblast" if rng.random() < share else ("neutrophil", "erythroblast")[rng.integers(2)]
        radius = 15 + rng.integers(0, 4)
        apart = (x + 0.5 - cx) ** 2 + (y + 0.5 - cy) ** 2
        for disc, color in ((apart < radius**2, COLORS[name]), (apart < (0.6 * radius) ** 2, NUCLEUS)):
            pixels[disc] = np.clip(np.array(color) + rng.normal(0, 6, (disc.sum(), 3)), 0, 255).astype(np.uint8)
        angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        contour = np.column_stack([cx + radius * np.cos(angle), cy + radius * np.sin(angle)])
        box = (*contour.min(0), *contour.max(0))
        cells.append(TruthCell(tuple(map(float, box)), name, name, tuple(map(tuple, contour.tolist()))))
    file = f"{smear}.png"
    Image.fromarray(pixels).save(root / file)
    digest = hashlib.sha256((root / file).read_bytes()).hexdigest()
    key = FieldKey(smear, smear, patient, center, "marrow")
    return TruthField(key, file, digest, SIDE, SIDE, tuple(cells), um_per_px=0.5)
