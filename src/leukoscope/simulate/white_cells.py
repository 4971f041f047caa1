"""White cells drawn by class, after PCM-Leukemia, Appendix A (figure 5), and for the classes it lacks after the
usual descriptions (bands, erythroblasts, granulocyte precursors). Diameters in micrometres, other lengths in px at
`PX_PER_UM`. Every function takes a random generator and returns a `Drawn` cell.
"""

from __future__ import annotations

import numpy as np

from leukoscope.simulate import nuclei
from leukoscope.simulate.paint import Canvas, Drawn, density
from leukoscope.simulate.shapes import (
    cover,
    noise,
    outline_depth,
    outline_points,
    ridge,
    scatter,
    spots,
    spread,
    wavy_radii,
)

PX_PER_UM = 10.0
AZUROPHILIC = density(128, 34, 118)
LILAC = density(178, 112, 172)


class _Cell:
    """A cell's canvas, its outline and the depth below it."""

    def __init__(self, rng: np.random.Generator, low_um: float, high_um: float, *, wave: float = 0.05) -> None:
        self.rng = rng
        self.radius = PX_PER_UM * rng.uniform(low_um, high_um) / 2
        self.radii = wavy_radii(rng, self.radius, wave=wave, stretch=rng.uniform(0, 0.07))
        self.canvas = Canvas(int(self.radii.max()) + 4)
        self.x, self.y = self.canvas.x, self.canvas.y
        self.depth = outline_depth(self.x, self.y, self.radii)

    def aside(self, share: float) -> tuple[float, float]:
        """A place `share` of the radius away from the middle, in a random direction."""
        turn = self.rng.uniform(0, 2 * np.pi)
        return share * self.radius * np.cos(turn), share * self.radius * np.sin(turn)

    def granules(
        self, room: np.ndarray, n: int, *, radius: tuple[float, float], color: np.ndarray, strength: float
    ) -> None:
        """Scatter `n` granules by the weights `room`."""
        points = scatter(self.rng, room, n)
        self.canvas.lay_spots(points, self.rng.uniform(*radius, len(points)), color, strength=strength)

    def finish(self) -> Drawn:
        alpha = cover(self.depth)
        return Drawn(self.canvas.density * alpha[..., None], alpha, outline_points(self.radii))


def lymphocyte(rng: np.random.Generator) -> Drawn:
    """Small; round or slightly indented nucleus of dense clumps; a thin, pale blue rim."""
    cell = _Cell(rng, 8.2, 11.0, wave=0.05)
    cell.canvas.lay_cytoplasm(rng, cell.depth, density(172, 186, 224), mottle=0.10)
    size = cell.radius * rng.uniform(0.78, 0.86)
    nucleus = nuclei.rounded(
        rng, cell.x, cell.y, radius=size, cleft=rng.choice([0.0, 0.0, 0.12]), center=cell.aside(rng.uniform(0.02, 0.1))
    )
    cell.canvas.thin(0.2 * ridge(nucleus, at=-3, wide=2.5))
    cell.canvas.lay_nucleus(rng, np.minimum(nucleus, cell.depth - 1.5), coarse=0.85, fine=0.25, pale=0.22)
    return cell.finish()


def segmented_neutrophil(rng: np.random.Generator) -> Drawn:
    """Two to five lobes joined by threads; pale pink cytoplasm with fine, faint granules."""
    cell = _neutrophil_body(rng)
    n_lobes = int(rng.choice([2, 3, 3, 4, 4, 5]))
    size = cell.radius * {2: 0.40, 3: 0.345, 4: 0.30, 5: 0.265}[n_lobes]
    nucleus = nuclei.lobed(rng, cell.x, cell.y, radius=cell.radius, n_lobes=n_lobes, size=size, thread=3.0)
    cell.canvas.lay_nucleus(rng, np.minimum(nucleus, cell.depth - 2), coarse=0.75, fine=0.25, pale=0.2)
    return cell.finish()


def band_neutrophil(rng: np.random.Generator) -> Drawn:
    """As the segmented neutrophil, but the nucleus is one bent ribbon."""
    cell = _neutrophil_body(rng)
    nucleus = nuclei.band(rng, cell.x, cell.y, radius=cell.radius)
    cell.canvas.lay_nucleus(rng, np.minimum(nucleus, cell.depth - 2), coarse=0.75, fine=0.25, pale=0.22)
    return cell.finish()


def _neutrophil_body(rng: np.random.Generator) -> _Cell:
    cell = _Cell(rng, 12.0, 14.5)
    cell.canvas.lay_cytoplasm(rng, cell.depth, density(225, 200, 212), mottle=0.22)
    room = cover(cell.depth - 2)
    cell.granules(room, 330, radius=(0.5, 1.0), color=density(186, 124, 168), strength=0.55)
    cell.granules(room, 60, radius=(0.7, 1.2), color=density(150, 84, 150), strength=0.5)
    return cell


