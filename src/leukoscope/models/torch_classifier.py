"""The cell classifier as torch sees it, and its export to ONNX."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import nn

from leukoscope.models.torch_lite import Lite0Features, fold_norms, normalise

OPSET = 17
SIZE_UNIT_UM = 10.0  # a lymphocyte's diameter: keeps the logarithm near zero


class CellClassifier(nn.Module):
    """Lite0 features at two strides, and the cell's diameter where the scale is known.

    forward(pixels, diameter_um)
        pixels       (N, S, S, 3) uint8 or float in [0, 255], RGB, white-balanced, cropped by the card's rule
        diameter_um  (N,) float: longer side of the cell's box; 0 where micrometres a pixel are unknown
        → logits (N, C)
    A lymphoblast is larger than a lymphocyte, and a crop that follows the box hides that; the diameter tells it
    without giving away the frame that a source happened to cut.
    """

    def __init__(self, n_classes: int, *, pretrained: bool = True) -> None:
        super().__init__()
        self.features = Lite0Features(pretrained=pretrained, head=True)
        fold_norms(self.features)
        self.diameter = nn.Sequential(nn.Linear(2, 32), nn.ReLU())
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(1280 + 112 + 32, n_classes)

    def forward(self, pixels: torch.Tensor, diameter_um: torch.Tensor) -> torch.Tensor:
        maps = self.features(normalise(pixels))
        known = (diameter_um > 0).float()
        size = torch.log(torch.where(diameter_um > 0, diameter_um, SIZE_UNIT_UM) / SIZE_UNIT_UM)
        pooled = [maps[4].mean((2, 3)), maps[2].mean((2, 3)), self.diameter(torch.stack([known, size], 1))]
        return self.fc(self.dropout(torch.cat(pooled, 1)))  # (N, C)


def export_classifier(model: CellClassifier, path: str | Path, *, size: int) -> None:
    """Write ONNX: inputs "pixels" uint8 (N, size, size, 3) and "diameter_um" float (N,), output "logits" (N, C)."""
    model = model.eval().to("cpu", memory_format=torch.contiguous_format)
    example = (torch.zeros(2, size, size, 3, dtype=torch.uint8), torch.zeros(2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        torch.onnx.export(
            model,
            example,
            str(path),
            input_names=["pixels", "diameter_um"],
            output_names=["logits"],
            dynamic_axes={"pixels": {0: "n"}, "diameter_um": {0: "n"}, "logits": {0: "n"}},
            opset_version=OPSET,
            dynamo=False,  # a plain graph of convolutions: traced in two seconds, where the newer exporter takes thirty
        )
