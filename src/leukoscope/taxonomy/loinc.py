"""LOINC codes of classes (`classes.toml`) as shares of the leukocytes in blood, each seen at a source; marrow has none.

Source: the panel 24318-8, "Manual Differential panel - Blood", at https://loinc.org/24318-8 (version 2.78) and, the
same list, in the CIBMTR reporting guide (github.com/nmdp-ig/cibmtr-reporting-ig, manual-differential-blood-valueset).
19048-8 stands at https://loinc.org/58413-6 as the term without a method.
"""

from leukoscope.taxonomy import vocabulary
from leukoscope.taxonomy.definition import Taxonomy
from leukoscope.taxonomy.vocabulary import nearest_class

MANUAL_DIFFERENTIAL = ("24318-8", "Manual Differential panel - Blood")
BLASTS = ("26446-5", "Blasts/100 leukocytes in Blood")
NUCLEATED_RED = ("19048-8", "Nucleated erythrocytes/100 leukocytes [Ratio] in Blood")
CLASSES = {name: c.loinc for name, c in vocabulary.CLASSES.items() if c.loinc is not None}


def loinc_of_class(class_name: str, taxonomy: Taxonomy) -> tuple[str, str] | None:
    """(code, display) of a class's share of the leukocytes in blood; None where there is none.

    A class that the taxonomy has a finer one of is only the rest of what its LOINC term means: it gets none.
    """
    finer = any(name != class_name and nearest_class(name, (class_name,)) for name in taxonomy.names)
    return None if finer else CLASSES.get(class_name)


def loinc_of_blasts(taxonomy: Taxonomy) -> tuple[str, str] | None:
    """(code, display) of all blasts as a share of the leukocytes in blood; None where blast equivalents are among
    them, which LOINC has terms of their own for."""
    is_blast = [nearest_class(name, ("blast",)) is not None for name in taxonomy.blasts]
    return BLASTS if is_blast and all(is_blast) else None
