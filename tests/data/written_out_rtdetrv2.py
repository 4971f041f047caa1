"""RT-DETRv2 and DEIM-RT-DETRv2 written out from the papers and the authors' layout, without transformers or our tables.

`random_state(size)` makes a file's tensors by the authors' names; `run(state, size, pixels)` computes logits and boxes
from them with torch's functions alone. Sizes: depths of the ResNet-vd, its block, channels of the three maps, width of
the encoder's blocks, decoder layers, the layer whose answer counts, and whether DEIM changed the heads (a three-layer
query embedding, SiLU).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

WIDTH, HEADS, POINTS, LEVELS, QUERIES = 256, 8, 4, 3, 300


@dataclass(frozen=True)
class Size:
    depths: tuple[int, ...]
    bottleneck: bool
    expansion: float
    layers: int
    answer: int  # the decoder layer whose answer counts, from 0
    deim: bool = False

    @property
    def channels(self) -> tuple[int, ...]:
        return (512, 1024, 2048) if self.bottleneck else (128, 256, 512)


SIZES = {
    "r18": Size((2, 2, 2, 2), False, 0.5, 3, 2),
    "r34": Size((3, 4, 6, 3), False, 0.5, 4, 3),
    "r50m": Size((3, 4, 6, 3), True, 0.5, 6, 2),
    "r50": Size((3, 4, 6, 3), True, 1.0, 6, 5),
}
SIZES |= {f"deim-{name}": replace(size, deim=True) for name, size in SIZES.items()}


def random_state(size: Size, *, n_classes: int, seed: int = 0) -> dict[str, Tensor]:
    """Tensors by the authors' names, float32, drawn so that signals keep about their size through the layers."""
    rng, state = torch.Generator().manual_seed(seed), {}

    def normal(name, *shape, scale=None):
        fan = math.prod(shape[1:]) if len(shape) > 1 else 1
        state[name] = torch.randn(shape, generator=rng) * (scale or (2 / fan) ** 0.5)

    def conv(name, n_in, n_out, kernel):
        normal(f"{name}.conv.weight", n_out, n_in, kernel, kernel)
        normal(f"{name}.norm.weight", n_out, scale=0.1)
        state[f"{name}.norm.weight"] += 0.7
        normal(f"{name}.norm.bias", n_out, scale=0.1)
        normal(f"{name}.norm.running_mean", n_out, scale=0.1)
        state[f"{name}.norm.running_var"] = torch.rand(n_out, generator=rng) + 0.5
        state[f"{name}.norm.num_batches_tracked"] = torch.tensor(7)

    def linear(name, n_in, n_out):
        normal(f"{name}.weight", n_out, n_in, scale=n_in**-0.5)
        normal(f"{name}.bias", n_out, scale=0.1)

    def norm(name):
        normal(f"{name}.weight", WIDTH, scale=0.1)
        state[f"{name}.weight"] += 1
        normal(f"{name}.bias", WIDTH, scale=0.1)

    def attention(name):
        normal(f"{name}.in_proj_weight", 3 * WIDTH, WIDTH, scale=WIDTH**-0.5)
        normal(f"{name}.in_proj_bias", 3 * WIDTH, scale=0.1)
        linear(f"{name}.out_proj", WIDTH, WIDTH)

    def head(name, sizes):
        for i, (n_in, n_out) in enumerate(zip(sizes, sizes[1:], strict=False)):
            linear(f"{name}.layers.{i}", n_in, n_out)

    for i, (n_in, n_out) in enumerate(((3, 32), (32, 32), (32, 64)), 1):
        conv(f"backbone.conv1.conv1_{i}", n_in, n_out, 3)
    n_in = 64
    for stage, depth in enumerate(size.depths):
        inner = 64 * 2**stage
        n_out = inner * 4 if size.bottleneck else inner
        for block in range(depth):
            name = f"backbone.res_layers.{stage}.blocks.{block}"
            parts = ((n_in, inner, 1), (inner, inner, 3), (inner, n_out, 1)) if size.bottleneck else (
                (n_in, inner, 3), (inner, inner, 3))  # fmt: skip
            for letter, part in zip("abc", parts, strict=False):
                conv(f"{name}.branch2{letter}", *part)
            if block == 0:  # a pooled shortcut's convolution lies one level deeper
                conv(f"{name}.short" if stage == 0 else f"{name}.short.conv", n_in, n_out, 1)
            n_in = n_out
    inner = int(WIDTH * size.expansion)
    for i, channels in enumerate(size.channels):
        conv(f"encoder.input_proj.{i}", channels, WIDTH, 1)
        conv(f"decoder.input_proj.{i}", WIDTH, WIDTH, 1)
    attention("encoder.encoder.0.layers.0.self_attn")
    linear("encoder.encoder.0.layers.0.linear1", WIDTH, 1024)
    linear("encoder.encoder.0.layers.0.linear2", 1024, WIDTH)
    norm("encoder.encoder.0.layers.0.norm1"), norm("encoder.encoder.0.layers.0.norm2")
    for i in range(2):
        conv(f"encoder.lateral_convs.{i}", WIDTH, WIDTH, 1)
        conv(f"encoder.downsample_convs.{i}", WIDTH, WIDTH, 3)
        for kind in ("fpn_blocks", "pan_blocks"):
            name = f"encoder.{kind}.{i}"
            conv(f"{name}.conv1", 2 * WIDTH, inner, 1), conv(f"{name}.conv2", 2 * WIDTH, inner, 1)
            for j in range(3):
                conv(f"{name}.bottlenecks.{j}.conv1", inner, inner, 3)
                conv(f"{name}.bottlenecks.{j}.conv2", inner, inner, 1)
            if inner != WIDTH:
                conv(f"{name}.conv3", inner, WIDTH, 1)
    for i in range(size.layers):
        name = f"decoder.decoder.layers.{i}"
        attention(f"{name}.self_attn")
        linear(f"{name}.cross_attn.sampling_offsets", WIDTH, HEADS * LEVELS * POINTS * 2)
        linear(f"{name}.cross_attn.attention_weights", WIDTH, HEADS * LEVELS * POINTS)
        linear(f"{name}.cross_attn.value_proj", WIDTH, WIDTH), linear(f"{name}.cross_attn.output_proj", WIDTH, WIDTH)
        state[f"{name}.cross_attn.num_points_scale"] = torch.full((LEVELS * POINTS,), 1 / POINTS)
        linear(f"{name}.linear1", WIDTH, 1024), linear(f"{name}.linear2", 1024, WIDTH)
        norm(f"{name}.norm1"), norm(f"{name}.norm2"), norm(f"{name}.norm3")
        linear(f"decoder.dec_score_head.{i}", WIDTH, n_classes)
        head(f"decoder.dec_bbox_head.{i}", (WIDTH, WIDTH, WIDTH, 4))
    linear("decoder.enc_output.proj", WIDTH, WIDTH), norm("decoder.enc_output.norm")
    linear("decoder.enc_score_head", WIDTH, n_classes)
    head("decoder.enc_bbox_head", (WIDTH, WIDTH, WIDTH, 4))
    head("decoder.query_pos_head", (4, WIDTH, WIDTH, WIDTH) if size.deim else (4, 2 * WIDTH, WIDTH))
    normal("decoder.denoising_class_embed.weight", n_classes + 1, WIDTH, scale=1.0)
    state["decoder.anchors"], state["decoder.valid_mask"] = torch.zeros(1, 8400, 4), torch.ones(1, 8400, 1).bool()
    return state


