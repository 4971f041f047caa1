"""Colour, stain and focus augmentation for pictures whose background is white-balanced.

Stain absorbs light, so its variation is drawn in optical density, od = -log(I / background) (Beer-Lambert): the
concentration and hue of a stain scale and mix the channels of od and leave the empty background white, which a
jitter of RGB values does not.
"""

import numpy as np
import torch
import torch.nn.functional as F

from leukoscope.crop import MOST_STAIN

_BLACK = 12  # up to this is no stain but the black that a cell was cut out on
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
    noise = torch.rand(len(batch), 1, 1, 1, generator=rng, device=rng.device) ** 3 * 0.06 * strength
    batch = batch + noise * torch.randn(batch.shape, generator=rng, device=rng.device)
    return batch.clamp_(0, 1)


def jitter_stain(batch: torch.Tensor, rng: torch.Generator, *, strength: float = 1.0) -> torch.Tensor:
    """Stain concentration, hue and contrast in optical density; then the tint of the light."""
    n = len(batch)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=rng, device=rng.device) * strength

    od = density_of(batch)
    concentration = torch.exp(0.30 * normal(n, 1, 1, 1) + 0.22 * normal(n, 3, 1, 1))
    curve = torch.exp(0.18 * normal(n, 1, 1, 1))  # a camera's contrast curve
    od = od.clamp_min(0) ** curve * concentration + od.clamp_max(0)
    mixing = torch.eye(3, device=rng.device) + 0.12 * normal(n, 3, 3)
    od = torch.einsum("nij,njhw->nihw", mixing, od)
    chosen = torch.rand(n, 1, 1, 1, generator=rng, device=rng.device) < 0.2
    paler = chosen.float() * torch.rand(n, 1, 1, 1, generator=rng, device=rng.device)
    od = od + paler * (od.mean(1, keepdim=True) - od)
    tint = (WHITE + 0.05 * normal(n, 1, 1, 1) + 0.05 * normal(n, 3, 1, 1)).clamp(0.6, 1.1)
    return (tint * torch.exp(-od)).clamp_(0, 1)


def jitter_focus(batch: torch.Tensor, rng: torch.Generator, *, probability: float) -> torch.Tensor:
    """Fewer pixels or a softer focus in some pictures: shrunk to a fifth to four fifths and enlarged again."""
    size = batch.shape[-2:]
    chosen = torch.rand(len(batch), generator=rng, device=rng.device) < probability
    if not chosen.any():
        return batch
    share = 0.2 + 0.6 * float(torch.rand(1, generator=rng, device=rng.device))
    small = [max(8, int(s * share)) for s in size]
    soft = F.interpolate(batch[chosen], size=small, mode="bilinear", antialias=True, align_corners=False)
    out = batch.clone()
    out[chosen] = F.interpolate(soft, size=size, mode="bilinear", align_corners=False)
    return out


def density_of(batch: torch.Tensor) -> torch.Tensor:
    """Optical density of pixels in [0, 1] against a white-balanced background."""
    return -torch.log(batch.clamp_min(1.5 / 255) / WHITE)


def pixels_of(od: torch.Tensor) -> torch.Tensor:
    """Pixels in [0, 1] of optical densities."""
    return (WHITE * torch.exp(-od)).clamp_(0, 1)


def recolour(batch: torch.Tensor, stains: torch.Tensor, theirs: torch.Tensor, *, most_contrast: float) -> torch.Tensor:
    """Pictures of one stain in another's colours (Reinhard et al. 2001, in optical density); empty glass stays white.

    batch (N, 3, H, W) in [0, 1]; own, theirs (N, 2, 3): mean and deviation of the stain's density, now and wanted
    most_contrast  deviations are stretched or pressed by this factor at most
    """
    od = density_of(batch)
    m0, s0, m1, s1 = (c[:, k, :, None, None] for c in (stains, theirs) for k in (0, 1))
    moved = (od - m0) * (s1 / s0).clamp(1 / most_contrast, most_contrast) + m1
    stained = (od.mean(1, keepdim=True) / 0.25).clamp(0, 1)  # what holds no stain has no colour to move
    return pixels_of(od + stained * (moved - od))


def mix_hues(batch: torch.Tensor, rng: torch.Generator, *, share: float) -> torch.Tensor:
    """In a share of the pictures (N, 3, H, W) the channels' densities are mixed, up to about half of the way."""
    n = len(batch)
    even = -torch.log(torch.rand(n, 3, 3, generator=rng, device=rng.device).clamp_min(1e-6))
    even = even / even.sum(2, keepdim=True)
    amount = torch.rand(n, 1, 1, generator=rng, device=rng.device) * 0.6
    amount = amount * (torch.rand(n, 1, 1, generator=rng, device=rng.device) < share).float()
    mixing = (1 - amount) * torch.eye(3, device=rng.device) + amount * even
    return pixels_of(torch.einsum("nij,njhw->nihw", mixing, density_of(batch)))


def match_nuclei_of(batch: torch.Tensor, density: tuple[float, float, float] | None) -> torch.Tensor:
    """`leukoscope.crop.match_nuclei` for a batch (N, 3, S, S) in [0, 1] on any device, without its rounding."""
    if density is None:
        return batch
    size = batch.shape[-1]
    middle = slice(round(0.22 * size), round(0.78 * size), 2)
    od = density_of(batch[:, :, middle, middle]).flatten(2)  # (N, 3, M)
    total = od.sum(1)
    black = density_of(torch.tensor(_BLACK / 255, device=batch.device)) * 3 * 0.97
    darkest = torch.where(total < black, total, -1.0).topk(max(1, total.shape[1] // 5), dim=1).indices
    nucleus = od.gather(2, darkest[:, None].expand(-1, 3, -1)).mean(2).clamp_min(0.05)  # (N, 3)
    scale = (torch.tensor(density, device=batch.device) / nucleus).clamp(1 / MOST_STAIN, MOST_STAIN)
    matched = pixels_of(density_of(batch) * scale[:, :, None, None])
    return torch.where(batch.amax(1, keepdim=True) > _BLACK / 255, matched, batch)


def mix_channels(batch: torch.Tensor, shares: np.ndarray) -> torch.Tensor:
    """Pictures (N, 3, H, W) with three channels alike: each one's own mixed by its row of shares (N, 3), sum 1."""
    weights = torch.from_numpy(shares.astype(np.float32)).to(batch.device)
    return torch.einsum("nchw,nc->nhw", batch, weights)[:, None].expand(-1, 3, -1, -1)
