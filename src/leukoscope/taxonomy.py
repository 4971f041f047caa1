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


# Every class name that a manifest may hold, in whole words: what it is, plainly. A source's own codes are translated
# to these (dataset/code_tables.py).
VOCABULARY = {
    "white_cell": "a leukocyte whose type nobody stated",
    "red_cell": "an erythrocyte without a nucleus",
    "platelet": "a platelet or a clump of them",
    "neutrophil": "a neutrophil, band or segmented not stated",
    "band_neutrophil": "a neutrophil with an unsegmented, curved nucleus",
    "segmented_neutrophil": "a mature neutrophil, nucleus in lobes joined by threads",
    "eosinophil": "a granulocyte with coarse orange-red granules",
    "basophil": "a granulocyte with coarse dark granules over the nucleus",
    "lymphocyte": "a mature lymphocyte",
    "atypical_lymphocyte": "a reactive or otherwise atypical lymphocyte",
    "monocyte": "a mature monocyte",
    "plasma_cell": "a plasma cell, nucleus off centre with coarse clumps",
    "immature_granulocyte": "a promyelocyte, myelocyte or metamyelocyte, which one not stated",
    "promyelocyte": "a granulocyte precursor with primary granules and usually a nucleolus",
    "bilobed_promyelocyte": "a promyelocyte with a two-lobed nucleus, as in variant APL",
    "apl_promyelocyte": "an abnormal promyelocyte of acute promyelocytic leukaemia: a blast equivalent",
    "faggot_cell": "an abnormal promyelocyte with bundles of Auer rods",
    "myelocyte": "a granulocyte precursor with a round or oval nucleus and secondary granules",
    "metamyelocyte": "a granulocyte precursor with an indented, kidney-shaped nucleus",
    "proerythroblast": "the earliest red precursor that can be recognised, basophilic with nucleoli",
    "early_erythroblast": "a basophilic erythroblast, the stage after the proerythroblast",
    "erythroblast": "a nucleated red cell",
    "blast": "a blast whose lineage nobody stated",
    "myeloblast": "a blast of the granulocytic line",
    "monoblast": "a blast of the monocytic line",
    "promonocyte": "a monocyte precursor with a folded nucleus: a blast equivalent in AML",
    "lymphoblast": "a blast of the lymphoid line",
    "lymphoid_precursor": "a normal lymphoid precursor (haematogone): not leukaemic, looks like a lymphoblast",
    "immature_lymphocyte": "a lymphoid cell younger than a lymphocyte, not called a blast by its source",
    "hairy_cell": "the cell of hairy cell leukaemia",
    "abnormal_eosinophil": "an eosinophil with abnormal granules, as in inv(16)",
    "megakaryoblast": "a blast of the megakaryocytic line",
    "promegakaryocyte": "an immature megakaryocyte",
    "megakaryocyte": "a mature megakaryocyte",
    "smudge_cell": "a cell crushed while the smear was made",
    "artefact": "stain, dirt, a cut-off or destroyed cell",
    "not_identifiable": "a cell that the expert could not name",
    "other": "a cell or thing outside the source's classes",
}

# The class that a finer one belongs to, for judging a fine answer by a coarse truth and the other way round.
PARENTS = {
    "band_neutrophil": "neutrophil",
    "segmented_neutrophil": "neutrophil",
    "neutrophil": "white_cell",
    "eosinophil": "white_cell",
    "abnormal_eosinophil": "eosinophil",
    "basophil": "white_cell",
    "monocyte": "white_cell",
    "lymphocyte": "white_cell",
    "atypical_lymphocyte": "lymphocyte",
    "hairy_cell": "lymphocyte",
    "immature_lymphocyte": "lymphocyte",
    # A normal precursor is no blast; the nearest class of a blood differential is the lymphocyte.
    "lymphoid_precursor": "lymphocyte",
    "plasma_cell": "white_cell",
    "promyelocyte": "immature_granulocyte",
    "bilobed_promyelocyte": "promyelocyte",
    "faggot_cell": "apl_promyelocyte",
    "apl_promyelocyte": "white_cell",
    "myelocyte": "immature_granulocyte",
    "metamyelocyte": "immature_granulocyte",
    "immature_granulocyte": "white_cell",
    "proerythroblast": "erythroblast",
    "early_erythroblast": "erythroblast",
    "myeloblast": "blast",
    "monoblast": "blast",
    "lymphoblast": "blast",
    "megakaryoblast": "blast",
    "promonocyte": "white_cell",
    "blast": "white_cell",
    "smudge_cell": "artefact",
    "not_identifiable": "other",
}


def nearest_class(class_name: str, names: tuple[str, ...]) -> str | None:
    """The class itself where it is in `names`, else its nearest ancestor that is (see PARENTS), else None.

    A taxonomy of one's own may hold names outside the vocabulary: they stand for themselves only.
    """
    current: str | None = class_name
    while current is not None and current not in names:
        current = PARENTS.get(current)
    return current


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
