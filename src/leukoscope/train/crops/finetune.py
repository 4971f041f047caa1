"""Fine-tune a crop classifier: directly, or with the head alone first (LP+FT).

PCM, section 2.3.2: the linear head is trained on the frozen backbone, then everything at a reduced rate.
`finetune_loop` says what the loop works on, `finetune_run` what reads a run back.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from leukoscope.errors import ConfigError, DataError
from leukoscope.models.torch_backbones import arch_of_weights, build_network, repeated_parts
from leukoscope.progress import Progress, no_progress
from leukoscope.train.checkpoint import run_mark, settings_fingerprint
from leukoscope.train.compiled import compile_parts
from leukoscope.train.crops.config import FinetuneConfig
from leukoscope.train.crops.data import CropSet
from leukoscope.train.crops.predict import (
    load_finetuned,
    load_state,
    predict_features,
    predict_logits,
    read_run,
    write_run,
)
from leukoscope.train.crops.task import ClassLoss, ExtraLoss, Losses, Tuning
from leukoscope.train.loop import run_task
from leukoscope.train.processes import join_processes

__all__ = ["FinetuneConfig", "finetune", "load_finetuned", "predict_features", "predict_logits"]

SPEED_ONLY = ("workers", "recompute", "accumulate", "compile", "int8")  # change no weight but for rounding


def finetune(
    config: FinetuneConfig,
    train: CropSet,
    val: CropSet | None,
    run: str | Path,
    *,
    class_loss: ClassLoss | None = None,
    extra_losses: Sequence[ExtraLoss] = (),
    sampler_weights: np.ndarray | None = None,
    start_from: dict | str | Path | None = None,
    resume: bool = False,
    progress: Progress = no_progress,
) -> Path:
    """Train and leave `config.json`, `log.csv`, `best.pt`, `last.pt` and `checkpoint.pt` in folder `run`; returns it.

    train, val       cells without a class in the taxonomy are left out; val None: no early stopping, best = last
    class_loss       (logits (B, C), labels (B,)) → scalar; None: cross-entropy with the configuration's smoothing
    extra_losses     each f(network, batch, feature_map (B, D, h, w), logits) → scalar, added to the class loss; batch
                     holds pixels, labels, rows and extras (`finetune_data.make_batch`)
    sampler_weights  (N,) for the rows of `train`: drawn with replacement by them; None: every crop once an epoch
    start_from       weights of a whole network of the same classes, instead of config.weights
    Resuming gives the weights that an uninterrupted run gives (on one processor). Under `torchrun` the processes share
    each batch, and the first one writes.
    """
    run = Path(run)
    config = replace(config, arch=_arch_of_start(config, start_from))
    processes = join_processes()
    if sampler_weights is not None:
        if np.shape(sampler_weights) != (len(train),):
            got = np.shape(sampler_weights)
            raise DataError(f"sampler_weights must be {len(train)} weights, one a crop, got {got}")
        sampler_weights = np.asarray(sampler_weights)[train.labels >= 0]
    train, val = train.typed(), val.typed() if val is not None and len(val.typed()) else None
    _check_sets(config, train, val)
    run_mark(run, resume=resume)
    processes.wait()  # so that no process sees the first one's new folder as an old run
    fingerprint = _fingerprint(config, train, val, sampler_weights)
    if processes.is_first:
        run.mkdir(parents=True, exist_ok=True)
        write_run(run, config, train, val, n_processes=processes.size)
    torch.manual_seed(config.seed)
    network = build_network(
        config.arch, len(train.taxonomy.names), weights=None if start_from is not None else config.weights,
        size=config.size, norms=config.norms, dropout=config.dropout,
    )  # fmt: skip
    if start_from is not None:
        load_state(network, start_from)
    network.to(processes.device, memory_format=torch.channels_last)
    if hasattr(network.trunk, "recompute"):
        network.trunk.recompute = config.recompute
    processes.agree(network)
    if not config.recompute:  # forgetting activations and compiling are two ways with the same blocks
        compile_parts(repeated_parts(network), config.compile, processes.device)
    loss = class_loss or partial(F.cross_entropy, label_smoothing=config.label_smoothing)
    losses = Losses(loss, tuple(extra_losses), sampler_weights)
    tuning = Tuning(config, network, train, val, processes, losses)
    run_task(tuning.task(), run, fingerprint=fingerprint, processes=processes, progress=progress)
    processes.wait()
    return run


def _arch_of_start(config: FinetuneConfig, start_from: dict | str | Path | None) -> str:
    """The architecture that the first weights are of: one name can stand for two published layouts."""
    if start_from is None:
        return arch_of_weights(config.arch, config.weights)
    if isinstance(start_from, dict):
        return config.arch
    folder = Path(start_from) if Path(start_from).is_dir() else Path(start_from).parent
    began = read_run(folder)["config"]["arch"] if (folder / "config.json").is_file() else config.arch
    return began if began.startswith(f"{config.arch}-") else config.arch


def _check_sets(config: FinetuneConfig, train: CropSet, val: CropSet | None) -> None:
    if not len(train):
        raise DataError("no training cell has a class of the taxonomy: nothing to learn from")
    side = train.crops.shape[1]
    if side != config.size:
        raise ConfigError(f"the crops are {side} px a side, the configuration says size = {config.size}")
    if val is not None:
        same = ("taxonomy", "rule", "white_balance")
        odd = [k for k in same if getattr(val, k) != getattr(train, k)]
        if odd:
            raise DataError(f"training and validation crops must be made alike; they differ in {', '.join(odd)}")


def _fingerprint(config: FinetuneConfig, train: CropSet, val: CropSet | None, weights: np.ndarray | None) -> str:
    """Digest of what a run's weights depend on, but for losses given as functions."""
    drawn = "" if weights is None else hashlib.sha256(np.ascontiguousarray(weights, np.float64).tobytes()).hexdigest()
    data = [train.sha256(), val.sha256() if val is not None else "", drawn]
    later = () if config.class_sets else ("class_sets",)  # runs made before there were any can still be resumed
    return settings_fingerprint(config, data, without=SPEED_ONLY + later)