def run(state: dict[str, Tensor], size: Size, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (B, 300, C) and boxes (B, 300, 4), centre and size in shares, of pictures (B, 3, S, S) in [0, 1]."""
    p = {k: v.to(pixels.dtype) if v.is_floating_point() else v for k, v in state.items()}
    memory, shapes = _maps_as_tokens(p, _encoder(p, _backbone(p, size, pixels)))
    query, boxes = _first_queries(p, size, memory, shapes)
    hidden_act = F.silu if size.deim else F.relu
    for i in range(size.answer + 1):
        name = f"decoder.decoder.layers.{i}"
        place = _head(p, "decoder.query_pos_head", boxes, size)
        mixed = _attend(p, f"{name}.self_attn", query + place, query)
        query = _norm(p, f"{name}.norm1", query + mixed)
        looked = _look(p, f"{name}.cross_attn", query + place, boxes, memory, shapes)
        query = _norm(p, f"{name}.norm2", query + looked)
        wide = hidden_act(_linear(p, f"{name}.linear1", query))
        query = _norm(p, f"{name}.norm3", query + _linear(p, f"{name}.linear2", wide))
        odds = boxes.clamp(1e-5, 1) / (1 - boxes).clamp(min=1e-5)
        boxes = torch.sigmoid(_head(p, f"decoder.dec_bbox_head.{i}", query, size) + odds.log())
    return _linear(p, f"decoder.dec_score_head.{size.answer}", query), boxes


def _conv(p: dict, name: str, x: Tensor, *, stride: int = 1, act=None) -> Tensor:
    """Convolution, batch normalisation by the stored statistics, activation."""
    weight = p[f"{name}.conv.weight"]
    x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
    mean, var, scale, shift = (p[f"{name}.norm.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
    factor = scale / (var + 1e-5).sqrt()
    x = x * factor.view(1, -1, 1, 1) + (shift - mean * factor).view(1, -1, 1, 1)
    return act(x) if act else x


def _linear(p: dict, name: str, x: Tensor) -> Tensor:
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def _norm(p: dict, name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, (WIDTH,), p[f"{name}.weight"], p[f"{name}.bias"], 1e-5)


def _head(p: dict, name: str, x: Tensor, size: Size) -> Tensor:
    """Linear layers with an activation between them."""
    last = max(i for i in range(4) if f"{name}.layers.{i}.weight" in p)
    for i in range(last):
        x = (F.silu if size.deim else F.relu)(_linear(p, f"{name}.layers.{i}", x))
    return _linear(p, f"{name}.layers.{last}", x)


def _attend(p: dict, name: str, asked: Tensor, told: Tensor) -> Tensor:
    """Attention of 8 heads: queries and keys of `asked`, values of `told`."""
    weights, biases = p[f"{name}.in_proj_weight"].chunk(3), p[f"{name}.in_proj_bias"].chunk(3)
    q, k, v = (x @ w.T + b for x, w, b in zip((asked, asked, told), weights, biases, strict=True))
    q, k, v = (x.unflatten(2, (HEADS, -1)).transpose(1, 2) for x in (q, k, v))
    shares = (q @ k.transpose(2, 3) / (WIDTH // HEADS) ** 0.5).softmax(-1)
    return _linear(p, f"{name}.out_proj", (shares @ v).transpose(1, 2).flatten(2))


def _backbone(p: dict, size: Size, x: Tensor) -> list[Tensor]:
    for i in (1, 2, 3):
        x = _conv(p, f"backbone.conv1.conv1_{i}", x, stride=2 if i == 1 else 1, act=F.relu)
    x = F.max_pool2d(x, 3, stride=2, padding=1)
    maps = []
    for stage, depth in enumerate(size.depths):
        for block in range(depth):
            name, stride = f"backbone.res_layers.{stage}.blocks.{block}", 2 if stage and not block else 1
            if size.bottleneck:
                y = _conv(p, f"{name}.branch2a", x, act=F.relu)
                y = _conv(p, f"{name}.branch2b", y, stride=stride, act=F.relu)
                y = _conv(p, f"{name}.branch2c", y)
            else:
                y = _conv(p, f"{name}.branch2a", x, stride=stride, act=F.relu)
                y = _conv(p, f"{name}.branch2b", y)
            if not block and stage:
                x = _conv(p, f"{name}.short.conv", F.avg_pool2d(x, 2, 2, ceil_mode=True))
            elif not block:
                x = _conv(p, f"{name}.short", x)
            x = F.relu(x + y)
        maps.append(x)
    return maps[1:]


def _encoder(p: dict, maps: list[Tensor]) -> list[Tensor]:
    maps = [_conv(p, f"encoder.input_proj.{i}", x) for i, x in enumerate(maps)]
    name, (_, _, side, _) = "encoder.encoder.0.layers.0", maps[2].shape
    tokens = maps[2].flatten(2).transpose(1, 2)
    place = _sines(side).to(tokens.dtype)
    tokens = _norm(p, f"{name}.norm1", tokens + _attend(p, f"{name}.self_attn", tokens + place, tokens))
    wide = _linear(p, f"{name}.linear2", F.gelu(_linear(p, f"{name}.linear1", tokens)))
    maps[2] = _norm(p, f"{name}.norm2", tokens + wide).transpose(1, 2).unflatten(2, (side, side))
    tops = [maps[2]]
    for i, low in enumerate((maps[1], maps[0])):
        tops[0] = _conv(p, f"encoder.lateral_convs.{i}", tops[0], act=F.silu)
        doubled = tops[0].repeat_interleave(2, 2).repeat_interleave(2, 3)
        tops.insert(0, _blocks(p, f"encoder.fpn_blocks.{i}", torch.cat([doubled, low], 1)))
    out = [tops[0]]
    for i in range(2):
        down = _conv(p, f"encoder.downsample_convs.{i}", out[-1], stride=2, act=F.silu)
        out.append(_blocks(p, f"encoder.pan_blocks.{i}", torch.cat([down, tops[i + 1]], 1)))
    return out


def _blocks(p: dict, name: str, x: Tensor) -> Tensor:
    beside, x = _conv(p, f"{name}.conv2", x, act=F.silu), _conv(p, f"{name}.conv1", x, act=F.silu)
    for j in range(3):
        block = f"{name}.bottlenecks.{j}"
        x = F.silu(_conv(p, f"{block}.conv1", x) + _conv(p, f"{block}.conv2", x))
    x = x + beside
    return _conv(p, f"{name}.conv3", x, act=F.silu) if f"{name}.conv3.conv.weight" in p else x


def _sines(side: int) -> Tensor:
    """(1, side², 256): sine and cosine of the first index, then of the second."""
    waves = 10000.0 ** -(torch.arange(WIDTH // 4, dtype=torch.float64) / (WIDTH // 4))
    first, second = torch.meshgrid(*2 * [torch.arange(side, dtype=torch.float64)], indexing="ij")
    a, b = (x.reshape(-1, 1) * waves for x in (first, second))
    return torch.cat([a.sin(), a.cos(), b.sin(), b.cos()], 1)[None]


def _maps_as_tokens(p: dict, maps: list[Tensor]) -> tuple[Tensor, list[int]]:
    maps = [_conv(p, f"decoder.input_proj.{i}", x) for i, x in enumerate(maps)]
    return torch.cat([x.flatten(2).transpose(1, 2) for x in maps], 1), [x.shape[-1] for x in maps]


def _first_queries(p: dict, size: Size, memory: Tensor, shapes: list[int]) -> tuple[Tensor, Tensor]:
    """The 300 best tokens and their boxes: an anchor of 5, 10 or 20 % of the picture on each, moved by a head."""
    anchors = []
    for level, side in enumerate(shapes):
        middle = (torch.arange(side, dtype=memory.dtype) + 0.5) / side
        y, x = torch.meshgrid(middle, middle, indexing="ij")
        anchors.append(torch.stack([x, y, *2 * [torch.full_like(x, 0.05 * 2**level)]], -1).reshape(-1, 4))
    anchors = torch.cat(anchors)
    valid = ((anchors > 0.01) & (anchors < 0.99)).all(1, keepdim=True)
    tokens = _norm(p, "decoder.enc_output.norm", _linear(p, "decoder.enc_output.proj", memory * valid))
    best = _linear(p, "decoder.enc_score_head", tokens).amax(2).topk(QUERIES).indices
    moved = _head(p, "decoder.enc_bbox_head", tokens, size) + (anchors / (1 - anchors)).log()
    boxes = torch.where(valid, moved.sigmoid(), torch.ones(()).to(moved))
    return tuple(x.gather(1, best[..., None].expand(-1, -1, x.shape[2])) for x in (tokens, boxes))


def _look(p: dict, name: str, query: Tensor, boxes: Tensor, memory: Tensor, shapes: list[int]) -> Tensor:
    """Each head's values at four points a level, offsets in shares of half the box, weighted."""
    (b, n, _), points = query.shape, LEVELS * POINTS
    offsets = _linear(p, f"{name}.sampling_offsets", query).view(b, n, HEADS, points, 2)
    shares = _linear(p, f"{name}.attention_weights", query).view(b, n, HEADS, points).softmax(-1)
    at = boxes[:, :, None, None, :2] + offsets / POINTS * boxes[:, :, None, None, 2:] * 0.5
    values = _linear(p, f"{name}.value_proj", memory).split([s * s for s in shapes], 1)
    found = []
    for level, (value, side) in enumerate(zip(values, shapes, strict=True)):
        maps = value.transpose(1, 2).reshape(b * HEADS, WIDTH // HEADS, side, side)
        where = at[..., level * POINTS : (level + 1) * POINTS, :].transpose(1, 2).flatten(0, 1)
        found.append(F.grid_sample(maps, where * 2 - 1, mode="bilinear", padding_mode="zeros", align_corners=False))
    seen = torch.cat(found, 3).view(b, HEADS, WIDTH // HEADS, n, points)
    mixed = torch.einsum("bhcnp,bnhp->bnhc", seen, shares).flatten(2)
    return _linear(p, f"{name}.output_proj", mixed)
