"""Class colours that stay apart for the common colour-blindnesses; a label always stands beside the colour.

After Paul Tol's "muted" and "bright" qualitative schemes (technical note SRON/EPS/TN/09-002), grouped by lineage:
neutrophils and their precursors blue to cyan, lymphoid green, blasts red to magenta, artefacts grey.
"""

from __future__ import annotations

_COLORS = {
    "segmented_neutrophil": "#33558b",
    "neutrophil": "#33558b",
    "band_neutrophil": "#5b8fd6",
    "metamyelocyte": "#88ccee",
    "myelocyte": "#44aaaa",
    "immature_granulocyte": "#44aaaa",
    "promyelocyte": "#117788",
    "eosinophil": "#ee8833",
    "basophil": "#332288",
    "monocyte": "#999933",
    "lymphocyte": "#117733",
    "erythroblast": "#7a4a2e",
    "proerythroblast": "#a8643c",
    "lymphoblast": "#cc2255",
    "myeloblast": "#aa2299",
    "apl_promyelocyte": "#882255",
    "blast": "#cc2255",
    "cblc": "#cc2255",
    "artefact": "#9a9a9a",
    "smudge_cell": "#bbbbbb",
    "other": "#9a9a9a",
    "platelet": "#ddcc77",
}
_SPARE = ("#aa4499", "#ddcc77", "#44aa99", "#cc6677", "#6699cc", "#999933", "#882255", "#332288")


def class_colors(names: tuple[str, ...]) -> tuple[str, ...]:
    """One "#rrggbb" a class, in order; classes without a colour of their own take the spare ones in turn."""
    spare = iter(_SPARE * (len(names) // len(_SPARE) + 1))
    return tuple(_COLORS[name] if name in _COLORS else next(spare) for name in names)
