"""What a taxonomy is: the ordered classes of one model or study, with named subsets."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field

from leukoscope.errors import TaxonomyError


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """An ordered list of classes with named subsets.

    counted     classes in the denominator of every ratio (nucleated cells)
    blasts      classes that are blasts, a subset of `counted`
    artefacts   smudges, debris, cut cells: never in a denominator, reported per 100 counted cells
    composites  further named groups such as CBLC: name -> classes
    """

    name: str
    names: tuple[str, ...]
    counted: tuple[str, ...]
    blasts: tuple[str, ...] = ()
    artefacts: tuple[str, ...] = ()
    composites: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for attribute in ("names", "counted", "blasts", "artefacts"):
            object.__setattr__(self, attribute, tuple(getattr(self, attribute)))
        object.__setattr__(self, "composites", {k: tuple(v) for k, v in self.composites.items()})
        if not self.names:
            raise TaxonomyError(f"taxonomy {self.name!r} has no classes: list at least one under names")
        twice = sorted({n for n in self.names if self.names.count(n) > 1})
        if twice:
            raise TaxonomyError(f"taxonomy {self.name!r} names {', '.join(twice)} twice: class names must be unique")
        subsets = {"counted": self.counted, "blasts": self.blasts, "artefacts": self.artefacts, **self.composites}
        for subset, members in subsets.items():
            unknown = [m for m in members if m not in self.names]
            if unknown:
                raise TaxonomyError(
                    f"taxonomy {self.name!r}: {subset} has {', '.join(unknown)}, which is not among its names "
                    f"({', '.join(self.names)})"
                )
        for subset, members in (("blasts", self.blasts), *self.composites.items()):
            outside = [m for m in members if m not in self.counted]
            if outside:
                raise TaxonomyError(
                    f"taxonomy {self.name!r}: {subset} has {', '.join(outside)}, which is not counted: "
                    f"a ratio's numerator must be part of its denominator"
                )
        both = [m for m in self.artefacts if m in self.counted]
        if both:
            raise TaxonomyError(f"taxonomy {self.name!r}: {', '.join(both)} can't be both counted and an artefact")

    def index(self, class_name: str) -> int:
        """Column of a class; raises TaxonomyError that lists the known ones."""
        try:
            return self.names.index(class_name)
        except ValueError:
            raise TaxonomyError(
                f"class {class_name!r} is not in taxonomy {self.name!r}; it has {', '.join(self.names)}"
            ) from None

    def columns(self, class_names: tuple[str, ...]) -> list[int]:
        """Columns of several classes, in the order given."""
        return [self.index(n) for n in class_names]

    def to_dict(self) -> dict:
        """Plain types for JSON and TOML; `from_dict` reads it back."""
        return {
            "name": self.name,
            "names": list(self.names),
            "counted": list(self.counted),
            "blasts": list(self.blasts),
            "artefacts": list(self.artefacts),
            "composites": {k: list(v) for k, v in self.composites.items()},
        }

    def sha256(self) -> str:
        """Digest of the canonical JSON: two taxonomies with one digest mean the same columns and subsets."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    @classmethod
    def from_dict(cls, values: dict) -> Taxonomy:
        """The inverse of `to_dict`; unknown or missing keys are a TaxonomyError."""
        known = {"name", "names", "counted", "blasts", "artefacts", "composites"}
        unknown = sorted(set(values) - known)
        missing = sorted({"name", "names", "counted"} - set(values))
        if unknown or missing:
            raise TaxonomyError(
                f"a taxonomy needs name, names and counted and may have blasts, artefacts and composites; "
                f"unknown: {', '.join(unknown) or 'none'}; missing: {', '.join(missing) or 'none'}"
            )
        for key in known - {"name", "composites"}:
            _check_names(key, values.get(key, []))
        if not isinstance(values.get("composites", {}), dict):
            raise TaxonomyError(f"composites must be a table of name = [classes], got {values['composites']!r}")
        for key, members in values.get("composites", {}).items():
            _check_names(f"composite {key}", members)
        return cls(**values)


def _check_names(what: str, names: object) -> None:
    """A bare string would silently become its letters: refuse anything but a list of names."""
    if not isinstance(names, (list, tuple)) or not all(isinstance(n, str) and n for n in names):
        raise TaxonomyError(f"{what} must be a list of class names, got {names!r}")
