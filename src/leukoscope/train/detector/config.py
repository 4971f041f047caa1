"""Settings of the detector trainings: one dataclass for the transformers, one for YOLO; task = "detect" in a TOML."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from leukoscope.errors import ConfigError
from leukoscope.train.config import (
    RunConfig,
    build_config,
    check_yolo_config,
    read_toml,
    require_at_least,
    require_choice,
    require_side,
)

YOLO_LICENCE = "AGPL-3.0 (ultralytics): what is distributed with these weights, or served from them, falls under it"


@dataclass(frozen=True, slots=True)
class DetectorConfig(RunConfig):
    """One run of a detection transformer with DEIM's training (RECIPES of DEIM, CVPR 2025; PCM, section 2.3.1).

    arch        of `models.torch_detr.ARCHITECTURES`; where weights are given, the file's keys say whether the network
                is RT-DETRv2's or DEIM's ("deim-" before the name)
    taxonomy    name or TOML file; "wbc-other" for white cells of any type against everything else that is boxed
    leave_out   classes without a place in the taxonomy: fields that show one are not used
    weights     published weights by path (`models.torch_detr_keys`), or None
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
    val_share   kept from training, by patient or else by field, where no data set has a split "val"
    patience    epochs without a better AP50-95 on validation before the run ends; None: never
    amp         "auto": half precision where an accelerator is; "off"
    workers     processes that prepare batches
    compile     "auto": backbone and encoder are compiled on an accelerator, where pictures have one size; "on", "off"
    """

    arch: str
    epochs: int
    taxonomy: str = "wbc-other"
    side: int = 640
    batch_size: int = 16
    accumulate: int = 1
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
    weights: str | None = None
    pretrained: bool = True  # the backbone's installed ImageNet weights, where there are any (rtdetrv2-lite0)
    normalise: str | None = None
    white_balance: bool = False
    leave_out: tuple = ()
    val_share: float = 0.2
    validate_every: int = 1
    patience: int | None = None
    memory_px: int = 1024
    memory_mb: int = 4000
    workers: int = 0
    amp: str = "auto"
    compile: str = "auto"

    def __post_init__(self) -> None:
        require_side(self)
        require_at_least(self, epochs=1, batch_size=1, accumulate=1)
        require_choice(self, amp=("auto", "off"), compile=("auto", "on", "off"))
        if not 0 <= self.plain_epochs <= self.epochs:
            raise ConfigError(f"plain_epochs must be 0 to epochs ({self.epochs}), got {self.plain_epochs}")
        if not 0 < self.val_share < 1:
            raise ConfigError(f"val_share must lie between 0 and 1, got {self.val_share}")

    @property
    def dense_span(self) -> tuple[int, int]:
        """First epoch with mosaic and mix-up, and the first without them again."""
        start = min(4, self.epochs // 20) if self.dense_from is None else self.dense_from
        end = start + self.epochs // 2 if self.flat_epochs is None else self.flat_epochs
        return start, max(start, min(end, self.epochs - self.plain_epochs))


@dataclass(frozen=True, slots=True)
class YoloConfig(RunConfig):
    """One run of YOLO11 by ultralytics (extra `yolo`, AGPL-3.0); PCM, section 2.3.1, for the defaults.

    arch      yolo11n, yolo11s, yolo11m, yolo11l or yolo11x
    weights   a published `.pt` by path (ultralytics unpickles it: take one from a source you trust), or None
    The rest as in `DetectorConfig`; the rate falls from learning_rate to learning_rate · final_share.
    """

    arch: str
    epochs: int = 100
    taxonomy: str = "wbc-other"
    side: int = 640
    batch_size: int = 16
    learning_rate: float = 0.01
    final_share: float = 0.01
    optimizer: str = "SGD"
    warmup_epochs: float = 3.0
    weight_decay: float = 5e-4
    rotation: float = 10.0
    flip_vertical: bool = True
    mosaic: float = 1.0
    plain_epochs: int = 10
    weights: str | None = None
    leave_out: tuple = ()
    val_share: float = 0.2
    patience: int = 100
    workers: int = 0
    licence: str = field(default=YOLO_LICENCE, kw_only=True)

    def __post_init__(self) -> None:
        check_yolo_config(self)


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
