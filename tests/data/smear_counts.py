"""Smears as counts of classes, for the clinical rules: a model that knows every kind, bands and flags by name."""

from __future__ import annotations

from leukoscope.count import ratio, read_bands
from leukoscope.flags import Knowledge, flags
from leukoscope.practice import MINIMUM_CELLS
from leukoscope.taxonomy import MARROW_16, Taxonomy
from leukoscope.types import Differential

# A blood model that tells the lines apart and has every kind of cell these examples need.
FULL = Taxonomy(
    name="full-blood",
    names=(
        "neutrophil", "lymphocyte", "monocyte", "promyelocyte", "myeloblast", "lymphoblast", "apl_promyelocyte",
        "proerythroblast", "erythroblast", "megakaryocyte", "artefact", "smudge_cell",
    ),
    counted=(
        "neutrophil", "lymphocyte", "monocyte", "promyelocyte", "myeloblast", "lymphoblast", "apl_promyelocyte",
        "proerythroblast", "erythroblast", "megakaryocyte",
    ),
    blasts=("myeloblast", "lymphoblast", "apl_promyelocyte"),
    artefacts=("artefact", "smudge_cell"),
)  # fmt: skip


KNOWS_APL = Knowledge(apl_cells=4000)


def smear(taxonomy=FULL, specimen="blood", *, unidentified=0, n_fields=10, **cells):
    counts = [cells.pop(name, 0) for name in taxonomy.names]
    assert not cells, f"no such class: {cells}"
    return Differential("p1", specimen, counts, counts, n_fields, taxonomy, unidentified)


def marrow(**cells):
    return smear(MARROW_16, "marrow", **cells)


def band(differential, name="blasts", **more):
    reading = read_bands(differential, ratio(differential, name), **more)
    return reading.band or reading.reason


def codes(differential, *, knowledge=KNOWS_APL, min_cells=None, **more):
    asked = MINIMUM_CELLS[differential.specimen] if min_cells is None else min_cells
    return [f["code"] for f in flags(differential, min_cells=asked, knowledge=knowledge, **more)]
