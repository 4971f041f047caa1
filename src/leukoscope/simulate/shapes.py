"""Shapes and textures on small patches: outlines, discs, spots and noise, all antialiased by depth.

A patch is square with its origin in the middle. "Depth" is how many pixels inside a shape a pixel lies (negative
outside); `cover` turns it into a share of the pixel that is covered.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

N_ANGLES = 72
ANGLES = np.arange(N_ANGLES) * (2 * np.pi / N_ANGLES)


def patch_grid(half: int) -> tuple[np.ndarray, np.ndarray]:
    """x and y (2 half + 1, 2 half + 1) float32 of pixel centres, 0 in the middle."""
    axis = np.arange(-half, half + 1, dtype=np.float32)
    return np.meshgrid(axis, axis)


def wavy_radii(rng: np.random.Generator, radius: float, *, wave: float, stretch: float = 0.0) -> np.ndarray:
    """(N_ANGLES,) radii of a rounded outline: an ellipse of relative `stretch` with smooth dents of size `wave`."""
    turn, radii = rng.uniform(0, 2 * np.pi), np.ones(N_ANGLES)
    radii += stretch * np.cos(2 * (ANGLES - turn))
    for k in range(2, 7):
        radii += wave * rng.normal() / k * np.cos(k * ANGLES + rng.uniform(0, 2 * np.pi))
    return radius * np.maximum(radii, 0.3)


def dent(radii: np.ndarray, *, at: float, deep: float, wide: float) -> np.ndarray:
    """The outline pushed in by the share `deep` around angle `at` (radians), over about `wide` radians."""
    away = np.angle(np.exp(1j * (ANGLES - at)))
    return radii * (1 - deep * np.exp(-((away / wide) ** 2)))


def outline_depth(
    x: np.ndarray, y: np.ndarray, radii: np.ndarray, *, center: tuple[float, float] = (0, 0)
) -> np.ndarray:
    """Depth in px below an outline given by its radii around `center`."""
    dx, dy = x - center[0], y - center[1]
    angle = np.arctan2(dy, dx) % (2 * np.pi)
    return np.interp(angle, np.append(ANGLES, 2 * np.pi), np.append(radii, radii[0])) - np.hypot(dx, dy)


def discs_depth(x: np.ndarray, y: np.ndarray, points: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Depth below the union of discs: points (K, 2), radii (K,). Many along a line make a tube."""
    depth = np.full(x.shape, -1e3, np.float32)
    for (px, py), radius in zip(points, radii, strict=True):
        np.maximum(depth, radius - np.sqrt((x - px) ** 2 + (y - py) ** 2), out=depth)
    return depth


def cover(depth: np.ndarray, *, soft: float = 1.2) -> np.ndarray:
    """Share of each pixel covered, 0 to 1, over an edge `soft` px wide."""
    return np.clip(depth / soft + 0.5, 0, 1)


def ridge(depth: np.ndarray, *, at: float, wide: float) -> np.ndarray:
    """1 at depth `at`, falling off over `wide` px: rims and membranes."""
    return np.exp(-(((depth - at) / wide) ** 2))


def noise(rng: np.random.Generator, shape: tuple[int, int], grain: float) -> np.ndarray:
    """Smooth random texture of about unit spread whose blobs are `grain` px wide."""
    small = tuple(int(side / grain) + 3 for side in shape)
    grid = Image.fromarray(rng.standard_normal(small).astype(np.float32))
    box = (1, 1, 1 + shape[1] / grain, 1 + shape[0] / grain)
    return np.asarray(grid.resize((shape[1], shape[0]), Image.Resampling.BICUBIC, box=box)) * 1.3


def spots(half: int, points: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Cover of many small discs: points (K, 2), radii (K,) px."""
    side = 2 * half + 1
    result = np.zeros((side, side), np.float32)
    for (px, py), radius in zip(points, radii, strict=True):
        reach = int(radius) + 2
        x0, y0 = max(int(px) + half - reach, 0), max(int(py) + half - reach, 0)
        x1, y1 = min(int(px) + half + reach + 2, side), min(int(py) + half + reach + 2, side)
        if x0 >= x1 or y0 >= y1:
            continue
        dx, dy = np.arange(x0, x1) - half - px, np.arange(y0, y1) - half - py
        disc = np.clip(radius - np.sqrt(dx[None, :] ** 2 + dy[:, None] ** 2) + 0.5, 0, 1)
        np.maximum(result[y0:y1, x0:x1], disc, out=result[y0:y1, x0:x1])
    return result


def scatter(rng: np.random.Generator, room: np.ndarray, n: int) -> np.ndarray:
    """(m, 2) places x, y drawn by the weights `room` of a patch, m = n (0 where there is no room)."""
    weights = np.cumsum(room.ravel(), dtype=np.float64)
    if not weights[-1] > 0:
        return np.zeros((0, 2))
    flat = np.searchsorted(weights, rng.random(n) * weights[-1], side="right")
    half = room.shape[0] // 2
    places = np.stack([flat % room.shape[1] - half, flat // room.shape[1] - half], 1)
    return places + rng.uniform(-0.5, 0.5, (n, 2))


def spread(rng: np.random.Generator, room: np.ndarray, gap: float) -> np.ndarray:
    """(m, 2) places x, y about `gap` px from each other wherever `room` is above one half: packed granules."""
    half = room.shape[0] // 2
    steps = np.arange(-half, half, gap)
    x, y = np.meshgrid(steps, steps * 0.87)
    x = x + (np.arange(len(steps)) % 2)[:, None] * gap / 2
    places = np.stack([x.ravel(), y.ravel()], 1) + rng.normal(0, gap * 0.22, (x.size, 2))
    column, row = (np.clip(np.rint(places[:, i]).astype(int) + half, 0, 2 * half) for i in (0, 1))
    return places[room[row, column] > 0.5]


def arc(*, center: tuple[float, float], radius: float, start: float, span: float, n: int = 28) -> np.ndarray:
    """(n, 2) points along a circle from angle `start` over `span` radians."""
    angles = start + np.linspace(0, span, n)
    return np.stack([center[0] + radius * np.cos(angles), center[1] + radius * np.sin(angles)], 1)


def outline_points(radii: np.ndarray) -> np.ndarray:
    """(N_ANGLES, 2) x, y of an outline around the patch's middle."""
    return np.stack([radii * np.cos(ANGLES), radii * np.sin(ANGLES)], 1)
