"""One network for every crop classifier: a backbone, its pooled features, one linear head.

Normalisation of the pixels is inside, so training, evaluation and the exported graph all take plain uint8 RGB crops.
EfficientNet-Lite0 comes with ImageNet weights that install offline; the others are `transformers`' networks, whose
published weights load by path or hub name (extra "study").
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from leukoscope.errors import ModelError
from leukoscope.models.bundle import bundled_names, find_model, part_of_model
from leukoscope.models.torch_checkpoints import (
    load_exactly,
    load_hub_model,
    read_weights,
    tensors_only,
    without_prefix,
)
from leukoscope.models.torch_conv_layouts import conv_state, is_torchvision_efficientnet
from leukoscope.models.torch_dinov2 import SHAPES, build_vit, load_vit

IMAGENET = ((0.485 * 255, 0.456 * 255, 0.406 * 255), (0.229 * 255, 0.224 * 255, 0.225 * 255))  # mean, deviation
LITE = ((127.0,) * 3, (128.0,) * 3)
VITS = {f"{family}-{size}": size for family in ("dinobloom", "dinov2") for size in ("s", "b", "l", "g")}
VITS |= {"tiny-vit": "tiny", "tiny-vit-swiglu": "tiny-swiglu"}
TORCHVISION_B0 = "efficientnet-b0-torchvision"  # pads both sides alike; "efficientnet-b0" pads as TensorFlow does
CONVS = ("resnet50", "efficientnet-b0", TORCHVISION_B0, "tiny-resnet", "tiny-efficientnet")
LITES = {"efficientnet-lite0": 0, "efficientnet-lite2": 2}
ARCHS = (*LITES, *CONVS, *VITS, "small", "tiny")
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
    arch: str,
    n_classes: int,
    *,
    weights: str | None,
    size: int,
    norms: str = "frozen",
    dropout: float = 0.0,
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
    if arch not in ARCHS:
        raise ModelError(f"unknown network {arch!r}: expected one of {', '.join(ARCHS)}")
    if norms not in NORMS:
        raise ModelError(f"norms must be one of {', '.join(NORMS)}, got {norms!r}")
    if weights == "imagenet" and arch not in LITES:
        raise ModelError(
            f"only {' and '.join(LITES)} have ImageNet weights that install offline: give {arch} a file or a hub name"
        )
    if arch in LITES:
        trunk: nn.Module = LiteTrunk(LITES[arch], weights, norms=norms)
    elif arch in ("small", "tiny"):
        if weights:
            raise ModelError(f"the {arch} network has no published weights")
        trunk = SmallTrunk(norms=norms) if arch == "small" else TinyTrunk(norms=norms)
    else:
        if importlib.util.find_spec("transformers") is None:
            raise ModelError(f"{arch} needs transformers, which is not installed: pip install 'leukoscope[study]'")
        trunk = VitTrunk(VITS[arch], weights, size=size) if arch in VITS else ConvTrunk(arch, weights, norms=norms)
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
    if isinstance(network.trunk, VitTrunk):
        return list(network.trunk.net.encoder.layer)
    return [network.trunk.net]


class _NormTrunk(nn.Module):
    """A backbone with batch normalisation that may be frozen: then it stays in evaluation mode."""

    norms = "trained"

    def train(self, mode: bool = True) -> nn.Module:
        super().train(mode)
        if self.norms == "frozen":
            for m in self.modules():
                if isinstance(m, nn.BatchNorm2d):
                    m.eval()
                    m.weight.requires_grad_(False)
                    m.bias.requires_grad_(False)
        return self


class LiteTrunk(_NormTrunk):
    """EfficientNet-Lite0 or -Lite2; the map at stride 32 has 1,280 channels."""

    width, pixel_scale = 1280, LITE

    def __init__(self, version: int, weights: str | None, *, norms: str) -> None:
        super().__init__()
        from leukoscope.models.torch_lite import Lite0Features, fold_norms

        self.norms = norms
        self.net = Lite0Features(pretrained=weights == "imagenet", head=True, version=version)
        bundled = weights in bundled_names()
        if bundled and (version or norms != "frozen"):
            raise ModelError(f'the trunk of {weights!r} is efficientnet-lite0 with folded norms: set norms = "frozen"')
        if norms == "frozen":
            fold_norms(self.net)
        if bundled:
            load_exactly(self.net, bundled_trunk(weights), weights)
        elif weights not in (None, "imagenet"):
            state = without_prefix(tensors_only(read_weights(weights), weights), "net.")
            load_exactly(self.net, state, weights)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = self.net(x)[-1]
        return maps, maps.mean((2, 3))

    def blocks(self) -> list[nn.Module]:
        return [self.net.stem, *self.net.blocks, self.net.head]


def bundled_trunk(name: str) -> dict[str, torch.Tensor]:
    """Weights of the (first) trunk of a bundled model's classifier, by `Lite0Features`' names."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(part_of_model(find_model(name), "classify").onnx)).graph
    stored = {i.name.removeprefix("model."): numpy_helper.to_array(i) for i in graph.initializer}
    start = "features."
    return {
        n.removeprefix(start): torch.from_numpy(v.astype("float32")) for n, v in stored.items() if n.startswith(start)
    }


