"""The cell classifier as torch sees it, and its export to ONNX."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from leukoscope.models.torch_lite import Lite0Features, fold_norms, normalise
from leukoscope.models.torch_nearness import NearnessScale
from leukoscope.models.torch_onnx import export_graph

POOLED = 1280 + 112 + 32  # two maps' means, and the diameter
TEXTURE = slice(1280, 1280 + 112)  # of them, those of the earlier map
SIZE_UNIT_UM = 10.0  # a lymphocyte's diameter: keeps the logarithm near zero


class CellTrunk(nn.Module):
    """Lite0 features at two strides, and the cell's diameter where the scale is known.

    forward(pixels, diameter_um)
        pixels       (N, S, S, 3) uint8 or float in [0, 255], RGB, white-balanced, cropped by the card's rule
        diameter_um  (N,) float: longer side of the cell's box; 0 where micrometres a pixel are unknown
        → (N, POOLED) what a last layer hears
    A lymphoblast is larger than a lymphocyte, and a crop that follows the box hides that; the diameter tells it
    without giving away the frame that a source happened to cut.
    grey  the trunk sees the mean of the three channels only: what it hears, no stain's hue has changed
    """

    def __init__(self, *, pretrained: bool = True, grey: bool = False, norms: bool = False) -> None:
        """norms: keep the normalisation layers, to train them (`fold` takes them in when that is done)."""
        super().__init__()
        self.grey = grey
        self.features = Lite0Features(pretrained=pretrained, head=True)
        if not norms:
            fold_norms(self.features)
        self.diameter = nn.Sequential(nn.Linear(2, 32), nn.ReLU())

    def forward(self, pixels: torch.Tensor, diameter_um: torch.Tensor) -> torch.Tensor:
        return self.pooled(self.maps(pixels), diameter_um)

    def maps(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """Features of pixels (N, S, S, 3) at strides 4 to 32, and the widest one."""
        x = normalise(pixels)
        return self.features(x.mean(1, keepdim=True).expand(-1, 3, -1, -1) if self.grey else x)

    def pooled(self, maps: list[torch.Tensor], diameter_um: torch.Tensor) -> torch.Tensor:
        """(N, POOLED): what a last layer hears of `maps` and the diameters (N,)."""
        return self.with_size(self.means(maps), diameter_um)

    def means(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """(N, M) means of two of the maps."""
        return torch.cat([maps[4].mean((2, 3)), maps[2].mean((2, 3))], 1)

    def with_size(self, means: torch.Tensor, diameter_um: torch.Tensor) -> torch.Tensor:
        """(N, POOLED) of the maps' means and the diameters (N,)."""
        known = (diameter_um > 0).float()
        size = torch.log(torch.where(diameter_um > 0, diameter_um, SIZE_UNIT_UM) / SIZE_UNIT_UM)
        return torch.cat([means, self.diameter(torch.stack([known, size], 1))], 1)


