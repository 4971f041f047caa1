"""Backbones of crop classifiers, by name: what makes a map and features of normalised pixels.

A trunk has

    width, pixel_scale  features a crop; mean and deviation that its pixels are normalised by
    forward(x)          x (N, 3, S, S) → map (N, width, h, w), features (N, width)
    blocks()            its parts from the pixels on, as many as may be frozen
    repeated()          the parts that hold nearly all of its work: what is worth compiling

`TRUNKS` says how each name is built.
"""

import importlib.util
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from leukoscope.errors import ModelError
from leukoscope.models.bundle import bundled_names, find_model, part_of_model
from leukoscope.models.torch_checkpoints import load_exactly, load_hub_model, read_weights, tensors_only, without_prefix
from leukoscope.models.torch_conv_layouts import conv_state, is_torchvision_efficientnet
from leukoscope.models.torch_dinov2 import SHAPES, build_vit, load_vit

IMAGENET = ((0.485 * 255, 0.456 * 255, 0.406 * 255), (0.229 * 255, 0.224 * 255, 0.225 * 255))  # mean, deviation
LITE = ((127.0,) * 3, (128.0,) * 3)
LITES = {"efficientnet-lite0": 0, "efficientnet-lite2": 2}
TORCHVISION_B0 = "efficientnet-b0-torchvision"  # pads both sides alike; "efficientnet-b0" pads as TensorFlow does


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

    def repeated(self) -> list[nn.Module]:
        return [self.net]


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

    def repeated(self) -> list[nn.Module]:
        return list(self.net.encoder.layer)


class _PlainTrunk(_NormTrunk):
    """Layers one after the other, pooled by their mean."""

    pixel_scale = IMAGENET

    def __init__(self, layers: Iterable[nn.Module], *, norms: str) -> None:
        super().__init__()
        self.norms = norms
        self.net = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = self.net(x)
        return maps, maps.mean((2, 3))


class TinyTrunk(_PlainTrunk):
    """Two convolutions: for tests that are about the loop and not about the network."""

    width = 16

    def __init__(self, *, norms: str) -> None:
        first = (nn.Conv2d(3, 8, 5, stride=4, padding=2), nn.BatchNorm2d(8), nn.ReLU())
        super().__init__((*first, nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU()), norms=norms)

    def blocks(self) -> list[nn.Module]:
        return [self.net[:3], self.net[3:]]


class SmallTrunk(_PlainTrunk):
    """Seven plain convolutions, 0.6 million weights: enough for drawings, and trained in minutes from nothing."""

    width = 192

    def __init__(self, *, norms: str) -> None:
        shapes = ((3, 24, 2), (24, 48, 2), (48, 48, 1), (48, 96, 2), (96, 96, 1), (96, 192, 2), (192, 192, 1))
        super().__init__((_plain(*shape) for shape in shapes), norms=norms)

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


def _plain_trunk(kind: type, weights: str | None, *, size: int, norms: str) -> nn.Module:
    if weights:
        raise ModelError(f"the {kind.__name__.removesuffix('Trunk').lower()} network has no published weights")
    return kind(norms=norms)


def _lite(version: int, weights: str | None, *, size: int, norms: str) -> nn.Module:
    return LiteTrunk(version, weights, norms=norms)


def _conv(arch: str, weights: str | None, *, size: int, norms: str) -> nn.Module:
    require_transformers(arch)
    return ConvTrunk(arch, weights, norms=norms)


def _vit(arch: str, shape: str, weights: str | None, *, size: int, norms: str) -> nn.Module:
    require_transformers(arch)
    return VitTrunk(shape, weights, size=size)


def require_transformers(arch: str) -> None:
    """ModelError where the library of a network is not installed."""
    if importlib.util.find_spec("transformers") is None:
        raise ModelError(f"{arch} needs transformers, which is not installed: pip install 'leukoscope[study]'")


# name → (weights, *, size, norms) → trunk. To add a backbone: its trunk (here or in a file of its own) and a row.
TRUNKS: dict[str, Callable[..., nn.Module]] = {
    **{arch: partial(_lite, version) for arch, version in LITES.items()},
    **{arch: partial(_conv, arch) for arch in
       ("resnet50", "efficientnet-b0", TORCHVISION_B0, "tiny-resnet", "tiny-efficientnet")},
    **{f"{family}-{size}": partial(_vit, f"{family}-{size}", size)
       for family in ("dinobloom", "dinov2") for size in ("s", "b", "l", "g")},
    "tiny-vit": partial(_vit, "tiny-vit", "tiny"),
    "tiny-vit-swiglu": partial(_vit, "tiny-vit-swiglu", "tiny-swiglu"),
    "small": partial(_plain_trunk, SmallTrunk),
    "tiny": partial(_plain_trunk, TinyTrunk),
}  # fmt: skip