def eosinophil(rng: np.random.Generator) -> Drawn:
    """Two lobes like spectacles; packed, large, even, orange-red granules that leave the nucleus free."""
    cell = _Cell(rng, 12.5, 15.5)
    cell.canvas.lay_cytoplasm(rng, cell.depth, density(214, 200, 214), mottle=0.1)
    n_lobes, size = int(rng.choice([2, 2, 2, 3])), cell.radius * 0.37
    nucleus = nuclei.lobed(rng, cell.x, cell.y, radius=cell.radius * 0.92, n_lobes=n_lobes, size=size, thread=3.0)
    room = np.minimum(cover(cell.depth - 3.5), 1 - cover(nucleus - 1))
    points = spread(rng, room, 5.2)
    radii, bright = rng.uniform(2.1, 2.9, len(points)), rng.random(len(points)) < 0.5
    cell.canvas.lay_spots(points[bright], radii[bright], density(222, 122, 98), strength=0.85)
    cell.canvas.lay_spots(points[~bright], radii[~bright], density(196, 86, 86), strength=0.85)
    cell.canvas.lay_spots(points - 0.7, radii * 0.4, density(244, 176, 142), strength=0.7)
    cell.canvas.lay_nucleus(rng, np.minimum(nucleus, cell.depth - 2), coarse=0.7, fine=0.25, pale=0.25)
    return cell.finish()


def basophil(rng: np.random.Generator) -> Drawn:
    """Large, coarse, blue-black granules over a pale, bilobed nucleus that they half hide."""
    cell = _Cell(rng, 11.0, 13.5)
    cell.canvas.lay_cytoplasm(rng, cell.depth, density(206, 186, 216), mottle=0.2)
    size = cell.radius * 0.46
    nucleus = nuclei.lobed(rng, cell.x, cell.y, radius=cell.radius * 0.75, n_lobes=2, size=size, thread=7.0)
    cell.canvas.lay_nucleus(rng, np.minimum(nucleus, cell.depth - 3), coarse=0.3, fine=0.3, pale=0.75)
    points = spread(rng, cover(cell.depth - 3), 7.0)
    points = points[rng.random(len(points)) < rng.uniform(0.72, 0.92)]
    cell.canvas.lay_spots(points, rng.uniform(2.6, 4.6, len(points)), density(44, 24, 100), strength=0.95)
    return cell.finish()


def monocyte(rng: np.random.Generator) -> Drawn:
    """Large; kidney or horseshoe nucleus of lacy chromatin; abundant grey-blue ground glass, vacuoles, dust."""
    cell = _Cell(rng, 14.5, 18.0, wave=0.11)
    cell.canvas.lay_cytoplasm(rng, cell.depth, density(160, 166, 202), mottle=0.26)
    cell.granules(cover(cell.depth - 2), 240, radius=(0.4, 0.8), color=density(150, 96, 160), strength=0.5)
    nucleus = nuclei.horseshoe(rng, cell.x, cell.y, radius=cell.radius * 0.84)
    nucleus = np.minimum(nucleus, cell.depth - 3)
    _vacuoles(cell, 1 - cover(nucleus + 3), int(rng.integers(2, 7)), radius=(2.5, 6.5))
    cell.canvas.lay_nucleus(rng, nucleus, coarse=0.3, fine=0.65, pale=0.5)
    return cell.finish()


def lymphoblast(rng: np.random.Generator) -> Drawn:
    """High share of nucleus; coarse or slightly clumped chromatin, nucleoli small or none; scanty deep blue rim."""
    cell = _Cell(rng, 11.0, 14.5, wave=0.06)
    cell.canvas.lay_cytoplasm(rng, cell.depth, density(112, 124, 198), mottle=0.12)
    size = cell.radius * rng.uniform(0.86, 0.92)
    cleft = rng.choice([0.0, 0.1, 0.2])
    nucleus = nuclei.rounded(rng, cell.x, cell.y, radius=size, cleft=cleft, center=cell.aside(0.05))
    nucleus = np.minimum(nucleus, cell.depth - 1.5)
    cell.canvas.lay_nucleus(rng, nucleus, coarse=0.42, fine=0.4, pale=0.42)
    _nucleoli(cell, nucleus, int(rng.integers(0, 3)), radius=(2.2, 3.6), strength=0.5)
    return cell.finish()


