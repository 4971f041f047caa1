"""YOLO11 by ultralytics as a network of this project: pixels in, boxes and class scores out. Extra `yolo`, AGPL-3.0."""

import os
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from leukoscope.errors import ConfigError
from leukoscope.models.torch_detr import best_first

NMS_IOU = 0.7  # ultralytics' own for validation
SIZES = ("yolo11n", "yolo11s", "yolo11m", "yolo11l", "yolo11x")
NOTICE = (
    "ultralytics is under AGPL-3.0: what you distribute or serve with it, and with the weights it trains, falls under "
    "that licence too"
)


def import_ultralytics() -> ModuleType:
    """The library, kept from reaching for the network, installing packages or writing outside the run; ConfigError,
    which names extra and licence, where it is missing."""
    for name, value in {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"}.items():
        os.environ.setdefault(name, value)
    try:
        import ultralytics
    except ImportError as error:
        raise ConfigError(
            f"YOLO needs the extra: pip install 'leukoscope[yolo]' ({NOTICE}); importing it said: {error}"
        ) from None
    return ultralytics


def require_weights(path: str | None) -> None:
    """ConfigError where weights are named that are no file: ultralytics would look for them on the network."""
    if path is not None and not Path(path).is_file():
        raise ConfigError(
            f"no weights at {path}: put the published file there (from https://github.com/ultralytics/assets), "
            "name another path, or leave weights out to start from chance"
        )


def build_yolo(arch: str, n_classes: int) -> nn.Module:
    """A YOLO11 detection network with random weights; ConfigError for another name."""
    if arch not in SIZES:
        raise ConfigError(f"arch must be one of {', '.join(SIZES)}, got {arch!r}")
    import_ultralytics()
    from ultralytics.nn.tasks import DetectionModel

    return DetectionModel(f"{arch}.yaml", ch=3, nc=n_classes, verbose=False)


class ExportedYolo(nn.Module):
    """The graph that ships: pixels (1, H, W, 3) uint8 RGB to boxes (300, 4) px xyxy and scores (300, C), best first.

    With `columns` the scores are (300,), the best of those classes: a locator's. Overlapping boxes are left to the
    caller.
    """

    def __init__(self, net: nn.Module, *, columns: list[int] | None = None) -> None:
        super().__init__()
        self.net, self.columns = net, columns

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        height, width = pixels.shape[1], pixels.shape[2]
        out = self.net(pixels.permute(0, 3, 1, 2).float() / 255)
        boxes = (out[0] if isinstance(out, (tuple, list)) else out)[0].transpose(0, 1)  # (A, 4 + C)
        cx, cy, w, h = boxes[:, :4].unbind(1)
        x0, x1 = (cx - w / 2).clamp(0, width), (cx + w / 2).clamp(0, width)
        y0, y1 = (cy - h / 2).clamp(0, height), (cy + h / 2).clamp(0, height)
        return best_first(torch.stack([x0, y0, x1, y1], 1), boxes[:, 4:], self.columns)
