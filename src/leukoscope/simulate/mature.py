"""Mature white cells, after PCM-Leukemia, Appendix A (figure 5), and the plasma cell of the marrow.

Diameters in micrometres, other lengths in px at `PX_PER_UM`. Every function takes a random generator (and, in the
other files, a patient's clone) and returns a `Drawn` cell.
"""

import numpy as np

from leukoscope.simulate import nuclei
from leukoscope.simulate.cell import AZUROPHILIC, USUAL, Cell, Clone
from leukoscope.simulate.paint import Drawn, density
from leukoscope.simulate.shapes import cover, noise, ridge, spread

EOSIN = density(218, 138, 116)
DEEP_EOSIN = density(192, 100, 98)


def lymphocyte(rng: np.random.Generator, _: Clone = USUAL) -> Drawn:
    """Small; round or slightly indented nucleus, dense, in dark blocks; a thin, pale blue rim. One in four is large."""
    large = rng.random() < 0.25
    cell = Cell(rng, *((10.5, 14.5) if large else (7.8, 10.4)), wave=0.06, stretch=0.1)
    cell.canvas.lay_cytoplasm(rng, cell.depth, density(160, 178, 222), mottle=0.10)
    size = cell.radius * (rng.uniform(0.62, 0.8) if large else rng.uniform(0.82, 0.92))
    cleft, center = rng.choice([0.0, 0.0, 0.13, 0.2]), cell.aside(rng.uniform(0.05, 0.3 if large else 0.14))
    nucleus = nuclei.rounded(rng, cell.x, cell.y, radius=size, cleft=cleft, center=center)
    if large and rng.random() < 0.6:
        room = cover(cell.depth - 5)
        cell.granules(room, int(rng.integers(5, 14)), radius=(0.9, 1.5), color=AZUROPHILIC, strength=0.8)
    cell.canvas.thin(0.15 * ridge(nucleus, middle=-3, wide=2.5))
    nucleus = np.minimum(nucleus, cell.depth - 1.0)
    cell.canvas.lay_nucleus(rng, nucleus, coarse=0.42, fine=0.14, pale=rng.uniform(0.16, 0.34 if large else 0.24))
    return cell.finish()


def segmented_neutrophil(rng: np.random.Generator, _: Clone = USUAL) -> Drawn:
    """Two to five lobes joined by threads; pale pink cytoplasm with fine, faint granules."""
    cell = _neutrophil_body(rng)
    n_lobes = int(rng.choice([2, 3, 3, 4, 4, 5]))
    size = cell.radius * {2: 0.40, 3: 0.345, 4: 0.31, 5: 0.275}[n_lobes]
    nucleus = nuclei.lobed(rng, cell.x, cell.y, radius=cell.radius, n_lobes=n_lobes, size=size, thread=3.2)
    cell.canvas.lay_nucleus(rng, np.minimum(nucleus, cell.depth - 2), coarse=0.5, fine=0.2, pale=0.2)
    return cell.finish()


def band_neutrophil(rng: np.random.Generator, _: Clone = USUAL) -> Drawn:
    """As the segmented neutrophil, but the nucleus is one bent ribbon."""
    cell = _neutrophil_body(rng)
    nucleus = nuclei.band(rng, cell.x, cell.y, radius=cell.radius)
    cell.canvas.lay_nucleus(rng, np.minimum(nucleus, cell.depth - 2), coarse=0.5, fine=0.2, pale=0.24)
    return cell.finish()


def _neutrophil_body(rng: np.random.Generator) -> Cell:
    cell = Cell(rng, 11.8, 14.5)
    pink = rng.random()
    color = (1 - pink) * density(226, 204, 220) + pink * density(224, 194, 202)
    cell.canvas.lay_cytoplasm(rng, cell.depth, color, mottle=0.2)
    room = cover(cell.depth - 3)
    toxic = 1.7 if rng.random() < 0.12 else 1.0
    cell.granules(room, 260, radius=(0.5, 1.0), color=density(188, 126, 170), strength=0.5)
    cell.granules(room, int(60 * toxic**2), radius=(0.7, 1.1), color=density(152, 88, 152), strength=0.45 * toxic)
    return cell


def eosinophil(rng: np.random.Generator, _: Clone = USUAL) -> Drawn:
    """Two lobes like spectacles; packed, large, even, orange-red granules that leave the nucleus free."""
    cell = Cell(rng, 12.5, 15.5)
    cell.canvas.lay_cytoplasm(rng, cell.depth, density(212, 196, 212), mottle=0.1)
    n_lobes, size = int(rng.choice([2, 2, 2, 3])), cell.radius * 0.38
    nucleus = nuclei.lobed(rng, cell.x, cell.y, radius=cell.radius * 0.92, n_lobes=n_lobes, size=size, thread=3.4)
    pack_eosin(cell, nucleus)
    cell.canvas.lay_nucleus(rng, np.minimum(nucleus, cell.depth - 2), coarse=0.5, fine=0.2, pale=0.25)
    return cell.finish()


