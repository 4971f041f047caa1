"""Read a training configuration: one TOML file, one frozen dataclass, an unknown key is an error."""

from __future__ import annotations

import dataclasses
import tomllib
import typing
from pathlib import Path
from typing import TypeVar

from leukoscope.errors import UNREADABLE, ConfigError

T = TypeVar("T")


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
