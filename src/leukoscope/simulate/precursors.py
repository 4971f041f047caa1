"""Precursors of granulocytes, red cells and platelets, by the usual descriptions (a marrow atlas's words)."""

import numpy as np

from leukoscope.simulate import nuclei
from leukoscope.simulate.cell import AZUROPHILIC, LILAC, USUAL, Cell, Clone
from leukoscope.simulate.mature import pack_eosin
from leukoscope.simulate.paint import Drawn, density
from leukoscope.simulate.shapes import ANGLES, cover, dent, ridge

BASOPHILIC = density(90, 98, 170)


def promyelocyte(rng: np.random.Generator, _: Clone = USUAL) -> Drawn:
    """Large; round to oval nucleus off centre, a nucleolus; blue cytoplasm, pale hof, coarse primary granules."""
    cell = Cell(rng, 15.0, 20.0)
    cell.canvas.lay_cytoplasm(rng, cell.depth, density(142, 150, 206), mottle=0.16)
    off = cell.aside(rng.uniform(0.16, 0.28))
    size = cell.radius * rng.uniform(0.62, 0.72)
    nucleus = nuclei.rounded(rng, cell.x, cell.y, radius=size, stretch=0.16, cleft=rng.choice([0.0, 0.1]), center=off)
    nucleus = np.minimum(nucleus, cell.depth - 2)
    cell.hof((-1.6 * off[0], -1.6 * off[1]), size=0.3, strength=0.5)
    cell.canvas.lay_nucleus(rng, nucleus, coarse=0.22, fine=0.28, pale=0.36)
    cell.nucleoli(nucleus, int(rng.integers(1, 3)), radius=(3.5, 6.0), strength=0.55)
    room = cover(cell.depth - 3) * (1 - 0.55 * cover(nucleus))
    cell.granules(room, int(rng.integers(180, 420)), radius=(1.0, 1.9), color=AZUROPHILIC, strength=0.92)
    return cell.finish()


def myelocyte(rng: np.random.Generator, _: Clone = USUAL) -> Drawn:
    """Round or oval nucleus without nucleoli, off centre; lilac secondary granules in pale cytoplasm."""
    cell = Cell(rng, 13.0, 17.0)
    size = cell.radius * rng.uniform(0.55, 0.66)
    nucleus = nuclei.rounded(rng, cell.x, cell.y, radius=size, stretch=0.2, center=cell.aside(rng.uniform(0.2, 0.35)))
    return _late_precursor(cell, nucleus, blue=rng.uniform(0, 0.55))


def metamyelocyte(rng: np.random.Generator, _: Clone = USUAL) -> Drawn:
    """Kidney-shaped nucleus, clumped; otherwise as the myelocyte."""
    cell = Cell(rng, 12.5, 15.5)
    center, cleft = cell.aside(0.16), rng.uniform(0.38, 0.58)
    nucleus = nuclei.rounded(rng, cell.x, cell.y, radius=cell.radius * 0.64, stretch=0.16, cleft=cleft, center=center)
    return _late_precursor(cell, nucleus, blue=0.0)


def _late_precursor(cell: Cell, nucleus: np.ndarray, *, blue: float) -> Drawn:
    color = (1 - blue) * density(212, 192, 216) + blue * density(160, 164, 208)
    cell.canvas.lay_cytoplasm(cell.rng, cell.depth, color, mottle=0.18)
    cell.granules(cover(cell.depth - 2), 330, radius=(0.6, 1.2), color=LILAC, strength=0.6)
    n_primary = int(cell.rng.integers(0, 60))
    cell.canvas.lay_nucleus(cell.rng, np.minimum(nucleus, cell.depth - 2), coarse=0.42, fine=0.24, pale=0.28)
    cell.granules(cover(cell.depth - 3), n_primary, radius=(0.8, 1.3), color=AZUROPHILIC, strength=0.7)
    return cell.finish()


def eosinophilic_myelocyte(rng: np.random.Generator, _: Clone = USUAL) -> Drawn:
    """An eosinophil of the marrow whose nucleus is still round, oval or a kidney."""
    cell = Cell(rng, 13.0, 16.5)
    cell.canvas.lay_cytoplasm(rng, cell.depth, density(186, 178, 212), mottle=0.12)
    cleft, center = rng.choice([0.0, 0.2, 0.45]), cell.aside(rng.uniform(0.2, 0.34))
    size = cell.radius * rng.uniform(0.5, 0.6)
    nucleus = nuclei.rounded(rng, cell.x, cell.y, radius=size, stretch=0.16, cleft=cleft, center=center)
    pack_eosin(cell, nucleus)
    cell.canvas.lay_nucleus(rng, np.minimum(nucleus, cell.depth - 2), coarse=0.42, fine=0.24, pale=0.3)
    return cell.finish()