class ConvTrunk(_NormTrunk):
    """`transformers`' ResNet-50 or EfficientNet-B0 (or a tiny one of either for tests)."""

    pixel_scale = IMAGENET

    def __init__(self, arch: str, weights: str | None, *, norms: str) -> None:
        super().__init__()
        self.norms = norms
        self.net = _conv_net(arch)
        config = self.net.config
        self.width = config.hidden_sizes[-1] if "resnet" in arch else config.hidden_dim
        if weights and Path(weights).is_file():
            state = read_weights(weights)
            if "efficientnet" in arch and is_torchvision_efficientnet(state) != (arch == TORCHVISION_B0):
                layout, fits = "torchvision's", TORCHVISION_B0
                if arch == TORCHVISION_B0:
                    layout, fits = "the original's", "efficientnet-b0"
                raise ModelError(f"{weights} has {layout} layout, whose padding {arch} has not: take arch {fits}")
            load_exactly(self.net, conv_state(state, weights), weights)
        elif weights:
            load_exactly(self.net, load_hub_model(type(self.net), weights).state_dict(), weights)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = self.net(x).last_hidden_state
        return maps, maps.mean((2, 3))

    def blocks(self) -> list[nn.Module]:
        if hasattr(self.net, "embedder"):
            return [self.net.embedder, *self.net.encoder.stages]
        return [self.net.embeddings, *self.net.encoder.blocks, self.net.encoder.top_conv, self.net.encoder.top_bn]


class VitTrunk(nn.Module):
    """DINOv2's transformer: its map are the patch tokens, its pooled features the class token.

    recompute  forget activations and compute them again in the backward pass: the large ones then fit on one card
    """

    pixel_scale = IMAGENET

    def __init__(self, shape_name: str, weights: str | None, *, size: int) -> None:
        super().__init__()
        shape = SHAPES[shape_name]
        self.width, self.recompute = shape.width, False
        self.net = build_vit(shape, size=size)
        if weights:
            load_vit(self.net, shape, weights, size=size)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        embeddings = self.net.embeddings
        patches = embeddings.patch_embeddings(x)  # (N, h·w, D)
        tokens = torch.cat([embeddings.cls_token.expand(patches.shape[0], -1, -1), patches], 1)
        if tokens.shape[1] != embeddings.position_embeddings.shape[1]:
            raise ModelError(f"this network was built for another size than crops of {x.shape[-1]} px")
        # The position embeddings already are for this size, so nothing is resized here, nor in the exported graph.
        tokens = tokens + embeddings.position_embeddings
        for layer in self.net.encoder.layer:
            if self.recompute and self.training:
                tokens = checkpoint(layer, tokens, use_reentrant=False)
            else:
                tokens = layer(tokens)
        tokens = self.net.layernorm(tokens)
        side = x.shape[-1] // self.net.config.patch_size
        maps = tokens[:, 1:].transpose(1, 2).unflatten(2, (side, side))  # (N, D, h, w)
        return maps, tokens[:, 0]

    def blocks(self) -> list[nn.Module]:
        return [self.net.embeddings, *self.net.encoder.layer]


class TinyTrunk(_NormTrunk):
    """Two convolutions: for tests that are about the loop and not about the network."""

    width, pixel_scale = 16, IMAGENET

    def __init__(self, *, norms: str) -> None:
        super().__init__()
        self.norms = norms
        self.net = nn.Sequential(
            nn.Conv2d(3, 8, 5, stride=4, padding=2), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = self.net(x)
        return maps, maps.mean((2, 3))

    def blocks(self) -> list[nn.Module]:
        return [self.net[:3], self.net[3:]]


class SmallTrunk(_NormTrunk):
    """Seven plain convolutions, 0.6 million weights: enough for drawings, and trained in minutes from nothing."""

    width, pixel_scale = 192, IMAGENET

    def __init__(self, *, norms: str) -> None:
        super().__init__()
        self.norms = norms
        shapes = ((3, 24, 2), (24, 48, 2), (48, 48, 1), (48, 96, 2), (96, 96, 1), (96, 192, 2), (192, 192, 1))
        self.net = nn.Sequential(*(_plain(*shape) for shape in shapes))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = self.net(x)
        return maps, maps.mean((2, 3))

    def blocks(self) -> list[nn.Module]:
        return list(self.net)


def _plain(before: int, after: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU(inplace=True))


def _conv_net(arch: str) -> nn.Module:
    from transformers import EfficientNetConfig, EfficientNetModel, ResNetConfig, ResNetModel

    if arch == "resnet50":
        return ResNetModel(ResNetConfig())
    if arch == "tiny-resnet":
        return ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[16, 32], depths=[1, 1]))
    b0 = {"image_size": 224, "width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 1280}
    if arch == "tiny-efficientnet":
        b0 |= {"width_coefficient": 0.25, "hidden_dim": 320, "num_block_repeats": [1] * 7}
    net = EfficientNetModel(EfficientNetConfig(**b0))
    if arch == TORCHVISION_B0:
        _pad_alike(net)
    return net


def _pad_alike(net: nn.Module) -> None:
    """torchvision's padding, half of the kernel on every side, and its constant in batch normalisation."""
    net.embeddings.padding = nn.ZeroPad2d(1)
    for block in net.encoder.blocks:
        depthwise = block.depthwise_conv
        depthwise.depthwise_conv_pad = nn.ZeroPad2d(depthwise.depthwise_conv.kernel_size[0] // 2)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-5
