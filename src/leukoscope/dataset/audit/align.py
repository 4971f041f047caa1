"""Lay one picture over another and say how well they agree.

Alignment is Gauss-Newton on an axis-aligned window (inverse compositional: Baker and Matthews, Lucas-Kanade 20 Years
On, 2004); the agreement is the normalised cross-correlation of the pictures' fine structure, where both have some.
"""

import functools
from dataclasses import dataclass

import numpy as np

from leukoscope.dataset.audit.thumbnails import SIDE

_BORDER = 3  # px of the target left out: there the fine structure depends on what a crop cut away
_BLUR = 2.0  # px: what is coarser says only that there is a cell in the middle
_NEIGHBOURHOOD = 3.0  # px at 64: contrast is judged within it
FAINT = 6.0  # grey levels: structure much fainter than this is noise and stays small


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """For M pairs: the target shows the window of the (turned) query.

    windows    (M, 4) x, y, width, height as shares of the turned query
    agreement  (M,) correlation in [-1, 1]
    """

    windows: np.ndarray
    agreement: np.ndarray


def fine_structure(thumbnails: np.ndarray, side: int = SIDE) -> np.ndarray:
    """(M, side, side) float32: what a blur takes away, at about the same contrast everywhere. `side` is 64, or 32.

    Without the second step a dark cell's outline outweighs all else, and round cells on an empty ground look alike.
    """
    fine = _high_pass(thumbnails, side)
    around = blur_table(side, _NEIGHBOURHOOD * side / SIDE)
    return fine / (np.sqrt(np.maximum(around @ (fine * fine) @ around.T, 0)) + FAINT)


def structure_strength(thumbnails: np.ndarray) -> np.ndarray:
    """(M,) root mean square, in grey levels, of what a blur takes away."""
    return np.sqrt((_high_pass(thumbnails, SIDE) ** 2).mean(axis=(1, 2)))


def _high_pass(thumbnails: np.ndarray, side: int) -> np.ndarray:
    if side < SIDE:  # numpy's own mean over two short axes takes as long as all the rest
        rows = thumbnails[:, ::2].astype(np.uint16) + thumbnails[:, 1::2]
        pixels = (rows[..., ::2] + rows[..., 1::2]) * np.float32(1 / 4)
    else:
        pixels = thumbnails.astype(np.float32)
    blur = blur_table(side, _BLUR)
    return pixels - blur @ pixels @ blur.T


def align(query: np.ndarray, target: np.ndarray, windows: np.ndarray, *, steps: int) -> Alignment:
    """Refine `windows` (M, 4) so that each target (M, S, S) shows that window of its query (M, S, S).

    Both are fine structure. Costs about 0.02 ms a pair and step at S = 32.
    """
    side = target.shape[-1]
    weight = np.zeros((side, side), np.float32)
    border = max(1, _BORDER * side // SIDE)
    weight[border:-border, border:-border] = 1
    goal = _normalised(target, weight)
    downhill = _downhill(goal, weight)  # (M, 4, S*S)
    hessian = downhill @ downhill.swapaxes(1, 2)
    hessian += np.eye(4, dtype=np.float32) * (1e-3 * np.trace(hessian, axis1=1, axis2=2)[:, None, None] + 1e-12)
    best, agreement = windows.astype(np.float32), np.full(len(windows), -2, np.float32)
    now = best.copy()
    for step in range(steps + 1):
        seen = _normalised(_look(query, now), weight)
        reached = np.einsum("mij,mij->m", seen, goal)
        better = reached > agreement
        best[better], agreement[better] = now[better], reached[better]
        if step == steps:
            break
        error = (seen - goal).reshape(len(goal), -1, 1)
        move = np.linalg.solve(hessian, downhill @ error)[..., 0]  # (M, 4): x, y, width, height
        grown = now[:, 2:] / (1 + np.clip(move[:, 2:], -0.1, 0.1))
        now = np.concatenate([now[:, :2] - grown * np.clip(move[:, :2], -0.1, 0.1), grown], axis=1)
    return Alignment(best, agreement)


def _look(pictures: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """(M, S, S): each picture's window, by linear interpolation, the edge repeated outside."""
    side = pictures.shape[-1]
    centres = (np.arange(side, dtype=np.float32) + 0.5) / side
    x = windows[:, 0, None] + windows[:, 2, None] * centres  # (M, S) as shares
    y = windows[:, 1, None] + windows[:, 3, None] * centres
    return _interpolation(y, side) @ pictures @ _interpolation(x, side).swapaxes(1, 2)


def _interpolation(places: np.ndarray, side: int) -> np.ndarray:
    """(M, S, S): row i holds the weights of the pixels around place i."""
    rows = np.clip(places * side - 0.5, 0, side - 1)
    weights = rows[..., None] - np.arange(side, dtype=np.float32)
    np.abs(weights, out=weights)
    np.subtract(1, weights, out=weights)
    return np.maximum(weights, 0, out=weights)


def _normalised(pictures: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Mean 0 and length 1 inside the weight's square, 0 outside."""
    n = weight.sum()
    centred = pictures * weight
    centred -= weight * (centred.sum(axis=(1, 2), keepdims=True) / n)
    length = np.sqrt(np.einsum("mij,mij->m", centred, centred))
    centred /= np.maximum(length, 1e-3)[:, None, None]
    return centred


def _downhill(goal: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(M, 4, S*S): how the goal changes when its window moves or grows (per share of the picture)."""
    side = goal.shape[-1]
    dy, dx = np.gradient(goal, 1 / side, axis=(1, 2))
    dx, dy = dx * weight, dy * weight
    centres = ((np.arange(side, dtype=np.float32) + 0.5) / side).astype(np.float32)
    parts = np.stack([dx, dy, dx * centres, dy * centres[:, None]], axis=1)
    return parts.reshape(len(goal), 4, -1).astype(np.float32)


@functools.lru_cache(maxsize=64)
def blur_table(side: int, sigma: float) -> np.ndarray:
    """(S, S): Gaussian blur along one axis, rows summing to 1."""
    offsets = np.arange(side)[:, None] - np.arange(side)
    table = np.exp(-0.5 * (offsets / sigma) ** 2)
    table = (table / table.sum(axis=1, keepdims=True)).astype(np.float32)
    # Numbers too small for full precision make products ten times as slow, and change no sum.
    table[table < np.finfo(np.float32).tiny / np.finfo(np.float32).eps] = 0
    return table
