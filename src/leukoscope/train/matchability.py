"""DEIM's Matchability-Aware Loss in the place of RT-DETR's varifocal one (Huang et al., DEIM, CVPR 2025, section 3.2).

A matched query learns to say, for its class, how well its box fits: the target is IoU^γ, at full weight however low the
IoU is (the varifocal loss weights by the IoU itself, so poor matches are hardly corrected). Everything else learns 0,
weighted by p^γ. `tests/parity/test_matchability.py` holds the same written out in NumPy.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from transformers.image_transforms import center_to_corners_format
from transformers.loss.loss_for_object_detection import box_iou
from transformers.loss.loss_rt_detr import RTDetrLoss

GAMMA = 1.5


def matchability_loss(
    logits: Tensor,
    queries: tuple[Tensor, Tensor],
    classes: Tensor,
    iou: Tensor,
    *,
    n_boxes: float,
    gamma: float = GAMMA,
    alpha: float | None = None,
) -> Tensor:
    """The loss of one decoder layer: a scalar.

    logits   (B, Q, C)
    queries  rows and queries (M,), (M,) of the matched ones; classes (M,) of their boxes
    iou      (M,) in [0, 1] of each matched query's box with its truth; no gradient passes through it
    n_boxes  truths of the batch, at least 1; alpha: weight of what is not matched (None: 1)
    Binary cross-entropy, mean over the queries, times their number, over n_boxes: the sum over n_boxes.
    """
    matched = torch.zeros_like(logits)
    matched[(*queries, classes)] = 1.0
    target = torch.zeros_like(logits)
    target[(*queries, classes)] = iou.detach().to(logits.dtype).clamp(0, 1) ** gamma
    background = logits.detach().sigmoid() ** gamma * (1.0 if alpha is None else alpha)
    weight = torch.where(matched > 0, torch.ones_like(logits), background.to(logits.dtype))
    return F.binary_cross_entropy_with_logits(logits, target, weight=weight, reduction="sum") / n_boxes


class MatchabilityCriterion(RTDetrLoss):
    """RT-DETR's criterion (Hungarian matching, auxiliary and denoising losses) with the matchability-aware loss.

    Weights of RECIPES and of DEIM's RT-DETRv2: 1 for this loss, 5 for L1 on boxes, 2 for GIoU.
    """

    def __init__(self, config, *, gamma: float = GAMMA, alpha: float | None = None) -> None:
        super().__init__(config)
        self.losses = ["mal", "boxes"]
        self.weight_dict = {"loss_mal": 1.0, "loss_bbox": config.weight_loss_bbox, "loss_giou": config.weight_loss_giou}
        self.mal_gamma, self.mal_alpha = gamma, alpha
        self.boxes_over = 1.0

    def forward(self, outputs, targets):
        self.boxes_over = _mean_boxes_over_own(targets)
        return super().forward(outputs, targets)

    def get_loss(self, loss, outputs, targets, indices, num_boxes):
        num_boxes = num_boxes * self.boxes_over  # the base class counts this process's boxes only
        if loss != "mal":
            return super().get_loss(loss, outputs, targets, indices, num_boxes)
        rows, queries = self._get_source_permutation_idx(indices)
        truth = torch.cat([t["boxes"][i] for t, (_, i) in zip(targets, indices, strict=True)])
        classes = torch.cat([t["class_labels"][i] for t, (_, i) in zip(targets, indices, strict=True)])
        found = outputs["pred_boxes"][rows, queries].detach()
        iou = torch.diag(box_iou(center_to_corners_format(found), center_to_corners_format(truth))[0])
        value = matchability_loss(
            outputs["logits"],
            (rows, queries),
            classes,
            iou,
            n_boxes=num_boxes,
            gamma=self.mal_gamma,
            alpha=self.mal_alpha,
        )
        return {"loss_mal": value}


class MatchabilityObjective:
    """What `transformers` calls as an RT-DETRv2's `loss_function`: sorts its outputs for the criterion.

    The heads run in float32 whatever the precision of the network, for a sum over all queries overflows half floats.
    """

    def __init__(self, config, *, gamma: float = GAMMA, alpha: float | None = None) -> None:
        self.criterion = MatchabilityCriterion(config, gamma=gamma, alpha=alpha)

    def __call__(
        self, logits, labels, device, pred_boxes, config, outputs_class, outputs_coord, **further
    ) -> tuple[Tensor, dict[str, Tensor], list[dict]]:
        """loss, its weighted parts by name, the auxiliary outputs. Layers (B, L, Q, C) and (B, L, Q, 4)."""
        self.criterion.to(device)
        denoising = further.get("denoising_meta_values")
        outputs_class, outputs_coord = outputs_class.float(), outputs_coord.float()
        noisy: list[dict] = []
        if denoising is not None:
            noisy_class, outputs_class = outputs_class.split(denoising["dn_num_split"], dim=2)
            noisy_boxes, outputs_coord = outputs_coord.split(denoising["dn_num_split"], dim=2)
            noisy = _layers(noisy_class, noisy_boxes)
        layers = _layers(outputs_class, outputs_coord)
        encoder = {"logits": further["enc_topk_logits"].float(), "pred_boxes": further["enc_topk_bboxes"].float()}
        outputs = layers[-1] | {"auxiliary_outputs": [*layers[:-1], encoder]}
        if noisy:
            outputs |= {"dn_auxiliary_outputs": noisy, "denoising_meta_values": denoising}
        parts = self.criterion(outputs, labels)
        return sum(parts.values()), parts, outputs["auxiliary_outputs"]


def _mean_boxes_over_own(targets: list[dict]) -> float:
    """Boxes a process, by the mean over processes, over those of this one; both at least 1. Normalised by its own
    number, a process with few boxes would weigh each of them more."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return 1.0
    own = sum(len(t["class_labels"]) for t in targets)
    total = torch.tensor([float(own)], device=targets[0]["class_labels"].device)
    dist.all_reduce(total)
    return max(float(total) / dist.get_world_size(), 1.0) / max(own, 1)


def _layers(logits: Tensor, boxes: Tensor) -> list[dict]:
    return [{"logits": c, "pred_boxes": b} for c, b in zip(logits.unbind(1), boxes.unbind(1), strict=True)]
