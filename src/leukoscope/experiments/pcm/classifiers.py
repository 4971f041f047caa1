"""The classifier rows (Table 6): fine-tune on the data's training crops, score on test and on the external sets."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from leukoscope.dataset.manifest import Dataset
from leukoscope.errors import ConfigError, DataError
from leukoscope.experiments.pcm.calls import CallSet, calibrate, label_sets, score_calls
from leukoscope.experiments.pcm.config import RowPlan, StudyConfig
from leukoscope.experiments.pcm.data import DATA, StudyData, StudySet
from leukoscope.experiments.pcm.labels import LabelMap
from leukoscope.files import save_arrays
from leukoscope.models.probabilities import softmax
from leukoscope.progress import StageProgress, of_stage
from leukoscope.train.config import build_config, read_toml
from leukoscope.train.crops.config import FinetuneConfig
from leukoscope.train.crops.data import CropSet, read_crop_set


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """A classifier's saved answers on one part: logits (N, C) of the model's classes, class_names, files, boxes."""

    logits: np.ndarray
    class_names: np.ndarray
    files: np.ndarray
    boxes: np.ndarray
    temperature: float

    @property
    def probs(self) -> np.ndarray:
        return softmax(self.logits, self.temperature)


def read_finetune_config(path: Path) -> FinetuneConfig:
    """A crop classifier's configuration: a TOML file with task = "finetune"."""
    values = read_toml(path)
    task = values.pop("task", None)
    if task != "finetune":
        raise ConfigError(f'{path}: expected task = "finetune", got {task!r}')
    return build_config(FinetuneConfig, values, path)


def read_crops(config: FinetuneConfig, study: StudyData, dataset: Dataset, *, split: str | None = None) -> CropSet:
    """Every cell of a set (or of one split) that the study's classes may hold, cut as the classifier wants it."""
    return read_crop_set(
        dataset, taxonomy=study.cells, rule=config.crop_rule(), white_balance=config.white_balance, split=split
    )


