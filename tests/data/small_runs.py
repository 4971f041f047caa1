"""One small run of each task of `train`, on painted cells: six steps, for tests and benchmarks of the loop.

name, how = "locator", small_run("locator", folder)
how(run_folder, resume=False, progress=None)
"""

from __future__ import annotations

import hashlib
import pkgutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from data.make_crops import make_crops
from data.make_painted_cells import paint
from data.make_painted_set import paint_set
from data.tiny_detector import TINY

from leukoscope.dataset.manifest import Dataset, TruthCell, read_dataset
from leukoscope.taxonomy import WBC_11

Run = Callable[..., Path]  # (run folder, *, resume, progress) → the run folder
TASKS = ("locator", "outliner", "detector", "deimv2", "finetune", "classifier", "attributes", "site")
STEPS = 6
# Where each task's loss is computed: what a test makes infinite.
LOSSES = {
    "locator": "leukoscope.train.locator.task.locator_loss",
    "outliner": "leukoscope.train.outliner.task.outline_loss",
    "detector": "leukoscope.train.detector.matchability.matchability_loss",
    "deimv2": "transformers.loss.loss_deimv2.Deimv2Loss.loss_labels_mal",
    "finetune": "leukoscope.train.crops.finetune.F.cross_entropy",
    "classifier": "leukoscope.train.classifier.task.set_cross_entropy",
    "attributes": "leukoscope.train.classifier.task.attribute_loss",
    "site": "leukoscope.train.adapt.finetune.mixed_cross_entropy",
}


def small_run(task: str, folder: Path) -> Run:
    """What trains `task` for six steps on cells painted into `folder`."""
    return globals()[f"_{task}"](folder)


def digest(run: Path) -> str:
    """Digest of a run's weights and of their running average, whatever their memory's order."""
    summed = hashlib.sha256()
    states = (torch.load(run / "checkpoint.pt", weights_only=True)["model"], torch.load(run / "last.pt")["model"])
    for state in states:
        for key in sorted(state):
            summed.update(key.encode() + state[key].contiguous().numpy().tobytes())
    return summed.hexdigest()


def infinite(where: str) -> Callable:
    """The function named, its answer (a tensor, or tensors by name) made infinite."""
    original = pkgutil.resolve_name(where)

    def wrapped(*given, **named):
        answer = original(*given, **named)
        return {k: v * torch.inf for k, v in answer.items()} if isinstance(answer, dict) else answer * torch.inf

    return wrapped


def _locator(folder: Path) -> Run:
    from leukoscope.train.locator.config import LocatorConfig
    from leukoscope.train.locator.task import train_locator

    data = [paint_set(folder / "fields")]
    config = LocatorConfig(name="small", steps=STEPS, side=64, batch_size=2, width=16, pretrained=False)
    return lambda run, **how: train_locator(config, data, run, **how)


def _outliner(folder: Path) -> Run:
    from leukoscope.train.outliner.config import OutlinerConfig
    from leukoscope.train.outliner.task import train_outliner

    data = [with_contours(paint_set(folder / "drawn", name="drawn")), paint_set(folder / "boxed", name="boxed")]
    small = {"name": "small", "steps": STEPS, "size": 32, "batch_size": 3, "width": 8, "pretrained": False}
    config = OutlinerConfig(**small, guess_from=0.25, guess_iou=0.0)
    return lambda run, **how: train_outliner(config, data, run, **how)


def _detector(folder: Path, arch: str = "rtdetrv2-tiny") -> Run:
    from leukoscope.train.detector.task import train_detector

    data = [paint_set(folder / "fields")]
    config = replace(TINY, arch=arch, batch_size=1)  # two epochs of three steps
    return lambda run, **how: train_detector(config, data, run, **how)


def _deimv2(folder: Path) -> Run:
    return _detector(folder, "deimv2-tiny")


def _finetune(folder: Path) -> Run:
    from leukoscope.train.crops.finetune import FinetuneConfig, finetune

    del folder
    config = FinetuneConfig(
        name="painted", arch="tiny", taxonomy="drawn", head_epochs=1, epochs=2, size=32, batch_size=8, head_rate=3e-2,
        reduced_rate=5e-3, augment="stain", norms="trained", pad_px=None, pad_fraction=0.2, dropout=0.3, ema=0.9,
    )  # fmt: skip
    train, val = make_crops(16), make_crops(9, seed=1)  # three epochs of two steps
    return lambda run, **how: finetune(config, train, val, run, **how)


def _classifier(folder: Path, attributes: str | None = None) -> Run:
    from leukoscope.train.classifier.config import ClassifierConfig
    from leukoscope.train.classifier.task import train_classifier

    smears = read_dataset(paint(folder, "smears", ["lymphocyte", "monocyte", "neutrophil"]))
    cutouts = read_dataset(paint(folder, "cutouts", ["lymphoblast"], black=True))
    config = ClassifierConfig(
        name="small", taxonomy="blood-12", size=32, pad_fraction=0.25, steps=STEPS, batch_size=3, learning_rate=1e-4,
        class_sets={"neutrophil": ("band_neutrophil", "segmented_neutrophil")}, attributes=attributes,
        um_per_px={"smears": 0.1, "cutouts": 0.1},
    )  # fmt: skip
    data = [with_attributes(smears), cutouts]
    return lambda run, **how: train_classifier(config, data, Path(run), **how)


def _attributes(folder: Path) -> Run:
    return _classifier(folder, "wbc-11")


def _site(folder: Path) -> Run:
    """A classifier's last layer and last blocks on a few cells of a laboratory."""
    from data.make_untrained import SIZE, make_untrained

    from leukoscope.train.adapt.finetune import SiteCells, SiteTuning, TuningCells, tune_to_site
    from leukoscope.train.adapt.network import read_network

    network, cells = read_network(make_untrained(folder)), make_crops(6, size=SIZE)
    own = TuningCells(cells.crops, np.full(6, 9.0, np.float32), np.eye(3)[np.arange(6) % 3])
    settings = SiteTuning(head_steps=3, steps=3, batch_size=4, views=2, learning_rate=1e-3)

    def train(run: Path, **how) -> Path:
        tune_to_site(network, SiteCells(own, source=own), settings, density=None, run=run, **how)
        return run

    return train


def with_contours(dataset: Dataset) -> Dataset:
    """The set's cells with the ellipse in their box as contour."""
    turns = np.linspace(0, 2 * np.pi, 24, endpoint=False)

    def drawn(cell: TruthCell) -> TruthCell:
        x0, y0, x1, y1 = cell.box
        ellipse = np.c_[np.cos(turns) * (x1 - x0), np.sin(turns) * (y1 - y0)] / 2 + ((x0 + x1) / 2, (y0 + y1) / 2)
        return replace(cell, contour=tuple(map(tuple, ellipse.tolist())))

    return _each_cell(dataset, drawn)


def with_attributes(dataset: Dataset) -> Dataset:
    """The set's cells with the first value of each of wbc-11's attributes."""
    stated = tuple((a.name, a.values[0]) for a in WBC_11.attributes)
    return _each_cell(dataset, lambda cell: replace(cell, attributes=stated))


def _each_cell(dataset: Dataset, change: Callable[[TruthCell], TruthCell]) -> Dataset:
    fields = tuple(replace(f, cells=tuple(change(c) for c in f.cells)) for f in dataset.fields)
    return replace(dataset, fields=fields)
