"""Fine-tuning on the one loop (`train.loop`): what its stages train, its steps work on, its epochs are judged by.

A frozen backbone gives the same features every epoch, so where crops are not augmented they are computed once.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from leukoscope.evaluate.calibration import negative_log_likelihood
from leukoscope.evaluate.classes import accuracy, confusion_matrix, macro_f1
from leukoscope.models.torch_backbones import CropNetwork, freeze_blocks
from leukoscope.train.classifier.loss import set_cross_entropy
from leukoscope.train.crops.batches import epoch_batches, make_batch, prepared
from leukoscope.train.crops.config import FinetuneConfig, StagePlan
from leukoscope.train.crops.data import CropSet
from leukoscope.train.crops.predict import predict_features, predict_logits
from leukoscope.train.loop import EpochEnd, Place, Stage, Task, half_precision, quick_average, warm_cosine
from leukoscope.train.optimizers import adamw
from leukoscope.train.processes import Processes

ClassLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
ExtraLoss = Callable[[CropNetwork, dict, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Losses:
    """What is minimised, and how crops are drawn (`finetune` says what each is)."""

    of_class: ClassLoss
    extra: tuple[ExtraLoss, ...] = ()
    sampler_weights: np.ndarray | None = None


@dataclass
class Tuning:
    """One fine-tuning: its network, its crops and, in a frozen stage, the features that they give."""

    config: FinetuneConfig
    network: CropNetwork
    train: CropSet
    val: CropSet | None
    processes: Processes
    losses: Losses
    optimizer: torch.optim.Optimizer | None = None  # of the present stage
    cache: tuple | None = None  # features (N, D) of training and validation crops under a frozen backbone

    def task(self) -> Task:
        """What the loop works on."""
        config = self.config
        n_steps = len(epoch_batches(len(self.train), config, 0, self.losses.sampler_weights))
        warm = max(1, round(config.warmup_epochs * n_steps))
        stages = []
        for plan in config.stages():
            share = partial(warm_cosine, steps=plan.epochs * n_steps, warm=warm, final=config.final_rate)
            stages.append(Stage(plan.name, plan.epochs, partial(self.enter, plan), share, partial(self.ready, plan)))
        return Task(
            network=self.network,
            stages=tuple(stages),
            steps=n_steps,
            pieces=self.pieces,
            loss=self.loss,
            names=("train_loss",),
            clip=config.clip,
            keep=quick_average(config.ema) if config.ema else None,
            end_epoch=self.end_epoch,
            patience=config.patience if self.val is not None else None,
            dtype=half_precision(config.amp, self.processes.device),
        )

    def enter(self, plan: StagePlan) -> torch.optim.Optimizer:
        """Set what learns, at which rate; compute the features that a frozen backbone gives to unchanged crops."""
        network = self.network
        network.requires_grad_(True)
        if not plan.backbone_rate:
            network.trunk.requires_grad_(False)
        freeze_blocks(network, self.config.frozen_blocks)
        network.train()  # frozen norms take themselves out of training here
        groups = _parameter_groups(network, plan, self.config.weight_decay)
        self.cache = None
        if not plan.backbone_rate and plan.augment == "none" and not self.losses.extra:
            self.cache = (self._features(self.train), self._features(self.val) if self.val is not None else None)
        self.optimizer = adamw(groups)
        return self.optimizer

    def ready(self, plan: StagePlan) -> None:
        """The network in training mode, a frozen backbone as it stands."""
        self.network.train()
        if not plan.backbone_rate:
            self.network.trunk.eval()

    def pieces(self, place: Place) -> Iterator[list[tuple[dict, float, int]]]:
        """For each step from a place to the end of its epoch: pieces of this process's part of the batch, each with
        its share of the whole batch, and the seed of the step's dropout."""
        config, processes, epoch, first = self.config, self.processes, place.epoch, place.step
        augment = next(p.augment for p in config.stages() if p.name == place.stage)
        batches = epoch_batches(len(self.train), config, epoch, self.losses.sampler_weights)[first:]
        jobs = [
            partial(self._batch, processes.share(rows), augment, (config.seed, epoch, step, processes.rank))
            for step, rows in enumerate(batches, first)
        ]
        for update, (rows, batch) in enumerate(
            zip(batches, prepared(jobs, config.workers), strict=True), place.updates
        ):
            torch.manual_seed((config.seed * 1_000_003 + update) * 1009 + processes.rank)  # dropout
            n_own = len(batch["rows"])
            cuts = np.array_split(np.arange(n_own), min(config.accumulate, max(n_own, 1)))
            yield [(_take(batch, slice(c[0], c[-1] + 1), processes.device), len(c) / len(rows)) for c in cuts if len(c)]

    def loss(self, piece: tuple[dict, float]) -> tuple[torch.Tensor, torch.Tensor]:
        """The share of the step's loss that a piece of its batch makes up."""
        batch, share = piece
        total = self._loss(batch) * share
        return total, total.detach().reshape(1)

    def end_epoch(self, place: Place, average: dict | None, means: dict[str, float]) -> EpochEnd:
        """The epoch's row; without validation cells a later epoch is better."""
        rate = f"{self.optimizer.param_groups[0]['lr']:.3e}"
        row = {"epoch": place.epoch + 1, "stage": place.stage, "rate": rate, "train_loss": f"{means['train_loss']:.5f}"}
        scores = self._validate(average)
        row |= {name: f"{value:.5f}" for name, value in scores.items()}
        if not scores:
            return EpochEnd(row, (float(place.epoch),))
        falling = -scores["val_loss"]
        by_loss = self.config.monitor == "loss"
        return EpochEnd(row, (falling,) if by_loss else (scores["val_macro_f1"], falling))

    def _batch(self, rows: np.ndarray, augment: str, seed: tuple) -> dict:
        if self.cache is not None:
            extras = {k: torch.from_numpy(self.train.extras[k][rows]) for k in ("allowed",) if k in self.train.extras}
            labels = torch.from_numpy(self.train.labels[rows])
            return {"rows": torch.from_numpy(rows), "labels": labels, "extras": extras}
        return make_batch(self.train, rows, self.config, augment=augment, seed=seed)

    def _loss(self, piece: dict) -> torch.Tensor:
        if self.cache is not None:
            logits = self.network.head(self.network.dropout(self.cache[0][piece["rows"]]))
            return self._of_class(logits, piece)
        logits, maps = self.network.encode(piece["pixels"])
        loss = self._of_class(logits, piece)
        for extra in self.losses.extra:
            loss = loss + extra(self.network, piece, maps, logits)
        return loss

    def _of_class(self, logits: torch.Tensor, piece: dict) -> torch.Tensor:
        """The class loss; where some cells may be of several classes, of the probability of all that each may be."""
        allowed = piece["extras"].get("allowed")
        if allowed is None:
            return self.losses.of_class(logits.float(), piece["labels"])
        return set_cross_entropy(logits.float(), allowed.bool(), smoothing=self.config.label_smoothing)

    def _validate(self, average: dict | None) -> dict[str, float]:
        """Loss, accuracy and macro-F1 on the validation cells, which the processes share."""
        if self.val is None:
            return {}
        kept = None
        if average is not None:
            kept = {k: v.clone() for k, v in self.network.state_dict().items()}
            self.network.load_state_dict(average)
        n, n_classes = len(self.val), len(self.val.taxonomy.names)
        logits = torch.zeros((n, n_classes), device=self.processes.device)
        rows = self.processes.share(np.arange(n))
        if self.cache is not None:
            with torch.no_grad():
                logits[rows] = self.network.head(self.cache[1][rows]).float()
        elif len(rows):
            computed = predict_logits(self.network, self.val.crops[rows], self.config.batch_size)
            logits[rows] = torch.from_numpy(computed).to(self.processes.device)
        logits = self.processes.sum(logits).cpu().numpy()
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
        features = torch.zeros((len(crops), self.network.width), device=self.processes.device)
        rows = self.processes.share(np.arange(len(crops)))
        if len(rows):
            computed = predict_features(self.network, crops.crops[rows], self.config.batch_size)
            features[rows] = torch.from_numpy(computed).to(self.processes.device)
        return self.processes.sum(features)


def _parameter_groups(network: CropNetwork, plan: StagePlan, weight_decay: float) -> list[dict]:
    """Head and backbone at their own rates; weight decay on matrices only, not on norms and biases."""
    groups = []
    for module, rate in ((network.trunk, plan.backbone_rate), (network.head, plan.head_rate)):
        trained = [p for p in module.parameters() if p.requires_grad]
        for decayed in (True, False):
            chosen = [p for p in trained if (p.ndim > 1) == decayed]
            if chosen:
                groups.append({"params": chosen, "lr": rate, "weight_decay": weight_decay if decayed else 0.0})
    return groups


def _take(batch: dict, places: slice, device: torch.device) -> dict:
    """Some rows of a batch, on the device."""
    piece = {k: v[places].to(device) for k, v in batch.items() if k != "extras"}
    return piece | {"extras": {k: v[places].to(device) for k, v in batch.get("extras", {}).items()}}
