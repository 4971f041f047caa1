"""Records of version 1 in the shape of version 2.

Their numbers stay as they are: every ratio is a share of all nucleated cells, also in blood, and is said to be. What
changes is how they may be read: a band is kept only where today's rules (`count.read_bands`) give one to that count.
"""

import numpy as np

from leukoscope.count import COUNTED, NUCLEATED, band_minimum, cells_of, count_tier, read_bands, roles_of
from leukoscope.entries import CellEntry, FieldEntry, PatientEntry, RatioEntry
from leukoscope.taxonomy import Taxonomy
from leukoscope.types import Differential, Ratio

OTHER_DENOMINATOR = (
    "all_nucleated_cells"  # why a blood ratio of version 1 that has nucleated red cells in it has no band
)


def upgraded(patient: PatientEntry, taxonomy: Taxonomy, min_cells: int) -> PatientEntry:
    """A patient of version 1 with the keys of version 2."""
    counts = {row["class"]: row["count"] for row in patient["differential"]}
    numbers = np.array([counts.get(name, 0) for name in taxonomy.names])
    differential = Differential(
        patient["patient_id"], patient["specimen"], numbers, numbers, patient["n_fields"], taxonomy
    )
    roles = roles_of(taxonomy, "marrow")  # version 1 had all nucleated cells in the denominator, of blood too
    return patient | {
        "denominator": NUCLEATED,
        "count_tier": count_tier(patient["specimen"], differential.n_counted),
        "n_nucleated_red": cells_of(differential, taxonomy.nucleated_red),
        "nucleated_red_per_100": None,
        "n_unidentified": 0,
        "differential": [row | {"role": roles.get(row["class"], COUNTED)} for row in patient["differential"]],
        "ratios": [_upgraded_ratio(ratio, differential, min_cells) for ratio in patient["ratios"]],
        "flags": [{"healthy": None} | flag for flag in patient["flags"]],
    }


def upgraded_cells(field: FieldEntry) -> FieldEntry:
    """A field of version 1: every cell counted as its class."""
    return field | {"cells": [upgraded_cell(cell) for cell in field["cells"]]}


def upgraded_cell(cell: CellEntry) -> CellEntry:
    """A cell of version 1: it counted as its class."""
    return {"identified": True} | cell


def _upgraded_ratio(ratio: RatioEntry, differential: Differential, min_cells: int) -> RatioEntry:
    numbers = Ratio(ratio["name"], ratio["numerator"], ratio["denominator"], 0.0, 1.0, ratio["level"], ratio["method"])
    reading = read_bands(differential, numbers, minimum=min_cells)
    band, reason = reading.band, reading.reason
    if band and cells_of(differential, differential.taxonomy.counted) != differential.n_counted:
        band, reason = None, OTHER_DENOMINATOR
    return (
        {"none_seen": None}
        | ratio
        | {
            "of": NUCLEATED,
            "band": band,
            "band_reason": reason,
            "band_minimum": band_minimum(differential.specimen, min_cells),
            "lines": list(reading.lines),
        }
    )