def proerythroblast(rng: np.random.Generator, clone: Clone = USUAL) -> Drawn:
    """Large; round nucleus of fine, dark grains, one or two nucleoli; deep blue cytoplasm with ears and a halo."""
    cell = Cell(rng, 15.5 * clone.size, 21.0 * clone.size, wave=0.04)
    cell.reshape(blebs(rng, cell.radii, n=int(rng.integers(1, 4)), out=0.10, wide=0.24))
    cell.canvas.lay_cytoplasm(rng, cell.depth, BASOPHILIC * clone.blue**0.5, mottle=0.16)
    center = cell.aside(rng.uniform(0, 0.08))
    nucleus = nuclei.rounded(rng, cell.x, cell.y, radius=cell.radius * rng.uniform(0.72, 0.8), center=center)
    nucleus = np.minimum(nucleus, cell.depth - 3)
    cell.canvas.thin(0.35 * ridge(nucleus, middle=-4, wide=4))
    cell.canvas.lay_nucleus(rng, nucleus, coarse=0.12, fine=0.34, pale=0.34)
    cell.nucleoli(nucleus, int(rng.integers(1, 3)), radius=(4.5, 8.0), strength=0.55)
    return cell.finish()


def early_erythroblast(rng: np.random.Generator, clone: Clone = USUAL) -> Drawn:
    """Basophilic: round nucleus in coarse spokes, no nucleolus; deep blue cytoplasm, pale seam at the nucleus."""
    cell = Cell(rng, 11.5 * clone.size, 15.5 * clone.size, wave=0.04)
    cell.canvas.lay_cytoplasm(rng, cell.depth, BASOPHILIC, mottle=0.14)
    center = cell.aside(rng.uniform(0, 0.1))
    nucleus = nuclei.rounded(rng, cell.x, cell.y, radius=cell.radius * rng.uniform(0.66, 0.75), center=center)
    cell.canvas.thin(0.3 * ridge(nucleus, middle=-3, wide=2.5))
    cell.canvas.lay_nucleus(rng, np.minimum(nucleus, cell.depth - 2), coarse=0.62, fine=0.12, pale=0.27)
    return cell.finish()


def erythroblast(rng: np.random.Generator, _: Clone = USUAL) -> Drawn:
    """Small; round, dense nucleus; smooth grey-blue (intermediate) to pink (late) cytoplasm without granules."""
    late = rng.random()
    cell = Cell(rng, 11.0 - 2.5 * late, 13.5 - 3.0 * late, wave=0.055)
    color = (1 - late) * density(142, 148, 190) + late * density(200, 164, 176)
    cell.canvas.lay_cytoplasm(rng, cell.depth, color, mottle=0.06)
    size, center = cell.radius * (rng.uniform(0.56, 0.66) - 0.14 * late), cell.aside(rng.uniform(0, 0.24))
    nucleus = nuclei.rounded(rng, cell.x, cell.y, radius=size, stretch=0.05, center=center)
    nucleus = np.minimum(nucleus, cell.depth - 1.5)
    cell.canvas.thin(0.15 * ridge(nucleus, middle=-2.5, wide=2))
    cell.canvas.lay_nucleus(rng, nucleus, coarse=0.6 * (1 - late), fine=0.08, pale=0.22 * (1 - late) + 0.02)
    return cell.finish()


def promegakaryocyte(rng: np.random.Generator, clone: Clone = USUAL) -> Drawn:
    """Very large; indented or lobed nucleus, clumped; blue-violet cytoplasm with granules and blebs."""
    cell = Cell(rng, 22.0 * clone.size, 31.0 * clone.size, wave=0.1)
    cell.reshape(blebs(rng, cell.radii, n=int(rng.integers(1, 5)), out=0.12, wide=0.18))
    cell.canvas.lay_cytoplasm(rng, cell.depth, density(146, 140, 200) * clone.blue**0.5, mottle=0.2)
    room = cover(cell.depth - 5)
    cell.granules(room, int(500 * clone.granules), radius=(0.8, 1.4), color=AZUROPHILIC, strength=0.5)
    size = cell.radius * rng.uniform(0.66, 0.76) * clone.nucleus
    nucleus = nuclei.kidney(rng, cell.x, cell.y, radius=size, cleft=rng.uniform(0.25, 0.45))
    nucleus = np.minimum(nucleus, cell.depth - 4)
    cell.canvas.lay_nucleus(rng, nucleus, coarse=0.42, fine=0.28, pale=0.34)
    cell.crease(nucleus, strength=0.4)
    return cell.finish(soft=2.2)


def blebs(rng: np.random.Generator, radii: np.ndarray, *, n: int, out: float, wide: float) -> np.ndarray:
    """The outline with `n` rounded protrusions, each out by the share `out` of the radius."""
    for angle in rng.choice(ANGLES, n, replace=False):
        radii = dent(radii, angle=angle, deep=-out * rng.uniform(0.6, 1.3), wide=wide)
    return radii
