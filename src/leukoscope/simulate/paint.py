"""Colours as optical density, and the layers of a cell that is being drawn.

Light that passes through stain loses a share for each layer, so layers add up in optical density: two red cells
that overlap come out darker by themselves. Colours are stated as RGB on empty glass of 240.
"""

from dataclasses import dataclass

import numpy as np

from leukoscope.simulate.shapes import cover, noise, outline_points, patch_grid, ridge, spots

GLASS = 240.0


def density(red: float, green: float, blue: float) -> np.ndarray:
    """(3,) float32 optical density of a colour seen on empty glass."""
    return -np.log(np.array([red, green, blue], np.float32) / GLASS)


DARK_CHROMATIN = density(60, 32, 112)
PALE_CHROMATIN = density(160, 106, 184)
NUCLEOLUS = density(150, 126, 196)
RED_CELL = density(200, 152, 158)
PLATELET = density(152, 116, 178)


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A cell ready to be laid on a field.

    density (S, S, 3); alpha (S, S) of what it hides; radii (N_ANGLES,) of its outline around the patch's middle;
    n_rods: its Auer rods; nucleus (S, S) bool, None for what has none
    """

    density: np.ndarray
    alpha: np.ndarray
    radii: np.ndarray
    n_rods: int = 0
    nucleus: np.ndarray | None = None

    @property
    def contour(self) -> np.ndarray:
        """(N_ANGLES, 2) x, y of the outline around the patch's middle."""
        return outline_points(self.radii)


class Canvas:
    """The patch of one cell while it is drawn: layers are laid over each other, none shines through a full one."""

    def __init__(self, half: int) -> None:
        self.half = half
        self.x, self.y = patch_grid(half)
        self.density = np.zeros((*self.x.shape, 3), np.float32)
        self.nucleus = np.zeros(self.x.shape, bool)

    def lay(self, share: np.ndarray, color: np.ndarray) -> None:
        """Cover by `share` (S, S) in [0, 1] with a density (3,) or (S, S, 3)."""
        self.density += share[..., None] * (color - self.density)

    def thin(self, share: np.ndarray) -> None:
        """Take away the share of stain: vacuoles, halos."""
        self.density *= (1 - share)[..., None]

    def lay_spots(self, points: np.ndarray, radii: np.ndarray, color: np.ndarray, *, strength: float = 1.0) -> None:
        """Granules: points (K, 2), radii (K,)."""
        self.lay(strength * spots(self.half, points, radii), color)

    def lay_cytoplasm(self, rng: np.random.Generator, depth: np.ndarray, color: np.ndarray, *, mottle: float) -> None:
        """A body of stain with ground-glass texture (`mottle`, relative), uneven, a little deeper towards the rim."""
        texture = 1 + mottle * (0.55 * noise(rng, depth.shape, 6) + 0.5 * noise(rng, depth.shape, 2.4))
        texture = texture + 0.10 * noise(rng, depth.shape, 45) + 0.16 * ridge(depth, middle=2.5, wide=4.0)
        self.lay(cover(depth), np.clip(texture, 0.1, 2)[..., None] * color)

    def lay_nucleus(
        self, rng: np.random.Generator, depth: np.ndarray, *, coarse: float, fine: float, pale: float
    ) -> None:
        """Chromatin: `coarse` weight of clumps, `fine` weight of a lacy net, `pale` share of open chromatin.

        All in [0, 1]. The membrane is a little darker, and the nucleus fades out over its last half micrometre.
        """
        clumps = 1 / (1 + np.exp(-3.0 * noise(rng, depth.shape, 9.0)))
        net = 1 / (1 + np.exp(-2.4 * noise(rng, depth.shape, 4.0)))
        pale = pale + 0.07 * rng.standard_normal()  # no two nuclei take up the same stain
        openness = pale + coarse * (clumps - 0.5) + fine * (net - 0.5) + 0.05 * noise(rng, depth.shape, 30)
        openness = np.clip(openness - 0.22 * ridge(depth, middle=2.0, wide=2.5), 0, 1)[..., None]
        self.nucleus |= depth > 0
        self.lay(cover(depth, soft=2.6), DARK_CHROMATIN + openness * (PALE_CHROMATIN - DARK_CHROMATIN))

    def lay_nucleoli(self, points: np.ndarray, radii: np.ndarray, *, strength: float) -> None:
        """Paler, bluish, oval spots that fade into the chromatin, which is a little denser around them."""
        for x, y, radius in zip(*points.T.tolist(), radii.tolist(), strict=True):
            reach = int(2 * radius) + 2
            rows, columns = (np.s_[max(int(v) + self.half - reach, 0) : int(v) + self.half + reach + 1] for v in (y, x))
            away = np.hypot(self.x[rows, columns] - x, 1.15 * (self.y[rows, columns] - y)) / radius
            part = self.density[rows, columns]
            ring = 0.35 * strength * np.exp(-(((away - 1.15) / 0.3) ** 2))[..., None]
            part += ring * (DARK_CHROMATIN - part)
            part += strength * np.exp(-(away**4))[..., None] * (NUCLEOLUS - part)

    def lay_crease(self, depth: np.ndarray, *, strength: float) -> None:
        """A fold of the nucleus, by the depth below its line."""
        self.lay(strength * cover(depth, soft=4.0), DARK_CHROMATIN)
