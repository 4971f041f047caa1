"""Shapes and textures on small patches: outlines, discs, spots and noise, all antialiased by depth.

A patch is square with its origin in the middle. "Depth" is how many pixels inside a shape a pixel lies (negative
outside); `cover` turns it into a share of the pixel that is covered.
"""

import numpy as np
from PIL import Image

N_ANGLES = 72
ANGLES = np.arange(N_ANGLES) * (2 * np.pi / N_ANGLES)
OUTSIDE_PX = 14
_N_TABLE = 4096
_TABLE_ANGLES = ((np.arange(_N_TABLE) + 0.5) * (2 * np.pi / _N_TABLE) - np.pi) % (2 * np.pi)


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


def dent(radii: np.ndarray, *, angle: float, deep: float, wide: float) -> np.ndarray:
    """The outline pushed in by the share `deep` around angle `at` (radians), over about `wide` radians."""
    away = np.angle(np.exp(1j * (ANGLES - angle)))
    return radii * (1 - deep * np.exp(-((away / wide) ** 2)))


def outline_depth(
    x: np.ndarray, y: np.ndarray, radii: np.ndarray, *, center: tuple[float, float] = (0, 0)
) -> np.ndarray:
    """Depth in px below an outline given by its radii around `center`."""
    dx, dy = x - np.float32(center[0]), y - np.float32(center[1])
    # A table of 4,096 angles from -pi to pi instead of an interpolation at every pixel: off by 0.1 px at most.
    table = np.interp(_TABLE_ANGLES, np.append(ANGLES, 2 * np.pi), np.append(radii, radii[0])).astype(np.float32)
    place = ((np.arctan2(dy, dx) + np.float32(np.pi)) * np.float32(_N_TABLE / (2 * np.pi))).astype(np.int32)
    return table.take(place, mode="clip") - np.sqrt(dx * dx + dy * dy)


def discs_depth(x: np.ndarray, y: np.ndarray, points: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Depth below the union of discs: points (K, 2), radii (K,). Many along a line make a tube."""
    depth = np.full(x.shape, -1e3, np.float32)
    half = x.shape[0] // 2
    for (px, py), radius in zip(points, radii, strict=True):
        reach = int(radius) + OUTSIDE_PX  # further out nobody asks how far outside a pixel lies
        rows = np.s_[max(int(py) + half - reach, 0) : max(int(py) + half + reach + 2, 0)]
        columns = np.s_[max(int(px) + half - reach, 0) : max(int(px) + half + reach + 2, 0)]
        part = depth[rows, columns]
        away = np.hypot(x[rows, columns] - np.float32(px), y[rows, columns] - np.float32(py))
        np.maximum(part, np.float32(radius) - away, out=part)
    return depth


def cover(depth: np.ndarray, *, soft: float = 1.2) -> np.ndarray:
    """Share of each pixel covered, 0 to 1, over an edge `soft` px wide."""
    return np.clip(depth / soft + 0.5, 0, 1)


def ridge(depth: np.ndarray, *, middle: float, wide: float) -> np.ndarray:
    """1 at depth `at`, falling off over `wide` px: rims and membranes."""
    return np.exp(-(((depth - middle) / wide) ** 2))


def noise(rng: np.random.Generator, shape: tuple[int, int], grain: float) -> np.ndarray:
    """Smooth random texture of about unit spread whose blobs are `grain` px wide."""
    small = tuple(int(side / grain) + 3 for side in shape)
    grid = Image.fromarray(rng.standard_normal(small).astype(np.float32))
    box = (1, 1, 1 + shape[1] / grain, 1 + shape[0] / grain)
    return np.asarray(grid.resize((shape[1], shape[0]), Image.Resampling.BICUBIC, box=box)) * 1.3


def streaks(rng: np.random.Generator, side: int, grain: tuple[float, float], turn: float) -> np.ndarray:
    """(side, side) texture of about unit spread, stretched: `grain` px long and wide, turned by `turn` radians."""
    wide = int(side * 1.5)
    small = rng.standard_normal((int(wide / grain[1]) + 2, int(wide / grain[0]) + 2)).astype(np.float32)
    picture = Image.fromarray(small).resize((wide, wide), Image.Resampling.BICUBIC)
    turned = picture.rotate(-np.degrees(turn), Image.Resampling.BILINEAR)
    first = (wide - side) // 2
    return np.asarray(turned)[first : first + side, first : first + side] * 1.3


def envelope(share: np.ndarray, *, above: float) -> np.ndarray:
    """(N_ANGLES,) how far from the middle a ragged patch (S, S) still covers more than `above`: its outline."""
    half = share.shape[0] // 2
    away = np.arange(half, dtype=np.float32)
    fine = np.linspace(0, 2 * np.pi, 4 * N_ANGLES, endpoint=False)
    column = np.rint(half + away[:, None] * np.cos(fine)).astype(int)
    row = np.rint(half + away[:, None] * np.sin(fine)).astype(int)
    reach = ((share[row, column] > above) * away[:, None]).max(0)  # (4 N_ANGLES,)
    reach = np.stack([np.roll(reach, k) for k in (-2, -1, 0, 1, 2)]).max(0)[::4]
    return np.maximum(reach + 0.5, 3.0)


def softened(values: np.ndarray, sigma: float) -> np.ndarray:
    """A patch (S, S) or (S, S, C) blurred by a Gaussian of `sigma` px; outside it counts as empty."""
    reach = int(3 * sigma) + 1
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    taps = (taps / taps.sum()).astype(np.float32)
    for axis in (0, 1):
        padded = np.pad(values, [(reach, reach) if a == axis else (0, 0) for a in range(values.ndim)])
        length = values.shape[axis]
        parts = (padded.take(range(k, k + length), axis) * tap for k, tap in enumerate(taps))
        values = sum(parts, np.zeros_like(values))
    return values


def spots(half: int, points: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Cover of many small discs: points (K, 2), radii (K,) px."""
    side = 2 * half + 1
    result = np.zeros(side * side, np.float32)
    if not len(points):
        return result.reshape(side, side)
    reach = int(np.max(radii)) + 2
    around = np.arange(-reach, reach + 1)
    first = np.floor(points).astype(np.int64)
    column, row = (first[:, i, None] + around + half for i in (0, 1))  # (K, W)
    away_x, away_y = (first[:, i, None] + around - points[:, i, None] for i in (0, 1))
    away = np.sqrt(away_y[:, :, None] ** 2 + away_x[:, None, :] ** 2)  # (K, W, W)
    disc = np.clip(np.asarray(radii)[:, None, None] - away + 0.5, 0, 1).astype(np.float32)
    inside = ((row >= 0) & (row < side))[:, :, None] & ((column >= 0) & (column < side))[:, None, :] & (disc > 0)
    np.maximum.at(result, (row[:, :, None] * side + column[:, None, :])[inside], disc[inside])
    return result.reshape(side, side)


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
