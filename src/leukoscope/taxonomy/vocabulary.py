"""The vocabulary: every class name that a manifest may hold, and what is known of each (`classes.toml`)."""

import tomllib
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class CellClass:
    """What the table says of one class; None: nothing. `meaning` is its key `is`, None of what is no class."""

    meaning: str | None = None
    part_of: str | None = None
    line: str | None = None
    words: str | None = None
    short: str | None = None
    colour: str | None = None
    loinc: tuple[str, str] | None = None


def _read_classes() -> dict[str, CellClass]:
    rows = tomllib.loads((files("leukoscope.taxonomy") / "classes.toml").read_text("utf-8"))
    return {
        name: CellClass(row.pop("is", None), loinc=tuple(row.pop("loinc", ())) or None, **row)
        for name, row in rows.items()
    }


CLASSES = _read_classes()
VOCABULARY = {name: c.meaning for name, c in CLASSES.items() if c.meaning is not None}
PARENTS = {name: c.part_of for name, c in CLASSES.items() if c.part_of is not None}
MYELOID_BLASTS = frozenset(name for name, c in CLASSES.items() if c.line == "myeloid")
LYMPHOID_BLASTS = frozenset(name for name, c in CLASSES.items() if c.line == "lymphoid")
# Nucleated cells that are no leukocytes: in blood they stand beside the differential, not in it.
MEGAKARYOCYTES = frozenset(("promegakaryocyte", "megakaryocyte", "naked_nucleus"))


def nearest_class(class_name: str, names: tuple[str, ...]) -> str | None:
    """The class itself where it is in `names`, else its nearest ancestor that is (see PARENTS), else None.

    A taxonomy of one's own may hold names outside the vocabulary: they stand for themselves only.
    """
    current: str | None = class_name
    while current is not None and current not in names:
        current = PARENTS.get(current)
    return current


def is_red_precursor(class_name: str) -> bool:
    """Whether a class of the vocabulary is a nucleated red cell of any stage."""
    return nearest_class(class_name, ("erythroblast",)) is not None
