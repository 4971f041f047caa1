"""The eight turns of a picture (quarter turns and mirror images), of its cosine coefficients and of its boxes.

Turn g in 0..7 is, in this order: swap x and y if g & 4, mirror top to bottom if g & 2, mirror left to right if g & 1.
"""

import numpy as np

N_TURNS = 8
NAMES = (
    "",
    "mirrored left to right",
    "mirrored top to bottom",
    "turned by 180°",
    "mirrored along the diagonal",
    "turned by 90° clockwise",
    "turned by 90° anticlockwise",
    "mirrored along the other diagonal",
)


def turn_pixels(pixels: np.ndarray, turn: int) -> np.ndarray:
    """`pixels` (..., S, S) turned; a view."""
    if turn & 4:
        pixels = pixels.swapaxes(-1, -2)
    if turn & 2:
        pixels = pixels[..., ::-1, :]
    return pixels[..., ::-1] if turn & 1 else pixels


def turn_cosines(coefficients: np.ndarray, turn: int) -> np.ndarray:
    """Cosine coefficients (..., K, K), row frequency first, of the turned picture: mirrors flip the odd ones' sign."""
    k = coefficients.shape[-1]
    odd = np.where(np.arange(k) % 2, -1, 1).astype(coefficients.dtype)
    if turn & 4:
        coefficients = coefficients.swapaxes(-1, -2)
    if turn & 2:
        coefficients = coefficients * odd[:, None]
    return coefficients * odd if turn & 1 else coefficients


def turn_points(points: np.ndarray, turn: int) -> np.ndarray:
    """Points (..., 2) as x, y shares of the picture, after the turn."""
    points = points[..., ::-1] if turn & 4 else points
    x, y = points[..., 0], points[..., 1]
    return np.stack([1 - x if turn & 1 else x, 1 - y if turn & 2 else y], axis=-1)