class CellClassifier(CellTrunk):
    """A trunk and its last layer; in two models joined, a second, grey trunk that the same layer hears.

    forward(pixels, diameter_um), as a trunk's, → logits (N, C)
    described(pixels, diameter_um)
        → logits (N, C), and one number for each attribute's value (N, V): softmax within each attribute
    The attributes' layer also hears the strongest answer of two maps, so that one small vacuole is not averaged away;
    it hears the first trunk alone.
    `nearness`: by what logits are multiplied where cells look like training's (None: by nothing).
    """

    def __init__(
        self,
        n_classes: int,
        *,
        n_values: int = 0,
        pretrained: bool = True,
        grey: bool = False,
        joined: bool = False,
        norms: bool = False,
    ) -> None:
        super().__init__(pretrained=pretrained, grey=grey, norms=norms)
        self.second = CellTrunk(pretrained=False, grey=True) if joined else None
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(POOLED * (2 if joined else 1), n_classes)
        self.nearness: NearnessScale | None = None
        self.attributes = nn.Linear(POOLED + 112 + 40, n_values) if n_values else None

    def forward(self, pixels: torch.Tensor, diameter_um: torch.Tensor) -> torch.Tensor:
        return self.say(self.dropout(self.hear(pixels, diameter_um)))  # (N, C)

    def say(self, features: torch.Tensor) -> torch.Tensor:
        """Logits (N, C) of what the last layer hears (N, F)."""
        return self.fc(features) if self.nearness is None else self.fc(features) * self.sharpness(features)

    def sharpness(self, features: torch.Tensor) -> torch.Tensor:
        """(N, 1) by what the last layer's answer to features (N, F) is multiplied."""
        if self.nearness is None:
            return features.new_ones(len(features), 1)
        return self.nearness(torch.cat([f[:, TEXTURE] for f in features.split(POOLED, 1)], 1))

    def described(self, pixels: torch.Tensor, diameter_um: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = self.maps(pixels)
        logits = self.say(self.dropout(self.hear(pixels, diameter_um, maps=maps)))
        return logits, self.attributes(self.dropout(self.details_of(maps, diameter_um)))  # (N, C), (N, V)

    def hear(
        self, pixels: torch.Tensor, diameter_um: torch.Tensor, *, maps: list[torch.Tensor] | None = None
    ) -> torch.Tensor:
        """(N, F) what the types' layer hears; `maps`: the first trunk's, where they are there already."""
        features = self.pooled(self.maps(pixels) if maps is None else maps, diameter_um)
        return (
            features
            if self.second is None
            else torch.cat([features, self.second(fewer_pixels(pixels), diameter_um)], 1)
        )

    def details(self, pixels: torch.Tensor, diameter_um: torch.Tensor) -> torch.Tensor:
        """(N, POOLED + 152) what the attributes' layer hears."""
        return self.details_of(self.maps(pixels), diameter_um)

    def details_of(self, maps: list[torch.Tensor], diameter_um: torch.Tensor) -> torch.Tensor:
        """As `details`, of the first trunk's maps."""
        return torch.cat([self.pooled(maps, diameter_um), maps[2].amax((2, 3)), maps[1].amax((2, 3))], 1)

    def folded(self) -> CellClassifier:
        """The same network in evaluation, its trained normalisation layers taken into the convolutions before them."""
        other = copy.deepcopy(self).to("cpu", memory_format=torch.contiguous_format).eval()
        fold_norms(other.features)
        return other


def fewer_side(side: int) -> int:
    """Four fifths of a crop's side, to a multiple of 32 px."""
    return max(32, 32 * round(0.8 * side / 32))


def fewer_pixels(pixels: torch.Tensor) -> torch.Tensor:
    """Pixels (N, S, S, 3) at four fifths of their number a side: what the second trunk sees."""
    side = fewer_side(int(pixels.shape[1]))
    return F.interpolate(pixels.permute(0, 3, 1, 2).float(), size=(side, side), mode="bilinear").permute(0, 2, 3, 1)


class _Described(nn.Module):
    """A classifier whose forward also gives what its last layer hears and the attributes, for the exporter."""

    def __init__(self, model: CellClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor, diameter_um: torch.Tensor) -> tuple[torch.Tensor, ...]:
        maps = self.model.maps(pixels)
        features = self.model.hear(pixels, diameter_um, maps=maps)
        outputs = (self.model.say(features), features)
        if self.model.attributes is None:
            return outputs
        return (*outputs, self.model.attributes(self.model.details_of(maps, diameter_um)))


def export_classifier(model: CellClassifier, path: str | Path, *, size: int) -> None:
    """Write ONNX: inputs "pixels" uint8 (N, size, size, 3) and "diameter_um" float (N,), outputs "logits" (N, C) and
    "features" (N, F), what the last layer hears; a classifier with attributes also has "attributes" (N, V)."""
    model = model.eval().to("cpu", memory_format=torch.contiguous_format)
    described = model.attributes is not None
    export_graph(
        _Described(model),
        (torch.zeros(2, size, size, 3, dtype=torch.uint8), torch.zeros(2)),
        path,
        inputs=("pixels", "diameter_um"),
        outputs=("logits", "features", "attributes") if described else ("logits", "features"),
        rows=True,
        traced=True,
        halved=model.second is not None,
    )
