"""What can be said of a single cell beside its class: attributes, their values, and the words a report uses.

Tables quote the source's own words, as the class tables do; a word without a row is never guessed at.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path

from leukoscope.errors import UNREADABLE, TaxonomyError, in_short

SHIPPED = files("leukoscope.taxonomy") / "shipped"
PARTS = ("cell", "nucleus", "cytoplasm", "granules")  # in the order a cell is described


@dataclass(frozen=True, slots=True)
class Attribute:
    """One thing said of a cell, such as the nucleus's shape.

    part          the part of the cell it is about, one of PARTS
    values        its allowed values, in a fixed order: the columns of a model
    words         how a report writes each value beside the part's name, row-aligned with `values`
    source_words  how the source spells each value
    """

    name: str
    part: str
    values: tuple[str, ...]
    words: tuple[str, ...]
    source_words: tuple[str, ...]

    def __post_init__(self) -> None:
        for key in ("values", "words", "source_words"):
            object.__setattr__(self, key, tuple(getattr(self, key)))
        lengths = {len(self.values), len(self.words), len(self.source_words)}
        if self.part not in PARTS or len(lengths) != 1 or len(set(self.values)) < max(2, len(self.values)):
            raise TaxonomyError(
                f"attribute {self.name!r} needs a part ({', '.join(PARTS)}), two values or more, each once, and as "
                f"many words and source_words; got part {self.part!r}, {len(self.values)} values"
            )

    def value_of(self, source_word: str) -> str | None:
        """Our value of the source's word (or of our own), None where there is none."""
        word = source_word.strip()
        if word in self.source_words:
            return self.values[self.source_words.index(word)]
        return word if word in self.values else None


@dataclass(frozen=True, slots=True)
class AttributeSet:
    """The attributes that one source or model speaks of, in a fixed order."""

    name: str
    attributes: tuple[Attribute, ...]
    citation: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "attributes", tuple(self.attributes))
        names = [a.name for a in self.attributes]
        if not names or len(set(names)) != len(names):
            raise TaxonomyError(f"attribute set {self.name!r} needs attributes of different names, got {names}")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(a.name for a in self.attributes)

    @property
    def n_values(self) -> int:
        """Columns of a model that gives one number for each value."""
        return sum(len(a.values) for a in self.attributes)

    def get(self, name: str) -> Attribute | None:
        return next((a for a in self.attributes if a.name == name), None)

    def slices(self) -> tuple[slice, ...]:
        """The columns of each attribute among the `n_values` columns of a model."""
        out, start = [], 0
        for a in self.attributes:
            out.append(slice(start, start + len(a.values)))
            start += len(a.values)
        return tuple(out)

    def to_dict(self) -> dict:
        """Plain types for JSON; `from_dict` reads it back."""
        return asdict(self)

    def sha256(self) -> str:
        """Digest of the canonical JSON."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    @classmethod
    def from_dict(cls, values: dict) -> AttributeSet:
        """The inverse of `to_dict`; TaxonomyError where something is missing or unknown."""
        try:
            attributes = tuple(Attribute(**a) for a in values["attributes"])
            return cls(values["name"], attributes, values.get("citation", ""))
        except UNREADABLE as error:
            raise TaxonomyError(
                "an attribute set needs name and attributes, each with name, part, values, words, source_words: "
                f"{in_short(error)}"
            ) from None


# Tsutsui, Pang, Wen: WBCAtt, NeurIPS 2023 (apple2373/wbcatt, MIT): 11 attributes of 10,298 cells of Acevedo's PBC set,
# by pathologists. Only normal cells of five types carry them.
WBC_11 = AttributeSet.from_dict(json.loads((SHIPPED / "wbc-11.json").read_text("utf-8")))
ATTRIBUTE_SETS = {s.name: s for s in (WBC_11,)}


def read_attribute_set(name_or_file: str | Path) -> AttributeSet:
    """An attribute set by name (see ATTRIBUTE_SETS) or from a JSON file with what `to_dict` gives."""
    if str(name_or_file) in ATTRIBUTE_SETS:
        return ATTRIBUTE_SETS[str(name_or_file)]
    path = Path(name_or_file)
    try:
        values = json.loads(path.read_text("utf-8"))
    except OSError:
        raise TaxonomyError(
            f"no attribute set {str(name_or_file)!r}: expected one of {', '.join(ATTRIBUTE_SETS)} or the path of a "
            "JSON file"
        ) from None
    except ValueError as error:
        raise TaxonomyError(f"{path} is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise TaxonomyError(f"{path} must hold one JSON object, got {type(values).__name__}")
    return AttributeSet.from_dict(values)
