"""Which drawing belongs to which class of the vocabulary."""

from leukoscope.simulate import blasts, mature, precursors, smudges
from leukoscope.simulate.cell import PX_PER_UM

__all__ = ["DRAW", "PX_PER_UM"]

DRAW = {
    "lymphocyte": mature.lymphocyte,
    "segmented_neutrophil": mature.segmented_neutrophil,
    "band_neutrophil": mature.band_neutrophil,
    "eosinophil": mature.eosinophil,
    "basophil": mature.basophil,
    "monocyte": mature.monocyte,
    "lymphoblast": blasts.lymphoblast,
    "myeloblast": blasts.myeloblast,
    "apl_promyelocyte": blasts.apl_promyelocyte,
    "promyelocyte": precursors.promyelocyte,
    "myelocyte": precursors.myelocyte,
    "metamyelocyte": precursors.metamyelocyte,
    "erythroblast": precursors.erythroblast,
    "smudge_cell": smudges.crushed,
    "artefact": smudges.stain_deposit,
    "monoblast": blasts.monoblast,
    "promonocyte": blasts.promonocyte,
    "proerythroblast": precursors.proerythroblast,
    "early_erythroblast": precursors.early_erythroblast,
    "megakaryoblast": blasts.megakaryoblast,
    "promegakaryocyte": precursors.promegakaryocyte,
    "plasma_cell": mature.plasma_cell,
    "megakaryocyte": mature.megakaryocyte,
    "eosinophilic_myelocyte": precursors.eosinophilic_myelocyte,
}
