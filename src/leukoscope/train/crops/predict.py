"""A fine-tuned classifier's run folder: what is written into it, and the network read back from it."""

import platform
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

import leukoscope
from leukoscope.errors import ModelError
from leukoscope.files import write_json
from leukoscope.models.bundle import CropRule
from leukoscope.models.probabilities import softmax
from leukoscope.models.torch_backbones import CropNetwork, build_network
from leukoscope.models.torch_checkpoints import load_exactly, read_weights, tensors_only
from leukoscope.taxonomy import Taxonomy
from leukoscope.train import run_folder
from leukoscope.train.crops.config import FinetuneConfig
from leukoscope.train.crops.cut import cut_boxes
from leukoscope.train.crops.data import CropSet
from leukoscope.types import Field


def write_run(run: Path, config: FinetuneConfig, train: CropSet, val: CropSet | None, *, n_processes: int) -> None:
    """`config.json`: resolved configuration, what was trained and validated on, and the environment."""
    record = {
        "task": "finetune",
        "config": asdict(config),
        "taxonomy": train.taxonomy.to_dict(),
        "crop": asdict(train.rule),
        "white_balance": train.white_balance,
        "train": _describe(train),
        "val": _describe(val) if val is not None else None,
        "environment": {
            "leukoscope": leukoscope.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
            "processes": n_processes,
        },
    }
    write_json(run / "config.json", record)


def read_run(run: str | Path) -> dict:
    """The record `config.json` of a fine-tuning run; ConfigError where there is none."""
    return run_folder.read_run(run, "finetune", "config.json")


def load_finetuned(run: str | Path, which: str = "best") -> tuple[CropNetwork, dict]:
    """The network of a run folder in evaluation mode, on the accelerator where there is one, and its record.

    which  "best" or "last" weights
    """
    record = read_run(run)
    config = record["config"]
    network = build_network(
        config["arch"],
        len(record["taxonomy"]["names"]),
        weights=None,
        size=config["size"],
        norms=config["norms"],
        dropout=config["dropout"],
    )
    load_state(network, Path(run) / f"{which}.pt")
    return network.eval().to("cuda" if torch.cuda.is_available() else "cpu"), record


def load_state(network: CropNetwork, start_from: dict | str | Path) -> None:
    """Weights of a whole network, head and all: a state, a `.pt` file of a run, or a run folder (its best)."""
    where = "the state given"
    if not isinstance(start_from, dict):
        path = Path(start_from)
        path = path / "best.pt" if path.is_dir() else path
        if not path.is_file():
            raise ModelError(f"no weights {path}: expected a run folder or a file of weights")
        where, start_from = str(path), read_weights(path)
    state = start_from.get("model", start_from)
    load_exactly(network, tensors_only(state, where), where)


def predict_logits(
    network_or_run: CropNetwork | str | Path, crops: CropSet | np.ndarray, batch: int = 64
) -> np.ndarray:
    """(N, C) float32 logits of crops (N, S, S, 3) uint8, in evaluation mode and float32."""
    network = network_or_run if isinstance(network_or_run, CropNetwork) else load_finetuned(network_or_run)[0]
    return _in_batches(network, network, crops, batch, network.head.out_features)


def predict_features(
    network_or_run: CropNetwork | str | Path, crops: CropSet | np.ndarray, batch: int = 64
) -> np.ndarray:
    """(N, D) float32 pooled features of crops, in evaluation mode and float32."""
    network = network_or_run if isinstance(network_or_run, CropNetwork) else load_finetuned(network_or_run)[0]
    return _in_batches(network, network.features, crops, batch, network.width)


def box_classifier(
    network: CropNetwork, record: dict, *, temperature: float = 1.0
) -> Callable[[Field, np.ndarray], np.ndarray]:
    """A run as what a second stage is asked: (field, boxes (N, 4)) → probabilities (N, C)."""
    rule = CropRule(**record["crop"])
    n_classes = len(Taxonomy.from_dict(record["taxonomy"]).names)

    def classify_boxes(field: Field, boxes: np.ndarray) -> np.ndarray:
        if not len(boxes):
            return np.zeros((0, n_classes))
        return softmax(
            predict_logits(network, cut_boxes(field, boxes, rule, balance=record["white_balance"])), temperature
        )

    return classify_boxes


@torch.no_grad()
def _in_batches(network: CropNetwork, compute: Callable, crops, batch: int, width: int) -> np.ndarray:
    pixels = crops.crops if isinstance(crops, CropSet) else np.asarray(crops)
    if pixels.ndim != 4 or pixels.shape[1:] != (network.size, network.size, 3):
        raise ModelError(
            f"{network.arch} was built for crops (N, {network.size}, {network.size}, 3), got {pixels.shape}"
        )
    device = network.head.weight.device
    was_training = network.training
    network.eval()
    parts: Iterable = (pixels[i : i + batch] for i in range(0, len(pixels), batch))
    outputs = [compute(torch.from_numpy(np.ascontiguousarray(p)).to(device)).float().cpu().numpy() for p in parts]
    network.train(was_training)
    return np.concatenate(outputs) if outputs else np.zeros((0, width), np.float32)


def _describe(crops: CropSet) -> dict:
    return {
        "sources": list(crops.sources),
        "cells": crops.counts(),
        "n_groups": len(np.unique(crops.groups)),
        "group": crops.unit,
        "crops_sha256": crops.sha256(),
    }
