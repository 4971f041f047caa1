"""Compiled parts of networks: on an accelerator their forward and backward passes run as a few fused kernels.

Parts, not whole networks: a transformer's blocks are one program for all of them, compiled in seconds, and what stands
around them (losses, matching, pooling) stays as it is written. Results differ by rounding only.
"""

from collections.abc import Iterable

import torch
from torch import nn


def compile_parts(parts: Iterable[nn.Module], setting: str, device: torch.device, *, backend: str = "inductor") -> int:
    """Compile modules in place, at their first call; returns how many. "auto": on an accelerator, "off": never.

    A part that can't be compiled (no compiler on the machine) runs as it is.
    """
    if setting == "off" or (setting == "auto" and device.type != "cuda"):
        return 0
    torch._dynamo.config.suppress_errors = True
    parts = list(parts)
    for part in parts:
        part.compile(backend=backend)
    return len(parts)
