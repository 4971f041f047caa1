"""Judging a fine model on a set that states only the five types of white cells.

The map is stated here, once: a set's "neutrophil" is a band or a segmented one. Promyelocyte, myelocyte,
metamyelocyte, erythroblast, lymphoblast and artefact are none of the five types. Two readings are always given:

strict      the most probable of all classes, then mapped; a class outside the five types is an error (OUTSIDE)
restricted  the probabilities renormalised over the classes that map into the five types, summed by type
            (so it knows that the set has nothing else, which no user's smear promises)

Confidence, in both, is the summed probability of the type called: P(band) + P(segmented) for a neutrophil.
"""

import numpy as np

from leukoscope.errors import DataError
from leukoscope.taxonomy import Taxonomy

FIVE_TYPES = {
    "neutrophil": ("neutrophil", "band_neutrophil", "segmented_neutrophil"),
    "lymphocyte": ("lymphocyte",),
    "monocyte": ("monocyte",),
    "eosinophil": ("eosinophil",),
    "basophil": ("basophil",),
}
TYPES = tuple(FIVE_TYPES)
OUTSIDE = "outside"  # the label, in tables, of a call that is none of the five types


def type_of(class_name: str | None) -> int | None:
    """Column in TYPES of one of our class names; None for a class that is none of the five."""
    return next((t for t, members in enumerate(FIVE_TYPES.values()) if class_name in members), None)


def strict_types(probs: np.ndarray, taxonomy: Taxonomy) -> tuple[np.ndarray, np.ndarray]:
    """(calls, confidence), each (N,): columns in TYPES, len(TYPES) for OUTSIDE. probs (N, C).

    The confidence of an OUTSIDE call is the probability of the class that was most probable.
    """
    called = probs.argmax(1)
    place = np.array([len(TYPES) if type_of(n) is None else type_of(n) for n in taxonomy.names])
    calls = place[called]
    same = place[None, :] == calls[:, None]  # (N, C)
    summed = (probs * same).sum(1)
    return calls, np.where(calls == len(TYPES), probs.max(1), summed)


def restricted_types(probs: np.ndarray, taxonomy: Taxonomy) -> tuple[np.ndarray, np.ndarray]:
    """(calls, confidence), each (N,): columns in TYPES. probs (N, C)."""
    summed = np.zeros((len(probs), len(TYPES)))
    for column, name in enumerate(taxonomy.names):
        if type_of(name) is not None:
            summed[:, type_of(name)] += probs[:, column]
    total = summed.sum(1, keepdims=True)
    if not len(probs):
        return np.zeros(0, np.int64), np.zeros(0)
    if not any(type_of(n) is not None for n in taxonomy.names):
        raise DataError(f"taxonomy {taxonomy.name!r} has none of the five types ({', '.join(TYPES)})")
    # A cell whose probability lies wholly elsewhere is spread evenly: it has no opinion among the five.
    shares = np.where(total > 0, summed / np.maximum(total, 1e-300), 1 / len(TYPES))
    return shares.argmax(1), shares.max(1)
