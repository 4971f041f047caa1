"""One rendered photograph: place the cells, add up their stain, and take the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from leukoscope.simulate.label import LABEL_BOX, burn_label
from leukoscope.simulate.paint import Drawn
from leukoscope.simulate.red_cells import RED_CELL_UM, platelet, red_cell
from leukoscope.simulate.shapes import noise
from leukoscope.simulate.white_cells import DRAW, PX_PER_UM

HEIGHT, WIDTH = 768, 1024
RED_RADIUS = PX_PER_UM * RED_CELL_UM / 2
N_RED_DRAWINGS = 24  # red cells drawn anew for each field; each is used several times, turned and mirrored


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What one patient's smear and microscope look like.

    glass       (3,) colour of empty glass; stain (3,) factors on optical density
    tilt        (2,) how much brighter the right and lower edges are; vignette: how much darker the corners
    blur_px, noise  of the camera; crowding: share of the field covered by red cells; pallor: of their middles
    quality     JPEG
    """

    glass: np.ndarray
    stain: np.ndarray
    tilt: np.ndarray
    vignette: float
    blur_px: float
    noise: float
    crowding: float
    pallor: float
    quality: int


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A cell on the field: its class and its contour (K, 2) px, cut at the field's edge."""

    class_name: str
    contour: np.ndarray


def choose_look(rng: np.random.Generator) -> Look:
    """A stain, a lamp and a camera."""
    glasses = np.array([(250, 233, 208), (238, 240, 236), (243, 232, 238), (232, 236, 244)], np.float32)
    weights = rng.dirichlet(np.full(len(glasses), 0.5))
    return Look(
        glass=weights @ glasses + rng.normal(0, 2, 3),
        stain=np.exp(rng.normal(0, 0.09)) * np.exp(rng.normal(0, 0.05, 3)),
        tilt=rng.normal(0, 0.02, 2),
        vignette=rng.uniform(0.0, 0.08),
        blur_px=rng.uniform(0.6, 1.1),
        noise=rng.uniform(1.0, 2.6),
        crowding=rng.uniform(0.30, 0.55),
        pallor=rng.uniform(0.75, 1.05),
        quality=int(rng.integers(88, 95)),
    )


def render_field(rng: np.random.Generator, look: Look, class_names: list[str]) -> tuple[np.ndarray, list[Placed]]:
    """(HEIGHT, WIDTH, 3) uint8 RGB with one cell for each name, and the cells in the order of the names.

    An "artefact" is a heap of stain or a cell of which the edge hides more than half (PCM-Leukemia's "Other").
    """
    white, middles = _place_white_cells(rng, class_names)
    stain = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    stain += 0.012 * np.maximum(noise(rng, (HEIGHT, WIDTH), 70), 0)[..., None]  # plasma dries unevenly
    for drawn, place in _red_cells(rng, look, white, middles):
        _lay(stain, drawn, place, hides=0.0)
    for drawn, place in _platelets(rng, white, middles):
        _lay(stain, drawn, place, hides=0.3)
    placed = []
    for name, drawn, place in zip(class_names, white, middles, strict=True):
        _lay(stain, drawn, place, hides=0.94)
        placed.append(Placed(name, _cut_to_field(drawn.contour[::2] + place + 0.5)))
    return burn_label(_photograph(rng, look, stain)), placed


def _place_white_cells(rng: np.random.Generator, class_names: list[str]) -> tuple[list[Drawn], list[np.ndarray]]:
    """Cells and their middles (x, y), as far apart as a few hundred tries can find."""
    drawn, middles, reaches = [], [], []
    for name in class_names:
        cut = name == "artefact" and rng.random() < 0.5
        cell = DRAW[rng.choice(["lymphocyte", "segmented_neutrophil", "monocyte"]) if cut else name](rng)
        reach = float(np.hypot(*cell.contour.T).max())
        near = 0.6 if name != "artefact" and rng.random() < 0.12 else 1.05  # some cells are cut a little
        best, best_gap = None, -np.inf
        for _ in range(300):
            place = _place_over_edge(rng, reach) if cut else _place_inside(rng, near * reach)
            gaps = [np.hypot(*(place - m)) - reach - r for m, r in zip(middles, reaches, strict=True)]
            gap = min([*gaps, _distance_to_label(place) - reach])
            if gap > best_gap:
                best, best_gap = place, gap
            if gap > 5:
                break
        drawn.append(cell)
        middles.append(best)
        reaches.append(reach)
    return drawn, middles


def _place_inside(rng: np.random.Generator, margin: float) -> np.ndarray:
    return np.rint(rng.uniform((margin, margin), (WIDTH - margin, HEIGHT - margin)))


def _place_over_edge(rng: np.random.Generator, reach: float) -> np.ndarray:
    """A middle that lies outside the field, so that more than half of the cell is hidden."""
    out, side = rng.uniform(0.2, 0.5) * reach, int(rng.integers(4))
    along = rng.uniform(reach, (HEIGHT if side % 2 else WIDTH) - reach)
    return np.rint([(along, -out), (WIDTH + out, along), (along, HEIGHT + out), (-out, along)][side])


