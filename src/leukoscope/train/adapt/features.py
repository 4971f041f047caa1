"""Features of cells from networks that are not trained any further, and their reduction to a few columns.

A cell's picture has no upright side, so features are averaged over its turns and mirror images. Pooling over the disc
that the cell's box spans, and not over the whole crop, leaves the neighbours out. Several layers together tell more of
a new stain than the last one, which has learnt to ignore what did not matter on the first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from leukoscope.crop import match_nuclei
from leukoscope.errors import DataError
from leukoscope.models.torch_classifier import CellClassifier
from leukoscope.models.torch_lite import Lite0Features, fold_norms, normalise

BATCH = 32
LEAST_TO_ALIGN = 20
TURN_ORDER = (0, 2, 5, 7, 1, 3, 4, 6)  # any first few of them favour no side
_RIM = 1.03  # the disc is this much wider than the box


@dataclass(frozen=True, slots=True, eq=False)
class Trunk:
    """A frozen network as the maps it makes of a batch of pixels (N, S, S, 3) uint8: a list of (N, C, h, w).

    density  the nucleus density that its crops are matched to, None: as they are
    """

    name: str
    maps: Callable[[torch.Tensor], list[torch.Tensor]]
    density: tuple[float, float, float] | None = None


def classifier_trunk(network: nn.Module, *, name: str, density: tuple[float, float, float] | None = None) -> Trunk:
    """The trunk of a `CellClassifier` (strides 16 to 32, three maps; of two joined, the first), or of any network with
    `feature_map(pixels)`."""
    network = network.eval()
    if isinstance(network, CellClassifier):
        return Trunk(name, lambda pixels: network.maps(pixels)[2:], density)
    if not hasattr(network, "feature_map"):
        raise DataError(f"{type(network).__name__} has no feature_map: features need a classifier of this project")
    return Trunk(name, lambda pixels: [network.feature_map(pixels)], density)


def imagenet_trunk() -> Trunk:
    """Lite0 as ImageNet left it: it has seen no blood, and so has nobody's stain."""
    features = Lite0Features(pretrained=True, head=True)
    fold_norms(features)
    return Trunk("imagenet", lambda pixels: features.eval()(normalise(pixels))[2:])


@torch.no_grad()
def embed(trunk: Trunk, crops: np.ndarray, *, box_share: float, turns: int = 8) -> list[np.ndarray]:
    """Blocks (N, D) float32, one a map and statistic (mean and deviation over the disc), averaged over `turns` views.

    crops      (N, S, S, 3) uint8, white-balanced
    box_share  the box's longer side as a share of the crop's: 1 / (1 + 2 · pad)
    turns      1 to 8: as it is, half a turn, two mirrored quarter turns, then the other quarter turns and mirror images
    """
    if not 1 <= turns <= 8:
        raise DataError(f"a crop has 1 to 8 turns, got {turns}")
    crops = match_nuclei(crops, trunk.density)
    rows = []
    for start in range(0, len(crops), BATCH):
        views = [
            _pooled(trunk.maps(torch.from_numpy(_turned(crops[start : start + BATCH], k))), box_share)
            for k in TURN_ORDER[:turns]
        ]
        rows.append([torch.stack(parts).mean(0) for parts in zip(*views, strict=True)])
    return [torch.cat(parts).numpy() for parts in zip(*rows, strict=True)]


def reduce_together(
    source: Sequence[np.ndarray],
    site: Sequence[np.ndarray],
    *,
    n_components: int = 32,
    whiten: float = 0.25,
    align: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Source (S, K) and site (T, K) rows in common principal components.

    source, site  blocks (S, D_b) and (T, D_b), in the same order. Each column is scaled by a mean and deviation, each
                  block by the root of its width, so that a wide layer does not drown a narrow one.
    align         columns of the site are scaled by the site's own mean and deviation (normalisation statistics
                  re-estimated on features, no label used), which needs `LEAST_TO_ALIGN` cells; else by the source's
                  Components are those of the source's and of the site's variation, each around its own mean and with
                  equal weight: no label is used.
    whiten        0 leaves components their variance, 1 makes them alike, 0.5 lies between
    """
    apart = align and bool(site) and len(site[0]) >= LEAST_TO_ALIGN
    scaled = [_scale_block(a, b, apart=apart) for a, b in zip(source, site, strict=True)]
    s, t = (np.concatenate(parts, 1).astype(np.float64) for parts in zip(*scaled, strict=True))
    stacked = np.concatenate([(s - s.mean(0)) / np.sqrt(len(s)), (t - t.mean(0)) / np.sqrt(len(t))])
    values, vectors = np.linalg.eigh(stacked @ stacked.T)
    kept = np.argsort(-values)[: min(n_components, len(values) - 2)]
    kept = kept[values[kept] > 1e-9 * values.max()]
    axes = stacked.T @ vectors[:, kept]
    axes /= np.linalg.norm(axes, axis=0)
    gain = (values[kept].mean() / values[kept]) ** (whiten / 2)
    middle = s.mean(0)
    return (s - middle) @ axes * gain, (t - middle) @ axes * gain


def _scale_block(source: np.ndarray, site: np.ndarray, *, apart: bool) -> tuple[np.ndarray, np.ndarray]:
    middle, spread = source.mean(0), source.std(0) + 1e-6
    statistics = [(source, middle, spread)]
    # A column that hardly varies at the site would become noise: it keeps a thousandth of the source's deviation.
    statistics.append((site, site.mean(0), site.std(0) + 1e-3 * spread) if apart else (site, middle, spread))
    width = np.sqrt(source.shape[1])
    return tuple(np.clip((x - m) / d, -8, 8) / width for x, m, d in statistics)


def _turned(crops: np.ndarray, k: int) -> np.ndarray:
    """The k-th of eight turns: quarter turns 0 to 3, and the same mirrored."""
    turned = np.rot90(crops, k % 4, (1, 2))
    return np.ascontiguousarray(turned[:, :, ::-1] if k >= 4 else turned)


def _pooled(maps: list[torch.Tensor], box_share: float) -> list[torch.Tensor]:
    """Mean and deviation of each map (N, C, h, w) over the disc of the box."""
    out = []
    for m in maps:
        weight = _disc(m.shape[2], 0.5 * box_share * _RIM)
        mean = (m * weight).sum((2, 3))
        spread = ((m - mean[:, :, None, None]) ** 2 * weight).sum((2, 3)).clamp_min(0).sqrt()
        out += [mean, spread]
    return out


def _disc(side: int, radius: float) -> torch.Tensor:
    """(side, side) weights that sum to 1: the disc of `radius` (as a share of the side), soft at its rim."""
    y, x = (np.mgrid[:side, :side] + 0.5) / side - 0.5
    weight = np.clip((radius - np.hypot(x, y)) * side + 0.5, 0, 1)
    return torch.from_numpy((weight / weight.sum()).astype(np.float32))
