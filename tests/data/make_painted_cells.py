"""Painted single cells, on smears and cut out on black, and a configuration small enough to train on them in a test."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField, write_dataset
from leukoscope.types import FieldKey

CONFIG = """
task = "classify"
name = "small"
taxonomy = "blood-12"
size = 32
pad_fraction = 0.25
steps = {steps}
batch_size = 3
learning_rate = 1e-4
{more}
[class_sets]
neutrophil = ["band_neutrophil", "segmented_neutrophil"]
lymphoid_precursor = ["lymphocyte"]
[um_per_px]
smears = 0.1
cutouts = 0.1
"""


def paint(folder: Path, name: str, classes: list[str], *, black: bool = False, n: int = 3) -> Path:
    """One cell a picture: on a smear of 200 x 160 px, or cut out tightly on black. Returns the manifest's folder."""
    images = folder / name
    images.mkdir(parents=True)
    fields = []
    for k, class_name in enumerate(classes):
        for i in range(n):
            size, box = ((50, 46), (0, 0, 50, 46)) if black else ((200, 160), (80, 60, 130, 106))
            picture = Image.new("RGB", size, (0, 0, 0) if black else (230, 220, 200))
            draw = ImageDraw.Draw(picture)
            fill = (40, 20, 50) if black else (100, 60 + 9 * k, 160)
            draw.ellipse((box[0], box[1], box[2] - 1, box[3] - 1), fill=fill)
            if not black:
                draw.ellipse((10, 20 + 20 * i, 50, 60 + 20 * i), fill=(220, 150, 150))
            file = f"{class_name}-{i}.png"
            picture.save(images / file)
            cell = TruthCell(tuple(map(float, box)), class_name, "x")
            key = FieldKey(file, "s", f"p{i}", "c", "blood")
            split = None if black else ("train", "train", "val")[i % 3]
            fields.append(TruthField(key, file, f"{k}{i}{int(black)}".ljust(64, "0"), *size, (cell,), split=split))
    write_dataset(Dataset(name, images, tuple(fields), "CC0", "painted here", "folders"), folder / f"{name}-set")
    return folder / f"{name}-set"


def write_config(folder: Path, *, steps: int = 2, more: str = "") -> Path:
    path = folder / "config.toml"
    path.write_text(CONFIG.format(steps=steps, more=more))
    return path
