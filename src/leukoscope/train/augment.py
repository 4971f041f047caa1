"""Colour, stain and focus augmentation for pictures whose background is white-balanced.

Stain absorbs light, so its variation is drawn in optical density, od = -log(I / background) (Beer-Lambert): the
concentration and hue of a stain scale and mix the channels of od and leave the empty background white, which a
jitter of RGB values does not.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

WHITE = 240.0 / 255.0  # where leukoscope.images.white_balance puts the background


def jitter_colour(batch: torch.Tensor, rng: torch.Generator, *, strength: float = 1.0) -> torch.Tensor:
    """Another laboratory's stain, camera and focus for every picture of a batch.

    batch     (N, 3, H, W) float in [0, 1]; returned in the same shape and range
    strength  0 gives the batch back; 1 is meant to reach past the stains of the public sets
    """
    if strength == 0:
        return batch
    batch = jitter_stain(batch, rng, strength=strength)
    batch = jitter_focus(batch, rng, probability=0.5 * min(strength, 1.0))
    noise = torch.rand(len(batch), 1, 1, 1, generator=rng) ** 3 * 0.06 * strength
    batch = batch + noise * torch.randn(batch.shape, generator=rng)
    return batch.clamp_(0, 1)


def jitter_stain(batch: torch.Tensor, rng: torch.Generator, *, strength: float = 1.0) -> torch.Tensor:
    """Stain concentration, hue and contrast in optical density; then the tint of the light."""
    n = len(batch)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=rng) * strength

    od = -torch.log(batch.clamp_min(1.5 / 255) / WHITE)
    concentration = torch.exp(0.30 * normal(n, 1, 1, 1) + 0.22 * normal(n, 3, 1, 1))
    curve = torch.exp(0.18 * normal(n, 1, 1, 1))  # a camera's contrast curve
    od = od.clamp_min(0) ** curve * concentration + od.clamp_max(0)
    mixing = torch.eye(3) + 0.12 * normal(n, 3, 3)
    od = torch.einsum("nij,njhw->nihw", mixing, od)
    paler = (torch.rand(n, 1, 1, 1, generator=rng) < 0.2).float() * torch.rand(n, 1, 1, 1, generator=rng)
    od = od + paler * (od.mean(1, keepdim=True) - od)
    tint = (WHITE + 0.05 * normal(n, 1, 1, 1) + 0.05 * normal(n, 3, 1, 1)).clamp(0.6, 1.1)
    return (tint * torch.exp(-od)).clamp_(0, 1)


def jitter_focus(batch: torch.Tensor, rng: torch.Generator, *, probability: float) -> torch.Tensor:
    """Fewer pixels or a softer focus in some pictures: shrunk to a fifth to four fifths and enlarged again."""
    size = batch.shape[-2:]
    chosen = torch.rand(len(batch), generator=rng) < probability
    if not chosen.any():
        return batch
    share = 0.2 + 0.6 * float(torch.rand(1, generator=rng))
    small = [max(8, int(s * share)) for s in size]
    soft = F.interpolate(batch[chosen], size=small, mode="bilinear", antialias=True, align_corners=False)
    out = batch.clone()
    out[chosen] = F.interpolate(soft, size=size, mode="bilinear", align_corners=False)
    return out


def mix_channels(crops: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Crops (N, S, S, 3) uint8 with three channels alike: each crop's own mixed by its row of shares (N, 3), sum 1."""
    mixed = np.rint(np.einsum("nhwc,nc->nhw", crops.astype(np.float32), shares.astype(np.float32))).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(mixed[..., None], crops.shape))
