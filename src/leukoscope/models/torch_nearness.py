"""How sure a classifier may be: surer of cells that look like its training cells, less sure of strange ones.

One temperature can't serve both: what is right for the laboratories of training is too sure elsewhere, and what is
right elsewhere makes too little of what the model knows at home. Density-aware calibration (Tomani et al., ICML 2023)
lets the temperature follow the distance to the training cells. Here that is the distance to the nearest class mean in
the trunks' early maps, which tell stain, light and camera, and little of a cell's class.
"""

import math

import numpy as np
import torch
from torch import nn


class NearnessScale(nn.Module):
    """By what logits are multiplied: 1 from a distance `far` on, `most` up to a distance `near`, between them evenly in
    the logarithm.

    forward(texture) → (N, 1)
        texture  (N, M) means of the early maps
    A distance is the root mean square over the M means, each in units of its spread within a class: about 0.6 for cells
    of the laboratories of training. It is the same for a cell whatever its company.
    """

    def __init__(self, n_means: int, n_classes: int) -> None:
        super().__init__()
        # As they are used: the exporter keeps names of what it need not turn or sum, and `adapt` finds them by name.
        self.register_buffer("unit", torch.ones(n_means))
        self.register_buffer("means", torch.zeros(n_means, n_classes))
        self.register_buffer("squares", torch.zeros(n_classes))
        self.register_buffer("far", torch.ones(()))
        self.register_buffer("slope", torch.ones(()))
        self.register_buffer("rise", torch.zeros(()))

    def forward(self, texture: torch.Tensor) -> torch.Tensor:
        x = texture * self.unit
        apart = (x * x).mean(1, keepdim=True) - torch.matmul(x, self.means) + self.squares  # (N, C) squared distances
        nearest = apart.amin(1, keepdim=True).clamp(min=0).sqrt()
        return torch.exp(((self.far - nearest) * self.slope).clamp(0, 1) * self.rise)


def nearness_scale(means: np.ndarray, unit: np.ndarray, *, near: float, far: float, most: float) -> NearnessScale:
    """The scale of class means (C, M) of training cells, and units (M,): 1 / the spread of each mean within a class."""
    n_classes, n_means = means.shape
    scaled = means * unit
    scale = NearnessScale(n_means, n_classes)
    values = {
        "unit": unit,
        "means": 2 * scaled.T / n_means,
        "squares": (scaled**2).mean(1),
        "far": far,
        "slope": 1 / (far - near),
        "rise": math.log(most),
    }
    scale.load_state_dict({name: torch.as_tensor(value, dtype=torch.float32) for name, value in values.items()})
    return scale
