"""The taxonomies that come with Leukoscope; a TOML file of your own replaces any of them (docs/format.md)."""

from __future__ import annotations

from leukoscope.taxonomy.definition import Taxonomy

# Erythroblasts are counted, and stand beside the leukocytes in blood (docs/decisions/0019). The only blasts are
# lymphoblasts, so a model of these classes doesn't know a blast's line.
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

# As blood-12, with the myeloid blasts and the smudges that it lacks. A public blood set holds blasts of one line, so
# what a model learns of the line is the source: it is stated as not known, and both blasts make one composite ratio.
BLOOD_14 = Taxonomy(
    name="blood-14",
    names=(*BLOOD_12.names, "myeloblast", "smudge_cell"),
    counted=(*BLOOD_12.counted, "myeloblast"),
    blasts=("lymphoblast", "myeloblast"),
    artefacts=("artefact", "smudge_cell"),
    lineage_known=False,
)

# The same classes as a marrow's: of CBLC's eight parts (MARROW_16) it has myeloblasts and promyelocytes alone, and what
# it calls a lymphoblast may be any blast, for it does not know the line.
MARROW_14 = Taxonomy(
    name="marrow-14",
    names=BLOOD_14.names,
    counted=BLOOD_14.counted,
    blasts=BLOOD_14.blasts,
    artefacts=BLOOD_14.artefacts,
    composites={"cblc": ("promyelocyte", "lymphoblast", "myeloblast")},
    lineage_known=False,
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
    # APL promyelocytes are blast equivalents (ELN 2022), of the myeloid line; lymphoblasts have a ratio of their own.
    blasts=("lymphoblast", "myeloblast", "apl_promyelocyte"),
    artefacts=("other",),
)

# The marrow paper's text names eight codes, its composite CBLC ("composite blast-like cells"): N, N1, M, M1, R, R1,
# J, J1. Their meanings are sourced (docs/decisions/0002-marrow-codes.md); the other eight classes are our default,
# which a TOML file of your own replaces. CBLC is not the WHO's blasts: it holds promyelocytes and early erythroid
# cells, so no diagnostic line drawn for blasts applies to it.
MARROW_16 = Taxonomy(
    name="marrow-16",
    names=(
        "myeloblast",  # N
        "promyelocyte",  # N1
        "myelocyte",
        "metamyelocyte",
        "neutrophil",
        "eosinophil",
        "monoblast",  # M
        "promonocyte",  # M1
        "monocyte",
        "proerythroblast",  # R
        "early_erythroblast",  # R1
        "erythroblast",
        "megakaryoblast",  # J
        "promegakaryocyte",  # J1
        "lymphocyte",
        "other",
    ),
    # "other" is a nucleated cell of another kind (basophil, plasma cell, megakaryocyte): it is in the denominator.
    counted=(
        "myeloblast",
        "promyelocyte",
        "myelocyte",
        "metamyelocyte",
        "neutrophil",
        "eosinophil",
        "monoblast",
        "promonocyte",
        "monocyte",
        "proerythroblast",
        "early_erythroblast",
        "erythroblast",
        "megakaryoblast",
        "promegakaryocyte",
        "lymphocyte",
        "other",
    ),
    # Promonocytes are blast equivalents (ELN 2022); proerythroblasts only in pure erythroid leukaemia, so not here.
    blasts=("myeloblast", "monoblast", "promonocyte", "megakaryoblast"),
    composites={
        "cblc": (
            "myeloblast",
            "promyelocyte",
            "monoblast",
            "promonocyte",
            "proerythroblast",
            "early_erythroblast",
            "megakaryoblast",
            "promegakaryocyte",
        )
    },
)

TAXONOMIES = {t.name: t for t in (BLOOD_12, BLOOD_14, PCM_9, MARROW_14, MARROW_16)}
