"""A picture's signature: its coarse structure in 63 numbers, for the whole picture and for windows of it.

The numbers are the low frequencies of a cosine transform. Mirroring a picture only flips signs of them and a quarter
turn only swaps them, so that all eight turns cost one transform. Each is divided by how much it varies over the set:
pictures of one set share a composition (one cell in the middle), and what they share says nothing.
"""

from dataclasses import dataclass

import numpy as np

from leukoscope.dataset.audit.thumbnails import SIDE
from leukoscope.dataset.audit.turns import turn_cosines

FREQUENCIES = 8
LENGTH = FREQUENCIES * FREQUENCIES - 1
_BLOCK = 1024


def _offsets(share: float, n: int) -> tuple[tuple[float, float, float], ...]:
    steps = np.linspace(0, 1 - share, n)
    return tuple((float(x), float(y), share) for y in steps for x in steps)


# Windows (x, y, side) as shares of the picture: the whole, and 9 of 90 % of each side, so that a picture cropped to
# about that is found by the window that is like it.
WINDOWS = ((0.0, 0.0, 1.0), *_offsets(0.9, 3))


@dataclass(frozen=True, slots=True, eq=False)
class Whitening:
    """What the pictures of a set share: mean and spread (K, K) of each coefficient, the same for all eight turns."""

    mean: np.ndarray
    spread: np.ndarray


def cosines(thumbnails: np.ndarray, windows: tuple[tuple[float, float, float], ...] = WINDOWS) -> np.ndarray:
    """Low-frequency coefficients (N, n_windows, K, K) float32 of thumbnails (N, 64, 64), brightness scale removed."""
    spans = sorted({(x, side) for x, _, side in windows} | {(y, side) for _, y, side in windows})
    table = np.concatenate([_basis(*span) for span in spans]).astype(np.float32)  # (n_spans * K, 64)
    columns_of = {span: slice(i * FREQUENCIES, (i + 1) * FREQUENCIES) for i, span in enumerate(spans)}
    pixels = thumbnails.astype(np.float32)
    pixels -= pixels.mean(axis=(1, 2), keepdims=True)
    pixels /= np.maximum(pixels.std(axis=(1, 2), keepdims=True), 1e-3)
    products = table @ pixels @ table.T  # (N, n_spans * K, n_spans * K)
    return np.stack([products[:, columns_of[y, side], columns_of[x, side]] for x, y, side in windows], axis=1)


def measure_whitening(thumbnails: np.ndarray) -> Whitening:
    """Mean and spread over the set and over the eight turns (so that turning and whitening commute)."""
    total = np.zeros((FREQUENCIES, FREQUENCIES))
    squares = np.zeros_like(total)
    for start in range(0, len(thumbnails), _BLOCK):
        signatures = cosines(thumbnails[start : start + _BLOCK], WINDOWS[:1])[:, 0].astype(np.float64)
        total += signatures.sum(axis=0)
        squares += (signatures**2).sum(axis=0)
    mean = sum(turn_cosines(total, g) for g in range(8)) / 8 / len(thumbnails)
    square = (squares + squares.T) / 2 / len(thumbnails)
    spread = np.sqrt(np.maximum(square - mean**2, 1e-12))
    return Whitening(mean.astype(np.float32), spread.astype(np.float32))


def signatures(coefficients: np.ndarray, whitening: Whitening, turn: int = 0) -> np.ndarray:
    """(..., 63) float32 of unit length from coefficients (..., K, K), for the picture turned by `turn`."""
    white = turn_cosines((coefficients - whitening.mean) / whitening.spread, turn)
    flat = white.reshape(*white.shape[:-2], -1)[..., 1:]  # without the mean brightness
    return flat / np.maximum(np.linalg.norm(flat, axis=-1, keepdims=True), 1e-6)


def _basis(start: float, side: float) -> np.ndarray:
    """(K, 64): row k integrates cos(pi k (x - start) / side) / side over each pixel's part inside the window."""
    edges = np.clip(np.arange(SIDE + 1) / SIDE, start, start + side)
    k = np.arange(1, FREQUENCIES)[:, None]
    waves = np.diff(np.sin(np.pi * k * (edges - start) / side), axis=1) / (np.pi * k)
    return np.concatenate([np.diff(edges)[None] / side, waves])
