"""Red cells and platelets: what lies between the white cells."""

import numpy as np

from leukoscope.simulate.cell import PX_PER_UM
from leukoscope.simulate.paint import PLATELET, RED_CELL, Canvas, Drawn
from leukoscope.simulate.shapes import ANGLES, cover, noise, outline_depth, ridge, scatter, wavy_radii

RED_CELL_UM = 7.2


def red_cell(rng: np.random.Generator, *, pallor: float) -> Drawn:
    """A biconcave disc seen from above; `pallor` in [0, 1]: how pale its middle is.

    Thickness over the radius after Evans and Fung (Microvascular Research 1972); some are oval, flat or crenated.
    """
    radius = PX_PER_UM * RED_CELL_UM / 2 * rng.normal(1, 0.06)
    radii = wavy_radii(rng, radius, wave=0.035, stretch=abs(rng.normal(0, 0.05)))
    if rng.random() < 0.05:  # crenated
        radii = radii * (1 + 0.055 * np.abs(np.sin(rng.integers(7, 11) / 2 * ANGLES + rng.uniform(0, 6))))
    half = int(radii.max()) + 4
    canvas = Canvas(half)
    depth = outline_depth(canvas.x, canvas.y, radii)
    place = np.clip(1 - depth / radius, 0, 1)  # 0 in the middle, 1 at the rim
    biconcave = np.sqrt(1 - place**2) * (0.207 + 2.003 * place**2 - 1.123 * place**4) / 0.77
    flat = np.clip(1 - place**8, 0, 1) * 0.85
    share = pallor * rng.uniform(0.5, 1.15)
    thickness = np.clip(share * biconcave + (1 - share) * flat, 0, 1.2) + 0.16 * ridge(depth, middle=1.5, wide=1.8)
    thickness = thickness * (1 + 0.02 * noise(rng, depth.shape, 6))
    alpha = cover(depth, soft=1.8)
    return Drawn((alpha * thickness)[..., None] * RED_CELL, alpha, radii)


def platelet(rng: np.random.Generator) -> Drawn:
    """A small, granular, purple body with a pale edge."""
    radius = PX_PER_UM * rng.uniform(1.8, 3.4) / 2
    radii = wavy_radii(rng, radius, wave=0.16, stretch=rng.uniform(0, 0.2))
    canvas = Canvas(int(radii.max()) + 4)
    depth = outline_depth(canvas.x, canvas.y, radii)
    canvas.lay(0.55 * cover(depth, soft=3), PLATELET)
    points = scatter(rng, cover(depth - 3), int(rng.integers(8, 22)))
    canvas.lay_spots(points, rng.uniform(0.7, 1.5, len(points)), 1.7 * PLATELET, strength=0.85)
    return Drawn(canvas.density, cover(depth), radii)
