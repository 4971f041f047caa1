"""Morphology-assisted supervision: a classifier that must also tell the shape and colour of the cell it sees.

The targets are measured on masks (scikit-image); a linear head regresses them from the classifier's features, only
while it is trained. Texture and colour are in optical density, so that a stronger lamp moves nothing.
"""

import numpy as np
import torch
import torch.nn.functional as F

from leukoscope.errors import ConfigError, DataError
from leukoscope.images.color import optical_density

NAMES = ("area", "circularity", "solidity", "nucleus_share", "texture", "density")
NUCLEUS = 192  # mask values: 0 outside, about 128 cytoplasm, 255 nucleus
_LEVELS = 16  # of the co-occurrence matrix


def morphology_targets(masks: np.ndarray, crops: np.ndarray | None = None) -> np.ndarray:
    """(N, 6) float32, columns NAMES; NaN where it can't be measured (no mask, no nucleus marked, no picture).

    masks  (N, S, S) uint8: 0 outside, 128 cytoplasm, 255 nucleus (a mask of one value says nothing of the nucleus)
    crops  (N, S, S, 3) uint8, for texture and density
    area           of the cell, as a share of the crop: the crop's scale decides what it means
    circularity    4 pi area / perimeter², 1 for a disc (Crofton perimeter, scikit-image)
    solidity       area over the area of the convex hull
    nucleus_share  nucleus over cell: N:C as a share, finite for cells without cytoplasm
    texture        contrast of the grey-level co-occurrence matrix at 1 px inside the cell, 16 levels (Haralick 1973)
    density        mean optical density of the cell, all channels
    """
    if masks.ndim != 3 or (crops is not None and crops.shape[:3] != masks.shape):
        raise DataError(
            f"morphology needs masks (N, S, S) and crops (N, S, S, 3), got {masks.shape} and "
            f"{None if crops is None else crops.shape}"
        )
    targets = np.full((len(masks), len(NAMES)), np.nan, np.float32)
    for row, mask in enumerate(masks):
        cell = mask > 0
        if cell.sum() >= 16:
            targets[row] = _measure(mask, cell, None if crops is None else crops[row])
    return targets


def _measure(mask: np.ndarray, cell: np.ndarray, crop: np.ndarray | None) -> tuple[float, ...]:
    try:
        from skimage.feature import graycomatrix, graycoprops
        from skimage.measure import perimeter_crofton, regionprops
    except ImportError:
        raise ConfigError("morphology needs scikit-image: pip install 'leukoscope[study]'") from None
    area = float(cell.sum())
    (region,) = regionprops(cell.astype(np.uint8))
    circularity = min(4 * np.pi * area / perimeter_crofton(cell, directions=4) ** 2, 1.0)
    nucleus = float((mask >= NUCLEUS).sum())
    nucleus_share = nucleus / area if 0 < nucleus < area else np.nan
    texture = density = np.nan
    if crop is not None:
        od = optical_density(crop).mean(2).clip(0, 2)  # (S, S)
        levels = np.where(cell, 1 + np.minimum(od / 2 * _LEVELS, _LEVELS - 1).astype(np.uint8), 0).astype(np.uint8)
        pairs = graycomatrix(levels, [1], [0, np.pi / 2], levels=_LEVELS + 1, symmetric=True).astype(np.float64)
        pairs[0], pairs[:, 0] = 0, 0  # pairs that leave the cell
        total = pairs.sum((0, 1), keepdims=True)
        texture = float(graycoprops(pairs / np.maximum(total, 1), "contrast").mean())
        density = float(od[cell].mean())
    return area / cell.size, circularity, float(region.solidity), nucleus_share, texture, density


def scale_targets(targets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets with mean 0 and deviation 1 a column, NaN kept; also the (M,) means and deviations.

    A column that never was measured, or never varies, gets deviation 1.
    """
    known = np.isfinite(targets)
    count = np.maximum(known.sum(0), 1)
    mean = np.where(known, targets, 0).sum(0) / count
    deviation = np.sqrt(np.where(known, (targets - mean) ** 2, 0).sum(0) / count)
    deviation = np.where(deviation > 1e-6, deviation, 1.0)
    return ((targets - mean) / deviation).astype(np.float32), mean, deviation


def fit_head(features: np.ndarray, targets: np.ndarray, *, ridge: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Weights (M, D) and bias (M,) of the linear head that tells scaled targets (N, M) from features (N, D).

    Ridge regression, each target on the cells where it was measured, features scaled to deviation 1 first; `ridge`
    counts as so many cells for every feature. A target that never was measured gets zeros.
    """
    features = np.asarray(features, np.float64)
    deviation = features.std(0) + 1e-6
    weight, bias = np.zeros((targets.shape[1], features.shape[1])), np.zeros(targets.shape[1])
    for column, values in enumerate(np.asarray(targets, np.float64).T):
        known = np.isfinite(values)
        if known.sum() < 2:
            continue
        mean, level = features[known].mean(0), values[known].mean()
        x = (features[known] - mean) / deviation
        # In the space of cells, which are fewer than features: w = X' (X X' + ridge n I)^-1 y.
        gram = x @ x.T + ridge * known.sum() * np.eye(known.sum())
        weight[column] = (x.T @ np.linalg.solve(gram, values[known] - level)) / deviation
        bias[column] = level - weight[column] @ mean
    return weight.astype(np.float32), bias.astype(np.float32)


class MorphologyLoss:
    """Extra loss for `finetune`: smooth L1 between what a linear head tells from the pooled features and the targets.

    The batch brings extras["morphology"] (N, M) as `scale_targets` gives them; NaN counts nothing. The head is fitted
    to the network that training starts from (`fit_head`) and then held, so that only the features move: nothing of it
    ships, and a resumed run needs no further state.
    """

    def __init__(self, head: tuple[np.ndarray, np.ndarray], *, weight: float) -> None:
        self.weight = weight
        self._head, self._bias = (torch.from_numpy(np.asarray(part, np.float32)) for part in head)

    def __call__(
        self, network: torch.nn.Module, batch: dict, feature_map: torch.Tensor, logits: torch.Tensor
    ) -> torch.Tensor:
        targets = torch.as_tensor(batch["extras"]["morphology"]).to(feature_map)
        known = torch.isfinite(targets)
        if not known.any():
            return logits.sum() * 0.0
        predicted = F.linear(feature_map.mean((2, 3)), self._head.to(feature_map), self._bias.to(feature_map))
        return self.weight * F.smooth_l1_loss(predicted[known], targets[known])
