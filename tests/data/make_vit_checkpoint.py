"""Random checkpoints in the published layouts of DINOv2's transformer, of any width."""

from __future__ import annotations

import torch


def make_dinov2_state(
    *, width: int, depth: int, side: int, swiglu: bool = False, mask_token: bool = True, seed: int = 0
) -> dict[str, torch.Tensor]:
    """DINOv2's own names; position embeddings for side x side patches of 14 px."""
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=rng) * 0.2

    state = {
        "cls_token": draw(1, 1, width),
        "pos_embed": draw(1, 1 + side**2, width),
        "patch_embed.proj.weight": draw(width, 3, 14, 14) * 0.2,
        "patch_embed.proj.bias": draw(width),
        "norm.weight": 1 + draw(width),
        "norm.bias": draw(width),
    }
    if mask_token:
        state["mask_token"] = draw(1, width)
    hidden = 4 * width
    for i in range(depth):
        block = {
            "norm1.weight": 1 + draw(width), "norm1.bias": draw(width),
            "attn.qkv.weight": draw(3 * width, width), "attn.qkv.bias": draw(3 * width),
            "attn.proj.weight": draw(width, width), "attn.proj.bias": draw(width),
            "ls1.gamma": 1 + draw(width), "ls2.gamma": 1 + draw(width),
            "norm2.weight": 1 + draw(width), "norm2.bias": draw(width),
        }  # fmt: skip
        if swiglu:
            inner = (int(hidden * 2 / 3) + 7) // 8 * 8
            block |= {"mlp.w12.weight": draw(2 * inner, width), "mlp.w12.bias": draw(2 * inner)}
            block |= {"mlp.w3.weight": draw(width, inner), "mlp.w3.bias": draw(width)}
        else:
            block |= {"mlp.fc1.weight": draw(hidden, width), "mlp.fc1.bias": draw(hidden)}
            block |= {"mlp.fc2.weight": draw(width, hidden), "mlp.fc2.bias": draw(width)}
        state |= {f"blocks.{i}.{k}": v for k, v in block.items()}
    return state


def as_dinobloom(state: dict[str, torch.Tensor]) -> dict:
    """As DinoBloom's files wrap it: a teacher with training heads."""
    teacher = {f"backbone.{k}": v for k, v in state.items()}
    heads = {"dino_head.mlp.0.weight": torch.zeros(4, 4), "ibot_head.last_layer.weight_v": torch.zeros(4, 4)}
    return {"teacher": teacher | heads}


def as_chunked(state: dict[str, torch.Tensor], chunk: int) -> dict[str, torch.Tensor]:
    """Blocks under the names that a network trained in chunks has: blocks.CHUNK.NUMBER."""
    renamed = {}
    for key, value in state.items():
        parts = key.split(".")
        if parts[0] == "blocks":
            parts.insert(1, str(int(parts[1]) // chunk))
        renamed[".".join(parts)] = value
    return renamed


def as_timm(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """timm's layout: no mask token, and SwiGLU's layers called fc1 and fc2."""
    return {
        k.replace("mlp.w12", "mlp.fc1").replace("mlp.w3", "mlp.fc2"): v for k, v in state.items() if k != "mask_token"
    }
