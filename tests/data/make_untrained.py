"""An untrained cell classifier as a bundle, and photographs of cells in three colours: enough to run the code on."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from data.make_bundles import write_bundle_card
from PIL import Image

from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField, write_dataset
from leukoscope.models.bundle import Bundle, CropRule, read_bundle
from leukoscope.models.torch_classifier import CellClassifier, export_classifier
from leukoscope.taxonomy import Taxonomy
from leukoscope.types import FieldKey

SIZE = 32
THREE = Taxonomy(name="three", names=("lymphocyte", "monocyte", "eosinophil"), counted=("lymphocyte", "monocyte"))
COLOURS = {"lymphocyte": (90, 60, 160), "monocyte": (150, 150, 190), "eosinophil": (220, 110, 90)}


def make_untrained(folder: Path) -> Bundle:
    """A bundle of a `CellClassifier` with random weights."""
    torch.manual_seed(0)
    network = CellClassifier(3, pretrained=False)
    for p in network.parameters():  # untrained biases are all zero, and the exporter keeps one of equal weights
        p.data += 0.01 * torch.randn(p.shape)
    export_classifier(network, folder / "model.onnx", size=SIZE)
    write_bundle_card(
        folder, name="untrained", task="classify", input_size=(SIZE, SIZE), taxonomy=THREE, temperature=1.0,
        crop=CropRule(size=SIZE, pad_fraction=0.25), white_balance=True,
    )  # fmt: skip
    return read_bundle(folder)


def make_coloured_site(folder: Path, *, n: int = 18, unlabelled: int = 3) -> Path:
    """A data set of n photographs of one cell each, coloured by type; the last ones' types unstated."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    fields = []
    for i in range(n):
        name = list(COLOURS)[i % 3]
        pixels = np.full((64, 64, 3), 240, np.uint8)
        y, x = np.mgrid[:64, :64]
        inside = np.hypot(x - 32, y - 32) < 14
        pixels[inside] = np.clip(np.array(COLOURS[name]) + rng.normal(0, 5, (inside.sum(), 3)), 0, 255)
        path = folder / "images" / f"{i:02d}.png"
        Image.fromarray(pixels).save(path)
        stated = name if i < n - unlabelled else "white_cell"
        fields.append(
            TruthField(
                key=FieldKey(f"{i:02d}", "", "", "Colours", "blood"),
                file=path.name,
                sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                width=64,
                height=64,
                cells=(TruthCell((18.0, 18.0, 46.0, 46.0), stated, stated),),
            )
        )
    dataset = Dataset("colours", folder / "images", tuple(fields), "CC0", "made for tests", "made")
    write_dataset(dataset, folder / "set")
    return folder / "set"
