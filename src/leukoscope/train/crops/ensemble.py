"""Ensembles: several runs or folds averaged, as probabilities, with weights that are a setting."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from leukoscope.errors import ConfigError, DataError

_LEAST = 1e-9


def average_probs(members: Sequence[np.ndarray], weights: Sequence[float] | None = None) -> np.ndarray:
    """(N, C) float32 weighted mean of the members' probabilities (N, C); None: all alike."""
    shares = _shares(len(members), weights)
    shapes = {m.shape for m in members}
    if len(shapes) != 1:
        raise DataError(f"members of an ensemble must give arrays of one shape, got {sorted(shapes)}")
    return sum(share * np.asarray(m, np.float64) for share, m in zip(shares, members, strict=True)).astype(np.float32)


class EnsembleNetwork(torch.nn.Module):
    """Several classifiers as one: forward(pixels) -> (N, C) log of the averaged probabilities.

    Softmax of what it returns is the average itself, so it exports, calibrates and runs as a single classifier.
    arch, size and trunk are the first member's, for `finetune_export.write_onnx`; members have one architecture.
    """

    def __init__(self, networks: Sequence[torch.nn.Module], weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.networks = torch.nn.ModuleList(networks)
        self.weights = _shares(len(networks), weights)
        first = networks[0]
        self.arch, self.size, self.trunk = (getattr(first, name, None) for name in ("arch", "size", "trunk"))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self._average([net(pixels) for net in self.networks])

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """(N, D) the members' features side by side."""
        return torch.cat([net.features(pixels) for net in self.networks], 1)

    def head(self, features: torch.Tensor) -> torch.Tensor:
        """(N, C) what `forward` gives, from `features`."""
        each = features.split([net.width for net in self.networks], 1)
        return self._average([net.head(x) for net, x in zip(self.networks, each, strict=True)])

    def _average(self, logits: Sequence[torch.Tensor]) -> torch.Tensor:
        """(N, C) log of the averaged probabilities."""
        probs = [w * F.softmax(each, 1) for w, each in zip(self.weights, logits, strict=True)]
        return torch.stack(probs).sum(0).clamp_min(_LEAST).log()


def _shares(n: int, weights: Sequence[float] | None) -> list[float]:
    values = [1.0] * n if weights is None else [float(w) for w in weights]
    if len(values) != n or not n or min(values) < 0 or not sum(values) > 0:
        raise ConfigError(f"an ensemble needs one weight a member, none negative, not all 0; got {values} for {n}")
    return [v / sum(values) for v in values]
