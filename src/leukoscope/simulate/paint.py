"""Colours as optical density, and the layers of a cell that is being drawn.

Light that passes through stain loses a share for each layer, so layers add up in optical density: two red cells
that overlap come out darker by themselves. Colours are stated as RGB on empty glass of 240.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leukoscope.simulate.shapes import cover, noise, patch_grid, ridge, spots

GLASS = 240.0


def density(red: float, green: float, blue: float) -> np.ndarray:
    """(3,) float32 optical density of a colour seen on empty glass."""
    return -np.log(np.array([red, green, blue], np.float32) / GLASS)


DARK_CHROMATIN = density(74, 36, 128)
PALE_CHROMATIN = density(150, 84, 172)
RED_CELL = density(200, 152, 158)
PLATELET = density(152, 116, 178)


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A cell ready to be laid on a field: density (S, S, 3), alpha (S, S) of what it hides, contour (K, 2) around 0."""

    density: np.ndarray
    alpha: np.ndarray
    contour: np.ndarray


class Canvas:
    """The patch of one cell while it is drawn: layers are laid over each other, none shines through a full one."""

    def __init__(self, half: int) -> None:
        self.half = half
        self.x, self.y = patch_grid(half)
        self.density = np.zeros((*self.x.shape, 3), np.float32)

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
        """A body of stain with ground-glass texture (`mottle`, relative) and a slightly darker rim."""
        texture = 1 + mottle * (0.6 * noise(rng, depth.shape, 5) + 0.6 * noise(rng, depth.shape, 2.2))
        texture = texture + 0.25 * ridge(depth, at=1.5, wide=2.0)
        self.lay(cover(depth), np.clip(texture, 0.1, 2)[..., None] * color)

    def lay_nucleus(
        self, rng: np.random.Generator, depth: np.ndarray, *, coarse: float, fine: float, pale: float
    ) -> None:
        """Chromatin: `coarse` weight of clumps, `fine` weight of a lacy net, `pale` share of open chromatin.

        All in [0, 1]. A darker line marks the membrane.
        """
        clumps = 1 / (1 + np.exp(-2.2 * noise(rng, depth.shape, 9.0)))
        net = 1 / (1 + np.exp(-2.0 * noise(rng, depth.shape, 3.4)))
        openness = pale + coarse * (clumps - 0.5) + fine * (net - 0.5)
        openness = np.clip(openness - 0.5 * ridge(depth, at=1.0, wide=2.0), 0, 1)[..., None]
        self.lay(cover(depth), DARK_CHROMATIN + openness * (PALE_CHROMATIN - DARK_CHROMATIN))

    def lay_nucleoli(self, points: np.ndarray, radii: np.ndarray, *, strength: float) -> None:
        """Paler, bluish round spots with a darker ring."""
        ring = np.clip(spots(self.half, points, radii + 1.8) - spots(self.half, points, radii), 0, 1)
        self.lay(0.5 * strength * ring, DARK_CHROMATIN)
        self.lay(strength * spots(self.half, points, radii), density(150, 118, 196))