def pack_eosin(cell: Cell, nucleus: np.ndarray) -> None:
    """The granules of an eosinophil, wherever its nucleus isn't."""
    rng = cell.rng
    points = spread(rng, np.minimum(cover(cell.depth - 3.0), 1 - cover(nucleus - 1)), 4.9)
    points = points[rng.random(len(points)) < rng.uniform(0.8, 0.97)]
    radii, bright = rng.uniform(2.0, 2.8, len(points)), rng.random(len(points)) < 0.5
    cell.canvas.lay_spots(points[bright], radii[bright], EOSIN, strength=0.8)
    cell.canvas.lay_spots(points[~bright], radii[~bright], DEEP_EOSIN, strength=0.8)
    cell.canvas.lay_spots(points - 0.7, radii * 0.4, density(240, 176, 146), strength=0.5)


def basophil(rng: np.random.Generator, _: Clone = USUAL) -> Drawn:
    """Large, coarse, blue-black granules over a pale, bilobed nucleus that they half hide."""
    cell = Cell(rng, 11.0, 13.8)
    cell.canvas.lay_cytoplasm(rng, cell.depth, density(206, 180, 214), mottle=0.2)
    size = cell.radius * 0.46
    nucleus = nuclei.lobed(rng, cell.x, cell.y, radius=cell.radius * 0.8, n_lobes=2, size=size, thread=8.0)
    cell.canvas.lay_nucleus(rng, np.minimum(nucleus, cell.depth - 3), coarse=0.3, fine=0.2, pale=0.5)
    points = spread(rng, cover(cell.depth - 2.5), 6.4)
    points = points[rng.random(len(points)) < rng.uniform(0.6, 0.92)]
    deep = rng.random(len(points)) < 0.75
    radii = rng.uniform(2.2, 4.2, len(points))
    cell.canvas.lay_spots(points[~deep], radii[~deep], density(92, 48, 128), strength=0.85)
    cell.canvas.lay_spots(points[deep], radii[deep], density(46, 24, 98), strength=0.9)
    return cell.finish()


def monocyte(rng: np.random.Generator, _: Clone = USUAL) -> Drawn:
    """Large, uneven; kidney, horseshoe or folded nucleus of lacy chromatin; grey-blue ground glass, vacuoles."""
    cell = Cell(rng, 13.5, 18.0, wave=0.12, stretch=0.12)
    cell.canvas.lay_cytoplasm(rng, cell.depth, density(158, 164, 200), mottle=0.2)
    cell.granules(cover(cell.depth - 2), 240, radius=(0.4, 0.8), color=density(150, 96, 160), strength=0.45)
    if rng.random() < 0.45:
        nucleus = nuclei.horseshoe(rng, cell.x, cell.y, radius=cell.radius * 0.86)
    else:
        cleft = rng.uniform(0.28, 0.5)
        nucleus = nuclei.kidney(rng, cell.x, cell.y, radius=cell.radius * rng.uniform(0.66, 0.78), cleft=cleft)
    nucleus = np.minimum(nucleus, cell.depth - 3)
    cell.vacuoles(1 - cover(nucleus + 3), int(rng.integers(0, 8)), radius=(2.0, 6.5))
    cell.canvas.lay_nucleus(rng, nucleus, coarse=0.34, fine=0.34, pale=0.38)
    if rng.random() < 0.4:
        cell.crease(nucleus, strength=0.35)
    return cell.finish()


def plasma_cell(rng: np.random.Generator, _: Clone = USUAL) -> Drawn:
    """Oval; round nucleus far off centre with clock-face clumps; deep blue cytoplasm with a pale hof beside it."""
    cell = Cell(rng, 12.0, 17.0, stretch=0.2)
    cell.canvas.lay_cytoplasm(rng, cell.depth, density(98, 104, 174), mottle=0.14)
    away = cell.aside(rng.uniform(0.4, 0.52))
    nucleus = nuclei.rounded(rng, cell.x, cell.y, radius=cell.radius * rng.uniform(0.46, 0.54), center=away)
    cell.hof((-0.05 * away[0], -0.05 * away[1]), size=0.36, strength=0.6)
    nucleus = np.minimum(nucleus, cell.depth - 2)
    cell.canvas.lay_nucleus(rng, nucleus, coarse=0.75, fine=0.1, pale=0.28)
    return cell.finish()


def megakaryocyte(rng: np.random.Generator, _: Clone = USUAL) -> Drawn:
    """Huge; many lobes in one heap; wide, pink-lilac, granular cytoplasm with a ragged edge."""
    cell = Cell(rng, 30.0, 44.0, wave=0.1, stretch=0.12)
    cell.canvas.lay_cytoplasm(rng, cell.depth, density(202, 170, 208), mottle=0.2)
    cell.canvas.thin(0.25 * cover(noise(rng, cell.depth.shape, 28) * 8, soft=8))
    cell.granules(cover(cell.depth - 6), 1500, radius=(0.8, 1.5), color=density(160, 84, 160), strength=0.6)
    nucleus = nuclei.convoluted(rng, cell.x, cell.y, radius=cell.radius * 0.62, n_lobes=int(rng.integers(4, 8)))
    cell.canvas.lay_nucleus(rng, np.minimum(nucleus, cell.depth - 8), coarse=0.5, fine=0.25, pale=0.26)
    return cell.finish(soft=3.0)
