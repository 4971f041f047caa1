"""A detector's run folder: which fields train and which choose the weights, and what `run.json` says of them."""

from __future__ import annotations

import json
import platform
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import torch

from leukoscope.dataset.detection import label_fields
from leukoscope.dataset.manifest import Dataset
from leukoscope.errors import ConfigError, DataError
from leukoscope.files import write_json
from leukoscope.taxonomy import Taxonomy
from leukoscope.train.detector.config import DetectorConfig, YoloConfig
from leukoscope.train.fields import seen_fields, validation_fields, with_validation


def split_off_validation(
    datasets: list[Dataset], config: DetectorConfig | YoloConfig
) -> tuple[list[Dataset], list[Dataset]]:
    """(train, val): the fields that the run may see (`train.fields`), with config.val_share of them held out where no
    set has a split "val" (PCM, section 2.3.1: 80:20)."""
    divided = with_validation(datasets, config.splits, config.seed, config.val_share)
    train = [d for d in seen_fields(divided, config.splits) if d.fields]
    if not train:
        raise DataError(f"no field in splits {', '.join(config.splits)} of {', '.join(d.name for d in datasets)}")
    return train, validation_fields(divided)


def write_run(
    run: Path,
    config: DetectorConfig | YoloConfig,
    taxonomy: Taxonomy,
    data: dict[str, list[Dataset]],
    *,
    origin: dict,
) -> None:
    """`run.json`: settings, classes, data with digests and cells by class, where the weights began, the environment."""
    entries = []
    for part, datasets in data.items():
        for d in datasets:
            labelled = label_fields(d, taxonomy, leave_out=config.leave_out)
            cells = Counter(taxonomy.names[c] for f in labelled for c in f.labels.tolist())
            entry = {"part": part, "name": d.name, "sha256": d.sha256(), "licence": d.licence, "citation": d.citation}
            n_cells = {name: cells[name] for name in taxonomy.names}
            entries.append(entry | {"n_fields": len(labelled), "n_fields_left_out": len(d.fields) - len(labelled)})
            entries[-1] |= {"n_cells": n_cells}
    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    record = {
        "task": "detect",
        "arch": config.arch,
        "config": asdict(config),
        "taxonomy": taxonomy.to_dict(),
        "data": entries,
        "origin": origin,
        "torch": torch.__version__,
        "environment": {
            "python": platform.python_version(),
            "system": platform.system(),
            "accelerator": accelerator,
            **versions("transformers", "ultralytics", "numpy", "pillow"),
        },
    }
    write_json(run / "run.json", record)


def versions(*packages: str) -> dict[str, str]:
    """Versions of those packages that are installed."""
    from importlib import metadata

    installed = {}
    for package in packages:
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return installed


def read_run(run: str | Path) -> dict:
    """A detector run's `run.json`; ConfigError when the folder holds none."""
    path = Path(run) / "run.json"
    try:
        record = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        raise ConfigError(f"{run} is not a training run: it has no readable run.json") from None
    if record.get("task") != "detect":
        raise ConfigError(f"{run} is a run of task {record.get('task')!r}: expected one of task 'detect'")
    return record