def myeloblast(rng: np.random.Generator) -> Drawn:
    """Larger; fine, lacy chromatin, two to five clear nucleoli; blue cytoplasm, few granules, at times an Auer rod."""
    cell = _Cell(rng, 14.0, 18.0, wave=0.06)
    cell.canvas.lay_cytoplasm(rng, cell.depth, density(130, 146, 208), mottle=0.12)
    size = cell.radius * rng.uniform(0.74, 0.82)
    nucleus = nuclei.rounded(rng, cell.x, cell.y, radius=size, stretch=0.12, center=cell.aside(rng.uniform(0.05, 0.15)))
    nucleus = np.minimum(nucleus, cell.depth - 2)
    room = np.clip(cover(cell.depth - 4) - cover(nucleus + 2), 0, 1)
    cell.granules(room, int(rng.integers(0, 14)), radius=(0.8, 1.3), color=AZUROPHILIC, strength=0.8)
    cell.canvas.lay_nucleus(rng, nucleus, coarse=0.12, fine=0.5, pale=0.6)
    _nucleoli(cell, nucleus, int(rng.integers(2, 6)), radius=(4.0, 7.0), strength=0.85)
    if rng.random() < 0.35:
        _auer_rods(cell, room, 1)
    return cell.finish()


def apl_promyelocyte(rng: np.random.Generator) -> Drawn:
    """Butterfly or folded nucleus half hidden by dense azurophilic granules; often bundles of Auer rods."""
    cell = _Cell(rng, 15.0, 19.0, wave=0.08)
    cell.canvas.lay_cytoplasm(rng, cell.depth, density(178, 150, 204), mottle=0.15)
    nucleus = np.minimum(nuclei.butterfly(rng, cell.x, cell.y, radius=cell.radius * 0.9), cell.depth - 3)
    cell.canvas.lay_nucleus(rng, nucleus, coarse=0.25, fine=0.5, pale=0.42)
    room = cover(cell.depth - 3)
    cell.granules(room * (1 - 0.5 * cover(nucleus)), 1100, radius=(0.9, 2.0), color=AZUROPHILIC, strength=0.82)
    if rng.random() < 0.6:
        _auer_rods(cell, room * (1 - cover(nucleus + 3)), int(rng.integers(3, 9)))
    return cell.finish()


def promyelocyte(rng: np.random.Generator) -> Drawn:
    """Large; round, off-centre nucleus with a nucleolus; many azurophilic granules, a pale hollow beside it."""
    cell = _Cell(rng, 15.0, 19.0, wave=0.06)
    cell.canvas.lay_cytoplasm(rng, cell.depth, density(150, 158, 210), mottle=0.15)
    off = cell.aside(0.22)
    nucleus = nuclei.rounded(rng, cell.x, cell.y, radius=cell.radius * 0.64, stretch=0.12, center=off)
    nucleus = np.minimum(nucleus, cell.depth - 2)
    hollow = np.exp(-(((cell.x + 1.9 * off[0]) ** 2 + (cell.y + 1.9 * off[1]) ** 2) / (0.3 * cell.radius) ** 2))
    cell.canvas.thin(0.55 * hollow)
    cell.canvas.lay_nucleus(rng, nucleus, coarse=0.25, fine=0.5, pale=0.45)
    _nucleoli(cell, nucleus, int(rng.integers(1, 3)), radius=(3.5, 5.5), strength=0.65)
    room = cover(cell.depth - 3) * (1 - 0.7 * cover(nucleus)) * (1 - 0.6 * hollow)
    cell.granules(room, 340, radius=(0.9, 1.7), color=AZUROPHILIC, strength=0.8)
    return cell.finish()


def myelocyte(rng: np.random.Generator) -> Drawn:
    """Round or oval nucleus without nucleoli, off centre; lilac secondary granules in pale cytoplasm."""
    cell = _Cell(rng, 13.0, 16.5)
    nucleus = nuclei.rounded(rng, cell.x, cell.y, radius=cell.radius * 0.56, stretch=0.2, center=cell.aside(0.3))
    return _late_precursor(cell, nucleus)


def metamyelocyte(rng: np.random.Generator) -> Drawn:
    """Kidney-shaped nucleus, clumped; otherwise as the myelocyte."""
    cell = _Cell(rng, 12.5, 15.0)
    center, cleft = cell.aside(0.16), rng.uniform(0.42, 0.58)
    nucleus = nuclei.rounded(rng, cell.x, cell.y, radius=cell.radius * 0.6, stretch=0.16, cleft=cleft, center=center)
    return _late_precursor(cell, nucleus)


def _late_precursor(cell: _Cell, nucleus: np.ndarray) -> Drawn:
    cell.canvas.lay_cytoplasm(cell.rng, cell.depth, density(206, 190, 216), mottle=0.2)
    cell.granules(cover(cell.depth - 2), 420, radius=(0.7, 1.3), color=LILAC, strength=0.7)
    cell.canvas.lay_nucleus(cell.rng, np.minimum(nucleus, cell.depth - 2), coarse=0.55, fine=0.35, pale=0.34)
    return cell.finish()


