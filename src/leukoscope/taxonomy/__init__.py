"""Classes of cells: the vocabulary, the taxonomies that models and reports speak, and their named subsets.

A `Taxonomy` orders the class names of one model or one study. What counts, what is a blast and what is an
artefact are subsets of those names, so no code downstream compares names by hand.
"""

import tomllib
from pathlib import Path

from leukoscope.errors import UNREADABLE, TaxonomyError
from leukoscope.taxonomy.attributes import ATTRIBUTE_SETS, SHIPPED, WBC_11, Attribute, AttributeSet, read_attribute_set
from leukoscope.taxonomy.definition import Taxonomy
from leukoscope.taxonomy.vocabulary import PARENTS, VOCABULARY, nearest_class

__all__ = [
    "ATTRIBUTE_SETS",
    "BLOOD_12",
    "BLOOD_14",
    "MARROW_16",
    "PARENTS",
    "PCM_9",
    "TAXONOMIES",
    "VOCABULARY",
    "WBC_11",
    "Attribute",
    "AttributeSet",
    "Taxonomy",
    "nearest_class",
    "read_attribute_set",
    "read_taxonomy",
]

# Files as a user writes them (docs/format.md); one of your own replaces any of them.
TAXONOMIES = {
    name: Taxonomy.from_dict(tomllib.loads((SHIPPED / f"{name}.toml").read_text("utf-8")))
    for name in ("blood-12", "blood-14", "pcm-9", "marrow-14", "marrow-16")
}
BLOOD_12, BLOOD_14 = TAXONOMIES["blood-12"], TAXONOMIES["blood-14"]
PCM_9, MARROW_16 = TAXONOMIES["pcm-9"], TAXONOMIES["marrow-16"]


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
    except UNREADABLE as error:
        raise TaxonomyError(f"{path} is not valid TOML: {error}") from None
