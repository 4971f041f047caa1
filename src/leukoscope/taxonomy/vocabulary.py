"""The vocabulary: every class name that a manifest may hold, and which coarser class each belongs to."""

from __future__ import annotations

# Every class name that a manifest may hold, in whole words: what it is, plainly. A source's own codes are translated
# to these (dataset/sources.toml).
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
    "plasmablast": "a blast of the plasma cell line",
    "proplasmacyte": "an immature plasma cell",
    "abnormal_plasma_cell": "a plasma cell of abnormal shape, as in myeloma",
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
    "intermediate_erythroblast": "a polychromatic erythroblast",
    "late_erythroblast": "an orthochromatic erythroblast, nucleus small and dense",
    "erythroblast": "a nucleated red cell",
    "blast": "a blast whose lineage nobody stated",
    "myeloblast": "a blast of the granulocytic line",
    "monoblast": "a blast of the monocytic line",
    "normal_myeloblast": "a myeloblast that its source calls normal and keeps apart from leukaemic ones",
    "normal_monoblast": "a monoblast that its source calls normal and keeps apart from leukaemic ones",
    "promonocyte": "a monocyte precursor with a folded nucleus: a blast equivalent in AML",
    "lymphoblast": "a blast of the lymphoid line",
    "lymphoid_precursor": "a normal lymphoid precursor (haematogone): not leukaemic, looks like a lymphoblast",
    "immature_lymphocyte": "a lymphoid cell younger than a lymphocyte, not called a blast by its source",
    "prolymphocyte": "a lymphoid cell between lymphoblast and lymphocyte",
    "hairy_cell": "the cell of hairy cell leukaemia",
    "abnormal_eosinophil": "an eosinophil with abnormal granules, as in inv(16)",
    "megakaryoblast": "a blast of the megakaryocytic line",
    "promegakaryocyte": "an immature megakaryocyte",
    "megakaryocyte": "a mature megakaryocyte",
    "naked_nucleus": "a megakaryocyte's nucleus without its cytoplasm",
    "mast_cell": "a tissue basophil",
    "phagocyte": "a macrophage or other cell that has eaten others",
    "fat_cell": "a fat cell of the marrow",
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
    "prolymphocyte": "immature_lymphocyte",
    # A normal precursor is no blast; the nearest class of a blood differential is the lymphocyte.
    "lymphoid_precursor": "lymphocyte",
    "plasma_cell": "white_cell",
    "proplasmacyte": "plasma_cell",
    "abnormal_plasma_cell": "plasma_cell",
    "promyelocyte": "immature_granulocyte",
    "bilobed_promyelocyte": "promyelocyte",
    "faggot_cell": "apl_promyelocyte",
    "apl_promyelocyte": "white_cell",
    "myelocyte": "immature_granulocyte",
    "metamyelocyte": "immature_granulocyte",
    "immature_granulocyte": "white_cell",
    "proerythroblast": "erythroblast",
    "early_erythroblast": "erythroblast",
    "intermediate_erythroblast": "erythroblast",
    "late_erythroblast": "erythroblast",
    "myeloblast": "blast",
    "monoblast": "blast",
    "lymphoblast": "blast",
    "megakaryoblast": "blast",
    "plasmablast": "blast",
    # Not children of myeloblast and monoblast: their source keeps them out of CBLC, so neither may fall into it.
    "normal_myeloblast": "blast",
    "normal_monoblast": "blast",
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


# The line of a blast, or of a cell that counts as one. The AML bands are drawn for the myeloid ones alone (ELN 2022,
# ICC 2022); a plain "blast" is of neither, for nobody stated its line.
MYELOID_BLASTS = frozenset(
    "myeloblast monoblast promonocyte apl_promyelocyte faggot_cell bilobed_promyelocyte megakaryoblast "
    "normal_myeloblast normal_monoblast".split()
)
LYMPHOID_BLASTS = frozenset("lymphoblast plasmablast immature_lymphocyte prolymphocyte lymphoid_precursor".split())
# Nucleated cells that are no leukocytes: in blood they stand beside the differential, not in it.
MEGAKARYOCYTES = frozenset("promegakaryocyte megakaryocyte naked_nucleus".split())


def is_red_precursor(class_name: str) -> bool:
    """Whether a class of the vocabulary is a nucleated red cell of any stage."""
    return nearest_class(class_name, ("erythroblast",)) is not None