def _distance_to_label(place: np.ndarray) -> float:
    x0, y0, x1, y1 = LABEL_BOX
    return float(np.hypot(max(x0 - place[0], place[0] - x1, 0), max(y0 - place[1], place[1] - y1, 0)))


def _red_cells(rng: np.random.Generator, look: Look, white: list[Drawn], middles: list[np.ndarray]):
    """Red cells beside the white ones; they may lie over each other. Yields (Drawn, place)."""
    drawings = [red_cell(rng, pallor=look.pallor) for _ in range(N_RED_DRAWINGS)]
    n_wanted = int(look.crowding * HEIGHT * WIDTH / (np.pi * RED_RADIUS**2))
    taken = np.array(middles, np.float64).reshape(-1, 2)
    reach = np.array([np.hypot(*w.contour.T).mean() for w in white])
    reds = np.zeros((0, 2))
    for number in range(n_wanted):
        closest = RED_RADIUS * (1.1 if rng.random() < 0.35 else 1.95)
        for _ in range(14):
            place = np.rint(rng.uniform((-RED_RADIUS, -RED_RADIUS), (WIDTH + RED_RADIUS, HEIGHT + RED_RADIUS)))
            free_of_white = (np.hypot(*(taken - place).T) > reach + 0.88 * RED_RADIUS).all()
            if free_of_white and (np.hypot(*(reds - place).T) > closest).all():
                reds = np.vstack([reds, place])
                yield _turned(drawings[number % N_RED_DRAWINGS], int(rng.integers(8))), place
                break


def _turned(drawn: Drawn, way: int) -> Drawn:
    """One of the eight turned and mirrored versions (of the picture: red cells' contours are not used)."""
    density, alpha = (np.rot90(a, way % 4)[:, :: -1 if way >= 4 else 1] for a in (drawn.density, drawn.alpha))
    return Drawn(density, alpha, drawn.contour)


def _platelets(rng: np.random.Generator, white: list[Drawn], middles: list[np.ndarray]):
    """A few platelets that keep off the white cells. Yields (Drawn, place)."""
    for _ in range(int(rng.integers(3, 12))):
        place = _place_inside(rng, 10)
        if all(np.hypot(*(place - m)) > np.hypot(*w.contour.T).max() + 18 for w, m in zip(white, middles, strict=True)):
            yield platelet(rng), place


def _lay(stain: np.ndarray, drawn: Drawn, place: np.ndarray, *, hides: float) -> None:
    """Add a cell's density around `place` (x, y); `hides`: share of what lies below that it takes away."""
    half = drawn.alpha.shape[0] // 2
    x0, y0 = int(place[0]) - half, int(place[1]) - half
    side = drawn.alpha.shape[0]
    left, top, right, bottom = max(x0, 0), max(y0, 0), min(x0 + side, WIDTH), min(y0 + side, HEIGHT)
    if left >= right or top >= bottom:
        return
    inside = np.s_[top - y0 : bottom - y0, left - x0 : right - x0]
    below = stain[top:bottom, left:right]
    if hides:
        below *= 1 - hides * drawn.alpha[inside][..., None]
    below += drawn.density[inside]


def _photograph(rng: np.random.Generator, look: Look, stain: np.ndarray) -> np.ndarray:
    """Light through stain (Lambert-Beer), lamp, lens and camera: (H, W, 3) uint8."""
    x, y = np.linspace(-1, 1, WIDTH, dtype=np.float32), np.linspace(-1, 1, HEIGHT, dtype=np.float32)[:, None]
    lamp = 1 + look.tilt[0] * x + look.tilt[1] * y - look.vignette * (x * x + y * y) / 2
    light = np.exp(-stain * look.stain.astype(np.float32)) * lamp[..., None] * look.glass.astype(np.float32)
    picture = Image.fromarray(np.clip(light, 0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(look.blur_px))
    grain = rng.standard_normal((HEIGHT, WIDTH, 1), dtype=np.float32) * (0.8 * look.noise)
    colour = rng.standard_normal((HEIGHT, WIDTH, 3), dtype=np.float32) * (0.6 * look.noise)
    return np.clip(np.asarray(picture, np.float32) + grain + colour + 0.5, 0, 255).astype(np.uint8)


def _cut_to_field(contour: np.ndarray) -> np.ndarray:
    """The part of a polygon (K, 2) that lies in the field (Sutherland and Hodgman, CACM 1974)."""
    for axis, limit, keep_below in ((0, 0, False), (0, WIDTH, True), (1, 0, False), (1, HEIGHT, True)):
        inside = contour[:, axis] <= limit if keep_below else contour[:, axis] >= limit
        corners = []
        for k in range(len(contour)):
            a, b = contour[k - 1], contour[k]
            if inside[k - 1] != inside[k]:
                corners.append(a + (b - a) * (limit - a[axis]) / (b[axis] - a[axis]))
            if inside[k]:
                corners.append(b)
        contour = np.array(corners).reshape(-1, 2)
    return contour
