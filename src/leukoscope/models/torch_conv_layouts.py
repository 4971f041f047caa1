"""Published layouts of ResNet-50 and EfficientNet-B0 under `transformers`' names.

  transformers   with or without the prefix "resnet." or "efficientnet."
  torchvision    ResNet-50: layer1.0.conv1.…; EfficientNet-B0: features.1.0.block.0.0.…
  lukemelas      EfficientNet-B0 (efficientnet-pytorch): _blocks.0._depthwise_conv.…
Heads are left out: what they tell apart is not what is to be learnt.
"""

import re

import torch

from leukoscope.models.torch_checkpoints import leave_out, tensors_only, without_prefix

HEADS = ("fc.", "_fc.", "classifier.")
_B0_BLOCKS = (1, 2, 2, 3, 3, 4, 1)  # of each stage
# Parts of a block as transformers calls them: convolution and normalisation.
_PARTS = {
    "expand": ("expansion.expand_conv", "expansion.expand_bn"),
    "depth": ("depthwise_conv.depthwise_conv", "depthwise_conv.depthwise_norm"),
    "squeeze": ("squeeze_excite.reduce", "squeeze_excite.expand"),
    "project": ("projection.project_conv", "projection.project_bn"),
}
_LUKEMELAS = {
    "_expand_conv": _PARTS["expand"][0],
    "_bn0": _PARTS["expand"][1],
    "_depthwise_conv": _PARTS["depth"][0],
    "_bn1": _PARTS["depth"][1],
    "_se_reduce": _PARTS["squeeze"][0],
    "_se_expand": _PARTS["squeeze"][1],
    "_project_conv": _PARTS["project"][0],
    "_bn2": _PARTS["project"][1],
}
_LUKEMELAS_OUTER = {
    "_conv_stem": "embeddings.convolution",
    "_bn0": "embeddings.batchnorm",
    "_conv_head": "encoder.top_conv",
    "_bn1": "encoder.top_bn",
}


def conv_state(state: dict, where: str) -> dict[str, torch.Tensor]:
    """A weights file's entries under `transformers`' names of the backbone; unknown names are left for
    `load_exactly` to tell."""
    state = leave_out(tensors_only(state, where), HEADS)
    if "layer1.0.conv1.weight" in state:
        return {_resnet_name(k): v for k, v in state.items()}
    if is_torchvision_efficientnet(state):
        return {_torchvision_name(k): v for k, v in state.items()}
    if "_conv_stem.weight" in state:
        return {_lukemelas_name(k): v for k, v in state.items()}
    for prefix in ("resnet.", "efficientnet."):
        state = without_prefix(state, prefix)
    return leave_out(state, HEADS)


def is_torchvision_efficientnet(state: dict) -> bool:
    """Whether the names are torchvision's of an EfficientNet."""
    return "features.1.0.block.0.0.weight" in state


def _torchvision_name(key: str) -> str:
    outer = re.fullmatch(r"features\.(0|8)\.([01])\.(\w+)", key)
    if outer:
        pair = (("embeddings.convolution", "embeddings.batchnorm"), ("encoder.top_conv", "encoder.top_bn"))
        return f"{pair[outer[1] == '8'][int(outer[2])]}.{outer[3]}"
    match = re.fullmatch(r"features\.([1-7])\.(\d+)\.block\.(\d)\.(0|1|fc1|fc2)\.(\w+)", key)
    if not match:
        return key
    stage, block, part = int(match[1]), int(match[2]), int(match[3])
    kinds = ("depth", "squeeze", "project") if stage == 1 else ("expand", "depth", "squeeze", "project")
    if part >= len(kinds) or (match[4] in ("fc1", "fc2")) != (kinds[part] == "squeeze"):
        return key
    place = _PARTS[kinds[part]][("0", "1").index(match[4]) if match[4] in "01" else ("fc1", "fc2").index(match[4])]
    return f"encoder.blocks.{sum(_B0_BLOCKS[: stage - 1]) + block}.{place}.{match[5]}"


def _lukemelas_name(key: str) -> str:
    part, _, rest = key.partition(".")
    if part in _LUKEMELAS_OUTER:
        return f"{_LUKEMELAS_OUTER[part]}.{rest}"
    match = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key)
    if not match or match[2] not in _LUKEMELAS:
        return key
    return f"encoder.blocks.{match[1]}.{_LUKEMELAS[match[2]]}.{match[3]}"


def _resnet_name(key: str) -> str:
    """torchvision's name of a ResNet entry as `transformers` calls it."""
    parts = key.split(".")
    kinds = {"conv": "convolution", "bn": "normalization"}
    if parts[0] in ("conv1", "bn1"):
        return f"embedder.embedder.{kinds[parts[0][:-1]]}.{parts[-1]}"
    if not parts[0].startswith("layer") or len(parts) < 4:
        return key
    layer = f"encoder.stages.{int(parts[0][5:]) - 1}.layers.{parts[1]}."
    if parts[2] == "downsample":
        return f"{layer}shortcut.{('convolution', 'normalization')[int(parts[3])]}.{parts[-1]}"
    kind, number = parts[2].rstrip("0123456789"), int(parts[2][-1])
    return f"{layer}layer.{number - 1}.{kinds.get(kind, kind)}.{parts[-1]}"
