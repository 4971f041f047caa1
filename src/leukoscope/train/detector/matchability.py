"""DEIM's Matchability-Aware Loss in the place of RT-DETR's varifocal one (Huang et al., DEIM, CVPR 2025, section 3.2).

A matched query learns to say, for its class, how well its box fits: the target is IoU^γ, at full weight however low the
IoU is (the varifocal loss weights by the IoU itself, so poor matches are hardly corrected). Everything else learns 0,
weighted by p^γ. `tests/parity/test_matchability.py` holds the same written out in NumPy.
"""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
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
        self.matcher = BlockMatcher(config)

    def forward(self, outputs, targets):
        self.boxes_over = _mean_boxes_over_own(targets)
        self.matcher.match([outputs, *outputs.get("auxiliary_outputs", ())], targets)
        return super().forward(outputs, targets)

    def get_loss(self, loss, outputs, targets, indices, num_boxes):
        num_boxes = num_boxes * self.boxes_over  # the base class counts this process's boxes only
        if loss != "mal":
            return super().get_loss(loss, outputs, targets, indices, num_boxes)
        rows, queries = self._get_source_permutation_idx(indices)
        truth = torch.cat([t["boxes"][i] for t, (_, i) in zip(targets, indices, strict=True)])
        classes = torch.cat([t["class_labels"][i] for t, (_, i) in zip(targets, indices, strict=True)])
        boxes = outputs["pred_boxes"][rows, queries].detach()
        iou = torch.diag(box_iou(center_to_corners_format(boxes), center_to_corners_format(truth))[0])
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


class BlockMatcher(nn.Module):
    """RT-DETR's Hungarian matching of all layers at once, of each picture's queries with that picture's boxes only.

    transformers' matcher, whose answers these are, weighs every query of a batch against every box of the batch, layer
    by layer, and waits for the accelerator each time.
    """

    def __init__(self, config) -> None:
        super().__init__()
        self.costs = config.matcher_class_cost, config.matcher_bbox_cost, config.matcher_giou_cost
        self.alpha, self.gamma = config.matcher_alpha, config.matcher_gamma
        self.answers: list = []

    @torch.no_grad()
    def match(self, layers: list[dict], targets: list[dict]) -> None:
        """Match every layer's outputs; `forward` then gives the answers in their order."""
        sizes, n_layers = [len(t["boxes"]) for t in targets], len(layers)
        classes = nn.utils.rnn.pad_sequence([t["class_labels"] for t in targets], batch_first=True)  # (B, N)
        truth = nn.utils.rnn.pad_sequence([t["boxes"] for t in targets], batch_first=True)  # (B, N, 4)
        costs = torch.stack([self._costs(layer["logits"], layer["pred_boxes"], classes, truth) for layer in layers])
        largest = torch.finfo(costs.dtype).max
        costs = torch.nan_to_num(costs, nan=largest, posinf=largest, neginf=largest).cpu().numpy()
        self.answers = [
            [tuple(map(torch.from_numpy, linear_sum_assignment(costs[i, b, :, :n]))) for b, n in enumerate(sizes)]
            for i in range(n_layers)
        ]

    def forward(self, outputs: dict, targets: list[dict]) -> list[tuple[Tensor, Tensor]]:
        return self.answers.pop(0)

    def _costs(self, logits: Tensor, boxes: Tensor, classes: Tensor, truth: Tensor) -> Tensor:
        """(B, Q, N) of logits (B, Q, C), boxes (B, Q, 4), classes (B, N) and true boxes (B, N, 4)."""
        chance = logits.sigmoid().gather(2, classes[:, None].expand(-1, logits.shape[1], -1))
        negative = (1 - self.alpha) * chance**self.gamma * -(1 - chance + 1e-8).log()
        positive = self.alpha * (1 - chance) ** self.gamma * -(chance + 1e-8).log()
        overlap = _block_giou(center_to_corners_format(boxes), center_to_corners_format(truth))
        of_class, of_box, of_giou = self.costs
        sides = torch.cdist(boxes, truth, p=1)
        return of_box * sides + of_class * (positive - negative) + of_giou * -overlap


def _block_giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU (B, Q, N) of boxes (B, Q, 4) and (B, N, 4), xyxy."""
    areas = [(x[..., 2] - x[..., 0]) * (x[..., 3] - x[..., 1]) for x in (a, b)]
    a, b = a[:, :, None], b[:, None]
    common = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    union = areas[0][:, :, None] + areas[1][:, None] - common
    hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    return common / union - (hull - union) / hull


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
    n_boxes = sum(len(t["class_labels"]) for t in targets)
    total = torch.tensor([float(n_boxes)], device=targets[0]["class_labels"].device)
    dist.all_reduce(total)
    return max(float(total) / dist.get_world_size(), 1.0) / max(n_boxes, 1)


def _layers(logits: Tensor, boxes: Tensor) -> list[dict]:
    return [{"logits": c, "pred_boxes": b} for c, b in zip(logits.unbind(1), boxes.unbind(1), strict=True)]
