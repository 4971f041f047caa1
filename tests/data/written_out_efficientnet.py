"""EfficientNet-B0 (Tan and Le 2019) written out, from tensors by torchvision's names or by lukemelas'.

The two differ in more than names. torchvision pads both sides alike and adds 1e-5 to variances; lukemelas keeps
TensorFlow's ways: what is missing is padded, more of it right and below, and variances get 1e-3.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Seven stages: blocks, expansion, channels, kernel, stride of the first block.
STAGES = ((1, 1, 16, 3, 1), (2, 6, 24, 3, 2), (2, 6, 40, 5, 2), (3, 6, 80, 3, 2), (3, 6, 112, 5, 1), (4, 6, 192, 5, 2),
          (1, 6, 320, 3, 1))  # fmt: skip
LAYOUTS = ("torchvision", "lukemelas")


def names(layout: str) -> dict[str, dict[str, str]]:
    """The published names of the parts of each block, of stem and of head: convolution and normalisation."""
    if layout == "lukemelas":
        return {
            "stem": {"conv": "_conv_stem", "norm": "_bn0"},
            "head": {"conv": "_conv_head", "norm": "_bn1"},
            "expand": {"conv": "_expand_conv", "norm": "_bn0"},
            "depth": {"conv": "_depthwise_conv", "norm": "_bn1"},
            "squeeze": {"reduce": "_se_reduce", "expand": "_se_expand"},
            "project": {"conv": "_project_conv", "norm": "_bn2"},
        }
    return {
        "stem": {"conv": "features.0.0", "norm": "features.0.1"},
        "head": {"conv": "features.8.0", "norm": "features.8.1"},
    }


def blocks(layout: str) -> list[dict]:
    """Every block: where each of its parts stands, its channels, kernel and stride."""
    found, before = [], 32
    for stage, (n, expansion, channels, kernel, stride) in enumerate(STAGES, 1):
        for i in range(n):
            wide, shift = before * expansion, 0 if expansion > 1 else -1
            if layout == "torchvision":
                at = f"features.{stage}.{i}.block"
                place = {
                    "expand": (f"{at}.0.0", f"{at}.0.1"), "depth": (f"{at}.{1 + shift}.0", f"{at}.{1 + shift}.1"),
                    "squeeze": (f"{at}.{2 + shift}.fc1", f"{at}.{2 + shift}.fc2"),
                    "project": (f"{at}.{3 + shift}.0", f"{at}.{3 + shift}.1"),
                }  # fmt: skip
            else:
                at = f"_blocks.{len(found)}"
                place = {k: tuple(f"{at}.{v}" for v in part.values()) for k, part in names(layout).items()}
            found.append({"at": place, "in": before, "wide": wide, "out": channels, "kernel": kernel,
                          "stride": stride if not i else 1})  # fmt: skip
            before = channels
    return found


def random_state(layout: str, seed: int = 0) -> dict[str, Tensor]:
    """Tensors by a layout's names, with a head for 5 classes."""
    rng, state = torch.Generator().manual_seed(seed), {}

    def conv(name, n_out, n_in, kernel, *, bias=False):
        state[f"{name}.weight"] = torch.randn(n_out, n_in, kernel, kernel, generator=rng) * (n_in * kernel**2) ** -0.5
        if bias:
            state[f"{name}.bias"] = torch.randn(n_out, generator=rng) * 0.1

    def norm(name, n):
        state[f"{name}.weight"] = torch.rand(n, generator=rng) + 0.8
        state[f"{name}.bias"] = torch.randn(n, generator=rng) * 0.1
        state[f"{name}.running_mean"] = torch.randn(n, generator=rng) * 0.1
        state[f"{name}.running_var"] = torch.rand(n, generator=rng) * 0.5 + 0.01  # small: the added constant is seen
        state[f"{name}.num_batches_tracked"] = torch.tensor(3)

    outer = names(layout)
    conv(outer["stem"]["conv"], 32, 3, 3), norm(outer["stem"]["norm"], 32)
    for block in blocks(layout):
        at, squeezed = block["at"], max(1, block["in"] // 4)
        if block["wide"] != block["in"]:
            conv(at["expand"][0], block["wide"], block["in"], 1), norm(at["expand"][1], block["wide"])
        conv(at["depth"][0], block["wide"], 1, block["kernel"]), norm(at["depth"][1], block["wide"])
        conv(at["squeeze"][0], squeezed, block["wide"], 1, bias=True)
        conv(at["squeeze"][1], block["wide"], squeezed, 1, bias=True)
        conv(at["project"][0], block["out"], block["wide"], 1), norm(at["project"][1], block["out"])
    conv(outer["head"]["conv"], 1280, 320, 1), norm(outer["head"]["norm"], 1280)
    head = "classifier.1" if layout == "torchvision" else "_fc"
    state |= {f"{head}.weight": torch.randn(5, 1280, generator=rng), f"{head}.bias": torch.zeros(5)}
    return state


def run(state: dict[str, Tensor], layout: str, x: Tensor) -> Tensor:
    """The map (N, 1280, h, w) of pictures (N, 3, S, S), normalised."""
    p = {k: v.to(x.dtype) if v.is_floating_point() else v for k, v in state.items()}
    extra = 1e-5 if layout == "torchvision" else 1e-3

    def convolved(x, names, *, stride=1, groups=1, act=True):
        weight = p[f"{names[0]}.weight"]
        kernel = weight.shape[-1]
        missing = kernel - 1 if stride == 1 or layout == "torchvision" else kernel - stride
        low = missing // 2
        x = F.conv2d(F.pad(x, (low, missing - low) * 2), weight, stride=stride, groups=groups)
        mean, var, scale, shift = (p[f"{names[1]}.{k}"].view(1, -1, 1, 1)
                                   for k in ("running_mean", "running_var", "weight", "bias"))  # fmt: skip
        x = (x - mean) / (var + extra).sqrt() * scale + shift
        return x * x.sigmoid() if act else x

    outer = names(layout)
    x = convolved(x, tuple(outer["stem"].values()), stride=2)
    for block in blocks(layout):
        at, before = block["at"], x
        if block["wide"] != block["in"]:
            x = convolved(x, at["expand"])
        x = convolved(x, at["depth"], stride=block["stride"], groups=block["wide"])
        mean = x.mean((2, 3))
        reduced = mean @ p[f"{at['squeeze'][0]}.weight"][:, :, 0, 0].T + p[f"{at['squeeze'][0]}.bias"]
        reduced = reduced * reduced.sigmoid()
        gate = reduced @ p[f"{at['squeeze'][1]}.weight"][:, :, 0, 0].T + p[f"{at['squeeze'][1]}.bias"]
        x = convolved(x * gate.sigmoid()[:, :, None, None], at["project"], act=False)
        if block["in"] == block["out"] and block["stride"] == 1:
            x = x + before
    return convolved(x, tuple(outer["head"].values()))
