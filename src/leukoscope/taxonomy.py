"""Classes of cells: the vocabulary, the taxonomies that models and reports speak, and their named subsets.

A `Taxonomy` orders the class names of one model or one study. What counts, what is a blast and what is an
artefact are subsets of those names, so no code downstream compares names by hand.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

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
        return cls(**values)


# "All nucleated cells" is the denominator (docs/decisions/0003): erythroblasts are in it.
BLOOD_12 = Taxonomy(
    name="blood-12",
    names=(
        "band_neutrophil",
        "segmented_neutrophil",
        "eosinophil",
        "basophil",
        "lymphocyte",
        "monocyte",
        "promyelocyte",
        "myelocyte",
        "metamyelocyte",
        "erythroblast",
        "lymphoblast",
        "artefact",
    ),
    counted=(
        "band_neutrophil",
        "segmented_neutrophil",
        "eosinophil",
        "basophil",
        "lymphocyte",
        "monocyte",
        "promyelocyte",
        "myelocyte",
        "metamyelocyte",
        "erythroblast",
        "lymphoblast",
    ),
    blasts=("lymphoblast",),
    artefacts=("artefact",),
)

# PCM-Leukemia, section 2.2: eight cell types and "Other" (artefacts, smudges, cells more than half cut off).
PCM_9 = Taxonomy(
    name="pcm-9",
    names=(
        "lymphocyte",
        "neutrophil",
        "basophil",
        "eosinophil",
        "lymphoblast",
        "monocyte",
        "myeloblast",
        "apl_promyelocyte",
        "other",
    ),
    counted=(
        "lymphocyte",
        "neutrophil",
        "basophil",
        "eosinophil",
        "lymphoblast",
        "monocyte",
        "myeloblast",
        "apl_promyelocyte",
    ),
    # APL promyelocytes are blast equivalents (ELN 2022).
    blasts=("lymphoblast", "myeloblast", "apl_promyelocyte"),
    artefacts=("other",),
)

TAXONOMIES = {t.name: t for t in (BLOOD_12, PCM_9)}


def read_taxonomy(name_or_file: str | Path) -> Taxonomy:
    """A taxonomy by name (see TAXONOMIES) or from a TOML file with the keys of `Taxonomy`."""
    if str(name_or_file) in TAXONOMIES:
        return TAXONOMIES[str(name_or_file)]
    path = Path(name_or_file)
    if not path.is_file():
        raise TaxonomyError(
            f"no taxonomy {str(name_or_file)!r}: expected one of {', '.join(TAXONOMIES)} or the path of a TOML file"
        )
    try:
        return Taxonomy.from_dict(tomllib.loads(path.read_text("utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TaxonomyError(f"{path} is not valid TOML: {error}") from None
