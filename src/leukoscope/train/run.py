"""`leukoscope train`: read the configuration, open the data, run the loop that its task names, write the bundle."""

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import leukoscope
from leukoscope.dataset.manifest import Dataset, read_dataset
from leukoscope.errors import ConfigError, DataError
from leukoscope.progress import Progress, no_progress
from leukoscope.train.config import build_config, read_toml
from leukoscope.train.fields import seen_fields, validation_fields, with_validation

TASKS = ("classify", "join", "locate", "finetune", "detect", "outline", "segment")
SHARED = ("finetune", "detect")  # tasks whose batches several processes share, under torchrun


def train(
    config_path: str | Path,
    data_dirs: list[str | Path],
    out: str | Path,
    *,
    resume: bool = False,
    progress: Progress = no_progress,
) -> Path:
    """Train what the configuration's `task` names on the data sets given; returns the run folder.

    The run folder holds resolved configuration, data digests, log, weights and at the end `bundle/`; a killed run
    goes on with resume=True and ends with the weights it would have had. The bundle's thresholds and temperature
    are set on the fields of split "val"; where no data set has any, 15 % of the patients (of the fields, where no
    patients are known) are kept for that, by the configuration's seed. ConfigError and DataError come before any work.
    """
    values = read_toml(config_path)
    task = values.pop("task", None)
    if task not in TASKS:
        raise ConfigError(f"{config_path}: task must be one of {', '.join(TASKS)}, got {task!r}")
    if not data_dirs:
        raise ConfigError("training needs at least one --data folder (see `leukoscope dataset import`)")
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and task not in SHARED:
        raise ConfigError(f"task {task} trains in one process, not under torchrun: {', '.join(SHARED)} share the work")
    # torch is imported by the loops only, so that a wrong configuration is told at once.
    datasets = [read_dataset(d) for d in data_dirs]
    out = Path(out)
    # A card travels: it names files, not the folders of one machine.
    names = " ".join(Path(d).name for d in data_dirs)
    command = f"leukoscope train {Path(config_path).name} --data {names} --out {out.name}"
    card = {"command": command, "commit": source_commit()}
    loops = {
        "classify": _classify,
        "join": _join,
        "locate": _locate,
        "finetune": _finetune,
        "detect": _detect,
        "outline": _outline,
        "segment": _segment,
    }
    return loops[task](_Job(values, config_path, datasets, out, {"resume": resume, "progress": progress}, card))


@dataclass(frozen=True, slots=True)
class _Job:
    """One call of `train`: the configuration's keys and file, the data, where to, how, and what the card says of it."""

    values: dict
    config_path: str | Path
    datasets: list[Dataset]
    out: Path
    options: dict
    card: dict


def _classify(job: _Job) -> Path:
    """The bundled classifier's loop."""
    from leukoscope.train.classifier.bundle import export_run
    from leukoscope.train.classifier.config import ClassifierConfig
    from leukoscope.train.classifier.task import train_classifier

    config = build_config(ClassifierConfig, job.values, job.config_path)
    datasets = _divide(job, config)
    if config.attributes:
        from leukoscope.train.classifier.attribute_layer import refit_attributes, require_described

        require_described(validation_fields(datasets), config.attributes)
    train_classifier(config, datasets, job.out, **job.options)
    if config.attributes:
        seen = seen_fields(datasets, config.splits, without=config.holdout_patients)
        refit_attributes(job.out, seen, validation_fields(datasets))
    export_run(job.out, job.out / "bundle", validation=validation_fields(datasets), **job.card)
    return job.out


def _join(job: _Job) -> Path:
    """Two finished classifiers as one."""
    from leukoscope.train.classifier.bundle import export_run
    from leukoscope.train.classifier.join import JoinConfig, join_classifiers

    config = build_config(JoinConfig, job.values, job.config_path)
    validation = validation_fields(job.datasets)
    if not validation:
        raise ConfigError("a join is chosen on validation fields: none of the data sets has a split val")
    join_classifiers(config, job.out, validation, **job.options)
    export_run(job.out, job.out / "bundle", validation=validation, **job.card)
    return job.out


def _locate(job: _Job) -> Path:
    """The bundled locator's loop."""
    from leukoscope.train.locator.bundle import export_locator
    from leukoscope.train.locator.config import LocatorConfig
    from leukoscope.train.locator.task import train_locator

    return _trained(job, LocatorConfig, train_locator, export_locator)


def _finetune(job: _Job) -> Path:
    """Any crop classifier, fine-tuned (the PCM study's second stage)."""
    from leukoscope.train.crops.config import FinetuneConfig
    from leukoscope.train.crops.job import finetune_datasets

    config = build_config(FinetuneConfig, job.values, job.config_path)
    return finetune_datasets(config, job.datasets, job.out, **job.options, **job.card)


def _detect(job: _Job) -> Path:
    """A detector: a detection transformer, or YOLO. Under torchrun the first process alone writes the bundle; DEIMv2
    has none."""
    from leukoscope.train.detector.bundle import export_detector, exportable
    from leukoscope.train.detector.config import detector_config
    from leukoscope.train.detector.task import train_detector

    config = detector_config(job.values, job.config_path)
    validation = validation_fields(with_validation(job.datasets, config.splits, config.seed, config.val_share))
    train_detector(config, job.datasets, job.out, **job.options)
    if int(os.environ.get("RANK", 0)) == 0 and exportable(config.arch):
        export_detector(job.out, job.out / "bundle", validation=validation, **job.card)
    return job.out


def _outline(job: _Job) -> Path:
    """The outliner's loop."""
    from leukoscope.train.outliner.bundle import export_outliner
    from leukoscope.train.outliner.config import OutlinerConfig
    from leukoscope.train.outliner.task import train_outliner

    return _trained(job, OutlinerConfig, train_outliner, export_outliner)


def _segment(job: _Job) -> Path:
    """YOLO11-seg: a segmenter that needs ultralytics to run, so no bundle is written."""
    from leukoscope.train.outliner.yolo_seg import YoloSegConfig, train_yolo_seg

    config = build_config(YoloSegConfig, job.values, job.config_path)
    return train_yolo_seg(config, _divide(job, config), job.out, **job.options)


def _trained(job: _Job, kind: type, train_it: Callable, export: Callable) -> Path:
    """The job's configuration as a `kind`, trained on its data sets and made a bundle on their validation fields."""
    config = build_config(kind, job.values, job.config_path)
    datasets = _divide(job, config)
    train_it(config, datasets, job.out, **job.options)
    export(job.out, job.out / "bundle", validation=validation_fields(datasets), **job.card)
    return job.out


def _divide(job: _Job, config) -> list[Dataset]:
    """The job's data sets with validation fields, without which no threshold could be set: DataError then."""
    datasets = with_validation(job.datasets, config.splits, config.seed)
    if not validation_fields(datasets):
        raise DataError(
            "no field can be held out to set thresholds on: no data set has a split val or a second patient "
            "(see `leukoscope dataset split`)"
        )
    return datasets


def source_commit() -> str:
    """The commit of the code that trains, or the release where the package is not in a checkout."""
    here = Path(__file__).parent
    try:
        answer = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return f"release {leukoscope.__version__}"
    return answer.stdout.strip()
