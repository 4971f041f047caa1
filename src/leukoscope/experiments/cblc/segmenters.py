"""What finds and outlines the study's cells: trained on development patients, and opened as analysis opens it."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from leukoscope.dataset.manifest import Dataset
from leukoscope.experiments.cblc.segment import Find, Outline
from leukoscope.experiments.provenance import command
from leukoscope.files import write_text
from leukoscope.locate import locate
from leukoscope.models.bundle import read_bundle
from leukoscope.models.runtime import Session
from leukoscope.outline import outline
from leukoscope.progress import Progress
from leukoscope.train.fields import validation_fields
from leukoscope.train.locator.bundle import export_locator
from leukoscope.train.locator.config import LocatorConfig
from leukoscope.train.locator.task import train_locator
from leukoscope.train.outliner.bundle import export_outliner
from leukoscope.train.outliner.config import OutlinerConfig
from leukoscope.train.outliner.task import train_outliner
from leukoscope.train.outliner.yolo_seg import YoloSegConfig, read_segmenter, train_yolo_seg
from leukoscope.train.run import source_commit
from leukoscope.types import Cells, Field


def make_segmenter(config: YoloSegConfig, dataset: Dataset, run: Path, progress: Progress) -> Find:
    """Train YOLO11-seg on the split "train", choose its epoch on "val"; gives what finds and outlines cells."""
    train_yolo_seg(config, [dataset], run, resume=True, progress=progress)
    return read_segmenter(run)


def _session(train: Callable, export: Callable, dataset: Dataset, run: Path, bundle: Path) -> Session:
    """The bundle, opened: trained and exported first where that is not done."""
    if not (bundle / "card.json").is_file() or not (run / "done").is_file():
        train([dataset], run, resume=True)
        export(run, bundle, validation=validation_fields([dataset]), command=command(), commit=source_commit())
        write_text(run / "done", "")
    return Session(read_bundle(bundle))


def make_locator(config: LocatorConfig, dataset: Dataset, run: Path, bundle: Path, progress: Progress) -> Find:
    """Train on the split "train", choose the threshold on "val", export to `bundle` (nothing where that is done); gives
    what finds cells."""
    session = _session(partial(train_locator, config, progress=progress), export_locator, dataset, run, bundle)
    return lambda field: locate(field, session)


def make_outline(config: OutlinerConfig, dataset: Dataset, run: Path, bundle: Path, progress: Progress) -> Outline:
    """Train and export the outliner likewise; gives the function that outlines located cells and their nuclei.

    config.masks may name the study's data set as "cohort", whatever it is called.
    """
    path = config.masks.get("cohort", config.masks.get(dataset.name))
    config = replace(config, masks={dataset.name: path} if path else {})
    session = _session(partial(train_outliner, config, progress=progress), export_outliner, dataset, run, bundle)

    def outline_cells(field: Field, cells: Cells) -> tuple[list[np.ndarray], list[list[np.ndarray]]]:
        outlined = outline(field, cells, session)
        return list(outlined.cells.contours), [list(parts) for parts in outlined.nuclei]

    return outline_cells
