"""Settings of one crop classifier's fine-tuning, its stages, and the learning rate of every step."""

from __future__ import annotations

from dataclasses import dataclass, field

from leukoscope.errors import ConfigError
from leukoscope.models.bundle import CropRule
from leukoscope.train.config import TunedConfig, require_at_least, require_choice

AUGMENTS = ("none", "paper", "stain")
AMPS = ("auto", "off", "bf16", "fp16")
MONITORS = ("macro_f1", "loss")
INT8 = ("auto", "off")


@dataclass(frozen=True, slots=True)
class FinetuneConfig(TunedConfig):
    """Settings of one run (a TOML file with these keys and task = "finetune").

    arch           the network (`models.torch_backbones.ARCHS`); weights: what it starts from (`build_network`)
    taxonomy       name or TOML file; exclude: classes of it left out ("other" before the PCM paper's second stage)
    size, pad_px   of the crops; pad_fraction (with pad_um) instead of pad_px follows the box
    white_balance  divide each field by its background first; nucleus_density: see `CropRule`
    head_epochs    with the backbone frozen (LP), at head_rate; 0: fine-tune directly
    epochs         with the backbone unfrozen, at learning_rate (direct) or reduced_rate (after LP); in the direct case
                   the head, which starts from chance, learns at head_rate
    val_share      held out for validation, by group, where no set has a split "val" (80:20, section 2.3.1)
    batch_size     crops an optimisation step, over all processes
    max_steps      of an epoch; None: until every crop was seen once
    monitor        what is better: "macro_f1" (equal: the lower loss) or "loss"
    amp            "auto", "bf16" or "fp16" on an accelerator, "off"
    augment        "none", "paper" (turned and mirrored), "stain" (also shifted, zoomed, stained and focused anew,
                   by colour_strength); head_augment: in the frozen stage too, which else sees cached features
    norms          batch normalisation "frozen" or "trained"; frozen_blocks: first blocks left out of training
    recompute      activations in the backward pass (transformers): less memory, a third more time
    ema            running average of the weights, kept for validation and the results; 0: none
    half_weights   the bundle's convolutions are rounded to sixteen bits and stored so: half the file
    class_sets     class → the taxonomy's classes that a cell of it may be (neutrophil: band or segmented): such cells
                   teach the sum of these, and validate nothing
    int8           "auto": the bundle is written in eight bits if that costs no more than half a point of macro-F1 and
                   accuracy on the validation cells; "off"
    """

    taxonomy: str
    exclude: tuple = ()
    size: int = 224
    pad_px: float | None = 50.0
    pad_fraction: float | None = None
    pad_um: float | None = None
    nucleus_density: tuple | None = None
    white_balance: bool = False
    head_epochs: int = 0
    batch_size: int = field(default=32, kw_only=True)
    max_steps: int | None = None
    head_rate: float = 1e-3
    learning_rate: float = 1e-4
    reduced_rate: float = 1e-5
    weight_decay: float = 0.01
    warmup_epochs: float = 0.5
    final_rate: float = 0.01
    label_smoothing: float = 0.0
    clip: float = 1.0
    dropout: float = 0.0
    monitor: str = "macro_f1"
    augment: str = "paper"
    colour_strength: float = 1.0
    head_augment: bool = True
    norms: str = "frozen"
    frozen_blocks: int = 0
    recompute: bool = False
    ema: float = 0.0
    half_weights: bool = False
    class_sets: dict = field(default_factory=dict)
    int8: str = "off"

    def __post_init__(self) -> None:
        TunedConfig.__post_init__(self)
        require_choice(self, augment=AUGMENTS, amp=AMPS, monitor=MONITORS, int8=INT8)
        require_at_least(self, size=1)
        if self.head_epochs < 0 or self.epochs < 0 or self.head_epochs + self.epochs < 1:
            raise ConfigError(f"no epochs to train: head_epochs = {self.head_epochs}, epochs = {self.epochs}")

    def crop_rule(self) -> CropRule:
        """How this run's crops are cut."""
        by_box = self.pad_fraction is not None
        return CropRule(
            size=self.size,
            pad_px=None if by_box else self.pad_px,
            pad_fraction=self.pad_fraction,
            pad_um=self.pad_um,
            nucleus_density=self.nucleus_density,
        )

    def stages(self) -> tuple[StagePlan, ...]:
        """LP, then FT; or FT alone."""
        stages = []
        if self.head_epochs:
            augment = self.augment if self.head_augment else "none"
            stages.append(StagePlan("head", 0, self.head_epochs, 0.0, self.head_rate, augment))
        if self.epochs:
            rate, head = (self.reduced_rate,) * 2 if self.head_epochs else (self.learning_rate, self.head_rate)
            stages.append(StagePlan("all", self.head_epochs, self.epochs, rate, head, self.augment))
        return tuple(stages)


@dataclass(frozen=True, slots=True)
class StagePlan:
    """Epochs first to first + epochs - 1; rates of backbone (0: frozen) and head; how crops are augmented."""

    name: str
    first: int
    epochs: int
    backbone_rate: float
    head_rate: float
    augment: str
