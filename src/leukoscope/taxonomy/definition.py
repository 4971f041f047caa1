"""What a taxonomy is: the ordered classes of one model or study, with named subsets."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from leukoscope.errors import TaxonomyError
from leukoscope.taxonomy.vocabulary import LYMPHOID_BLASTS, MEGAKARYOCYTES, MYELOID_BLASTS, is_red_precursor

SUBSETS = ("counted", "blasts", "artefacts", "nucleated_red", "megakaryocytes", "myeloid_blasts", "lymphoid_blasts")
BY_VOCABULARY = ("nucleated_red", "megakaryocytes", "myeloid_blasts", "lymphoid_blasts", "lineage_known")


AS_VOCABULARY: Any = None  # given, or left out: filled in at birth, so that a taxonomy's own attributes are never None


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """An ordered list of classes with named subsets.

    counted     nucleated cells that belong to a differential; `denominator` says which of them a specimen's ratios
                are shares of
    blasts      classes that are blasts or count as such, a subset of `counted`
    artefacts   smudges, debris, cut cells: never in a denominator, reported per 100 counted cells
    composites  further named groups such as CBLC: name -> classes
    nucleated_red, megakaryocytes   counted classes that are no leukocytes, and no blasts: beside the differential in
                blood, in it in marrow
    myeloid_blasts, lymphoid_blasts   the blasts by line; those in neither are of an unstated line
    lineage_known   whether a model of these classes can tell the lines apart: only then do AML bands apply

    What is None is as the vocabulary has it (`vocabulary.py`), so taxonomies written before these keys were there
    mean the right thing. The line counts as known where every blast has one and a class of the myeloid line is among
    them: a model whose only blasts are lymphoblasts calls every blast so.
    """

    name: str
    names: tuple[str, ...]
    counted: tuple[str, ...]
    blasts: tuple[str, ...] = ()
    artefacts: tuple[str, ...] = ()
    composites: dict[str, tuple[str, ...]] = field(default_factory=dict)
    nucleated_red: tuple[str, ...] = AS_VOCABULARY
    megakaryocytes: tuple[str, ...] = AS_VOCABULARY
    myeloid_blasts: tuple[str, ...] = AS_VOCABULARY
    lymphoid_blasts: tuple[str, ...] = AS_VOCABULARY
    lineage_known: bool = AS_VOCABULARY

    def __post_init__(self) -> None:
        for attribute in ("names", "counted", "blasts", "artefacts"):
            object.__setattr__(self, attribute, tuple(getattr(self, attribute)))
        object.__setattr__(self, "composites", {k: tuple(v) for k, v in self.composites.items()})
        for attribute in BY_VOCABULARY:
            value = getattr(self, attribute)
            if attribute != "lineage_known":
                value = self._of_vocabulary(attribute) if value is None else tuple(value)
            elif value is None:
                value = self._of_vocabulary(attribute)
            object.__setattr__(self, attribute, value)
        self._check_subsets()
        self._check_lines()

    def _of_vocabulary(self, attribute: str) -> tuple[str, ...] | bool:
        """What a subset is where the taxonomy doesn't state it."""
        if attribute == "nucleated_red":
            return tuple(n for n in self.counted if is_red_precursor(n) and n not in self.blasts)
        if attribute == "megakaryocytes":
            return tuple(n for n in self.counted if n in MEGAKARYOCYTES and n not in self.blasts)
        if attribute == "myeloid_blasts":
            return tuple(n for n in self.blasts if n in MYELOID_BLASTS and n not in (self.lymphoid_blasts or ()))
        if attribute == "lymphoid_blasts":
            return tuple(n for n in self.blasts if n in LYMPHOID_BLASTS and n not in (self.myeloid_blasts or ()))
        return bool(self.myeloid_blasts) and {*self.blasts} == {*self.myeloid_blasts, *self.lymphoid_blasts}

    def _check_subsets(self) -> None:
        if not self.names:
            raise TaxonomyError(f"taxonomy {self.name!r} has no classes: list at least one under names")
        twice = sorted({n for n in self.names if self.names.count(n) > 1})
        if twice:
            raise TaxonomyError(f"taxonomy {self.name!r} names {', '.join(twice)} twice: class names must be unique")
        for subset, members in {**{s: getattr(self, s) for s in SUBSETS}, **self.composites}.items():
            unknown = [m for m in members if m not in self.names]
            if unknown:
                raise TaxonomyError(
                    f"taxonomy {self.name!r}: {subset} has {', '.join(unknown)}, which is not among its names "
                    f"({', '.join(self.names)})"
                )
        inside = [(s, getattr(self, s)) for s in ("blasts", "nucleated_red", "megakaryocytes")]
        for subset, members in (*inside, *self.composites.items()):
            outside = [m for m in members if m not in self.counted]
            if outside:
                raise TaxonomyError(
                    f"taxonomy {self.name!r}: {subset} has {', '.join(outside)}, which is not counted: "
                    f"a ratio's numerator must be part of its denominator"
                )
        both = [m for m in self.artefacts if m in self.counted]
        if both:
            raise TaxonomyError(f"taxonomy {self.name!r}: {', '.join(both)} can't be both counted and an artefact")

    def _check_lines(self) -> None:
        """Blasts stand in the denominator of blood and marrow alike, and each is of one line at most."""
        for subset in ("nucleated_red", "megakaryocytes"):
            both = [m for m in getattr(self, subset) if m in self.blasts]
            if both:
                raise TaxonomyError(f"taxonomy {self.name!r}: {', '.join(both)} can't be both a blast and {subset}")
        for subset in ("myeloid_blasts", "lymphoid_blasts"):
            outside = [m for m in getattr(self, subset) if m not in self.blasts]
            if outside:
                raise TaxonomyError(f"taxonomy {self.name!r}: {subset} has {', '.join(outside)}, not among its blasts")
        both = [m for m in self.myeloid_blasts if m in self.lymphoid_blasts]
        if both:
            raise TaxonomyError(f"taxonomy {self.name!r}: {', '.join(both)} can't be a blast of both lines")
        if self.lineage_known and {*self.blasts} != {*self.myeloid_blasts, *self.lymphoid_blasts}:
            raise TaxonomyError(
                f"taxonomy {self.name!r}: lineage_known needs each blast under myeloid_blasts or lymphoid_blasts"
            )

    def denominator(self, specimen: str) -> tuple[str, ...]:
        """What a specimen's ratios are shares of: the leukocytes in "blood", all nucleated cells in "marrow"."""
        if specimen != "blood":
            return self.counted
        return tuple(n for n in self.counted if n not in self.nucleated_red and n not in self.megakaryocytes)

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
        """Plain types for JSON and TOML; `from_dict` reads it back.

        What is as the vocabulary has it is left out: a taxonomy keeps the digest it had before these keys were there.
        """
        values = {
            "name": self.name,
            "names": list(self.names),
            "counted": list(self.counted),
            "blasts": list(self.blasts),
            "artefacts": list(self.artefacts),
            "composites": {k: list(v) for k, v in self.composites.items()},
        }
        usual = Taxonomy(self.name, self.names, self.counted, self.blasts, self.artefacts, self.composites)
        for key in BY_VOCABULARY:
            value = getattr(self, key)
            if value != getattr(usual, key):
                values[key] = value if key == "lineage_known" else list(value)
        return values

    def sha256(self) -> str:
        """Digest of the canonical JSON: two taxonomies with one digest mean the same columns and subsets."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    @classmethod
    def from_dict(cls, values: dict) -> Taxonomy:
        """The inverse of `to_dict`; unknown or missing keys are a TaxonomyError."""
        known = {"name", "names", "counted", "blasts", "artefacts", "composites", *BY_VOCABULARY}
        unknown = sorted(set(values) - known)
        missing = sorted({"name", "names", "counted"} - set(values))
        if unknown or missing:
            raise TaxonomyError(
                f"a taxonomy needs name, names and counted and may have blasts, artefacts, composites, "
                f"{', '.join(BY_VOCABULARY)}; "
                f"unknown: {', '.join(unknown) or 'none'}; missing: {', '.join(missing) or 'none'}"
            )
        for key in known & set(values) - {"name", "composites", "lineage_known"}:
            _check_names(key, values[key])
        if not isinstance(values.get("lineage_known", False), bool):
            raise TaxonomyError(f"lineage_known must be true or false, got {values['lineage_known']!r}")
        if not isinstance(values.get("composites", {}), dict):
            raise TaxonomyError(f"composites must be a table of name = [classes], got {values['composites']!r}")
        for key, members in values.get("composites", {}).items():
            _check_names(f"composite {key}", members)
        return cls(**values)


def _check_names(what: str, names: object) -> None:
    """A bare string would silently become its letters: refuse anything but a list of names."""
    if not isinstance(names, (list, tuple)) or not all(isinstance(n, str) and n for n in names):
        raise TaxonomyError(f"{what} must be a list of class names, got {names!r}")
