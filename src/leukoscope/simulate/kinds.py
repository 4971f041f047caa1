"""Kinds of patients that `simulate` draws, each with the cells that go with it."""

from dataclasses import dataclass, field

NOT_COUNTED = ("smudge_cell", "artefact")

# Shares of the cells that are neither blasts nor smudges nor artefacts.
_QUIET = {
    "segmented_neutrophil": 0.50, "lymphocyte": 0.26, "monocyte": 0.08, "band_neutrophil": 0.07, "eosinophil": 0.06,
    "basophil": 0.03,
}  # fmt: skip
_LEFT_SHIFT = {
    "segmented_neutrophil": 0.34, "lymphocyte": 0.22, "monocyte": 0.08, "band_neutrophil": 0.09, "eosinophil": 0.05,
    "basophil": 0.03, "metamyelocyte": 0.05, "myelocyte": 0.05, "promyelocyte": 0.02, "erythroblast": 0.07,
}  # fmt: skip
_LYMPHOID = {
    "segmented_neutrophil": 0.30, "lymphocyte": 0.50, "monocyte": 0.06, "band_neutrophil": 0.04, "eosinophil": 0.03,
    "basophil": 0.01, "erythroblast": 0.06,
}  # fmt: skip
_CLL_LIKE = {"lymphocyte": 0.82, "segmented_neutrophil": 0.13, "monocyte": 0.03, "eosinophil": 0.02}
MARROW_MIX = {
    "segmented_neutrophil": 0.16, "band_neutrophil": 0.13, "metamyelocyte": 0.13, "myelocyte": 0.12,
    "promyelocyte": 0.04, "eosinophil": 0.03, "basophil": 0.01, "lymphocyte": 0.11, "monocyte": 0.02,
    "erythroblast": 0.25,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kind:
    """What one kind of patient's blood holds.

    blast_class   of its blasts; None: it has none
    ratios        planned share of blasts among the counted cells, from and to
    mix           shares of the other counted cells
    not_counted   shares of smudges and artefacts among all cells
    """

    name: str
    blast_class: str | None
    ratios: tuple[float, float]
    mix: dict[str, float]
    not_counted: dict[str, float] = field(default_factory=lambda: {"smudge_cell": 0.04, "artefact": 0.03})


# Patients take turns through these; the first four are the demo's.
KINDS = (
    Kind("ordinary", None, (0.0, 0.0), _QUIET),
    Kind("AML-like", "myeloblast", (0.25, 0.65), _LEFT_SHIFT),
    Kind("ALL-like", "lymphoblast", (0.55, 0.90), _LYMPHOID),
    # Chronic lymphocytic leukaemia is known by its smudges: fragile lymphocytes, crushed on the slide.
    Kind("many smudges", None, (0.0, 0.0), _CLL_LIKE, {"smudge_cell": 0.36, "artefact": 0.02}),
    Kind("APL-like", "apl_promyelocyte", (0.35, 0.90), _LEFT_SHIFT),
)
BLASTS = tuple(kind.blast_class for kind in KINDS if kind.blast_class)
