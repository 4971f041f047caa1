"""The formats of annotations, from their one table (`formats.toml`).

To add a format: one file with `read_x(src) -> RawSet` (through `Intake`) or `write_x`, and a row in the table.
"""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.resources import files

from leukoscope.errors import InputError


@dataclass(frozen=True, slots=True)
class Way:
    """How a format is read, or written; the table says what the keys mean, here and below."""

    by: str
    says: str

    def function(self) -> Callable:
        """The function that reads a folder, or writes a data set, in this format."""
        module, name = self.by.split(":")
        return getattr(import_module(f"leukoscope.dataset.{module}"), name)


@dataclass(frozen=True, slots=True)
class Reading(Way):
    """How a format is read."""

    settings: tuple[str, ...] = ()
    shares: str = "refuse"


@dataclass(frozen=True, slots=True)
class Writing(Way):
    """How a format is written."""

    beside: str
    pictures: str = "images/{split}/"


@dataclass(frozen=True, slots=True)
class Format:
    """One format of annotations; None: it is not read, or not written."""

    name: str
    reads: Reading | None
    writes: Writing | None


def _read_formats() -> tuple[Format, ...]:
    rows = tomllib.loads((files("leukoscope.dataset") / "formats.toml").read_text("utf-8"))
    return tuple(
        Format(
            name,
            Reading(**row["reads"]) if "reads" in row else None,
            Writing(**row["writes"]) if "writes" in row else None,
        )
        for name, row in rows.items()
    )


FORMATS = _read_formats()


def readable() -> tuple[str, ...]:
    """Names of the formats that can be imported."""
    return tuple(f.name for f in FORMATS if f.reads)


def writable() -> tuple[str, ...]:
    """Names of the formats that can be exported."""
    return tuple(f.name for f in FORMATS if f.writes)


ALIASES = {"qupath": "geojson"}  # names that people look for


def unaliased(name: str) -> str:
    """The format's own name of an alias; any other name as it is."""
    return ALIASES.get(name, name)


def format_named(name: str, *, among: tuple[str, ...]) -> Format:
    """A format by its name or alias; InputError where it is none of `among`."""
    name = unaliased(name)
    if name not in among:
        raise InputError(f"no data set format {name!r}: expected one of {', '.join(among)}")
    return next(f for f in FORMATS if f.name == name)
