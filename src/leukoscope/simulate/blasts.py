"""Blasts and their equivalents, after PCM-Leukemia, Appendix A, and for the marrow's after the usual descriptions.

Each takes the patient's `Clone`: blasts of one patient resemble each other, those of two patients need not.
"""

import numpy as np

from leukoscope.simulate import nuclei
from leukoscope.simulate.cell import AZUROPHILIC, USUAL, Cell, Clone
from leukoscope.simulate.paint import Drawn, density
from leukoscope.simulate.precursors import blebs
from leukoscope.simulate.shapes import cover, ridge


def lymphoblast(rng: np.random.Generator, clone: Clone = USUAL) -> Drawn:
    """Nearly all nucleus: smooth, open chromatin, at times a crease or cleft, nucleoli hardly seen; a thin blue rim."""
    cell = Cell(rng, 9.8 * clone.size, 14.5 * clone.size, wave=0.07, stretch=0.1)
    cell.canvas.lay_cytoplasm(rng, cell.depth, density(124, 138, 206) * clone.blue, mottle=0.10)
    size = cell.radius * min(rng.uniform(0.89, 0.96) * clone.nucleus, 0.98)
    cleft = rng.choice([0.0, 0.0, 0.12, 0.28]) * clone.folds
    nucleus = nuclei.rounded(rng, cell.x, cell.y, radius=size, cleft=cleft, center=cell.aside(rng.uniform(0.02, 0.07)))
    nucleus = np.minimum(nucleus, cell.depth - 1.0)
    coarse = rng.uniform(0.08, 0.22)
    cell.canvas.lay_nucleus(rng, nucleus, coarse=coarse, fine=0.14, pale=rng.uniform(0.46, 0.62) + clone.open)
    cell.nucleoli(nucleus, int(rng.choice([0, 0, 1, 1, 2])), radius=(3.0, 5.0), strength=0.3)
    if rng.random() < 0.35 * clone.folds:
        cell.crease(nucleus, strength=0.5)
    return cell.finish()


def myeloblast(rng: np.random.Generator, clone: Clone = USUAL) -> Drawn:
    """Larger; fine, lacy chromatin, two to five nucleoli; some blue cytoplasm, few granules, at times an Auer rod."""
    cell = Cell(rng, 13.0 * clone.size, 18.5 * clone.size, wave=0.07, stretch=0.1)
    cell.canvas.lay_cytoplasm(rng, cell.depth, density(134, 150, 210) * clone.blue, mottle=0.12)
    size = cell.radius * rng.uniform(0.74, 0.86) * clone.nucleus
    cleft = rng.choice([0.0, 0.0, 0.15]) * clone.folds
    center = cell.aside(rng.uniform(0.06, 0.18))
    nucleus = nuclei.rounded(rng, cell.x, cell.y, radius=size, stretch=0.14, cleft=cleft, center=center)
    nucleus = np.minimum(nucleus, cell.depth - 2)
    room = np.clip(cover(cell.depth - 5) - cover(nucleus + 2), 0, 1)
    n_granules = int(rng.integers(0, 14) * clone.granules)
    cell.granules(room, n_granules, radius=(0.8, 1.3), color=AZUROPHILIC, strength=0.8)
    cell.canvas.lay_nucleus(rng, nucleus, coarse=0.10, fine=0.30, pale=rng.uniform(0.54, 0.68) + clone.open)
    cell.nucleoli(nucleus, int(rng.integers(2, 6)), radius=(4.5, 7.5), strength=0.85)
    if rng.random() < clone.rods:
        cell.auer_rods(room, 1)
    return cell.finish()


def apl_promyelocyte(rng: np.random.Generator, clone: Clone = USUAL) -> Drawn:
    """Butterfly or folded nucleus half hidden by dense azurophilic granules; often bundles of Auer rods."""
    cell = Cell(rng, 15.0 * clone.size, 20.0 * clone.size, wave=0.09, stretch=0.12)
    cell.canvas.lay_cytoplasm(rng, cell.depth, density(172, 142, 200), mottle=0.16)
    if rng.random() < 0.7:
        nucleus = nuclei.butterfly(rng, cell.x, cell.y, radius=cell.radius * 0.98)
    else:
        nucleus = nuclei.kidney(rng, cell.x, cell.y, radius=cell.radius * 0.66, cleft=rng.uniform(0.3, 0.5))
    nucleus = np.minimum(nucleus, cell.depth - 3)
    cell.canvas.lay_nucleus(rng, nucleus, coarse=0.2, fine=0.28, pale=0.42 + clone.open)
    room = cover(cell.depth - 2.5) * (1 - 0.4 * cover(nucleus))
    n_granules = int(rng.integers(520, 1000) * np.clip(clone.granules, 0.5, 1.4))
    cell.granules(room, n_granules, radius=(0.9, 1.7), color=density(112, 42, 116), strength=0.85)
    if rng.random() < min(0.25 + clone.rods, 0.85):
        free = np.clip(cover(cell.depth - 8) - cover(nucleus), 0, 1)
        cell.auer_rods(free, int(rng.integers(3, 9)))
    return cell.finish()


