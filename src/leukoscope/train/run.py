"""`leukoscope train`: read the configuration, open the data, run the loop that its task names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from leukoscope.dataset.manifest import read_dataset
from leukoscope.errors import ConfigError
from leukoscope.train.config import build_config, read_toml

TASKS = ("classify", "locate")


def train(
    config_path: str | Path,
    data_dirs: list[str | Path],
    out: str | Path,
    *,
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Train what the configuration's `task` names on the data sets given; returns the run folder.

    The run folder holds resolved configuration, data digests, log and weights; a killed run goes on with
    resume=True and ends with the weights it would have had. ConfigError and DataError before any work is done.
    """
    values = read_toml(config_path)
    task = values.pop("task", None)
    if task not in TASKS:
        raise ConfigError(f"{config_path}: task must be one of {', '.join(TASKS)}, got {task!r}")
    if not data_dirs:
        raise ConfigError("training needs at least one --data folder (see `leukoscope dataset import`)")
    datasets = [read_dataset(d) for d in data_dirs]
    out = Path(out)
    if task == "classify":
        from leukoscope.train.classifier import ClassifierConfig, train_classifier

        config = build_config(ClassifierConfig, values, config_path)
        return train_classifier(config, datasets, out, resume=resume, progress=progress)
    from leukoscope.train.locator import LocatorConfig, train_locator

    config = build_config(LocatorConfig, values, config_path)
    return train_locator(config, datasets, out, resume=resume, progress=progress)
