"""Supervised contrast across laboratories: a cell should lie nearer to its class elsewhere than to its own laboratory.

Khosla et al., Supervised contrastive learning, NeurIPS 2020, with partners taken from other data sets only: what two
cells of one class share there is not a stain.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

HEAT = 0.1


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
    own = torch.where(partner, log_share, torch.zeros_like(log_share)).sum(1)[has] / partner.sum(1)[has]
    return -own.mean()
