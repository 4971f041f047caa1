"""Settings of the detector trainings: one dataclass for the transformers, one for YOLO; task = "detect" in a TOML."""

from dataclasses import dataclass, field
from pathlib import Path

from leukoscope.errors import ConfigError
from leukoscope.train.config import (
    TunedConfig,
    YoloRunConfig,
    build_config,
    read_toml,
    require_at_least,
    require_choice,
    require_side,
)

YOLO_LICENCE = "AGPL-3.0 (ultralytics): what is distributed with these weights, or served from them, falls under it"


@dataclass(frozen=True, slots=True)
class DetectorConfig(TunedConfig):
    """One run of a detection transformer with DEIM's training (RECIPES of DEIM, CVPR 2025; PCM, section 2.3.1).

    arch        of `models.torch_detr.ARCHITECTURES`; where weights are given, the file's keys say whether the network
                is RT-DETRv2's or DEIM's ("deim-" before the name)
    taxonomy    name or TOML file; "wbc-other" for white cells of any type against everything else that is boxed
    leave_out   classes without a place in the taxonomy: fields that show one are not used
    weights     of `models.torch_detr_keys`
    normalise   "imagenet", "unit", "lite0"; None: "unit" with weights (published RT-DETRv2 and DEIM files were trained
                on pixels over 255), else "imagenet"
    accumulate  batches a step: the step's batch is batch_size · accumulate · processes
    learning_rate, final_rate   flat, then by a cosine to the second; backbone_rate falls in the same proportion
    warmup_steps                from 0 by the square of the step
    dense_from, flat_epochs     mosaic and mix-up from epoch dense_from until flat_epochs, where the rate starts to fall
                                (None: 4, or a twentieth of few epochs; and dense_from + half of the epochs)
                                (the epochs before it see pictures as they are, in sizes of multi_scale)
    plain_epochs                last epochs without augmentation, at the final rate
    multi_scale                 0.25: sides from 0.75 to 1.25 of `side`, in steps of 32 px
    stain_strength              `augment.jitter_colour` on top of the photometric distortion; 0 leaves it out
    patience    is for AP50-95 on validation; compile: of backbone and encoder, where pictures have one size
    """

    taxonomy: str = "wbc-other"
    side: int = 640
    learning_rate: float = 2e-5
    final_rate: float = 1e-5
    backbone_rate: float = 1e-5
    weight_decay: float = 1e-4
    gradient_norm: float = 0.1
    warmup_steps: int = 2000
    ema: float = 0.9999
    ema_warmup: int = 1000
    dense_from: int | None = None
    flat_epochs: int | None = None
    plain_epochs: int = 8
    mosaic: float = 0.5
    mixup: float = 0.5
    rotation: float = 10.0
    flip_vertical: bool = True
    stain_strength: float = 0.0
    multi_scale: float = 0.25
    mal_gamma: float = 1.5
    pretrained: bool = True  # the backbone's installed ImageNet weights, where there are any (rtdetrv2-lite0)
    normalise: str | None = None
    white_balance: bool = False
    leave_out: tuple = ()
    validate_every: int = 1
    memory_px: int = 1024
    memory_mb: int = 4000

    def __post_init__(self) -> None:
        require_side(self)
        TunedConfig.__post_init__(self)
        require_at_least(self, epochs=1)
        require_choice(self, amp=("auto", "off"))
        if not 0 <= self.plain_epochs <= self.epochs:
            raise ConfigError(f"plain_epochs must be 0 to epochs ({self.epochs}), got {self.plain_epochs}")

    @property
    def dense_span(self) -> tuple[int, int]:
        """First epoch with mosaic and mix-up, and the first without them again."""
        start = min(4, self.epochs // 20) if self.dense_from is None else self.dense_from
        end = start + self.epochs // 2 if self.flat_epochs is None else self.flat_epochs
        return start, max(start, min(end, self.epochs - self.plain_epochs))


@dataclass(frozen=True, slots=True)
class YoloConfig(YoloRunConfig):
    """One run of YOLO11 by ultralytics (extra `yolo`, AGPL-3.0); PCM, section 2.3.1, for the defaults.

    arch      yolo11n, yolo11s, yolo11m, yolo11l or yolo11x
    The rest as in `DetectorConfig`; the rate falls from learning_rate to learning_rate · final_share.
    """

    taxonomy: str = "wbc-other"
    final_share: float = 0.01
    optimizer: str = "SGD"
    warmup_epochs: float = 3.0
    weight_decay: float = 5e-4
    rotation: float = 10.0
    flip_vertical: bool = True
    plain_epochs: int = 10
    leave_out: tuple = ()
    val_share: float = 0.2
    patience: int = 100
    licence: str = field(default=YOLO_LICENCE, kw_only=True)


def is_yolo(arch: str) -> bool:
    """Whether ultralytics trains it."""
    return arch.startswith("yolo")


def detector_config(values: dict, path: str | Path) -> DetectorConfig | YoloConfig:
    """The configuration of TOML values without their `task`; `arch` says which of the two."""
    if is_yolo(str(values.get("arch", ""))):
        return build_config(YoloConfig, values, path)
    return build_config(DetectorConfig, values, path)


def read_detector_config(path: str | Path) -> DetectorConfig | YoloConfig:
    """The configuration in a TOML file with task = "detect"."""
    values = read_toml(path)
    task = values.pop("task", None)
    if task != "detect":
        raise ConfigError(f'{path}: expected task = "detect", got {task!r}')
    return detector_config(values, path)
