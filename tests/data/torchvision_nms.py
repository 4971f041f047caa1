"""For tests only: torchvision's one operator that ultralytics calls, where torchvision's own binary can't load.

A processor-only torch of another build than torchvision's leaves torchvision without operators, and importing it fails.
`provide()` defines non-maximum suppression by torch alone, and imports torchvision beside it. Nobody else needs this.
"""

from __future__ import annotations

import importlib
import sys

_kept = []  # a library's operators live as long as it does


def provide() -> None:
    """Import torchvision, with the operator defined here if its own is missing."""
    try:
        importlib.import_module("torchvision")
        return
    except RuntimeError as error:
        if "does not exist" not in str(error):
            raise
    for name in [n for n in sys.modules if n == "torchvision" or n.startswith("torchvision.")]:
        del sys.modules[name]
    import torch

    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", suppress, "CPU")
    _kept.append(library)
    for name in ("torchvision.extension", "torchvision.ops.boxes"):
        importlib.import_module(name)._assert_has_ops = lambda: None


def suppress(boxes, scores, iou_threshold):
    """Rows (K,) kept of boxes (N, 4) xyxy, best first: none overlaps a better one by more than the threshold."""
    import torch

    order = torch.argsort(scores, descending=True, stable=True)
    ranked = boxes[order]
    low, high = torch.maximum(ranked[:, None, :2], ranked[:, :2]), torch.minimum(ranked[:, None, 2:], ranked[:, 2:])
    common = (high - low).clamp(min=0).prod(2)
    area = (ranked[:, 2:] - ranked[:, :2]).prod(1)
    iou = common / (area[:, None] + area - common)
    kept = torch.ones(len(order), dtype=torch.bool)
    for i in range(len(order)):
        if kept[i]:
            kept[i + 1 :] &= iou[i, i + 1 :] <= iou_threshold
    return order[kept]
