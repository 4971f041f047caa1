"""LOINC codes of classes as shares of the leukocytes in blood, each seen at a source. Marrow has none that was seen.

Source: the panel 24318-8, "Manual Differential panel - Blood", at https://loinc.org/24318-8 (version 2.78) and, the
same list, in the CIBMTR reporting guide (github.com/nmdp-ig/cibmtr-reporting-ig, manual-differential-blood-valueset).
19048-8 stands at https://loinc.org/58413-6 as the term without a method.
"""

from __future__ import annotations

from leukoscope.taxonomy.definition import Taxonomy
from leukoscope.taxonomy.vocabulary import nearest_class

MANUAL_DIFFERENTIAL = ("24318-8", "Manual Differential panel - Blood")
BLASTS = ("26446-5", "Blasts/100 leukocytes in Blood")
NUCLEATED_RED = ("19048-8", "Nucleated erythrocytes/100 leukocytes [Ratio] in Blood")
CLASSES = {
    "atypical_lymphocyte": ("13046-8", "Variant lymphocytes/100 leukocytes in Blood"),
    "band_neutrophil": ("26508-2", "Band form neutrophils/100 leukocytes in Blood"),
    "basophil": ("30180-4", "Basophils/100 leukocytes in Blood"),
    "eosinophil": ("26450-7", "Eosinophils/100 leukocytes in Blood"),
    "hairy_cell": ("35058-7", "Hairy cells/100 leukocytes in Blood"),
    "lymphoblast": ("34922-5", "Lymphoblasts/100 leukocytes in Blood"),
    "lymphocyte": ("26478-8", "Lymphocytes/100 leukocytes in Blood"),
    "metamyelocyte": ("28541-1", "Metamyelocytes/100 leukocytes in Blood"),
    "monoblast": ("34923-3", "Monoblasts/100 leukocytes in Blood"),
    "monocyte": ("26485-3", "Monocytes/100 leukocytes in Blood"),
    "myeloblast": ("30445-1", "Myeloblasts/100 leukocytes in Blood"),
    "myelocyte": ("26498-6", "Myelocytes/100 leukocytes in Blood"),
    "neutrophil": ("26511-6", "Neutrophils/100 leukocytes in Blood"),
    "plasma_cell": ("13047-6", "Plasma cells/100 leukocytes in Blood"),
    "prolymphocyte": ("30465-9", "Prolymphocytes/100 leukocytes in Blood"),
    "promonocyte": ("30466-7", "Promonocytes/100 leukocytes in Blood"),
    "promyelocyte": ("26524-9", "Promyelocytes/100 leukocytes in Blood"),
    "segmented_neutrophil": ("26505-8", "Segmented neutrophils/100 leukocytes in Blood"),
}


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
