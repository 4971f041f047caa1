"""The outliner: which pixels of a cell's crop are its cytoplasm and its nucleus, the cell being the one in the box.

A U-shaped network (Ronneberger et al. 2015) on EfficientNet-Lite0's features at strides 2, 4, 8 and 16. The box is
told to the network as the place of every point in it, so that a neighbour that touches is background: which of two
cells is meant is nothing that the pixels say.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from leukoscope.models.torch_lite import CHANNELS, Lite0Features, normalise

CLASSES = ("background", "cytoplasm", "nucleus")
LAST_BLOCK = 10  # of Lite0: the deeper ones see no more of a cell than these, and hold four fifths of the weights
FINEST = 16  # channels of Lite0's first block, at stride 2
PLACES = 4  # numbers a point has of its place in the box


class OutlineNet(nn.Module):
    """Logits (B, 3, S, S) of background, cytoplasm, nucleus for normalised pixels (B, 3, S, S), S a multiple of 16,
    and boxes (B, 4) px xyxy of the crop."""

    def __init__(self, *, width: int = 48, pretrained: bool = True) -> None:
        super().__init__()
        self.backbone = Lite0Features(pretrained=pretrained)
        self.backbone.blocks = self.backbone.blocks[: LAST_BLOCK + 1]
        channels = (FINEST, *CHANNELS[:3])  # at strides 2, 4, 8, 16
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.place = nn.ModuleList(nn.Conv2d(PLACES, width, 1) for _ in channels)
        # The finest map has a quarter of all points: few channels there halve the time of a step.
        self.fuse = nn.ModuleList(_conv(width, width if level else FINEST) for level in range(len(channels)))
        self.deep = _conv(width, width)
        self.head = nn.Conv2d(FINEST, len(CLASSES), 3, padding=1)

    def forward(self, x: Tensor, boxes: Tensor) -> Tensor:
        size = x.shape[2]
        x = self.backbone.stem(x)
        features = []
        for i, block in enumerate(self.backbone.blocks):
            x = block(x)
            if i in (0, 2, 4, LAST_BLOCK):
                features.append(x)
        fused = None
        for level in (3, 2, 1, 0):
            feature = features[level]
            here = self.lateral[level](feature) + self.place[level](place_in_box(boxes, size, feature.shape[2]))
            if fused is not None:
                here = here + functional.interpolate(fused, scale_factor=2.0, mode="nearest")
            fused = self.fuse[level](here)
            if level == 3:
                fused = self.deep(fused)
        return functional.interpolate(self.head(fused), scale_factor=2.0, mode="bilinear", align_corners=False)


class ExportedOutliner(nn.Module):
    """The graph that ships: pixels (N, S, S, 3) uint8 RGB and boxes (N, 4) to probs (N, 3, S, S)."""

    def __init__(self, net: OutlineNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixels: Tensor, boxes: Tensor) -> Tensor:
        return self.net(normalise(pixels), boxes).softmax(1)


def place_in_box(boxes: Tensor, size: int, n: int) -> Tensor:
    """(B, 4, n, n): how far each point of an n x n map lies inside the box's left, top, right and bottom side.

    In shares of the box's width or height, cut off at -0.5 and 1.5; boxes (B, 4) px of a crop of `size` px.
    """
    centers = (torch.arange(n, device=boxes.device, dtype=boxes.dtype) + 0.5) * (size / n)
    x, y = centers.view(1, 1, n).expand(1, n, n), centers.view(1, n, 1).expand(1, n, n)
    x0, y0, x1, y1 = (boxes[:, i].view(-1, 1, 1) for i in range(4))
    width, height = x1 - x0, y1 - y0
    place = [(x - x0) / width, (y - y0) / height, (x1 - x) / width, (y1 - y) / height]
    return torch.stack([p.clamp(-0.5, 1.5) for p in place], 1)


UNKNOWN_PART, UNKNOWN = 3, 255  # labels: the cell, nucleus or cytoplasm not told; nothing told


def outline_loss(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """(2,) losses of a batch: cross-entropy, and 1 - Dice of cell and nucleus; each row counts with its weight.

    labels   (B, S, S): 0 background, 1 cytoplasm, 2 nucleus, UNKNOWN_PART, UNKNOWN
    weights  (B,) 0 for rows that teach nothing
    Where only the cell is known, its probability is that of cytoplasm and nucleus together.
    """
    log_p = functional.log_softmax(logits, 1)
    log_cell = torch.logsumexp(log_p[:, 1:], 1)
    of_pixels = functional.nll_loss(log_p, labels.clamp(max=2), reduction="none")
    entropy = torch.where(labels == UNKNOWN_PART, -log_cell, of_pixels)
    known = (labels != UNKNOWN).float()
    share = weights / weights.sum().clamp(min=1e-6)
    entropy = (entropy * known).sum((1, 2)) / known.sum((1, 2)).clamp(min=1.0)
    is_cell = ((labels >= 1) & (labels <= UNKNOWN_PART)).float()
    cell_dice = _dice(log_cell.exp() * known, is_cell)
    # The nucleus is judged only in rows that tell it everywhere in the cell.
    whole = ((labels != UNKNOWN_PART).flatten(1).all(1) & (labels == 2).flatten(1).any(1)).float()
    nucleus_dice = _dice(log_p[:, 2].exp() * known, (labels == 2).float()) * whole
    return torch.stack([(entropy * share).sum(), ((cell_dice + nucleus_dice) * share).sum()])


def _dice(p: Tensor, truth: Tensor) -> Tensor:
    """(B,) 1 - Dice of probabilities and truth (B, S, S)."""
    return 1 - (2 * (p * truth).sum((1, 2)) + 1) / (p.sum((1, 2)) + truth.sum((1, 2)) + 1)


def _conv(before: int, after: int) -> nn.Sequential:
    # Group norm keeps no statistics of the training set, as in the locator's head.
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1, bias=False), nn.GroupNorm(8, after), nn.ReLU(inplace=True)
    )