def monoblast(rng: np.random.Generator, clone: Clone = USUAL) -> Drawn:
    """Large; round, delicate nucleus with one or two big nucleoli; plenty of grey-blue cytoplasm, pseudopods."""
    cell = Cell(rng, 16.0 * clone.size, 22.0 * clone.size, wave=0.06)
    cell.reshape(blebs(rng, cell.radii, n=int(rng.integers(0, 4)), out=0.09, wide=0.3))
    cell.canvas.lay_cytoplasm(rng, cell.depth, density(146, 156, 204) * clone.blue, mottle=0.16)
    size = cell.radius * rng.uniform(0.66, 0.76) * clone.nucleus
    center = cell.aside(rng.uniform(0.08, 0.2))
    nucleus = nuclei.rounded(rng, cell.x, cell.y, radius=size, stretch=0.1, cleft=0.1 * clone.folds, center=center)
    nucleus = np.minimum(nucleus, cell.depth - 3)
    cell.vacuoles(1 - cover(nucleus + 3), int(rng.integers(0, 5)), radius=(2.0, 4.5))
    cell.canvas.lay_nucleus(rng, nucleus, coarse=0.10, fine=0.26, pale=rng.uniform(0.5, 0.62) + clone.open)
    cell.nucleoli(nucleus, int(rng.integers(1, 3)), radius=(7.0, 11.0), strength=0.8)
    return cell.finish()


def promonocyte(rng: np.random.Generator, clone: Clone = USUAL) -> Drawn:
    """Large; folded, creased nucleus of delicate chromatin, nucleolus faint; grey-blue cytoplasm with fine dust."""
    cell = Cell(rng, 15.0 * clone.size, 20.0 * clone.size, wave=0.09, stretch=0.12)
    cell.canvas.lay_cytoplasm(rng, cell.depth, density(152, 156, 200) * clone.blue, mottle=0.18)
    cell.granules(cover(cell.depth - 3), int(150 * clone.granules), radius=(0.6, 1.0), color=AZUROPHILIC, strength=0.5)
    size = cell.radius * rng.uniform(0.7, 0.8) * clone.nucleus
    nucleus = nuclei.kidney(rng, cell.x, cell.y, radius=size, cleft=rng.uniform(0.16, 0.34) * clone.folds**0.5)
    nucleus = np.minimum(nucleus, cell.depth - 3)
    cell.vacuoles(1 - cover(nucleus + 3), int(rng.integers(0, 4)), radius=(2.0, 4.5))
    cell.canvas.lay_nucleus(rng, nucleus, coarse=0.14, fine=0.28, pale=rng.uniform(0.46, 0.56) + clone.open)
    cell.nucleoli(nucleus, int(rng.integers(0, 2)), radius=(4.0, 6.5), strength=0.4)
    for _ in range(int(rng.integers(1, 4))):
        cell.crease(nucleus, strength=0.6)
    return cell.finish()


def megakaryoblast(rng: np.random.Generator, clone: Clone = USUAL) -> Drawn:
    """Of very unequal size; round nucleus, dense for a blast; scanty, blue, agranular cytoplasm with many blebs."""
    cell = Cell(rng, 14.0 * clone.size, 25.0 * clone.size, wave=0.05)
    cell.reshape(blebs(rng, cell.radii, n=int(rng.integers(3, 8)), out=0.14, wide=0.19))
    cell.canvas.lay_cytoplasm(rng, cell.depth, density(116, 130, 204) * clone.blue**0.5, mottle=0.18)
    nucleus = nuclei.rounded(
        rng, cell.x, cell.y, radius=cell.radius * rng.uniform(0.74, 0.84), stretch=0.1, center=cell.aside(0.07)
    )
    nucleus = np.minimum(nucleus, cell.depth - 3)
    cell.canvas.thin(0.2 * ridge(nucleus, middle=-4, wide=3))
    cell.canvas.lay_nucleus(rng, nucleus, coarse=0.26, fine=0.22, pale=0.36 + clone.open)
    cell.nucleoli(nucleus, int(rng.integers(1, 4)), radius=(4.0, 7.0), strength=0.45)
    return cell.finish()
