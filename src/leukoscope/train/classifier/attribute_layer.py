"""Fit the attributes' layer anew when training has ended.

While the network moves, the layer only ever chases it, on crops that are cut, recoloured and half hidden. Once the
network stands still, a logistic regression on its features is a convex problem. Strength and class weights are chosen
for each attribute on the validation cells.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from leukoscope.crop import match_nuclei
from leukoscope.dataset.manifest import Dataset
from leukoscope.errors import DataError
from leukoscope.evaluate.classes import confusion_matrix, macro_f1
from leukoscope.models.torch_classifier import CellClassifier
from leukoscope.taxonomy import AttributeSet
from leukoscope.train.checkpoint import save_checkpoint
from leukoscope.train.classifier.bundle import ATTRIBUTE_LAYER, described_cells, read_classifier, restain
from leukoscope.train.classifier.loss import value_weights

STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3)  # of the quadratic penalty on standardised features, per cell
STEPS = 60


def refit_attributes(run: Path, training: Sequence[Dataset], validation: Sequence[Dataset]) -> list[dict]:
    """Write the run's `attributes.pt`; returns a row for each attribute: F1 before and after, strength, class weights
    (None: the layer as training left it was best).

    training    data sets as the run saw them; validation: fields that it did not, as they are. The training cells are
                shown five times: as they are, turned, and restained. An attribute that no validation cell states
                keeps the layer's own weights.
    """
    model, record = read_classifier(run)
    config = record["config"]
    density, seed = config["nucleus_density"], config["seed"]
    crops, sizes, stated, _ = described_cells(training, config)
    views = (crops, turned(crops, 1), turned(crops, 2), *(restain(turned(crops, 2 + k), seed=seed + k) for k in (1, 2)))
    features = torch.cat([_features(model, match_nuclei(view, density), sizes) for view in views])
    stated = np.tile(stated, (len(views), 1))
    val_crops, val_sizes, val_stated, attributes = described_cells(validation, config)
    held_out = _features(model, match_nuclei(val_crops, density), val_sizes)
    mean, std = features.mean(0), features.std(0).clamp_min(1e-4)
    weight, bias = model.attributes.weight.detach().clone(), model.attributes.bias.detach().clone()
    before = held_out @ weight.T + bias
    rows = []
    for column, (attribute, columns) in enumerate(zip(attributes.attributes, attributes.slices(), strict=True)):
        known, judged = stated[:, column] >= 0, val_stated[:, column] >= 0
        if not judged.any():
            continue
        truth = torch.from_numpy(stated[known, column])
        was = _f1(val_stated[judged, column], before[judged][:, columns].argmax(1).numpy(), len(attribute.values))
        best = (was, None, None, weight[columns].clone(), bias[columns].clone())  # the layer as training left it
        for balance in (False, True):
            weights = _weights(stated, column, attributes) if balance else torch.ones(len(attribute.values))
            for strength in STRENGTHS:
                layer = fit_logistic((features[known] - mean) / std, truth, weights, strength=strength)
                rows_weight = layer[0] / std
                own_bias = layer[1] - rows_weight @ mean
                calls = (held_out[judged] @ rows_weight.T + own_bias).argmax(1).numpy()
                f1 = _f1(val_stated[judged, column], calls, len(attribute.values))
                if f1 > best[0]:
                    best = (f1, strength, balance, rows_weight, own_bias)
        weight[columns], bias[columns] = best[3], best[4]
        row = {"attribute": attribute.name, "before": was, "after": best[0]}
        rows.append(row | {"strength": best[1], "balanced": best[2]})
    save_checkpoint(run / ATTRIBUTE_LAYER, {"weight": weight, "bias": bias})
    return rows


def turned(crops: np.ndarray, turn: int) -> np.ndarray:
    """Crops (N, S, S, 3) turned by `turn` quarters, and mirrored where that is odd: none of it changes a cell."""
    out = np.rot90(crops, turn, axes=(1, 2))
    return np.ascontiguousarray(out[:, :, ::-1] if turn % 2 else out)


def require_described(validation: Sequence[Dataset], attributes: str) -> None:
    """DataError, before any work, where no validation cell states attributes: nothing could be chosen on them."""
    if not any(c.attributes for d in validation for f in d.fields for c in f.cells):
        raise DataError(
            f"no cell of the validation fields states attributes of {attributes}, so the thresholds of words can't be "
            "chosen: import a set with --attributes that has some in split val, or leave attributes out"
        )


def fit_logistic(
    features: torch.Tensor, truth: torch.Tensor, weights: torch.Tensor, *, strength: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(K, D) and (K,) of a multinomial logistic regression: features (N, D) standardised, truth (N,), weights (K,).

    Minimises the mean weighted cross-entropy plus strength / 2 · |weight|² by L-BFGS.
    """
    weight = torch.zeros(len(weights), features.shape[1], requires_grad=True)
    bias = torch.zeros(len(weights), requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=STEPS, history_size=10, line_search_fn="strong_wolfe")
    of_cells = weights[truth]

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        each = F.cross_entropy(features @ weight.T + bias, truth, reduction="none")
        total = (each * of_cells).mean() + strength / 2 * weight.square().sum()
        total.backward()
        return total

    optimizer.step(loss)
    return weight.detach(), bias.detach()


def _weights(stated: np.ndarray, column: int, attributes: AttributeSet) -> torch.Tensor:
    return value_weights(stated, attributes)[column]


def _f1(truth: np.ndarray, calls: np.ndarray, n_values: int) -> float:
    return round(macro_f1(confusion_matrix(truth, calls, n_classes=n_values)), 4)


@torch.no_grad()
def _features(model: CellClassifier, crops: np.ndarray, sizes: np.ndarray) -> torch.Tensor:
    """(N, D) what the attributes' layer hears."""
    parts = []
    for i in range(0, len(crops), 32):
        pixels, of_cells = torch.from_numpy(crops[i : i + 32]), torch.from_numpy(sizes[i : i + 32])
        parts.append(model.details(pixels, of_cells))
    return torch.cat(parts)
