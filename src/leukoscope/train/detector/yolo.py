"""Train YOLO11 with ultralytics (extra `yolo`, AGPL-3.0) on our manifest, and bring the weights back as plain tensors.

The fields are written out by the YOLO exporter, with the taxonomy's columns as class numbers whether a class occurs
or not. Validation, augmentation and the choice of the best epoch are ultralytics'; its own files stay in `RUN/yolo`.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch

from leukoscope.dataset.detection import class_column, detection_taxonomy, usable_fields
from leukoscope.dataset.export_pictures import copy_pictures, picture_names
from leukoscope.dataset.export_yolo import write_yolo
from leukoscope.dataset.exporter import picture_place
from leukoscope.dataset.manifest import Dataset
from leukoscope.errors import ConfigError, DataError
from leukoscope.files import TableWriter, write_text, write_whole
from leukoscope.models.torch_yolo import NOTICE, SIZES, import_ultralytics, require_weights
from leukoscope.progress import Progress, no_progress
from leukoscope.taxonomy import Taxonomy
from leukoscope.train.checkpoint import run_fingerprint, run_mark, save_checkpoint
from leukoscope.train.detector.config import YoloConfig
from leukoscope.train.detector.run import split_off_validation, write_run

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
    config: YoloConfig,
    datasets: list[Dataset],
    run: Path,
    *,
    resume: bool = False,
    progress: Progress = no_progress,
) -> Path:
    """`train_detector` for YOLO. The licence is said on stderr before anything runs.

    `log.csv`'s AP is ultralytics' own (its interpolation differs from COCO's); numbers to quote come from
    `evaluate.boxes`. Several GPUs are ultralytics' matter, not torchrun's.
    """
    if config.arch not in SIZES:
        raise ConfigError(f"arch must be one of {', '.join(SIZES)}, got {config.arch!r}")
    require_weights(config.weights)
    taxonomy = detection_taxonomy(config.taxonomy)
    train, val = split_off_validation(datasets, config)
    train, val = ([usable_fields(d, taxonomy, leave_out=config.leave_out) for d in part] for part in (train, val))
    if not any(d.fields for d in val):
        raise DataError("ultralytics needs validation fields: give a set with a split val, or more than one field")
    done, folder = run / "last.pt", run_mark(run, "yolo", resume=resume)
    fingerprint = run_fingerprint(config, [*train, *val])
    if folder.exists() and (folder / "fingerprint.txt").read_text("utf-8") != fingerprint:
        raise ConfigError(f"{run} belongs to another configuration or other data: choose another --out")
    print(NOTICE, file=sys.stderr)
    library = import_ultralytics()
    if done.exists():
        return run
    if not folder.exists():
        data = write_data(folder, {"train": train, "val": val}, taxonomy)
        write_run(run, config, taxonomy, {"train": train, "val": val}, origin={"weights": config.weights})
        write_text(folder / "fingerprint.txt", fingerprint)
    else:
        data = folder / "data.yaml"
    _fit(library, config, data, folder, progress=progress)
    _bring_back(folder / "train", run)
    return run


def write_data(folder: Path, parts: dict[str, list[Dataset]], taxonomy: Taxonomy) -> Path:
    """Export the data sets, one folder each, and one `data.yaml` over them; returns its path."""
    places: dict[str, list[str]] = {}
    for part, datasets in parts.items():
        for number, dataset in enumerate(datasets):
            out = folder / "data" / f"{part}-{number}"
            out.mkdir(parents=True)
            relabelled = replace(dataset, fields=tuple(_as_detected(f, part, taxonomy) for f in dataset.fields))
            names = picture_names(relabelled)
            copy_pictures(relabelled, lambda f, o=out, n=names: o / picture_place("yolo", f, n), no_progress)
            write_yolo(relabelled, out, names, taxonomy.names)
            places.setdefault(part, []).append(str((out / "images" / part).resolve()))
    path = folder / "data.yaml"
    # JSON is YAML: no quoting to get wrong.
    content = {**places, "nc": len(taxonomy.names), "names": dict(enumerate(taxonomy.names))}
    write_text(path, "\n".join(f"{k}: {json.dumps(v)}" for k, v in content.items()) + "\n")
    return path


def _as_detected(field, part: str, taxonomy: Taxonomy):
    """The field with only the boxes that are learnt, under the taxonomy's names."""
    columns = [class_column(c.class_name, taxonomy) for c in field.cells]
    cells = tuple(
        replace(c, class_name=taxonomy.names[column], contour=None)
        for c, column in zip(field.cells, columns, strict=True)
        if column >= 0
    )
    return replace(field, cells=cells, split=part)


def _fit(library, config: YoloConfig, data: Path, folder: Path, *, progress: Progress) -> None:
    """ultralytics' training in `own`/train; goes on from its last.pt where there is one."""
    last = folder / "train" / "weights" / "last.pt"
    model = library.YOLO(str(last) if last.exists() else config.weights or f"{config.arch}.yaml", task="detect")
    model.add_callback(
        "on_fit_epoch_end", lambda trainer: progress(min(trainer.epoch + 1, config.epochs), config.epochs)
    )
    if last.exists():
        model.train(resume=True)
        return
    cuda = torch.cuda.is_available()
    model.train(
        data=str(data.resolve()),
        epochs=config.epochs,
        imgsz=config.side,
        batch=config.batch_size,
        optimizer=config.optimizer,
        lr0=config.learning_rate,
        lrf=config.final_share,
        warmup_epochs=config.warmup_epochs,
        weight_decay=config.weight_decay,
        degrees=config.rotation,
        fliplr=0.5,
        flipud=0.5 if config.flip_vertical else 0.0,
        mosaic=config.mosaic,
        close_mosaic=config.plain_epochs,
        patience=config.patience,
        workers=config.workers,
        seed=config.seed,
        amp=cuda,
        device=0 if cuda and "CUDA_VISIBLE_DEVICES" not in os.environ else None,
        pretrained=config.weights is not None,
        project=str(folder.resolve()),
        name="train",
        exist_ok=True,
        plots=False,
        verbose=False,
    )


def _bring_back(source: Path, run: Path) -> None:
    """`best.pt`, `last.pt` as plain float tensors and `log.csv` out of ultralytics' folder."""
    for name in ("best.pt", "last.pt"):
        # Written by this very run: the one kind of pickle that is opened.
        kept = torch.load(source / "weights" / name, map_location="cpu", weights_only=False)
        net = kept.get("ema") or kept["model"]
        save_checkpoint(run / name, {"model": {k: _plain(v) for k, v in net.state_dict().items()}})
    with open(source / "results.csv", encoding="utf-8", newline="") as file:
        rows = [{k.strip(): v.strip() for k, v in row.items()} for row in csv.DictReader(file)]
    with write_whole(run / "log.csv", encoding="utf-8", newline="") as file:
        table = TableWriter(file)
        table.writerow(LOG_COLUMNS.values())
        for row in rows:
            table.writerow(row.get(theirs, "") for theirs in LOG_COLUMNS)


def _plain(value: torch.Tensor) -> torch.Tensor:
    return value.float() if value.is_floating_point() else value
