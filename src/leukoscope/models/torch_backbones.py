"""One network for every crop classifier: a backbone, its pooled features, one linear head.

Normalisation of the pixels is inside, so training, evaluation and the exported graph all take plain uint8 RGB crops.
EfficientNet-Lite0 comes with ImageNet weights that install offline; the others are `transformers`' networks, whose
published weights load by path or hub name (extra "study").
"""

from pathlib import Path

import torch
from torch import nn

from leukoscope.errors import ModelError
from leukoscope.models.torch_checkpoints import read_weights
from leukoscope.models.torch_conv_layouts import is_torchvision_efficientnet
from leukoscope.models.torch_trunks import LITES, TORCHVISION_B0, TRUNKS

ARCHS = tuple(TRUNKS)
NORMS = ("frozen", "trained")


class CropNetwork(nn.Module):
    """Backbone, pooling, dropout and a linear head.

    forward(pixels)  pixels (N, S, S, 3) uint8 or float in [0, 255], RGB → logits (N, C)
    head             nn.Linear(width, C)
    width            D, features a crop
    """

    def __init__(self, arch: str, trunk: nn.Module, n_classes: int, *, size: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.arch, self.size, self.width = arch, size, trunk.width
        self.trunk = trunk
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(trunk.width, n_classes)
        mean, std = trunk.pixel_scale
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("std", torch.tensor(std), persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.encode(pixels)[0]

    def encode(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (N, C) and the feature map (N, D, h, w) that they were pooled from, in one pass."""
        maps, pooled = self.trunk(self._normalised(pixels))
        return self.head(self.dropout(pooled)), maps

    def feature_map(self, pixels: torch.Tensor) -> torch.Tensor:
        """(N, D, h, w) before pooling; of a transformer its patch tokens."""
        return self.trunk(self._normalised(pixels))[0]

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """(N, D) that the head sees: the map's mean, or a transformer's class token."""
        return self.trunk(self._normalised(pixels))[1]

    def class_map(self, feature_map: torch.Tensor) -> torch.Tensor:
        """(N, C, h, w): the head at every place of a feature map. Of a convolutional network its mean over the places
        is the logits (class activation map, Zhou et al., CVPR 2016); a transformer's head was made for its class token.
        """
        return nn.functional.conv2d(feature_map, self.head.weight[:, :, None, None], self.head.bias)

    def _normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        if pixels.ndim != 4 or pixels.shape[3] != 3:
            raise ModelError(f"crops must be (N, S, S, 3), got {tuple(pixels.shape)}")
        return ((pixels.float() - self.mean) / self.std).permute(0, 3, 1, 2)  # (N, 3, S, S), channels last in memory


def build_network(
    arch: str, n_classes: int, *, weights: str | None, size: int, norms: str = "frozen", dropout: float = 0.0
) -> CropNetwork:
    """A crop classifier with a fresh head.

    arch     one of ARCHS
    weights  None: random; "imagenet": efficientnet-lite0's and -lite2's, offline; the name of a bundled model:
             efficientnet-lite0 as its classifier's trunk has learnt; else a weights file, a folder saved by
             `transformers`, or a hub name
    size     pixels a side of its crops
    norms    batch normalisation: "frozen" keeps the statistics it was pretrained with (Lite0 folds them into its
             convolutions), "trained" fits them like any other layer
    Raises ModelError where the weights are not those of `arch`.
    """
    if arch not in TRUNKS:
        raise ModelError(f"unknown network {arch!r}: expected one of {', '.join(TRUNKS)}")
    if norms not in NORMS:
        raise ModelError(f"norms must be one of {', '.join(NORMS)}, got {norms!r}")
    if weights == "imagenet" and arch not in LITES:
        raise ModelError(
            f"only {' and '.join(LITES)} have ImageNet weights that install offline: give {arch} a file or a hub name"
        )
    trunk = TRUNKS[arch](weights, size=size, norms=norms)
    return CropNetwork(arch, trunk, n_classes, size=size, dropout=dropout)


def arch_of_weights(arch: str, weights: str | None) -> str:
    """The network that a weights file is of: torchvision's EfficientNet-B0 is padded otherwise than the original."""
    if arch != "efficientnet-b0" or not weights or not Path(weights).is_file():
        return arch
    return TORCHVISION_B0 if is_torchvision_efficientnet(read_weights(weights)) else arch


def freeze_blocks(network: CropNetwork, n_blocks: int) -> None:
    """Take the first blocks, from the pixels on, out of training (`trunk.blocks` lists them)."""
    blocks = network.trunk.blocks()
    if n_blocks > len(blocks):
        raise ModelError(f"{network.arch} has {len(blocks)} blocks, can't freeze {n_blocks}")
    for block in blocks[:n_blocks]:
        block.requires_grad_(False)


def repeated_parts(network: CropNetwork) -> list[nn.Module]:
    """The parts that hold nearly all of the network's work: what is worth compiling."""
    return network.trunk.repeated()
