"""Depth maps of nuclei, by shape. `x`, `y`: patch grids; sizes in px."""

import numpy as np

from leukoscope.simulate.shapes import arc, dent, discs_depth, noise, outline_depth, wavy_radii


def rounded(
    rng: np.random.Generator,
    x: np.ndarray,
    y: np.ndarray,
    *,
    radius: float,
    stretch: float = 0.08,
    cleft: float = 0.0,
    center: tuple[float, float] = (0, 0),
) -> np.ndarray:
    """Round or oval, pushed in by the share `cleft` on one side."""
    radii = wavy_radii(rng, radius, wave=0.035, stretch=stretch * rng.uniform(0.3, 1))
    radii = dent(radii, angle=rng.uniform(0, 2 * np.pi), deep=cleft, wide=0.55)
    return outline_depth(x, y, radii, center=center)


def horseshoe(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, *, radius: float) -> np.ndarray:
    """A thick, open bow: the kidney or horseshoe of a monocyte."""
    start, span = rng.uniform(0, 2 * np.pi), rng.uniform(1.2, 1.6) * np.pi * 0.75
    points = arc(center=(0, 0), radius=0.44 * radius, start=start, span=span)
    widths = radius * (0.44 + 0.06 * np.cos(np.linspace(0, 4, len(points)) + rng.uniform(0, 6)))
    return discs_depth(x, y, points, widths) + radius * 0.03 * noise(rng, x.shape, 26)


def band(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, *, radius: float) -> np.ndarray:
    """An even, bent ribbon (C, U or S), never thinner than half its width."""
    start, span = rng.uniform(0, 2 * np.pi), rng.uniform(1.15, 1.5) * np.pi
    points = arc(center=(0, 0), radius=0.56 * radius, start=start, span=span, n=40)
    if rng.random() < 0.25:  # S: the second half bends the other way
        middle = points[20]
        points[20:] = 2 * middle - points[20::-1][: len(points[20:])]
        points = points - points.mean(0)
        points *= 0.62 * radius / np.abs(points).max()
    place = np.linspace(-1, 1, len(points))
    widths = radius * (0.205 + 0.055 * place**2 + 0.015 * np.cos(5 * place + rng.uniform(0, 6)))
    return discs_depth(x, y, points, widths) + radius * 0.012 * noise(rng, x.shape, 10)


def lobed(
    rng: np.random.Generator,
    x: np.ndarray,
    y: np.ndarray,
    *,
    radius: float,
    n_lobes: int,
    size: float,
    thread: float = 1.5,
) -> np.ndarray:
    """`n_lobes` lobes of radius `size` on a bow, joined by threads `thread` px thick at most."""
    start, turn = rng.uniform(0, 2 * np.pi), rng.choice([-1, 1])
    step = min(1.95 * np.pi / n_lobes, rng.uniform(1.95, 2.35) * size / (0.56 * radius))
    angles = start + turn * step * np.arange(n_lobes) + rng.normal(0, 0.09, n_lobes)
    reach = 0.56 * radius * rng.uniform(0.85, 1.08, n_lobes)
    middles = np.stack([reach * np.cos(angles), reach * np.sin(angles)], 1)
    depth = np.full(x.shape, -1e3, np.float32)
    for px, py in middles:
        radii = wavy_radii(rng, size * rng.uniform(0.85, 1.15), wave=0.07, stretch=rng.uniform(0.05, 0.24))
        depth = np.maximum(depth, outline_depth(x, y, radii, center=(px, py)))
    for a, b in zip(middles[:-1], middles[1:], strict=True):
        along = np.linspace(0, 1, 18)[:, None]
        bow = 0.12 * np.sin(np.pi * along) * (a + b) / 2
        widths = np.full(18, rng.uniform(0.75, 1.0) * thread)
        depth = np.maximum(depth, discs_depth(x, y, a + along * (b - a) + bow, widths))
    return depth


def butterfly(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, *, radius: float) -> np.ndarray:
    """Two wings that meet in a broad, folded waist: the nucleus of an APL promyelocyte."""
    turn = rng.uniform(0, 2 * np.pi)
    away = 0.40 * radius * np.array([np.cos(turn), np.sin(turn)])
    bent = 0.16 * radius * np.array([-np.sin(turn), np.cos(turn)])
    depth = np.full(x.shape, -1e3, np.float32)
    for side in (-1, 1):
        radii = wavy_radii(rng, radius * rng.uniform(0.43, 0.52), wave=0.06, stretch=0.12)
        depth = np.maximum(depth, outline_depth(x, y, radii, center=tuple(side * away + bent)))
    along = np.linspace(-1, 1, 14)[:, None]
    return np.maximum(depth, discs_depth(x, y, along * away + bent * 0.6, np.full(14, 0.25 * radius)))


def kidney(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, *, radius: float, cleft: float) -> np.ndarray:
    """A big, irregular bean, pushed in on one side and often once more elsewhere: monocytes and promonocytes."""
    radii = wavy_radii(rng, radius, wave=0.07, stretch=rng.uniform(0.08, 0.2))
    angle = rng.uniform(0, 2 * np.pi)
    radii = dent(radii, angle=angle, deep=cleft, wide=rng.uniform(0.35, 0.6))
    for _ in range(int(rng.integers(0, 3))):
        radii = dent(radii, angle=angle + rng.uniform(1.2, 5.1), deep=0.45 * cleft, wide=rng.uniform(0.25, 0.45))
    return outline_depth(x, y, radii)


def convoluted(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, *, radius: float, n_lobes: int) -> np.ndarray:
    """A heap of lobes that run into each other: megakaryocytes."""
    turn = rng.uniform(0, 2 * np.pi)
    depth = np.full(x.shape, -1e3, np.float32)
    for k in range(n_lobes):
        angle = turn + 2 * np.pi * k / n_lobes + rng.normal(0, 0.25)
        away = radius * rng.uniform(0.42, 0.62)
        radii = wavy_radii(rng, radius * rng.uniform(0.36, 0.5), wave=0.08, stretch=0.1)
        depth = np.maximum(depth, outline_depth(x, y, radii, center=(away * np.cos(angle), away * np.sin(angle))))
    return np.maximum(depth, outline_depth(x, y, wavy_radii(rng, radius * 0.5, wave=0.08)))
