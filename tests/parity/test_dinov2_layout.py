"""Features of loaded DINOv2 and DinoBloom files equal those of the published layout, computed here step by step."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="needs the extra: pip install '.[study]'")
pytest.importorskip("transformers", reason="needs the extra: pip install '.[study]'")

import torch.nn.functional as F  # noqa: E402
from data.make_vit_checkpoint import as_chunked, as_dinobloom, as_timm, make_dinov2_state  # noqa: E402

from leukoscope.errors import ModelError  # noqa: E402
from leukoscope.models.torch_backbones import build_network  # noqa: E402

WIDTH, DEPTH, HEADS = 32, 2, 2  # of tiny-vit and tiny-vit-swiglu


def reference_tokens(state: dict, pixels: torch.Tensor) -> torch.Tensor:
    """Normalised tokens (N, 1 + M², D) as facebookresearch/dinov2 computes them, fused qkv and all.

    pixels (N, 3, S, S), already normalised.
    """
    side = pixels.shape[-1] // 14
    x = F.conv2d(pixels, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=14)
    x = torch.cat([state["cls_token"].expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], 1)
    positions = state["pos_embed"]
    n = positions.shape[1] - 1
    if n != side * side:
        grid = positions[:, 1:].reshape(1, math.isqrt(n), math.isqrt(n), -1).permute(0, 3, 1, 2)
        scale = (side + 0.1) / math.sqrt(n)
        grid = F.interpolate(grid, scale_factor=(scale, scale), mode="bicubic")
        positions = torch.cat([positions[:, :1], grid.permute(0, 2, 3, 1).reshape(1, side * side, -1)], 1)
    x = x + positions
    for i in range(DEPTH):
        b = {k.removeprefix(f"blocks.{i}."): v for k, v in state.items() if k.startswith(f"blocks.{i}.")}
        x = x + b["ls1.gamma"] * _attention(F.layer_norm(x, (WIDTH,), b["norm1.weight"], b["norm1.bias"], 1e-6), b)
        h = F.layer_norm(x, (WIDTH,), b["norm2.weight"], b["norm2.bias"], 1e-6)
        if "mlp.w12.weight" in b:
            first, second = F.linear(h, b["mlp.w12.weight"], b["mlp.w12.bias"]).chunk(2, -1)
            h = F.linear(F.silu(first) * second, b["mlp.w3.weight"], b["mlp.w3.bias"])
        else:
            h = F.gelu(F.linear(h, b["mlp.fc1.weight"], b["mlp.fc1.bias"]))
            h = F.linear(h, b["mlp.fc2.weight"], b["mlp.fc2.bias"])
        x = x + b["ls2.gamma"] * h
    return F.layer_norm(x, (WIDTH,), state["norm.weight"], state["norm.bias"], 1e-6)


def _attention(h: torch.Tensor, b: dict) -> torch.Tensor:
    n, length, _ = h.shape
    qkv = F.linear(h, b["attn.qkv.weight"], b["attn.qkv.bias"])
    q, k, v = qkv.reshape(n, length, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
    weights = (q * (WIDTH // HEADS) ** -0.5 @ k.transpose(-2, -1)).softmax(-1)
    mixed = (weights @ v).transpose(1, 2).reshape(n, length, WIDTH)
    return F.linear(mixed, b["attn.proj.weight"], b["attn.proj.bias"])


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return ((pixels.float() / 255 - mean) / std).permute(0, 3, 1, 2)


LAYOUTS = {
    "dinov2, resized from 518 px": (37, lambda s: s, 56),
    "dinobloom, as it is for 224 px": (16, as_dinobloom, 224),
    "dinobloom, resized": (16, as_dinobloom, 56),
    "chunked": (4, lambda s: as_chunked(s, 1), 56),
    "timm": (4, as_timm, 56),
}


@pytest.mark.parametrize("swiglu", [False, True], ids=["mlp", "swiglu"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_features_equal_those_of_the_published_layout(layout, swiglu, tmp_path):
    side, wrap, size = LAYOUTS[layout]
    state = make_dinov2_state(width=WIDTH, depth=DEPTH, side=side, swiglu=swiglu)
    torch.save(wrap(state), tmp_path / "weights.pth")
    arch = "tiny-vit-swiglu" if swiglu else "tiny-vit"
    network = build_network(arch, 3, weights=str(tmp_path / "weights.pth"), size=size).eval()
    pixels = torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = reference_tokens(state, normalised(pixels))
        features, maps = network.features(pixels), network.feature_map(pixels)
    assert (features - expected[:, 0]).abs().max() < 1e-4
    assert (maps.flatten(2).transpose(1, 2) - expected[:, 1:]).abs().max() < 1e-4
    assert expected[:, 0].std() > 0.1  # the comparison is of something


def load(state: dict, tmp_path, arch: str = "tiny-vit"):
    torch.save(state, tmp_path / "weights.pth")
    return build_network(arch, 3, weights=str(tmp_path / "weights.pth"), size=56)


def state(**changes) -> dict:
    return make_dinov2_state(**({"width": WIDTH, "depth": DEPTH, "side": 4} | changes))


def test_every_key_is_accounted_for(tmp_path):
    with pytest.raises(ModelError, match="no DINOv2 layout has: blocks.0.attn.extra.weight"):
        load(state() | {"blocks.0.attn.extra.weight": torch.zeros(1)}, tmp_path)
    short = state()
    del short["blocks.1.ls2.gamma"]
    with pytest.raises(ModelError, match="encoder.layer.1.layer_scale2.lambda1"):
        load(short, tmp_path)
    with pytest.raises(ModelError, match="14 keys.*blocks.2.attn"):  # a block more than the network has
        load(state(depth=3), tmp_path)


def test_a_file_of_another_size_is_refused_by_name(tmp_path):
    with pytest.raises(ModelError, match="384 wide, this network 32: choose the arch of size s"):
        load(state(width=384, depth=1), tmp_path)
    with pytest.raises(ModelError, match="w12"):
        load(state(swiglu=True), tmp_path)
    with pytest.raises(ModelError, match="register"):
        load(state() | {"register_tokens": torch.zeros(1, 4, WIDTH)}, tmp_path)
    with pytest.raises(ModelError, match="not a DINOv2 checkpoint"):
        load({"conv1.weight": torch.zeros(2, 2)}, tmp_path)


def test_code_in_a_file_is_never_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"teacher": Bomb()}, tmp_path / "bomb.pth")
    with pytest.raises(ModelError, match="plain types only"):
        build_network("tiny-vit", 3, weights=str(tmp_path / "bomb.pth"), size=56)
    assert not (tmp_path / "ran").exists()


def test_safetensors_load_too(tmp_path):
    from safetensors.torch import save_file

    save_file(as_timm(state()), tmp_path / "model.safetensors")
    network = build_network("tiny-vit", 3, weights=str(tmp_path / "model.safetensors"), size=56)
    assert torch.equal(network.trunk.net.embeddings.cls_token, state()["cls_token"])
