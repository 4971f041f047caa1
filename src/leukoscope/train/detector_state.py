"""What a running detector training holds, and the processes it runs in."""

from __future__ import annotations

import copy
import math
import os
from dataclasses import dataclass

import torch
from torch import nn

from leukoscope.errors import ConfigError
from leukoscope.models.torch_detr import RTDETR_SIZES, Detr
from leukoscope.models.torch_detr_keys import load_published
from leukoscope.train.checkpoint import update_average
from leukoscope.train.detector_config import DetectorConfig
from leukoscope.train.matchability import MatchabilityObjective


@dataclass(frozen=True, slots=True)
class Process:
    """This process among those that torchrun started; rank 0 of 1 without it."""

    rank: int
    world: int
    device: torch.device

    @classmethod
    def start(cls) -> Process:
        """Join the others, if there are any."""
        world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
        cuda = torch.cuda.is_available()
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if cuda else torch.device("cpu")
        if cuda:
            torch.cuda.set_device(device)
        if world > 1:
            torch.distributed.init_process_group("nccl" if cuda else "gloo")
        return cls(rank, world, device)

    def same(self, value: float) -> float:
        """The first process's number, in all of them."""
        if self.world == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        torch.distributed.broadcast(shared, 0)
        return float(shared)

    def stop(self) -> None:
        """Leave the others."""
        if self.world > 1:
            torch.distributed.destroy_process_group()


class TrainState:
    """Network, optimiser, averaged weights and place in the schedule.

    model    what is trained, wrapped for several processes where there are any; net: the network itself
    average  running average of its weights: what is validated and kept
    epoch, step   epochs done, and steps done in this one
    best, since   best AP50-95 on validation, and validations since
    origin   where the weights began, for run.json
    """

    def __init__(self, config: DetectorConfig, n_classes: int, process: Process) -> None:
        torch.manual_seed(config.seed)
        self.config, self.process = config, process
        self.net = Detr(config.arch, n_classes, normalise=config.normalise, pretrained=config.pretrained)
        self.origin = {"weights": None}
        if config.weights:
            if config.arch not in RTDETR_SIZES:
                raise ConfigError(f"weights are read for RT-DETRv2 only, not for {config.arch}")
            loaded = load_published(self.net.net, config.weights)
            self.origin = {"weights": str(config.weights), "layout": loaded.layout, "new_heads": list(loaded.new_heads)}
        if config.arch in RTDETR_SIZES:  # DEIMv2 brings its own matching-aware loss
            self.net.net.loss_function = MatchabilityObjective(self.net.net.config, gamma=config.mal_gamma)
        self.net.to(process.device)
        self.model: nn.Module = self.net
        if process.world > 1:
            if process.device.type == "cuda":
                self.model = self.net = nn.SyncBatchNorm.convert_sync_batchnorm(self.net)
            # A batch without any cell leaves the denoising embedding out.
            self.model = nn.parallel.DistributedDataParallel(self.net, find_unused_parameters=True)
        self.optimizer = make_optimizer(self.net, config)
        half = config.amp == "auto" and process.device.type == "cuda"
        self.dtype = (torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16) if half else None
        self.scaler = torch.amp.GradScaler(process.device.type, enabled=self.dtype == torch.float16)
        self.average = {k: v.detach().clone() for k, v in self.net.state_dict().items()}
        self.epoch = self.step = self.since = self.updates = 0
        self.best = -1.0

    def backward(self, pixels: torch.Tensor, labels: list[dict], *, share: float) -> dict[str, float]:
        """Gradients of a batch, times `share`; its losses by name. ConfigError when they are not finite."""
        device = self.process.device
        labels = [{k: v.to(device) for k, v in of_picture.items()} for of_picture in labels]
        with torch.autocast(device.type, dtype=self.dtype, enabled=self.dtype is not None):
            out = self.model(pixels.to(device, non_blocking=True), labels)
        parts = {k: float(v.detach()) for k, v in out.loss_dict.items()} | {"loss": float(out.loss.detach())}
        if not math.isfinite(parts["loss"]):
            raise ConfigError(f"the loss is no finite number any more in epoch {self.epoch + 1}: lower learning_rate")
        self.scaler.scale(out.loss * share).backward()
        return parts

    def update(self, rate: float) -> None:
        """One step of the optimiser at `rate` times each group's own rate, and of the average."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * rate
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.net.parameters(), self.config.gradient_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.updates += 1
        keep = self.config.ema * (1 - math.exp(-self.updates / self.config.ema_warmup))
        update_average(self.average, self.net, keep)

    def averaged_net(self) -> Detr:
        """A copy of the network with the averaged weights, in evaluation mode."""
        net = copy.deepcopy(self.net)
        net.load_state_dict(self.average)
        return net.eval()

    def over(self) -> bool:
        """Whether validation has not become better for as long as the configuration allows."""
        return self.config.patience is not None and self.since >= self.config.patience

    def state(self) -> dict:
        """Everything a resumed run needs, as tensors and plain types."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "updates": self.updates,
            "best": self.best,
            "since": self.since,
            "model": self.net.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load(self, state: dict) -> None:
        """Go on from `state`."""
        for name in ("epoch", "step", "updates", "best", "since"):
            setattr(self, name, state[name])
        self.net.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.average = {k: v.to(self.process.device) for k, v in state["average"].items()}


def make_optimizer(net: Detr, config: DetectorConfig) -> torch.optim.Optimizer:
    """AdamW; the backbone at its own rate; no weight decay on norms and biases."""
    backbone = {id(p) for p in net.backbone.parameters()}
    norms = (nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)
    bare = {id(p) for m in net.modules() if isinstance(m, norms) for p in m.parameters(recurse=False)}
    bare |= {id(p) for name, p in net.named_parameters() if name.endswith("bias")}
    groups: dict[tuple[bool, bool], list] = {}
    for p in net.parameters():
        groups.setdefault((id(p) in backbone, id(p) in bare), []).append(p)
    return torch.optim.AdamW(
        [
            {"params": params, "lr": rate, "base": rate, "weight_decay": 0.0 if is_bare else config.weight_decay}
            for (of_backbone, is_bare), params in groups.items()
            for rate in (config.backbone_rate if of_backbone else config.learning_rate,)
        ]
    )
