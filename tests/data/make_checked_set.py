"""A set of drawn fields with a manifest, whose annotations a test then spoils."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from data.make_bundles import BOX_PX, draw_field
from PIL import Image

from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField, write_dataset
from leukoscope.types import FieldKey

TYPES = ("lymphocyte", "monocyte", "eosinophil", "basophil")
PLACES = ((60.0, 60.0), (190.0, 60.0), (60.0, 190.0), (190.0, 190.0))
SIDE = 256


def make_checked_set(root: Path, *, n_fields: int = 10, patients: bool = False, name: str = "drawn") -> Dataset:
    """`n_fields` fields of four cells, one a type in turning places; written as PNG under root/pictures, with a
    manifest in root/set. `patients`: two fields a patient, else none is stated."""
    fields = []
    for number in range(n_fields):
        # Each field but the first has its own places: else one would be a copy of another.
        moved = np.random.default_rng(number).integers(-19, 20, (4, 2)) * (number > 0)
        places = [(x + float(dx), y + float(dy)) for (x, y), (dx, dy) in zip(PLACES, moved, strict=True)]
        cells = [(x, y, TYPES[(number + place) % 4]) for place, (x, y) in enumerate(places)]
        pixels = draw_field(SIDE, SIDE, cells).astype(np.int16)
        pixels += np.random.default_rng(number).integers(-4, 5, pixels.shape)
        path = root / "pictures" / f"field-{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
        half = BOX_PX / 2
        truth = tuple(TruthCell((x - half, y - half, x + half, y + half), kind, kind[:3]) for x, y, kind in cells)
        patient = f"P{number // 2}" if patients else ""
        key = FieldKey(f"field-{number}", "", patient, "A" if number % 2 else "B", "blood")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        split = ("train", "val", "test")[number % 3]
        fields.append(TruthField(key, path.name, digest, SIDE, SIDE, truth, split=split))
    dataset = Dataset(name, root / "pictures", tuple(fields), "CC0", "nobody", "csv")
    write_dataset(dataset, root / "set")
    return dataset
