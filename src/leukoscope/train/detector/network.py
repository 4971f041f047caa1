"""The network of a detector training, its losses on a batch, and its optimiser."""

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from leukoscope.errors import ConfigError
from leukoscope.models.torch_detr import RTDETR_SIZES, Detr
from leukoscope.models.torch_detr_keys import arch_of_file, load_published
from leukoscope.train.detector.config import DetectorConfig
from leukoscope.train.detector.matchability import MatchabilityObjective
from leukoscope.train.optimizers import adamw


def resolve(config: DetectorConfig) -> DetectorConfig:
    """The configuration with what its weights decide: the architecture that their keys show, and the normalisation."""
    if not config.weights:
        return replace(config, normalise=config.normalise or "imagenet")
    if config.arch not in RTDETR_SIZES:
        raise ConfigError(f"weights are read for RT-DETRv2 only, not for {config.arch}")
    return replace(config, arch=arch_of_file(config.arch, config.weights), normalise=config.normalise or "unit")


def build_detector(config: DetectorConfig, n_classes: int) -> tuple[Detr, dict]:
    """The network of a resolved configuration as training begins, and where its weights come from (for run.json)."""
    torch.manual_seed(config.seed)
    net = Detr(config.arch, n_classes, normalise=config.normalise or "imagenet", pretrained=config.pretrained)
    origin = {"weights": None}
    if config.weights:
        loaded = load_published(net.net, config.weights)
        origin = {"weights": str(config.weights), "layout": loaded.layout, "new_heads": list(loaded.new_heads)}
    if config.arch in RTDETR_SIZES:  # DEIMv2 brings its own matching-aware loss
        net.net.loss_function = MatchabilityObjective(net.net.config, gamma=config.mal_gamma)
    return net, origin


def batch_losses(net: Detr, pixels: Tensor, labels: list[dict]) -> dict[str, Tensor]:
    """The losses of a batch by name, "loss" their sum; that is NaN where the network's output can't be matched."""
    device = net.mean.device
    labels = [{k: v.to(device) for k, v in of_picture.items()} for of_picture in labels]
    try:
        out = net(pixels.to(device, non_blocking=True), labels)
    except ValueError as error:  # scipy's matching, at an output that is no finite number
        if "numeric entries" not in str(error):
            raise
        return {"loss": torch.tensor(math.nan, device=device, requires_grad=True)}
    return {**out.loss_dict, "loss": out.loss}


def make_optimizer(net: Detr, config: DetectorConfig) -> torch.optim.Optimizer:
    """AdamW; the backbone at its own rate; no weight decay on norms and biases."""
    backbone = {id(p) for p in net.backbone.parameters()}
    norms = (nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)
    bare = {id(p) for m in net.modules() if isinstance(m, norms) for p in m.parameters(recurse=False)}
    bare |= {id(p) for name, p in net.named_parameters() if name.endswith("bias")}
    groups: dict[tuple[bool, bool], list] = {}
    for p in net.parameters():
        groups.setdefault((id(p) in backbone, id(p) in bare), []).append(p)
    return adamw(
        [
            {"params": params, "lr": rate, "weight_decay": 0.0 if is_bare else config.weight_decay}
            for (of_backbone, is_bare), params in groups.items()
            for rate in (config.backbone_rate if of_backbone else config.learning_rate,)
        ]
    )
