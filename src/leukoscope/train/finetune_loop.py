"""The loop of fine-tuning: stages, epochs, steps, validation, checkpoints.

A frozen backbone gives the same features every epoch, so where crops are not augmented they are computed once.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch

from leukoscope.evaluate.calibration import negative_log_likelihood
from leukoscope.evaluate.classes import accuracy, confusion_matrix, macro_f1
from leukoscope.models.torch_backbones import CropNetwork, freeze_blocks
from leukoscope.train.checkpoint import save_checkpoint, update_average
from leukoscope.train.crop_set import CropSet
from leukoscope.train.finetune_config import FinetuneConfig, Stage, rate_share
from leukoscope.train.finetune_data import epoch_batches, make_batch, prepared
from leukoscope.train.finetune_run import predict_features, predict_logits, write_log
from leukoscope.train.processes import Processes

CHECKPOINT_SECONDS = 120
ClassLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
ExtraLoss = Callable[[CropNetwork, dict, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Losses:
    """What is minimised, and how crops are drawn (`finetune` says what each is)."""

    of_class: ClassLoss
    extra: tuple[ExtraLoss, ...] = ()
    sampler_weights: np.ndarray | None = None


@dataclass
class _Progress:
    """Where a run stands; all of it is in the checkpoint."""

    epoch: int = 0
    step: int = 0  # of the epoch
    n_steps: int = 0  # since the start
    loss_sum: float = 0.0
    n_seen: int = 0
    best: tuple = ()
    best_epoch: int = -1
    stage_name: str = ""
    stopped: bool = False
    log: list = field(default_factory=list)


@dataclass
class Loop:
    """One run while it trains: `run_stages` is all there is to call."""

    config: FinetuneConfig
    network: CropNetwork
    train: CropSet
    val: CropSet | None
    run: Path
    own: Processes
    losses: Losses
    fingerprint: str
    progress: Callable[[int, int], None] | None = None
    at: _Progress = field(default_factory=_Progress)
    average: dict | None = None
    optimizer: torch.optim.Optimizer | None = None
    rates: list = field(default_factory=list)
    cache: tuple | None = None  # features (N, D) of training and validation crops under a frozen backbone
    saved: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        device = self.own.device.type
        dtype = _amp_dtype(self.config.amp, self.own.device)
        self.autocast = partial(torch.autocast, device, dtype=dtype) if dtype else contextlib.nullcontext
        self.scaler = torch.amp.GradScaler(device, enabled=dtype is torch.float16)

    def run_stages(self, state: dict | None) -> None:
        """Every stage from where the checkpoint stands to the end."""
        stages = self.config.stages()
        if self.config.ema and state is None:
            self.average = {k: v.clone() for k, v in self.network.state_dict().items()}
        if state is not None:
            self.at = _Progress(**state["progress"] | {"best": tuple(state["progress"]["best"])})
            self.network.load_state_dict(state["model"])
            self.average = state["average"] and {k: v.to(self.own.device) for k, v in state["average"].items()}
            self.scaler.load_state_dict(state["scaler"])
        for stage in stages:
            if self.at.epoch >= stage.first + stage.epochs:
                continue
            self._enter(stage)
            if state is not None and state["optimizer"] is not None and self.at.stage_name == stage.name:
                self.optimizer.load_state_dict(state["optimizer"])
                state = None
            elif self.at.stage_name != stage.name:
                self.at.stage_name, self.at.best, self.at.best_epoch, self.at.stopped = stage.name, (), -1, False
            while self.at.epoch < stage.first + stage.epochs and not self.at.stopped:
                self._run_epoch(stage)
            self.at.epoch = stage.first + stage.epochs
        self._save()

    def _enter(self, stage: Stage) -> None:
        """Set what learns, at which rate; compute the features that a frozen backbone gives to unchanged crops."""
        network = self.network
        network.requires_grad_(True)
        if not stage.backbone_rate:
            network.trunk.requires_grad_(False)
        freeze_blocks(network, self.config.frozen_blocks)
        network.train()  # frozen norms take themselves out of training here
        groups = _parameter_groups(network, stage, self.config.weight_decay)
        self.optimizer = torch.optim.AdamW(groups)
        self.rates = [g["lr"] for g in groups]
        self.cache = None
        if not stage.backbone_rate and stage.augment == "none" and not self.losses.extra:
            self.cache = (self._features(self.train), self._features(self.val) if self.val is not None else None)

    def _run_epoch(self, stage: Stage) -> None:
        config, own, at = self.config, self.own, self.at
        batches = epoch_batches(len(self.train), config, at.epoch, self.losses.sampler_weights)
        n_steps = len(batches)
        warm = max(1, round(config.warmup_epochs * n_steps))
        self.network.train()
        if not stage.backbone_rate:
            self.network.trunk.eval()
        jobs = [
            partial(self._batch, own.share(rows), stage.augment, (config.seed, at.epoch, step, own.rank))
            for step, rows in enumerate(batches)
        ][at.step :]
        for batch in prepared(jobs, config.workers):
            done = (at.epoch - stage.first) * n_steps + at.step
            share = rate_share(done, stage.epochs * n_steps, warm=warm, final=config.final_rate)
            for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
                group["lr"] = rate * share
            torch.manual_seed((config.seed * 1_000_003 + at.n_steps) * 1009 + own.rank)  # dropout
            at.loss_sum += self._step(batch, len(batches[at.step]))
            at.n_seen += len(batches[at.step])
            at.step, at.n_steps = at.step + 1, at.n_steps + 1
            if at.step < n_steps and time.monotonic() - self.saved > CHECKPOINT_SECONDS:
                self._save()
            if self.progress and own.is_first:
                total = sum(s.epochs for s in config.stages())
                self.progress(at.epoch * n_steps + at.step, total * n_steps)
        self._end_epoch(stage)

    def _batch(self, rows: np.ndarray, augment: str, seed: tuple) -> dict:
        if self.cache is not None:
            return {"rows": torch.from_numpy(rows), "labels": torch.from_numpy(self.train.labels[rows])}
        return make_batch(self.train, rows, self.config, augment=augment, seed=seed)

    def _step(self, batch: dict, n_total: int) -> float:
        """One step over this process's part of a batch of n_total crops; returns the batch's loss times n_total."""
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.own.device)
        n_own = len(batch["rows"])
        for places in np.array_split(np.arange(n_own), min(self.config.accumulate, max(n_own, 1))):
            if not len(places):
                continue
            piece = _take(batch, slice(places[0], places[-1] + 1), self.own.device)
            with self.autocast():
                loss = self._loss(piece) * (len(places) / n_total)
            self.scaler.scale(loss).backward()
            total += loss.detach()
        trained = [p for g in self.optimizer.param_groups for p in g["params"]]
        self.own.sum_gradients(trained)
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(trained, self.config.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            keep = min(self.config.ema, (self.at.n_steps + 1) / (self.at.n_steps + 10))  # quick to follow at first
            update_average(self.average, self.network, keep)
        return float(self.own.sum(total)) * n_total

    def _loss(self, piece: dict) -> torch.Tensor:
        labels = piece["labels"]
        if self.cache is not None:
            logits = self.network.head(self.network.dropout(self.cache[0][piece["rows"]]))
            return self.losses.of_class(logits.float(), labels)
        logits, maps = self.network.encode(piece["pixels"])
        loss = self.losses.of_class(logits.float(), labels)
        for extra in self.losses.extra:
            loss = loss + extra(self.network, piece, maps, logits)
        return loss

    def _end_epoch(self, stage: Stage) -> None:
        """Validate, log, keep the best, stop early, save."""
        at = self.at
        self.own.agree(self.network)
        row = {
            "epoch": at.epoch + 1,
            "stage": stage.name,
            "rate": f"{self.optimizer.param_groups[0]['lr']:.3e}",
            "train_loss": f"{at.loss_sum / max(at.n_seen, 1):.5f}",
        }
        scores = self._validate()
        row |= {name: f"{value:.5f}" for name, value in scores.items()}
        at.log.append(row)
        if scores:
            falling = -scores["val_loss"]
            better = (falling,) if self.config.monitor == "loss" else (scores["val_macro_f1"], falling)
        else:
            better = (float(at.epoch),)
        if not at.best or better > at.best:
            at.best, at.best_epoch = better, at.epoch
            if self.own.is_first:
                save_checkpoint(self.run / "best.pt", {"model": self._weights()})
        patience = self.config.patience
        at.stopped = bool(scores) and patience is not None and at.epoch - at.best_epoch >= patience
        at.epoch, at.step, at.loss_sum, at.n_seen = at.epoch + 1, 0, 0.0, 0
        self._save()

    def _validate(self) -> dict[str, float]:
        """Loss, accuracy and macro-F1 on the validation cells, which the processes share."""
        if self.val is None:
            return {}
        kept = None
        if self.average is not None:
            kept = {k: v.clone() for k, v in self.network.state_dict().items()}
            self.network.load_state_dict(self.average)
        n, n_classes = len(self.val), len(self.val.taxonomy.names)
        logits = torch.zeros((n, n_classes), device=self.own.device)
        rows = self.own.share(np.arange(n))
        if self.cache is not None:
            with torch.no_grad():
                logits[rows] = self.network.head(self.cache[1][rows]).float()
        elif len(rows):
            found = predict_logits(self.network, self.val.crops[rows], self.config.batch_size)
            logits[rows] = torch.from_numpy(found).to(self.own.device)
        logits = self.own.sum(logits).cpu().numpy()
        if kept is not None:
            self.network.load_state_dict(kept)
        matrix = confusion_matrix(self.val.labels, logits.argmax(1), n_classes=n_classes)
        return {
            "val_loss": negative_log_likelihood(logits.astype(np.float64), self.val.labels),
            "val_accuracy": accuracy(matrix),
            "val_macro_f1": macro_f1(matrix),
        }

    def _features(self, crops: CropSet) -> torch.Tensor:
        """(N, D) features, each computed by one process."""
        features = torch.zeros((len(crops), self.network.width), device=self.own.device)
        rows = self.own.share(np.arange(len(crops)))
        if len(rows):
            found = predict_features(self.network, crops.crops[rows], self.config.batch_size)
            features[rows] = torch.from_numpy(found).to(self.own.device)
        return self.own.sum(features)

    def _weights(self) -> dict:
        state = self.average if self.average is not None else self.network.state_dict()
        return {k: v.detach().cpu().contiguous() for k, v in state.items()}

    def _save(self) -> None:
        self.saved = time.monotonic()
        if not self.own.is_first:
            return
        state = {
            "fingerprint": self.fingerprint,
            "progress": asdict(self.at) | {"best": list(self.at.best)},
            "model": self.network.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict() if self.optimizer else None,
            "scaler": self.scaler.state_dict(),
        }
        save_checkpoint(self.run / "checkpoint.pt", state)
        save_checkpoint(self.run / "last.pt", {"model": self._weights()})
        write_log(self.run, self.at.log)


def _parameter_groups(network: CropNetwork, stage: Stage, weight_decay: float) -> list[dict]:
    """Head and backbone at their own rates; weight decay on matrices only, not on norms and biases."""
    groups = []
    for module, rate in ((network.trunk, stage.backbone_rate), (network.head, stage.head_rate)):
        trained = [p for p in module.parameters() if p.requires_grad]
        for decayed in (True, False):
            chosen = [p for p in trained if (p.ndim > 1) == decayed]
            if chosen:
                groups.append({"params": chosen, "lr": rate, "weight_decay": weight_decay if decayed else 0.0})
    return groups


def _amp_dtype(amp: str, device: torch.device) -> torch.dtype | None:
    if amp == "auto":
        if device.type != "cuda":
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}[amp]


def _take(batch: dict, places: slice, device: torch.device) -> dict:
    """Some rows of a batch, on the device."""
    piece = {k: v[places].to(device) for k, v in batch.items() if k != "extras"}
    return piece | {"extras": {k: v[places].to(device) for k, v in batch.get("extras", {}).items()}}
