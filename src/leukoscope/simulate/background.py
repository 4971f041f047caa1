"""What lies between and around the white cells: plasma, red cells, platelets, fat, stain grains."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from PIL import Image

from leukoscope.simulate.cell import PX_PER_UM
from leukoscope.simulate.look import Look
from leukoscope.simulate.paint import Drawn, density
from leukoscope.simulate.red_cells import RED_CELL_UM, platelet, red_cell
from leukoscope.simulate.shapes import cover, noise, outline_depth, patch_grid, ridge, spots, wavy_radii

RED_RADIUS = PX_PER_UM * RED_CELL_UM / 2
N_RED_DRAWINGS = 24  # red cells drawn anew for each field; each is used several times, turned and mirrored
PLASMA = density(214, 196, 222)

White = list[tuple[np.ndarray, np.ndarray]]  # outline (N_ANGLES,) and middle (2,) of each white cell


def lay_between(rng: np.random.Generator, look: Look, white: White, size: tuple[int, int], *, fat: bool) -> np.ndarray:
    """(H, W, 3) float32 optical density of a field before its white cells are laid on."""
    stain = _dried_plasma(rng, look, size)
    holes = _fat_holes(rng, white, size) if fat else []
    reds, platelets = _red_cells(rng, look, white + holes, size), _platelets(rng, white + holes, size)
    for drawn, place in reds:
        lay(stain, drawn, place, hides=0.0)
    for drawn, place in platelets:
        lay(stain, drawn, place, hides=0.3)
    for radii, place in holes:
        _lay_hole(stain, radii, place)
    return stain


def _dried_plasma(rng: np.random.Generator, look: Look, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3): what plasma leaves, unevenly; made eight times smaller, because it has no detail."""
    small = (size[1] // 8 + 1, size[0] // 8 + 1)
    tint = 0.012 * np.maximum(noise(rng, small, 9), 0)[..., None] * np.ones(3, np.float32)
    if look.plasma:
        tint += (look.plasma * (1 + 0.4 * noise(rng, small, 27)))[..., None] * (PLASMA / PLASMA.mean())
    stain = np.empty((size[1], size[0], 3), np.float32)
    for channel in range(3):
        layer = Image.fromarray(np.ascontiguousarray(tint[..., channel]))
        stain[..., channel] = layer.resize(size, Image.Resampling.BILINEAR)
    return np.maximum(stain, 0, out=stain)


class Laid(Protocol):
    """What is laid on: opacity (S, S) and optical density (S, S, 3), its middle in the middle."""

    @property
    def alpha(self) -> np.ndarray: ...
    @property
    def density(self) -> np.ndarray: ...


def lay(stain: np.ndarray, drawn: Laid, place: Sequence[float] | np.ndarray, *, hides: float) -> None:
    """Add a cell's density around `place` (x, y); `hides`: share of what lies below that it takes away."""
    height, width = stain.shape[:2]
    half, side = drawn.alpha.shape[0] // 2, drawn.alpha.shape[0]
    x0, y0 = int(place[0]) - half, int(place[1]) - half
    left, top, right, bottom = max(x0, 0), max(y0, 0), min(x0 + side, width), min(y0 + side, height)
    if left >= right or top >= bottom:
        return
    inside = np.s_[top - y0 : bottom - y0, left - x0 : right - x0]
    below = stain[top:bottom, left:right]
    if hides:
        below *= 1 - hides * drawn.alpha[inside][..., None]
    below += drawn.density[inside]


def lay_debris(rng: np.random.Generator, look: Look, stain: np.ndarray) -> None:
    """Grains of stain strewn over everything, some in small heaps; too small to be taken for cells."""
    n_heaps = int(rng.poisson(look.debris / 5)) if look.debris else 0
    for _ in range(n_heaps):
        n_grains = int(1 + rng.exponential(4))
        half = 30
        points = rng.normal(0, 9, (n_grains, 2)).clip(-half + 5, half - 5)
        share = 0.85 * spots(half, points, 0.8 + rng.exponential(0.7, n_grains).clip(0, 2.5))
        place = np.rint(rng.uniform((0, 0), stain.shape[1::-1]))
        lay(stain, Drawn(share[..., None] * density(66, 30, 96), share, np.full(1, half)), place, hides=1.0)


def _red_cells(rng: np.random.Generator, look: Look, white: White, size: tuple[int, int]):
    """Red cells beside the white ones; they may lie over each other. Yields (Drawn, place)."""
    drawings = [red_cell(rng, pallor=look.pallor) for _ in range(N_RED_DRAWINGS)]
    width, height = size
    n_wanted = int(look.crowding * height * width / (np.pi * RED_RADIUS**2))
    taken = np.array([place for _, place in white], np.float64).reshape(-1, 2)
    reach = np.array([radii.mean() for radii, _ in white])
    reds = np.full((n_wanted, 2), -1e6)
    for number in range(n_wanted):
        closest = RED_RADIUS * (1.1 if rng.random() < 0.35 else 1.95)
        tries = np.rint(rng.uniform((-RED_RADIUS, -RED_RADIUS), (width + RED_RADIUS, height + RED_RADIUS), (14, 2)))
        free = np.ones(len(tries), bool)
        for others, gap in ((taken, reach + 0.88 * RED_RADIUS), (reds[:number], closest)):
            away = np.hypot(tries[:, None, 0] - others[:, 0], tries[:, None, 1] - others[:, 1])
            free &= (away > gap).all(1)
        if free.any():
            reds[number] = tries[free.argmax()]
            yield _turned(drawings[number % N_RED_DRAWINGS], int(rng.integers(8))), reds[number]


def _turned(drawn: Drawn, way: int) -> Drawn:
    """One of the eight turned and mirrored versions (of the picture: red cells' outlines are not used)."""
    turned, alpha = (np.rot90(a, way % 4)[:, :: -1 if way >= 4 else 1] for a in (drawn.density, drawn.alpha))
    return Drawn(turned, alpha, drawn.radii)


def _platelets(rng: np.random.Generator, white: White, size: tuple[int, int]):
    """A few platelets that keep off the white cells. Yields (Drawn, place)."""
    for _ in range(int(rng.integers(3, 12))):
        place = np.rint(rng.uniform((10, 10), (size[0] - 10, size[1] - 10)))
        if all(np.hypot(*(place - middle)) > radii.max() + 18 for radii, middle in white):
            yield platelet(rng), place


def _fat_holes(rng: np.random.Generator, white: White, size: tuple[int, int]) -> White:
    """Round places of fat that the solvent took away, where no white cell lies."""
    holes = []
    for _ in range(int(rng.integers(0, 5))):
        radii = wavy_radii(rng, PX_PER_UM * rng.uniform(4, 14), wave=0.03, stretch=0.05)
        place = np.rint(rng.uniform((0, 0), size))
        if all(np.hypot(*(place - middle)) > outline.max() + radii.max() + 4 for outline, middle in white + holes):
            holes.append((radii, place))
    return holes


def _lay_hole(stain: np.ndarray, radii: np.ndarray, place: np.ndarray) -> None:
    half = int(radii.max()) + 8
    depth = outline_depth(*patch_grid(half), radii)
    seam = (0.10 * ridge(depth, middle=-2, wide=3))[..., None] * PLASMA
    lay(stain, Drawn(seam, 0.9 * cover(depth, soft=3), radii), place, hides=1.0)
