"""The white-cell locator: a centre-score and box head on fused EfficientNet-Lite0 features.

Every point of a feature map (stride 8; or 8, 16 and 32) says how good the box it would draw is, and how far the
box's four sides are. The score is trained towards the overlap that the point's own box reaches (quality focal
loss: Li et al., Generalized Focal Loss, NeurIPS 2020, eq. 2), weighted by a Gaussian around the cell's centre
(Zhou et al., Objects as Points, 2019, section 3), so that one number says "a cell, and this is its outline".
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from leukoscope.models.torch_lite import CHANNELS, Lite0Features, normalise

STRIDES = (8, 16, 32)
TOP_K = 300
ANY_SIDES = ("32*height", "32*width")  # names of the picture's axes in the graph: `runtime.Session` reads them
LEAST_WEIGHT = 1e-6  # of a point's score in the mean of boxes: where all are 0, all count alike
CENTRE_SIGMA = 0.3  # of half the box's side
CENTRE_FLOOR = 0.3  # points whose centre weight is lower draw no box


class LocatorNet(nn.Module):
    """Maps at the strides in `levels`: score logits (B, 1, h, w), and distances of the box's left, top, right and
    bottom side from the point, in px of the input (B, 4, h, w)."""

    def __init__(self, *, levels: tuple[int, ...] = (8,), width: int = 96, pretrained: bool = True) -> None:
        super().__init__()
        if not levels or any(level not in STRIDES for level in levels):
            raise ValueError(f"levels must be strides out of {STRIDES}, got {levels}")
        self.levels = tuple(levels)
        self.backbone = Lite0Features(pretrained=pretrained)
        self.detail = _conv(CHANNELS[0], width, stride=2)
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in CHANNELS[1:])
        self.smooth = nn.ModuleDict({str(level): _conv(width, width) for level in levels})
        self.score_tower = _conv(width, width)
        self.box_tower = nn.Sequential(_conv(width, width), _conv(width, width))
        self.score = nn.Conv2d(width, 1, 3, padding=1)
        self.box = nn.Conv2d(width, 4, 3, padding=1)
        nn.init.constant_(self.score.bias, -4.0)  # few points are cells
        nn.init.normal_(self.score.weight, std=0.01)
        nn.init.normal_(self.box.weight, std=0.01)
        nn.init.zeros_(self.box.bias)

    @torch.no_grad()
    def draw_tighter(self, shares: Sequence[float]) -> None:
        """Take a share off all distances of each side (left, top, right, bottom), once and for all; () takes none."""
        if len(shares):
            self.box.bias += torch.log1p(-torch.tensor(shares, dtype=self.box.bias.dtype))

    def forward(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """x (B, 3, H, W), normalised, H and W multiples of 32."""
        c4, c8, c16, c32 = self.backbone(x)
        p32 = self.lateral[2](c32)
        p16 = self.lateral[1](c16) + functional.interpolate(p32, scale_factor=2.0, mode="nearest")
        p8 = self.lateral[0](c8) + functional.interpolate(p16, scale_factor=2.0, mode="nearest") + self.detail(c4)
        fused = {8: p8, 16: p16, 32: p32}
        maps = []
        for level in self.levels:
            feature = self.smooth[str(level)](fused[level])
            sides = self.box(self.box_tower(feature)).clamp(-4, 4).exp() * (4.0 * level)
            maps.append((self.score(self.score_tower(feature)), sides))
        return maps


class ExportedLocator(nn.Module):
    """The graph that ships: pixels (1, H, W, 3) uint8 RGB to boxes (300, 4) px xyxy and scores (300,), best first.

    H and W are any multiples of 32. Points that are not the highest of their 3x3 neighbourhood score 0, and so do the
    rows that fill up the list. A peak's box is the mean of what its neighbourhood draws, each weighted by its squared
    score. Boxes may reach over the picture's edge; overlapping ones are left to the caller.
    """

    def __init__(self, net: LocatorNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        x = normalise(pixels)
        scores, boxes = [x.new_zeros(TOP_K)], [x.new_zeros(TOP_K, 4)]
        for level, (logits, sides) in zip(self.net.levels, self.net(x), strict=True):
            score = logits.sigmoid()
            peak = functional.max_pool2d(score, 3, stride=1, padding=1) == score
            scores.append((score * peak.float()).flatten())
            weight = score.clamp(min=LEAST_WEIGHT).square()
            mean = _around(_drawn(sides, level) * weight) / _around(weight)
            boxes.append(mean[0].flatten(1).t())
        best, index = torch.cat(scores).topk(TOP_K)
        return torch.cat(boxes)[index], best


def _around(values: Tensor) -> Tensor:
    """Sums over 3x3 points, as shares of nine."""
    return functional.avg_pool2d(values, 3, stride=1, padding=1)


def locator_loss(net: LocatorNet, maps: list[tuple[Tensor, Tensor]], truth: list[Tensor], cut: list[Tensor]) -> Tensor:
    """(3,) losses of a batch: score, overlap, sides; their weighted sum is what training lowers.

    truth  per picture (n, 4) boxes px xyxy; n may be 0
    cut    per picture (m, 4) boxes of cells that the picture's edge cuts away almost wholly: nothing is learnt there
    """
    logits = torch.cat([m[0].flatten(1) for m in maps], 1)  # (B, P)
    drawn = torch.cat([_drawn(m[1], level).flatten(2) for level, m in zip(net.levels, maps, strict=True)], 2)
    drawn = drawn.transpose(1, 2)  # (B, P, 4)
    points, strides = _points(net.levels, maps)
    weight, target, care = [], [], []
    for boxes, removed in zip(truth, cut, strict=True):
        g, nearest = _centre_weights(points, strides, boxes, net.levels)
        weight.append(g)
        target.append(boxes[nearest] if len(boxes) else points.new_zeros(len(points), 4))
        care.append(~_inside(points, removed) | (g > CENTRE_FLOOR))
    g, boxes, mask = torch.stack(weight), torch.stack(target), torch.stack(care).float()
    draws = g > CENTRE_FLOOR
    iou, giou = _overlap(drawn[draws], boxes[draws])
    quality = torch.zeros_like(g)
    quality[draws] = g[draws] * iou.detach()
    n_cells = max(sum(len(b) for b in truth), 1)
    focus = (quality - logits.sigmoid()).abs().detach().square()
    entropy = functional.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    score_loss = (focus * entropy * mask).sum() / n_cells
    total = g[draws].sum().clamp(min=1.0)
    sides = boxes[draws][:, 2:] - boxes[draws][:, :2]
    off = ((drawn[draws] - boxes[draws]).abs() / sides.repeat(1, 2)).mean(1)
    return torch.stack([score_loss, ((1 - giou) * g[draws]).sum() / total, (off * g[draws]).sum() / total])


def _conv(before: int, after: int, *, stride: int = 1) -> nn.Sequential:
    # Group norm keeps no statistics of the training set: nothing in the head goes stale on another stain.
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False), nn.GroupNorm(8, after), nn.ReLU(inplace=True)
    )


def _grid(height: int, width: int, stride: int, like: Tensor) -> Tensor:
    """(height * width, 2) x, y of the points: the middles of the stride x stride squares."""
    y = (torch.arange(height, device=like.device, dtype=like.dtype) + 0.5) * stride
    x = (torch.arange(width, device=like.device, dtype=like.dtype) + 0.5) * stride
    return torch.stack([x.repeat(height), y.repeat_interleave(width)], 1)


def _points(levels: tuple[int, ...], maps: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """All points (P, 2) and the stride of each (P,)."""
    grids = [_grid(m[0].shape[2], m[0].shape[3], level, m[0]) for level, m in zip(levels, maps, strict=True)]
    strides = [grid.new_full((len(grid),), level) for level, grid in zip(levels, grids, strict=True)]
    return torch.cat(grids), torch.cat(strides)


def _drawn(sides: Tensor, stride: int) -> Tensor:
    """Boxes (B, 4, h, w) xyxy of side distances (B, 4, h, w)."""
    x, y = ((torch.arange(n, device=sides.device) + 0.5) * stride for n in (sides.shape[3], sides.shape[2]))
    left, top, right, bottom = sides.unbind(1)
    y = y[:, None]
    return torch.stack([x - left, y - top, x + right, y + bottom], 1)


def _centre_weights(points: Tensor, strides: Tensor, boxes: Tensor, levels: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """How near each point is to a cell's centre (P,), 1 at each cell's nearest point, and which cell (P,)."""
    if not len(boxes):
        return points.new_zeros(len(points)), torch.zeros(len(points), dtype=torch.long, device=points.device)
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    distance = ((points[:, None] - centre) / half).square().sum(2)  # (P, n)
    side = 2 * half.prod(1).sqrt()
    level = torch.full_like(side, levels[0])
    for finer, coarser in zip(levels[:-1], levels[1:], strict=True):
        level = torch.where(side > 8 * finer, torch.full_like(side, coarser), level)
    distance = distance.masked_fill(strides[:, None] != level, torch.inf)
    g = torch.exp((distance.amin(0) - distance) / (2 * CENTRE_SIGMA**2))
    inside = ((points[:, None] - centre).abs() < half).all(2)
    return (g * inside).max(1)


def _inside(points: Tensor, boxes: Tensor) -> Tensor:
    """(P,) whether a point lies in any of the boxes."""
    if not len(boxes):
        return torch.zeros(len(points), dtype=torch.bool, device=points.device)
    p = points[:, None]
    return ((p > boxes[:, :2]) & (p < boxes[:, 2:])).all(2).any(1)


def _overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU (Rezatofighi et al. 2019) of boxes row by row, (N,) each."""
    common = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(1)
    union = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - common
    around = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(1)
    iou = common / union.clamp(min=1e-6)
    return iou, iou - (around - union) / around.clamp(min=1e-6)
