"""The cell classifier as torch sees it, and its export to ONNX."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import nn

from leukoscope.models.torch_lite import Lite0Features, fold_norms, normalise

OPSET = 17
POOLED = 1280 + 112 + 32  # two maps' means, and the diameter
SIZE_UNIT_UM = 10.0  # a lymphocyte's diameter: keeps the logarithm near zero


class CellClassifier(nn.Module):
    """Lite0 features at two strides, and the cell's diameter where the scale is known.

    forward(pixels, diameter_um)
        pixels       (N, S, S, 3) uint8 or float in [0, 255], RGB, white-balanced, cropped by the card's rule
        diameter_um  (N,) float: longer side of the cell's box; 0 where micrometres a pixel are unknown
        → logits (N, C)
    described(pixels, diameter_um)
        → logits (N, C), and one number for each attribute's value (N, V): softmax within each attribute
    The attributes' layer also hears the strongest answer of two maps, so that one small vacuole is not averaged away.
    A lymphoblast is larger than a lymphocyte, and a crop that follows the box hides that; the diameter tells it
    without giving away the frame that a source happened to cut.
    """

    def __init__(self, n_classes: int, *, n_values: int = 0, pretrained: bool = True) -> None:
        super().__init__()
        self.features = Lite0Features(pretrained=pretrained, head=True)
        fold_norms(self.features)
        self.diameter = nn.Sequential(nn.Linear(2, 32), nn.ReLU())
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(POOLED, n_classes)
        self.attributes = nn.Linear(POOLED + 112 + 40, n_values) if n_values else None

    def forward(self, pixels: torch.Tensor, diameter_um: torch.Tensor) -> torch.Tensor:
        return self.fc(self.dropout(self.pooled(self.features(normalise(pixels)), diameter_um)))  # (N, C)

    def described(self, pixels: torch.Tensor, diameter_um: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        heard = self.heard(pixels, diameter_um)
        return self.fc(self.dropout(heard[:, :POOLED])), self.attributes(self.dropout(heard))  # (N, C), (N, V)

    def heard(self, pixels: torch.Tensor, diameter_um: torch.Tensor) -> torch.Tensor:
        """(N, POOLED + 152): what the attributes' layer hears; the first POOLED are what the types' layer does."""
        maps = self.features(normalise(pixels))
        return torch.cat([self.pooled(maps, diameter_um), maps[2].amax((2, 3)), maps[1].amax((2, 3))], 1)

    def pooled(self, maps: list[torch.Tensor], diameter_um: torch.Tensor) -> torch.Tensor:
        """(N, POOLED): what both layers hear of `features` (its maps) and the diameters (N,)."""
        known = (diameter_um > 0).float()
        size = torch.log(torch.where(diameter_um > 0, diameter_um, SIZE_UNIT_UM) / SIZE_UNIT_UM)
        return torch.cat([maps[4].mean((2, 3)), maps[2].mean((2, 3)), self.diameter(torch.stack([known, size], 1))], 1)


class _Described(nn.Module):
    """A classifier whose forward gives the attributes too, for the exporter."""

    def __init__(self, model: CellClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor, diameter_um: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.model.described(pixels, diameter_um)


def export_classifier(model: CellClassifier, path: str | Path, *, size: int) -> None:
    """Write ONNX: inputs "pixels" uint8 (N, size, size, 3) and "diameter_um" float (N,), output "logits" (N, C); a
    classifier with attributes has a second output "attributes" (N, V)."""
    model = model.eval().to("cpu", memory_format=torch.contiguous_format)
    outputs = ["logits"] if model.attributes is None else ["logits", "attributes"]
    example = (torch.zeros(2, size, size, 3, dtype=torch.uint8), torch.zeros(2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        torch.onnx.export(
            model if model.attributes is None else _Described(model).eval(),
            example,
            str(path),
            input_names=["pixels", "diameter_um"],
            output_names=outputs,
            dynamic_axes={name: {0: "n"} for name in ("pixels", "diameter_um", *outputs)},
            opset_version=OPSET,
            dynamo=False,  # a plain graph of convolutions: traced in two seconds, where the newer exporter takes thirty
        )
