"""Settings of the cell classifier's training."""

from dataclasses import dataclass, field, fields

from leukoscope.errors import ConfigError
from leukoscope.taxonomy import read_taxonomy
from leukoscope.train.classifier.dress import Dress
from leukoscope.train.config import RunConfig

NORMS = ("folded", "trained")


@dataclass(frozen=True, slots=True)
class ClassifierConfig(RunConfig):
    """Settings of one classifier run (a TOML file with these keys and task = "classify")."""

    taxonomy: str
    size: int  # pixels a side of the crops trained on
    pad_fraction: float  # of the crops that analysis cuts; training frames them as `dress` says
    steps: int
    batch_size: int
    learning_rate: float
    init_from: str | None = (
        None  # a run folder, a model folder or a bundled model's name whose weights this starts from
    )
    holdout_patients: tuple = ()  # never trained on: for folds by patient or smear
    class_sets: dict = field(default_factory=dict)
    um_per_px: dict = field(default_factory=dict)
    nucleus_density: tuple | None = None  # the crop rule's; None leaves the stain as it is
    dress: dict = field(default_factory=dict)  # keys of `dress.Dress`, over its defaults
    destroyed: int = 0  # real cells made smudges of
    drawn: int = 0  # smudges drawn
    artefacts: int = 0  # other things that are not to be counted
    norms: str = "folded"  # "trained": normalisation layers learn, and are folded in at the end
    head_rate: float = 1.0  # times the learning rate, for the last layer and the diameter's: the backbone needs less
    frozen_blocks: int = 0
    grey: bool = False  # the network sees no colour, in training a random mix of the channels
    contrast: float = 0.0  # weight of supervised contrast between cells of one class in different data sets
    start_share: float = 0.0  # of the finished weights that is init_from's own
    attributes: str | None = None  # an attribute set that a second layer learns from the cells that state them
    attribute_weight: float = 0.5  # of that layer's loss
    label_smoothing: float = 0.05
    weight_decay: float = 0.05
    ema: float = 0.998
    temperature: float | None = None  # of the bundle; None: set on the validation fields
    nearness: dict = field(default_factory=dict)  # near, far, most of `NearnessScale`; none: one temperature for all
    prior: dict = field(default_factory=dict)  # class → what is added to its logit in the bundle
    thresholds: dict = field(default_factory=dict)  # of the bundle's card

    def dressed(self) -> Dress:
        """What cells are shown as; ConfigError for a key that `Dress` has not."""
        unknown = sorted(set(self.dress) - {f.name for f in fields(Dress)})
        if unknown:
            known = ", ".join(f.name for f in fields(Dress))
            raise ConfigError(f"[dress] has unknown key {', '.join(unknown)}; it has {known}")
        return Dress(**{k: tuple(v) if isinstance(v, list) else v for k, v in self.dress.items()})


def check_nearness(nearness: dict) -> None:
    """ConfigError for a [nearness] that can't be."""
    if not nearness:
        return
    numbers = all(isinstance(value, int | float) for value in nearness.values())
    if set(nearness) != {"near", "far", "most"} or not numbers:
        raise ConfigError(f"[nearness] needs the numbers near, far and most, got {nearness}")
    if not 0 <= nearness["near"] < nearness["far"] or nearness["most"] < 1:
        raise ConfigError(f"[nearness] needs 0 <= near < far, and most at least 1, got {nearness}")


def check_config(config: ClassifierConfig) -> None:
    """ConfigError for settings that can't be."""
    config.dressed()
    if not 0 <= config.start_share < 1 or (config.start_share and not config.init_from):
        raise ConfigError(f"start_share must be 0 to below 1 and needs init_from, got {config.start_share}")
    if config.norms not in NORMS or (config.norms == "trained" and config.init_from):
        raise ConfigError(
            f"norms must be one of {', '.join(NORMS)}, and folded with init_from, whose weights have none left; "
            f"got {config.norms!r}" + (f" and init_from {config.init_from!r}" if config.init_from else "")
        )
    check_nearness(config.nearness)
    names = read_taxonomy(config.taxonomy).names
    unknown = sorted(set(config.prior) - set(names))
    if unknown:
        raise ConfigError(f"[prior] names {', '.join(unknown)}, which taxonomy {config.taxonomy!r} has not")
