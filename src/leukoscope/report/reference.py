"""Reference ranges of a blood differential, by age and sex, with their source; nothing where a source says nothing."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from leukoscope.errors import DataError

SEXES = ("any", "female", "male")
LEUKOCYTES = "leukocytes"


@dataclass(frozen=True, slots=True)
class Range:
    """What is usual of one measure.

    classes  summed up in it (() for the leukocytes themselves)
    share    from, to: share of the leukocytes; per_nl: 10^9 cells a litre; None where the source states none
    source   its title and address
    """

    measure: str
    classes: tuple[str, ...]
    share: tuple[float, float] | None
    per_nl: tuple[float, float] | None
    source: str


def ranges_for(age_years: float | None, sex: str | None, *, specimen: str) -> tuple[Range, ...]:
    """The ranges for a patient of this age and sex; () for marrow, and where the age is not known.

    A range that differs by sex is left out where the sex is not known.
    """
    if specimen != "blood" or age_years is None:
        return ()
    return tuple(
        normal
        for (young, old), of_sex, normal in _table()
        if young <= age_years < old and of_sex in ("any", sex or "any")
    )


def mark(value: float | None, limits: tuple[float, float] | None) -> str:
    """ "low", "high", or "" (within, or not known)."""
    if value is None or limits is None:
        return ""
    low, high = limits
    return "low" if value < low else "high" if value > high else ""


def sources_of(ranges: Sequence[Range]) -> tuple[str, ...]:
    """Each source once, in order."""
    return tuple(dict.fromkeys(r.source for r in ranges))


@cache
def _table() -> tuple[tuple[tuple[float, float], str, Range], ...]:
    """((from age, to age), sex, range) of every entry of the file."""
    values = tomllib.loads((files("leukoscope.report") / "reference_ranges.toml").read_text("utf-8"))
    sources = {key: f"{s['title']}, {s['url']}" for key, s in values["sources"].items()}
    return tuple(_entry(entry, values["measures"], sources) for entry in values["ranges"])


def _entry(entry: dict, measures: dict, sources: dict) -> tuple[tuple[float, float], str, Range]:
    """One entry, checked: a wrong number here would mark healthy people."""
    pairs = [entry["ages"], *(entry[key] for key in ("share", "per_nl") if key in entry)]
    wrong = [p for p in pairs if len(p) != 2 or not 0 <= p[0] < p[1]]
    if wrong or entry["sex"] not in SEXES or entry["measure"] not in measures or entry["source"] not in sources:
        raise DataError(f"reference_ranges.toml: an entry is wrong: {entry}")
    share, per_nl = (tuple(entry[key]) if key in entry else None for key in ("share", "per_nl"))
    classes = tuple(measures[entry["measure"]])
    normal = Range(entry["measure"], classes, share, per_nl, sources[entry["source"]])
    return tuple(entry["ages"]), entry["sex"], normal
