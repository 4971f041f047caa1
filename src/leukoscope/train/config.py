"""Read a training configuration: one TOML file, one frozen dataclass, an unknown key is an error."""

import dataclasses
import tomllib
import typing
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TypeVar

from leukoscope.errors import UNREADABLE, ConfigError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RunConfig:
    """What the configuration of every run says.

    splits  of data sets that state splits; those without are used whole
    licence, description, limits  words for the bundle's card
    """

    name: str
    _: KW_ONLY
    splits: tuple = ("train",)
    seed: int = 0
    licence: str = "Apache-2.0"
    description: str = ""
    limits: tuple = ()


@dataclass(frozen=True, slots=True)
class PictureConfig(RunConfig):
    """What the configurations of the locator and the outliner share: networks on EfficientNet-Lite0's backbone.

    shares      how often each data set is drawn from, by its name; without it all alike
    own_colour  share of the pictures that keep their own stain, light and focus
    """

    steps: int
    _: KW_ONLY
    weight_decay: float = 0.02
    colour_strength: float = 1.0
    own_colour: float = 0.25
    white_balance: bool = True
    pretrained: bool = True
    shares: dict = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EpochConfig(RunConfig):
    """What the configurations of runs that are counted in epochs share: fine-tuning and detectors.

    arch     the network, by its name
    weights  published weights by path that the run starts from, or None
    workers  threads or processes that prepare batches
    """

    arch: str
    epochs: int
    _: KW_ONLY
    weights: str | None = None
    batch_size: int = 16
    workers: int = 0


@dataclass(frozen=True, slots=True)
class TunedConfig(EpochConfig):
    """The same of those whose epochs are the one loop's.

    val_share   held out for validation, by group, where no data set has a split "val"
    patience    epochs without a better validation result before the run ends; None: all epochs
    accumulate  pieces (of a detector: batches) that a step is worked through in
    amp         "auto": half precision on an accelerator, float32 without one; "off"
    compile     "auto": the network's blocks are compiled on an accelerator (`train.compiled`); "on", "off"
    """

    _: KW_ONLY
    val_share: float = 0.2
    patience: int | None = None
    accumulate: int = 1
    amp: str = "auto"
    compile: str = "auto"

    def __post_init__(self) -> None:
        require_choice(self, compile=("auto", "on", "off"))
        require_at_least(self, batch_size=1, accumulate=1, patience=1)
        if not 0 < self.val_share < 1:
            raise ConfigError(f"val_share must lie between 0 and 1, got {self.val_share}")


@dataclass(frozen=True, slots=True)
class YoloRunConfig(EpochConfig):
    """What both trainings by ultralytics share (extra `yolo`, AGPL-3.0). `weights` is a `.pt`, which ultralytics
    unpickles: take one from a source you trust."""

    epochs: int = 100
    _: KW_ONLY
    side: int = 640
    learning_rate: float = 0.01
    mosaic: float = 1.0

    def __post_init__(self) -> None:
        require_side(self)
        if "AGPL" not in self.licence:
            raise ConfigError(
                f"weights that ultralytics trained are under AGPL-3.0: licence must say so, got {self.licence!r}"
            )


def require_choice(config: object, **choices: tuple) -> None:
    """ConfigError where a setting is none of its choices."""
    for name, known in choices.items():
        if (value := getattr(config, name)) not in known:
            raise ConfigError(f"{name} must be one of {', '.join(known)}, got {value!r}")


def require_at_least(config: object, **least: float) -> None:
    """ConfigError where a setting is smaller than it may be; None passes."""
    for name, lowest in least.items():
        value = getattr(config, name)
        if value is not None and value < lowest:
            raise ConfigError(f"{name} must be at least {lowest}, got {value}")


def require_side(config: object) -> None:
    """ConfigError where `side` is no multiple of 32 px, which strides of detectors need."""
    side = config.side
    if side % 32 or side < 32:
        raise ConfigError(f"side must be a multiple of 32 px, got {side}")


def read_toml(path: str | Path) -> dict:
    """The file's keys; ConfigError when there is no such file or it isn't TOML."""
    path = Path(path)
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"can't read configuration {path}: {error.strerror}") from None
    except UNREADABLE as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


def build_config(kind: type[T], values: dict, path: str | Path) -> T:
    """Build dataclass `kind` from TOML values; unknown, missing and wrongly typed keys are a ConfigError."""
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]  # T is a dataclass
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise ConfigError(f"{path}: unknown key {', '.join(unknown)}; {kind.__name__} has {', '.join(fields)}")
    no_default = (dataclasses.MISSING, dataclasses.MISSING)
    missing = [n for n, f in fields.items() if (f.default, f.default_factory) == no_default and n not in values]
    if missing:
        raise ConfigError(f"{path}: missing key {', '.join(missing)}")
    return kind(**{name: _fit(value, hints[name], f"{path}: {name}") for name, value in values.items()})


def _fit(value: object, hint: object, where: str) -> object:
    """Check a TOML value against a plain type hint (int, float, str, bool, dict, tuple, X | None)."""
    options = typing.get_args(hint) if type(None) in typing.get_args(hint) else (hint,)
    for option in options:
        kind = typing.get_origin(option) or option
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if kind is tuple and isinstance(value, list):
            return tuple(value)
        if isinstance(kind, type) and isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
            return value
    raise ConfigError(f"{where} must be {getattr(hint, '__name__', hint)}, got {value!r}")