def rows_in(mapping: LabelMap, class_names: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(rows, truth): cells whose class the model and the set have in common, and their rows in mapping.labels."""
    rows = np.array([i for i, n in enumerate(class_names.tolist()) if (n or None) in mapping.of_class], np.int64)
    return rows, np.array([mapping.of_class[class_names[i]] for i in rows], np.int64)


def run_classifier(
    config: StudyConfig, plan: RowPlan, study: StudyData, folder: Path, *, resume: bool, progress: StageProgress
) -> dict:
    """Fine-tune one classifier, export it, and score it on test and on every external set."""
    from leukoscope.train.crops.bundle import export_finetuned, fits_one_file
    from leukoscope.train.crops.finetune import finetune
    from leukoscope.train.crops.predict import load_finetuned, predict_logits
    from leukoscope.train.run import source_commit

    settings = replace(
        read_finetune_config(config.folder / plan.config),
        taxonomy=config.taxonomy, exclude=tuple(study.taxonomy.artefacts), splits=("train",),
    )  # fmt: skip
    data = study.data
    train, val = (read_crops(settings, study, data.source, split=s) for s in ("train", "val"))
    if not len(train.typed()):
        raise DataError(f"data set {data.name!r} has no training cell of {', '.join(study.cells.names)}")
    run = finetune(
        settings, train, val, folder / "run", resume=resume,
        progress=of_stage(progress, plan.label),
    )  # fmt: skip
    network, _ = load_finetuned(run)
    val_rows, val_truth = rows_in_model(study, val)
    val_logits = predict_logits(network, val.subset(val_rows))
    temperature = calibrate(val_logits, val_truth)
    _save(folder / "val.npz", val.subset(val_rows), val_logits, temperature)
    is_exported = len(val_rows) > 0 and fits_one_file(network)
    if is_exported:
        export_finetuned(run, folder / "bundle", validation=val, commit=source_commit())
    scored = {}
    parts = [("test", data, data.source.subset("test"))]
    parts += [(f"external-{n}", s, s.source) for n, s in enumerate(study.of_role("external"), 1)]
    for name, study_set, dataset in parts:
        if not study_set.mapping.labels:
            scored[name] = {"set": study_set.name, "role": study_set.role, "n_cells": 0}
            continue
        crops = read_crops(settings, study, dataset)
        crops = crops.subset(rows_in(study_set.mapping, crops.class_names)[0])
        _save(folder / f"{name}.npz", crops, predict_logits(network, crops), temperature)
        scored[name] = score_saved(config, folder, name, study_set)
    return {
        "arch": settings.arch,
        "temperature": temperature,
        "n_train": train.counts(),
        "n_val": val.counts(),
        "classes": list(study.cells.names),
        "bundle": is_exported,
        "sets": scored,
    }


def rows_in_model(study: StudyData, crops: CropSet) -> tuple[np.ndarray, np.ndarray]:
    """(rows, truth): cells with a class of the model, and its columns."""
    rows = np.flatnonzero(crops.labels >= 0)
    return rows, crops.labels[rows]


def score_saved(config: StudyConfig, folder: Path, name: str, study_set: StudySet) -> dict:
    """Score a row's saved answers on one part."""
    calls = read_calls(config, folder, name, study_set)
    mapping = study_set.mapping
    scores = score_calls(calls, level=config.level, handed=config.handed)
    stated = {c for c in calls.truth.tolist()}
    return scores | {
        "set": study_set.name,
        "role": study_set.role,
        "absent": [*mapping.absent, *(n for c, n in enumerate(mapping.labels) if c not in stated)],
        "unmapped": mapping.unmapped,
    }


def read_calls(config: StudyConfig, folder: Path, name: str, study_set: StudySet) -> CallSet:
    """A row's saved answers on one part, in the label space that model and set have in common."""
    pred, val = read_predictions(folder, name), read_predictions(folder, "val")
    mapping = study_set.mapping
    rows, truth = rows_in(mapping, pred.class_names)
    sets = label_sets(val.probs, _val_truth(folder), pred.probs[rows], mapping, level=config.level)
    groups = study_set.groups.of(pred.files[rows].tolist())
    return CallSet(mapping.labels, mapping.summed(pred.probs[rows]), truth, sets, groups, study_set.groups.unit)


def read_predictions(folder: Path, name: str) -> Predictions:
    """What `run_classifier` saved."""
    with np.load(folder / f"{name}.npz") as saved:
        names = ("logits", "class_names", "files", "boxes")
        return Predictions(*(saved[n] for n in names), temperature=float(saved["temperature"]))


def _val_truth(folder: Path) -> np.ndarray:
    with np.load(folder / "val.npz") as saved:
        return saved["labels"]


def _save(path: Path, crops: CropSet, logits: np.ndarray, temperature: float) -> None:
    save_arrays(
        path, logits=logits, labels=crops.labels, class_names=crops.class_names.astype(str),
        files=crops.files.astype(str), boxes=crops.boxes, temperature=np.asarray(temperature),
    )  # fmt: skip


def worst_errors(folder: Path, name: str, study_set: StudySet, n: int) -> list[tuple[str, tuple, str, str, float]]:
    """(file, box, truth, called, probability) of the surest wrong calls, one a class pair first."""
    pred, mapping = read_predictions(folder, name), study_set.mapping
    rows, truth = rows_in(mapping, pred.class_names)
    probs = mapping.summed(pred.probs[rows])
    called, sure = probs.argmax(1), probs.max(1)
    labels = (*mapping.labels, "a class that the set lacks")
    seen: dict[tuple[int, int], int] = {}
    order = [i for i in np.argsort(-sure, kind="stable") if called[i] != truth[i]]
    ranked: list[tuple[int, int]] = []
    for i in order:
        pair = (int(truth[i]), int(called[i]))
        seen[pair] = seen.get(pair, 0) + 1
        ranked.append((seen[pair], i))  # the first of each pair of classes, then the second of each
    ranked.sort(key=lambda item: item[0])
    return [
        (str(pred.files[rows[i]]), tuple(pred.boxes[rows[i]]), labels[truth[i]], labels[called[i]], float(sure[i]))
        for _, i in ranked[:n]
    ]


def parts_scored(sets: Sequence[StudySet]) -> dict[str, StudySet]:
    """Part's name -> its set, as `run_classifier` names them."""
    parts, number = {}, 0
    for study_set in sets:
        if study_set.role == DATA:
            parts["test"] = study_set
        elif study_set.role == "external":
            number += 1
            parts[f"external-{number}"] = study_set
    return parts
