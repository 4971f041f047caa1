"""Train YOLO11 with ultralytics (extra `yolo`, AGPL-3.0) on our manifest, and bring the weights back as plain tensors.

The fields are written out by the YOLO exporter, with the taxonomy's columns as class numbers whether a class occurs
or not. Validation, augmentation and the choice of the best epoch are ultralytics'; its own files stay in `RUN/yolo`.
"""

import csv
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from leukoscope.dataset.detection import class_column, detection_taxonomy, usable_fields
from leukoscope.dataset.manifest import Dataset, TruthField
from leukoscope.errors import ConfigError, DataError
from leukoscope.files import write_rows
from leukoscope.models.torch_yolo import SIZES, require_weights
from leukoscope.progress import Progress, no_progress
from leukoscope.taxonomy import Taxonomy
from leukoscope.train.checkpoint import run_fingerprint, save_checkpoint
from leukoscope.train.detector.config import YoloConfig
from leukoscope.train.detector.run import split_off_validation, write_detector_run
from leukoscope.train.yolo_runs import fit_yolo, open_yolo_run, plain_weights, write_yolo_data

LOG_COLUMNS = {
    "epoch": "epoch",
    "train/box_loss": "loss_box",
    "train/cls_loss": "loss_class",
    "train/dfl_loss": "loss_sides",
    "metrics/mAP50-95(B)": "val_ap50_95",
    "metrics/mAP50(B)": "val_ap50",
    "time": "clock_s",
}


def train_yolo(
    config: YoloConfig, data: list[Dataset], run: Path, *, resume: bool = False, progress: Progress = no_progress
) -> Path:
    """`train_detector` for YOLO. The licence is said on stderr before anything runs.

    `log.csv`'s AP is ultralytics' own (its interpolation differs from COCO's); numbers to quote come from
    `evaluate.boxes`. Several GPUs are ultralytics' matter, not torchrun's.
    """
    if config.arch not in SIZES:
        raise ConfigError(f"arch must be one of {', '.join(SIZES)}, got {config.arch!r}")
    require_weights(config.weights)
    taxonomy = detection_taxonomy(config.taxonomy)
    train, val = split_off_validation(data, config)
    train, val = ([usable_fields(d, taxonomy, leave_out=config.leave_out) for d in part] for part in (train, val))
    if not any(d.fields for d in val):
        raise DataError("ultralytics needs validation fields: give a set with a split val, or more than one field")
    fingerprint = run_fingerprint(config, [*train, *val])
    folder = open_yolo_run(run, fingerprint, resume=resume)
    if (run / "last.pt").exists():
        return run
    parts = {"train": train, "val": val}
    if not (folder / "fingerprint.txt").exists():
        write_data(folder, parts, taxonomy, fingerprint=fingerprint)
        write_detector_run(run, config, taxonomy, parts, origin={"weights": config.weights})
    fit_yolo(config, folder, task="detect", progress=progress, **_settings(config))
    for name in ("best.pt", "last.pt"):
        save_checkpoint(run / name, {"model": plain_weights(folder, name)})
    _bring_log(folder / "train" / "results.csv", run)
    return run


def write_data(folder: Path, parts: dict[str, list[Dataset]], taxonomy: Taxonomy, *, fingerprint: str = "") -> Path:
    """The data sets as ultralytics reads them, with the taxonomy's columns as class numbers; returns data.yaml."""
    relabel = partial(_as_detected, taxonomy=taxonomy)
    return write_yolo_data(folder, parts, taxonomy.names, relabel, fingerprint=fingerprint)


def _as_detected(field: TruthField, part: str, *, taxonomy: Taxonomy) -> TruthField:
    """The field with only the boxes that are learnt, under the taxonomy's names."""
    columns = [class_column(c.class_name, taxonomy) for c in field.cells]
    cells = tuple(
        replace(c, class_name=taxonomy.names[column], contour=None)
        for c, column in zip(field.cells, columns, strict=True)
        if column >= 0
    )
    return replace(field, cells=cells, split=part)


def _settings(config: YoloConfig) -> dict:
    elsewhere = "CUDA_VISIBLE_DEVICES" in os.environ or not torch.cuda.is_available()
    return {
        "optimizer": config.optimizer,
        "lrf": config.final_share,
        "warmup_epochs": config.warmup_epochs,
        "weight_decay": config.weight_decay,
        "degrees": config.rotation,
        "fliplr": 0.5,
        "flipud": 0.5 if config.flip_vertical else 0.0,
        "close_mosaic": config.plain_epochs,
        "patience": config.patience,
        "device": None if elsewhere else 0,
    }


def _bring_log(results: Path, run: Path) -> None:
    """`log.csv` out of ultralytics' own log."""
    with open(results, encoding="utf-8", newline="") as file:
        rows = [{k.strip(): v.strip() for k, v in row.items()} for row in csv.DictReader(file)]
    write_rows(run / "log.csv", [LOG_COLUMNS.values(), *([row.get(k, "") for k in LOG_COLUMNS] for row in rows)])