def erythroblast(rng: np.random.Generator) -> Drawn:
    """Small; round, very dense nucleus; smooth grey-blue to pink cytoplasm without granules."""
    cell = _Cell(rng, 8.5, 11.5, wave=0.05)
    pink = rng.random()
    color = (1 - pink) * density(150, 160, 202) + pink * density(196, 164, 178)
    cell.canvas.lay_cytoplasm(rng, cell.depth, color, mottle=0.06)
    size, center = cell.radius * rng.uniform(0.48, 0.6), cell.aside(rng.uniform(0, 0.2))
    nucleus = nuclei.rounded(rng, cell.x, cell.y, radius=size, stretch=0.04, center=center)
    cell.canvas.thin(0.15 * ridge(nucleus, at=-2.5, wide=2))
    cell.canvas.lay_nucleus(rng, nucleus, coarse=0.45, fine=0.1, pale=0.05)
    return cell.finish()


def smudge_cell(rng: np.random.Generator) -> Drawn:
    """A crushed nucleus: pale, streaked, ragged, without cytoplasm."""
    cell = _Cell(rng, 13.0, 19.0, wave=0.22)
    streak = noise(rng, cell.depth.shape, 17) + 0.45 * noise(rng, cell.depth.shape, 5)
    share = cover(cell.depth + 4 * noise(rng, cell.depth.shape, 12), soft=14) * np.clip(0.72 + 0.15 * streak, 0.08, 1)
    cell.canvas.lay(share, density(158, 98, 176))
    holes = scatter(rng, cover(cell.depth - 6), int(rng.integers(3, 8)))
    cell.canvas.thin(0.75 * spots(cell.canvas.half, holes, rng.uniform(2, 6, len(holes))))
    return Drawn(cell.canvas.density, 0.8 * share, outline_points(cell.radii))


def stain_deposit(rng: np.random.Generator) -> Drawn:
    """An artefact: a heap of dark stain grains."""
    cell = _Cell(rng, 7.0, 13.0, wave=0.2)
    points = scatter(rng, cover(cell.depth) * np.exp(4 * cell.depth / cell.radius), int(rng.integers(70, 170)))
    radii = rng.uniform(0.8, 3.2, len(points))
    cell.canvas.lay_spots(points, radii, density(62, 28, 88), strength=0.9)
    return Drawn(cell.canvas.density, spots(cell.canvas.half, points, radii), outline_points(cell.radii))


def _nucleoli(cell: _Cell, nucleus: np.ndarray, n: int, *, radius: tuple[float, float], strength: float) -> None:
    points = scatter(cell.rng, cover(nucleus - radius[1] - 2), n)
    cell.canvas.lay_nucleoli(points, cell.rng.uniform(*radius, len(points)), strength=strength)


def _vacuoles(cell: _Cell, room: np.ndarray, n: int, *, radius: tuple[float, float]) -> None:
    points = scatter(cell.rng, room * cover(cell.depth - 5), n)
    cell.canvas.thin(0.85 * spots(cell.canvas.half, points, cell.rng.uniform(*radius, len(points))))


def _auer_rods(cell: _Cell, room: np.ndarray, n: int) -> None:
    """Needles of about 4 µm in one bundle."""
    (middle,) = scatter(cell.rng, room, 1) if room.max() > 0 else [np.zeros(2)]
    turn = cell.rng.uniform(0, np.pi)
    for _ in range(n):
        lean = turn + cell.rng.normal(0, 0.25)
        way = np.array([np.cos(lean), np.sin(lean)])
        start = middle + cell.rng.normal(0, 3.5, 2) * (n > 1)
        along = np.linspace(-0.5, 0.5, 40)[:, None] * cell.rng.uniform(26, 42)
        points = start + along * way
        inside = np.hypot(*points.T) < cell.radius - 4
        cell.canvas.lay_spots(points[inside], np.full(int(inside.sum()), 1.25), density(138, 20, 92), strength=0.9)


DRAW = {
    "lymphocyte": lymphocyte,
    "segmented_neutrophil": segmented_neutrophil,
    "band_neutrophil": band_neutrophil,
    "eosinophil": eosinophil,
    "basophil": basophil,
    "monocyte": monocyte,
    "lymphoblast": lymphoblast,
    "myeloblast": myeloblast,
    "apl_promyelocyte": apl_promyelocyte,
    "promyelocyte": promyelocyte,
    "myelocyte": myelocyte,
    "metamyelocyte": metamyelocyte,
    "erythroblast": erythroblast,
    "smudge_cell": smudge_cell,
    "artefact": stain_deposit,
}
