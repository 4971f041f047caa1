"""Three answers to rare classes, each selectable: weights by the effective number of cells, focal loss, balanced draws.

They plug into `finetune`: the first two as its `class_loss`, the third as its `sampler_weights`.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from leukoscope.errors import ConfigError

METHODS = ("effective_number", "focal", "balanced_sampling")
ClassLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def effective_number_weights(counts: np.ndarray, beta: float) -> np.ndarray:
    """(C,) float64 weights of classes with `counts` (C,) training cells; a class without cells weighs 0.

    The effective number of n cells is (1 - beta^n) / (1 - beta); a class weighs its inverse, and the weights of the
    classes that have cells average 1 (Cui et al., CVPR 2019, equations 2 and 6). beta 0 leaves all alike; beta near
    1 is the inverse frequency.
    """
    if not 0 <= beta < 1:
        raise ConfigError(f"beta must be at least 0 and below 1, got {beta}")
    counts = np.asarray(counts, np.float64).reshape(-1)
    effective = 1 - np.power(beta, counts)
    weights = np.divide(1 - beta, effective, out=np.zeros(len(counts)), where=counts > 0)
    present = int((counts > 0).sum())
    return weights * present / weights.sum() if present else weights


def focal_loss(gamma: float, weights: np.ndarray | None = None) -> ClassLoss:
    """Cross-entropy of each cell times (1 - p of its class)^gamma (Lin et al., ICCV 2017, equation 5).

    weights (C,): a class's weight besides; with gamma 0 it is the weighted cross-entropy, a weighted mean as torch
    takes it. Cells labelled -1 (type unknown) teach nothing.
    """
    if gamma < 0:
        raise ConfigError(f"gamma must be 0 or more, got {gamma}")

    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        known = labels >= 0
        if not known.any():
            return logits.sum() * 0.0
        logits, labels = logits[known], labels[known]
        log_probs = F.log_softmax(logits, 1).gather(1, labels[:, None])[:, 0]  # (N,)
        share = torch.ones_like(log_probs)
        if weights is not None:
            share = torch.as_tensor(weights, dtype=logits.dtype, device=logits.device)[labels]
        losses = -((1 - log_probs.exp()).clamp_min(0) ** gamma) * log_probs if gamma else -log_probs
        return (share * losses).sum() / share.sum().clamp_min(1e-12)

    return loss


def balanced_sampling_weights(labels: np.ndarray, *, power: float = 1.0) -> np.ndarray:
    """(N,) float64 chances of being drawn, summing to 1; labels (N,) columns, -1 (unknown) is never drawn.

    power  1: every class is drawn alike; 0.5: by the root of its size; 0: as the cells come
    """
    if not 0 <= power <= 1:
        raise ConfigError(f"power must lie between 0 and 1, got {power}")
    labels = np.asarray(labels, np.int64).reshape(-1)
    known = labels >= 0
    if not known.any():
        raise ConfigError("balanced sampling needs a labelled cell, got none")
    counts = np.bincount(labels[known])
    weights = np.zeros(len(labels))
    weights[known] = np.power(counts[labels[known]].astype(np.float64), -power)
    return weights / weights.sum()


def correct_imbalance(
    methods: Sequence[str], labels: np.ndarray, n_classes: int, *, beta: float = 0.999, gamma: float = 2.0
) -> tuple[ClassLoss | None, np.ndarray | None]:
    """(class_loss, sampler_weights) of `finetune` for the chosen methods; None, None for none of them.

    methods  any of METHODS, together as they come: weights and focal loss make one loss
    labels   (N,) columns of the training cells, -1 unknown
    """
    unknown = sorted(set(methods) - set(METHODS))
    if unknown:
        raise ConfigError(f"imbalance must name some of {', '.join(METHODS)}, got {', '.join(unknown)}")
    labels = np.asarray(labels, np.int64)
    counts = np.bincount(labels[labels >= 0], minlength=n_classes)
    weights = effective_number_weights(counts, beta) if "effective_number" in methods else None
    class_loss = None
    if weights is not None or "focal" in methods:
        class_loss = focal_loss(gamma if "focal" in methods else 0.0, weights)
    sampler = balanced_sampling_weights(labels) if "balanced_sampling" in methods else None
    return class_loss, sampler
