"""DINOv2's vision transformer (patches of 14 px) and the published files that fit it: DINOv2, DinoBloom, timm's.

The network is `transformers`' Dinov2Model; the published files use DINOv2's own names, with query, key and value
fused, so the names are translated here. What each layout holds:
  DINOv2     a flat state; pos_embed (1, 1370, D), for 518 px; mask_token
  DinoBloom  {"teacher": state}; keys begin with "backbone."; "dino_head." and "ibot_head." are training heads;
             pos_embed (1, 257, D), for 224 px
  timm       a flat state (".dinobloom" on the hub); no mask_token; SwiGLU's w12 and w3 are called fc1 and fc2
Blocks are named blocks.7.… or, by networks that were trained in chunks, blocks.1.7.…
DINOv2: Oquab et al., 2023. DinoBloom: Koch et al., MICCAI 2024. Both Apache-2.0.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from leukoscope.errors import ModelError
from leukoscope.models.torch_checkpoints import (
    hub_file,
    leave_out,
    load_exactly,
    load_hub_model,
    read_weights,
    tensors_only,
    without_prefix,
)

PATCH = 14
HEADS = ("dino_head.", "ibot_head.")  # of DINO's training; nothing here uses them
_OFFSET = 0.1  # that DINOv2 adds to the side before it resizes position embeddings, in all its published models


@dataclass(frozen=True, slots=True)
class VitShape:
    """Width D, number of blocks, attention heads, and whether the feed-forward part is SwiGLU."""

    width: int
    depth: int
    heads: int
    swiglu: bool = False


SHAPES = {
    "s": VitShape(384, 12, 6),
    "b": VitShape(768, 12, 12),
    "l": VitShape(1024, 24, 16),
    "g": VitShape(1536, 40, 24, swiglu=True),
    "tiny": VitShape(32, 2, 2),  # for tests
    "tiny-swiglu": VitShape(32, 2, 2, swiglu=True),
}


def build_vit(shape: VitShape, *, size: int) -> nn.Module:
    """Dinov2Model with random weights for `size` px; its position embeddings are (1, 1 + (size / 14)², D)."""
    from transformers import Dinov2Config, Dinov2Model

    if size % PATCH:
        raise ModelError(f"a DINOv2 network sees patches of {PATCH} px: size must be a multiple of it, got {size}")
    config = Dinov2Config(
        hidden_size=shape.width,
        num_hidden_layers=shape.depth,
        num_attention_heads=shape.heads,
        use_swiglu_ffn=shape.swiglu,
        use_mask_token=False,
        image_size=size,
        patch_size=PATCH,
        layerscale_value=1.0,
    )
    return Dinov2Model(config)


def load_vit(model: nn.Module, shape: VitShape, weights: str, *, size: int) -> None:
    """Fill `build_vit`'s network with published weights: a file, a folder or a hub name."""
    path = Path(weights)
    if path.is_file():
        state = convert_published(read_weights(path), shape, size=size, where=str(path))
    elif weights.endswith(".dinobloom"):
        file = hub_file(weights, "model.safetensors")
        state = convert_published(read_weights(file), shape, size=size, where=weights)
    else:
        from transformers import Dinov2Model

        state = load_hub_model(Dinov2Model, weights).state_dict()
        state.pop("embeddings.mask_token", None)
        name = "embeddings.position_embeddings"
        state[name] = resize_positions(state[name], size // PATCH, where=weights)
    load_exactly(model, state, weights)


def convert_published(checkpoint: dict, shape: VitShape, *, size: int, where: str) -> dict[str, torch.Tensor]:
    """A published checkpoint under `transformers`' names, with position embeddings for `size` px.

    Every key is translated, or is one of those known to be left out (HEADS, mask_token); ModelError names the others.
    """
    state = checkpoint["teacher"] if isinstance(checkpoint.get("teacher"), dict) else checkpoint
    state = without_prefix(leave_out(tensors_only(state, where), HEADS), "backbone.")
    state = leave_out(state, HEADS)
    state.pop("mask_token", None)
    if "register_tokens" in state:
        raise ModelError(f"{where} has register tokens: those DINOv2 variants are not read; take the one without")
    _check_width(state, shape, where)
    converted: dict[str, torch.Tensor] = {}
    unknown = []
    for key, value in state.items():
        parts = _translate(key, value, shape)
        if parts is None:
            unknown.append(key)
        else:
            converted.update(parts)
    if unknown:
        shown = ", ".join(sorted(unknown)[:6])
        raise ModelError(f"{where} has {len(unknown)} keys that no DINOv2 layout has: {shown}")
    name = "embeddings.position_embeddings"
    if name in converted:
        converted[name] = resize_positions(converted[name], size // PATCH, where=where)
    return converted


def resize_positions(positions: torch.Tensor, side: int, *, where: str) -> torch.Tensor:
    """Position embeddings (1, 1 + M², D) for side x side patches, the class token's kept as it is.

    As DINOv2's own code does it: bicubic, with 0.1 added to the side when the scale is computed.
    """
    known = math.isqrt(positions.shape[1] - 1)
    if positions.ndim != 3 or known**2 != positions.shape[1] - 1:
        raise ModelError(f"{where}: position embeddings must be (1, 1 + M², D), got {tuple(positions.shape)}")
    if known == side:
        return positions
    grid = positions[:, 1:].float().reshape(1, known, known, -1).permute(0, 3, 1, 2)  # (1, D, M, M)
    scale = (side + _OFFSET) / known
    grid = F.interpolate(grid, scale_factor=(scale, scale), mode="bicubic")
    return torch.cat([positions[:, :1], grid.permute(0, 2, 3, 1).reshape(1, side * side, -1)], 1)


def _check_width(state: dict[str, torch.Tensor], shape: VitShape, where: str) -> None:
    if "pos_embed" not in state or "cls_token" not in state:
        have = ", ".join(sorted(state)[:4]) or "nothing"
        raise ModelError(f"{where} is not a DINOv2 checkpoint: it has no pos_embed and cls_token, but {have} …")
    width = state["cls_token"].shape[-1]
    if width != shape.width:
        fits = [n for n, s in SHAPES.items() if s.width == width]
        fit = ", ".join(fits) or "that fits"
        raise ModelError(f"{where} is {width} wide, this network {shape.width}: choose the arch of size {fit}")


def _translate(key: str, value: torch.Tensor, shape: VitShape) -> dict[str, torch.Tensor] | None:
    """One published entry as one or several of `transformers`' (names without prefix); None where it is unknown."""
    outer = {
        "cls_token": "embeddings.cls_token",
        "pos_embed": "embeddings.position_embeddings",
        "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
        "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
        "norm.weight": "layernorm.weight",
        "norm.bias": "layernorm.bias",
    }
    if key in outer:
        return {outer[key]: value}
    match = re.fullmatch(r"blocks\.(?:\d+\.)?(\d+)\.(\w+)\.(.+)", key)
    if not match or int(match[1]) >= shape.depth:
        return None
    layer, part, rest = f"encoder.layer.{match[1]}.", match[2], match[3]
    if part in ("norm1", "norm2") and rest in ("weight", "bias"):
        return {f"{layer}{part}.{rest}": value}
    if part in ("ls1", "ls2") and rest == "gamma":
        return {f"{layer}layer_scale{part[-1]}.lambda1": value}
    module, _, kind = rest.rpartition(".")
    if kind not in ("weight", "bias"):
        return None
    if part == "attn" and module == "qkv":
        names = ("q_proj", "k_proj", "v_proj")
        return {f"{layer}attention.{n}.{kind}": v for n, v in zip(names, value.chunk(3), strict=True)}
    if part == "attn" and module == "proj":
        return {f"{layer}attention.o_proj.{kind}": value}
    if part == "mlp" and shape.swiglu and module in ("w12", "fc1"):
        names = ("gate_proj", "up_proj")
        return {f"{layer}mlp.{n}.{kind}": v for n, v in zip(names, value.chunk(2), strict=True)}
    if part == "mlp" and shape.swiglu and module in ("w3", "fc2"):
        return {f"{layer}mlp.down_proj.{kind}": value}
    if part == "mlp" and not shape.swiglu and module in ("fc1", "fc2"):
        return {f"{layer}mlp.{module}.{kind}": value}
    return None
