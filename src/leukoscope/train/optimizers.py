"""The optimiser that every task trains with, over the weights that learn."""

import torch
from torch import nn


def adamw(groups: list[dict], **settings: float) -> torch.optim.AdamW:
    """AdamW over groups of parameters; on an accelerator as one kernel."""
    on_cuda = all(p.is_cuda for g in groups for p in g["params"])
    return torch.optim.AdamW(groups, **settings, fused=True if on_cuda else None)


def backbone_optimizer(net: nn.Module, config) -> torch.optim.Optimizer:
    """AdamW over what learns of a network with EfficientNet-Lite0's `backbone`, that at a rate of its own; the stem and
    the first blocks of it stay still. config: a LocatorConfig or OutlinerConfig."""
    for part in (net.backbone.stem, *net.backbone.blocks[: config.frozen_blocks]):
        part.requires_grad_(False)
    backbone = [p for p in net.backbone.parameters() if p.requires_grad]
    inside = {id(p) for p in net.backbone.parameters()}
    groups = [{"params": [p for p in net.parameters() if id(p) not in inside], "lr": config.learning_rate}]
    if backbone:
        groups.append({"params": backbone, "lr": config.backbone_rate})
    return adamw(groups, weight_decay=config.weight_decay)
