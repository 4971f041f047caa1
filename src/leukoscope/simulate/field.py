"""One rendered photograph: place the cells, add up their stain, and take the picture."""

from dataclasses import dataclass

import numpy as np

from leukoscope.dataset.masks import mask_outlines
from leukoscope.geometry import contour_area
from leukoscope.simulate.background import lay, lay_between, lay_debris
from leukoscope.simulate.camera import photograph
from leukoscope.simulate.cell import PX_PER_UM, USUAL, Clone
from leukoscope.simulate.label import LABEL_BOX
from leukoscope.simulate.look import Look
from leukoscope.simulate.outline import cut_to_field, visible_outline
from leukoscope.simulate.paint import Drawn
from leukoscope.simulate.placing import Ground, place_cells
from leukoscope.simulate.shapes import softened
from leukoscope.simulate.white_cells import DRAW

CUT_CELLS = ("lymphocyte", "segmented_neutrophil", "band_neutrophil")  # drawn for a "cut_cell", half outside the field
CLONAL = frozenset(
    {"lymphoblast", "myeloblast", "apl_promyelocyte", "monoblast", "promonocyte", "megakaryoblast", "promegakaryocyte",
     "proerythroblast", "early_erythroblast"}
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A cell on the field.

    drawn_as    the drawing's name
    contour     (K, 2) px of the picture: what is seen of it, cut at the field's edge and by cells that lie over it
    visible     share of its whole outline's area that is seen; blur_um: how far it is out of focus
    n_rods      Auer rods drawn
    nuclei      (K, 2) px of the parts of its nucleus, whether seen or under another cell; none for smudges
    """

    drawn_as: str
    contour: np.ndarray
    visible: float = 1.0
    blur_um: float = 0.0
    n_rods: int = 0
    nuclei: tuple[np.ndarray, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _White:
    """A white cell while its field is made: drawing, middle (x, y) at PX_PER_UM."""

    name: str
    drawn: Drawn
    place: np.ndarray
    blur_um: float


def render_field(
    rng: np.random.Generator, look: Look, names: list[str], *, clone: Clone = USUAL, fat: bool = False
) -> tuple[np.ndarray, list[Placed]]:
    """(height, width, 3) uint8 RGB with one cell for each name, and the cells, those that lie on top last.

    names   drawings (white_cells.DRAW), or "cut_cell": one of which the edge hides more than half. A cell for which
            a crowded field has no room left is left out: the truth is what is in the list.
    clone   the patient's abnormal cells; fat: with fat vacuoles, as in marrow
    """
    scale = look.um_per_px * PX_PER_UM  # canvas px a picture px
    size = (round(look.width * scale), round(look.height * scale))
    white = _white_cells(rng, look, names, clone, Ground(size, LABEL_BOX[2] * scale, LABEL_BOX[3] * scale))
    stain = lay_between(rng, look, [(w.drawn.radii, w.place) for w in white], size, fat=fat)
    for cell in white:
        lay(stain, cell.drawn, cell.place, hides=0.94)
    lay_debris(rng, look, stain)
    to_picture = np.array([look.width / size[0], look.height / size[1]])
    placed = [_truth(white, number, size, to_picture) for number in range(len(white))]
    return photograph(rng, look, stain), placed


def _white_cells(rng: np.random.Generator, look: Look, names: list[str], clone: Clone, ground: Ground) -> list[_White]:
    drawings = []
    for name in names:
        kind = str(rng.choice(CUT_CELLS)) if name == "cut_cell" else name
        drawings.append(DRAW[kind](rng, clone if kind in CLONAL else USUAL))
    over_edge = [name == "cut_cell" for name in names]
    places = place_cells(rng, [d.radii for d in drawings], over_edge, ground, touching=look.touching)
    white = []
    for name, drawn, place in zip(names, drawings, places, strict=True):
        blur_um = rng.uniform(0.2, 0.55) if rng.random() < look.unfocused else 0.0
        if place is not None:
            white.append(_White(name, _out_of_focus(drawn, blur_um) if blur_um else drawn, place, blur_um))
    return white


def _out_of_focus(drawn: Drawn, blur_um: float) -> Drawn:
    sigma = blur_um * PX_PER_UM
    edge = int(2.5 * sigma)
    layers = np.pad(np.dstack([drawn.density, drawn.alpha]), ((edge, edge), (edge, edge), (0, 0)))
    layers = softened(layers, sigma)
    nucleus = None if drawn.nucleus is None else np.pad(drawn.nucleus, edge)
    return Drawn(layers[..., :3], layers[..., 3], drawn.radii, drawn.n_rods, nucleus)


def _truth(white: list[_White], number: int, size: tuple[int, int], to_picture: np.ndarray) -> Placed:
    cell, middle = white[number], white[number].place + 0.5
    if cell.name == "cut_cell":
        seen = cut_to_field(cell.drawn.contour + middle, size)
    else:
        above = [
            (w.drawn.radii, w.place + 0.5)
            for w in white[number + 1 :]
            if np.hypot(*(w.place - cell.place)) < w.drawn.radii.max() + cell.drawn.radii.max()
        ]
        seen = visible_outline(cell.drawn.radii, middle, above, size)
    share = min(round(contour_area(seen) / contour_area(cell.drawn.contour), 3), 1.0)
    nuclei = tuple(part * to_picture for part in _nuclei(cell, size))
    return Placed(cell.name, seen * to_picture, share, round(cell.blur_um, 3), cell.drawn.n_rods, nuclei)


def _nuclei(cell: _White, size: tuple[int, int]) -> list[np.ndarray]:
    """(K, 2) px of the canvas, cut at the field's edge: the parts of a cell's nucleus, specks left out."""
    if cell.drawn.nucleus is None:
        return []
    corner = cell.place.astype(int) - cell.drawn.nucleus.shape[0] // 2
    parts = [np.clip(np.array(part) + corner, 0, size) for part in mask_outlines(cell.drawn.nucleus)]
    return [part for part in parts if contour_area(part) > PX_PER_UM**2 / 4]
