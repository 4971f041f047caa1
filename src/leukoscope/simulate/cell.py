"""What every drawing of a cell starts from: its canvas, its outline, the depth below it, and whose cell it is."""

from dataclasses import dataclass

import numpy as np

from leukoscope.simulate.paint import Canvas, Drawn, density
from leukoscope.simulate.shapes import arc, cover, discs_depth, outline_depth, scatter, spots, wavy_radii

PX_PER_UM = 10.0
AZUROPHILIC = density(116, 46, 120)
LILAC = density(164, 104, 170)


@dataclass(frozen=True, slots=True)
class Clone:
    """How the abnormal cells of one patient differ from the description: a leukaemia is one clone, its cells are alike.

    size      factor on the diameter; nucleus: factor on the nucleus's share of it
    blue      factor on the stain of the cytoplasm; granules: factor on their number
    open      added to how open the chromatin is
    folds     factor on how deep the nucleus is indented
    rods      share of cells with Auer rods
    """

    size: float
    nucleus: float
    blue: float
    granules: float
    open: float
    folds: float
    rods: float


USUAL = Clone(size=1.0, nucleus=1.0, blue=1.0, granules=1.0, open=0.0, folds=1.0, rods=0.35)


def choose_clone(rng: np.random.Generator) -> Clone:
    """One patient's clone."""
    return Clone(
        size=float(np.clip(rng.normal(1, 0.09), 0.8, 1.2)),
        nucleus=float(np.clip(rng.normal(1, 0.03), 0.92, 1.05)),
        blue=float(np.clip(rng.normal(1, 0.18), 0.6, 1.4)),
        granules=float(rng.uniform(0.4, 1.6)),
        open=float(rng.normal(-0.04, 0.06)),
        folds=float(rng.uniform(0.3, 1.7)),
        rods=float(rng.uniform(0, 0.7)),
    )


class Cell:
    """A cell's canvas, its outline and the depth below it."""

    def __init__(
        self, rng: np.random.Generator, low_um: float, high_um: float, *, wave: float = 0.05, stretch: float = 0.07
    ) -> None:
        self.rng = rng
        self.radius = PX_PER_UM * rng.uniform(low_um, high_um) / 2
        self.radii = wavy_radii(rng, self.radius, wave=wave, stretch=rng.uniform(0, stretch))
        self.n_rods = 0
        self._measure()

    def _measure(self) -> None:
        self.canvas = Canvas(int(self.radii.max()) + 5)
        self.x, self.y = self.canvas.x, self.canvas.y
        self.depth = outline_depth(self.x, self.y, self.radii)

    def reshape(self, radii: np.ndarray) -> None:
        """Another outline, before anything is painted: blebs, tails."""
        self.radii = radii
        self._measure()

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

    def nucleoli(self, nucleus: np.ndarray, n: int, *, radius: tuple[float, float], strength: float) -> None:
        """`n` nucleoli well inside the nucleus."""
        points = scatter(self.rng, cover(nucleus - radius[1] - 3), n)
        self.canvas.lay_nucleoli(points, self.rng.uniform(*radius, len(points)), strength=strength)

    def vacuoles(self, room: np.ndarray, n: int, *, radius: tuple[float, float]) -> None:
        """`n` round holes in the cytoplasm."""
        points = scatter(self.rng, room * cover(self.depth - 5), n)
        self.canvas.thin(0.85 * spots(self.canvas.half, points, self.rng.uniform(*radius, len(points))))

    def hof(self, center: tuple[float, float], *, size: float, strength: float) -> None:
        """The pale zone of the Golgi beside the nucleus."""
        away = (self.x - center[0]) ** 2 + (self.y - center[1]) ** 2
        self.canvas.thin(strength * np.exp(-away / (size * self.radius) ** 2))

    def crease(self, nucleus: np.ndarray, *, strength: float) -> None:
        """A fold that runs across the nucleus as a darker, bent line."""
        turn = self.rng.uniform(0, 2 * np.pi)
        bow = self.radius * self.rng.uniform(1.0, 2.2)
        center = (bow * 0.95 * np.cos(turn), bow * 0.95 * np.sin(turn))
        reach = 0.75 * self.radius / bow
        line = arc(center=center, radius=bow, start=turn + np.pi - reach, span=2 * reach, n=24)  # from rim to rim
        line_depth = np.minimum(discs_depth(self.x, self.y, line, np.full(24, 2.0)), nucleus - 2)
        self.canvas.lay_crease(line_depth, strength=strength)

    def auer_rods(self, room: np.ndarray, n: int) -> None:
        """Needles of about 3 to 5 µm: one, or a bundle like a faggot."""
        if not room.max() > 0:
            return
        (middle,) = scatter(self.rng, room, 1)
        turn = np.arctan2(middle[1], middle[0]) + np.pi / 2 + self.rng.normal(0, 0.35)  # along the nucleus's rim
        for _ in range(n):
            lean = turn + self.rng.normal(0, 0.28)
            way = np.array([np.cos(lean), np.sin(lean)])
            start = middle + self.rng.normal(0, 4.5, 2) * (n > 1)
            along = np.linspace(-0.5, 0.5, 40)[:, None] * self.rng.uniform(26, 46)
            points = start + along * way
            points = points[np.hypot(*points.T) < self.radius - 5]
            taper = 1.3 - 0.5 * np.abs(np.linspace(-1, 1, len(points)))
            self.canvas.lay_spots(points, taper, density(132, 24, 96), strength=0.92)
        self.n_rods = n

    def finish(self, *, soft: float = 1.6) -> Drawn:
        """The drawing, cut at the outline."""
        alpha = cover(self.depth, soft=soft)
        nucleus = self.canvas.nucleus & (alpha > 0.5)
        return Drawn(self.canvas.density * alpha[..., None], alpha, self.radii, self.n_rods, nucleus)
