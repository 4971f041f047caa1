"""Small fields of painted cells with known boxes, for training detectors in seconds."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField, read_dataset, write_dataset
from leukoscope.types import FieldKey

COLORS = {"lymphocyte": (110, 60, 150), "neutrophil": (60, 60, 160), "smudge_cell": (180, 150, 190)}
SPLITS = ("train", "val", "train", "train", "val", "test")


def paint_set(
    folder: Path,
    *,
    n_fields: int = 6,
    classes: tuple[str, ...] = ("lymphocyte", "neutrophil"),
    empty: tuple[int, ...] = (),
    splits: bool = True,
    name: str = "painted",
) -> Dataset:
    """Fields of 96 x 80 px, a disc of each class in each, a red cell beside; those in `empty` show no cell."""
    rng = np.random.default_rng(5)
    images = folder / "images"
    images.mkdir(parents=True)
    fields = []
    for i in range(n_fields):
        picture = Image.new("RGB", (96, 80), (238, 236, 237))
        draw, cells = ImageDraw.Draw(picture), []
        for k, class_name in enumerate(classes if i not in empty else ()):
            x, y, side = (int(v) for v in (4 + 44 * k + rng.integers(0, 8), rng.integers(4, 30), rng.integers(24, 34)))
            draw.ellipse((x, y, x + side - 1, y + side - 1), fill=COLORS[class_name])
            cells.append(TruthCell((float(x), float(y), float(x + side), float(y + side)), class_name, "x"))
        draw.ellipse((80, 64, 93, 77), fill=(230, 170, 170))
        cells.append(TruthCell((80.0, 64.0, 94.0, 78.0), "red_cell", "RBC"))
        picture.save(images / f"{i}.png")
        digest = hashlib.sha256((images / f"{i}.png").read_bytes()).hexdigest()
        key = FieldKey(f"f{i}", "s", f"p{i}", "c", "blood")
        split = SPLITS[i % len(SPLITS)] if splits else None
        fields.append(TruthField(key, f"{i}.png", digest, 96, 80, tuple(cells), split=split))
    write_dataset(Dataset(name, images, tuple(fields), "CC0", "painted here", "folders"), folder / "set")
    return read_dataset(folder / "set")
