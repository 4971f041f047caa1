"""The loss of the attributes' layer: a softmax for each attribute, over the cells that state it."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from leukoscope.errors import DataError
from leukoscope.taxonomy import AttributeSet


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
