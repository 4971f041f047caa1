"""The classifier's losses: of sets of classes, of attributes, and between laboratories."""

import numpy as np
import torch
import torch.nn.functional as F

from leukoscope.errors import DataError
from leukoscope.taxonomy import AttributeSet

HEAT = 0.1  # of the contrast's softmax


def set_cross_entropy(logits: torch.Tensor, targets: torch.Tensor, *, smoothing: float) -> torch.Tensor:
    """Mean of -log of the probability summed over the classes a cell may be.

    logits (N, C); targets (N, C) bool. Smoothing mixes in the mean of -log p over all classes.
    """
    log_probs = F.log_softmax(logits, 1)
    of_set = -torch.logsumexp(log_probs.masked_fill(~targets, float("-inf")), 1)
    return ((1 - smoothing) * of_set - smoothing * log_probs.mean(1)).mean()


def value_weights(stated: np.ndarray, attributes: AttributeSet) -> list[torch.Tensor]:
    """A weight for each value of each attribute: the root of its rarity, 1 on average over the cells.

    stated (N, A) int64, -1 unknown. Nine cells in ten have no vacuole: unweighted, none would ever be called.
    DataError for an attribute that no cell states.
    """
    weights = []
    for column, attribute in enumerate(attributes.attributes):
        counts = np.bincount(stated[stated[:, column] >= 0, column], minlength=len(attribute.values))
        if not counts.sum():
            raise DataError(
                f"no training cell states {attribute.name}: import the set with --attributes, or leave attributes out"
            )
        weight = 1 / np.sqrt(np.maximum(counts, 1))
        weights.append(torch.from_numpy(weight * counts.sum() / (weight * counts).sum()).float())
    return weights


def attribute_loss(values: torch.Tensor, stated: torch.Tensor, weights: list[torch.Tensor]) -> torch.Tensor:
    """Mean over the attributes of the weighted cross-entropy over the cells that state them.

    values (N, V); stated (N, A) int64, -1 unknown; weights: `value_weights`. 0 where no cell states anything.
    """
    # Without asking the device whether any cell states anything: eleven questions a step cost a GPU most of its time.
    losses, stated_any, start = [], [], 0
    for column, weight in enumerate(weights):
        logits = values[:, start : start + len(weight)]
        start += len(weight)
        truth = stated[:, column]
        each = F.cross_entropy(logits, truth, weight=weight.to(values.device), ignore_index=-1, reduction="none")
        n = (truth >= 0).sum()
        losses.append(each.sum() / n.clamp_min(1))
        stated_any.append(n > 0)
    return torch.stack(losses).sum() / torch.stack(stated_any).sum().clamp_min(1)


def contrast_loss(features: torch.Tensor, targets: torch.Tensor, sets: torch.Tensor) -> torch.Tensor:
    """Mean over the cells that have a partner: same classes, another data set. 0 where none has.

    features (N, D); targets (N, C) bool, what each may be; sets (N,) number of its data set
    """
    z = F.normalize(features, dim=1)
    likeness = z @ z.T / HEAT
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    single = targets.sum(1) == 1
    alike = (targets.float() @ targets.float().T > 0) & single[:, None] & single[None]
    partner = alike & (sets[:, None] != sets[None])
    # Cells of one class and one data set are neither drawn together nor pushed apart.
    others = likeness.masked_fill(itself | (alike & ~partner), float("-inf"))
    log_share = others - torch.logsumexp(others, 1, keepdim=True)
    has = partner.any(1)
    if not has.any():
        return features.sum() * 0.0
    of_pairs = torch.where(partner, log_share, torch.zeros_like(log_share)).sum(1)[has] / partner.sum(1)[has]
    return -of_pairs.mean()
