"""A detector's run folder: which fields train and which choose the weights, and what `run.json` says of them."""

import platform
from collections import Counter
from pathlib import Path

import torch

from leukoscope.dataset.detection import label_fields
from leukoscope.dataset.manifest import Dataset
from leukoscope.errors import DataError
from leukoscope.taxonomy import Taxonomy
from leukoscope.train.detector.config import DetectorConfig, YoloConfig
from leukoscope.train.fields import seen_fields, validation_fields, with_validation
from leukoscope.train.run_folder import data_entry, write_run


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


def write_detector_run(
    run: Path, config: DetectorConfig | YoloConfig, taxonomy: Taxonomy, data: dict[str, list[Dataset]], *, origin: dict
) -> None:
    """`run.json`: settings, classes, data with digests and cells by class, where the weights began, the environment."""
    entries = []
    for part, datasets in data.items():
        for d in datasets:
            labelled = label_fields(d, taxonomy, leave_out=config.leave_out)
            cells = Counter(taxonomy.names[c] for f in labelled for c in f.labels.tolist())
            numbers = {"n_fields": len(labelled), "n_fields_left_out": len(d.fields) - len(labelled)}
            entries.append(data_entry(d, part=part, **numbers, n_cells={name: cells[name] for name in taxonomy.names}))
    environment = {
        "python": platform.python_version(),
        "system": platform.system(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        **versions("transformers", "ultralytics", "numpy", "pillow"),
    }
    classes = taxonomy.to_dict()
    write_run(
        run, "detect", config, entries, arch=config.arch, taxonomy=classes, origin=origin, environment=environment
    )


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
