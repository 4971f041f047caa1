"""A whole smear on a slide: thick where the drop was, a monolayer, a feathered end, and glass around it.

The slide is drawn tile by tile, so that one of any size fits into little memory; each tile has a seed of its own, and
what lies over its edge is drawn by both neighbours. All is known of it: every white cell, and how thick it is where.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from PIL import Image, ImageFilter

from leukoscope.simulate.background import N_RED_DRAWINGS, lay
from leukoscope.simulate.cell import PX_PER_UM, USUAL, choose_clone
from leukoscope.simulate.field import CLONAL
from leukoscope.simulate.kinds import KINDS, Kind
from leukoscope.simulate.label import burn_label
from leukoscope.simulate.look import Look, choose_look
from leukoscope.simulate.red_cells import RED_CELL_UM, red_cell
from leukoscope.simulate.shapes import noise
from leukoscope.simulate.white_cells import DRAW

TILE_PX = 1024  # drawn at once
MONOLAYER = (0.2, 0.8)  # red cells' area over the ground's: less is the feathered end, more lies over each other
_PITCH = 2.05  # red cells' radii between the places of one layer
_FULL = np.pi / (2 * 3**0.5) * (2 / _PITCH) ** 2  # area of a full layer's red cells over the ground's
_ONE_LAYER = 0.8  # thicker smears have several layers, each as full as that at most
_SLOT_UM = 70.0  # a white cell at most for each square of that side
_MARGIN_PX = 64  # drawn beyond a tile's edge: the largest cell's radius, and the lens's blur
_WHITE_DRAWINGS = 5  # of each class; each is used several times, turned and mirrored
_PROFILE = ((0.0, 2.4), (0.30, 2.0), (0.40, 0.62), (0.78, 0.40), (0.84, 0.10), (1.0, 0.03))  # along the smear
_BLUR_PX = 3.0


@dataclass(frozen=True, slots=True)
class SlideOptions:
    """width, height in px; um_per_px; kind: number in `kinds.KINDS`; white: white cells a mm² of the monolayer."""

    width: int
    height: int
    seed: int
    um_per_px: float = 0.25
    kind: int = 1
    white_per_mm2: float = 60.0


@dataclass(frozen=True, slots=True)
class SlideCell:
    """A white cell: class and box [x0, y0, x1, y1] in px of the slide."""

    class_name: str
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class _Stamp:
    """A drawing at the slide's scale: density (S, S, 3), alpha (S, S), radius px, outline (K, 2) around its middle."""

    density: np.ndarray
    alpha: np.ndarray
    radius: float
    outline: np.ndarray


@dataclass(eq=False)
class RenderedSlide:
    """The slide: `tile(row, column)` draws, `cells_of` and `is_monolayer` know."""

    options: SlideOptions
    look: Look = field(init=False)
    kind: Kind = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng([self.options.seed, 0])
        self.look, self.kind = choose_look(rng), KINDS[self.options.kind]
        self._clone = choose_clone(rng)
        self._waves = [(rng.uniform(1.5, 5), rng.uniform(0, 6.3), rng.uniform(0.006, 0.02)) for _ in range(4)]
        self._blurred = (rng.uniform(0.5, 0.7), rng.uniform(0.3, 0.7), 0.05)  # x, y, radius: shares of the smear
        grain = noise(rng, (2 * TILE_PX, 2 * TILE_PX), 1.0).astype(np.float32)
        self._noise = 0.6 * self.look.noise * grain + 0.5

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        return -(-self.options.height // TILE_PX), -(-self.options.width // TILE_PX)

    def thickness(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Red cells' area over the ground's at places in px: 0 on glass."""
        along, across = self._place(x, y)
        places, values = zip(*_PROFILE, strict=True)
        inside = (along >= 0) & (along <= 1) & (np.abs(across) <= 1)
        return np.where(inside, np.interp(along, places, values), 0.0)

    def is_blurred(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Whether a place in px is out of focus: scanners set the focus block by block."""
        cx, cy, radius = self._blurred
        width, height = self.options.width, self.options.height
        x, y = ((np.asarray(v) // TILE_PX + 0.5) * TILE_PX for v in (x, y))
        return np.hypot(x - cx * width, y - cy * height) < radius * width

    def is_monolayer(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Whether a place in px is where a microscopist counts."""
        thick = self.thickness(x, y)
        return (thick >= MONOLAYER[0]) & (thick <= MONOLAYER[1]) & ~self.is_blurred(x, y)

    def cells(self) -> Iterator[SlideCell]:
        """Every white cell of the slide."""
        rows, columns = self._slots
        for row in range(rows):
            for column in range(columns):
                yield from (cell for cell, _ in self._white(row, column))

    def tile(self, row: int, column: int) -> np.ndarray:
        """(TILE_PX, TILE_PX, 3) uint8 RGB; beyond the slide's edge it is glass."""
        left, top = column * TILE_PX - _MARGIN_PX, row * TILE_PX - _MARGIN_PX
        side = TILE_PX + 2 * _MARGIN_PX
        stain = np.zeros((side, side, 3), np.float32)
        middle = (np.array([left + side / 2]), np.array([top + side / 2]))
        around = np.stack(np.meshgrid([left, left + side / 2, left + side], [top, top + side / 2, top + side]), 0)
        most = float(self.thickness(around[0], around[1]).max())
        if most > 0:
            white = self._white_near(left, top, side)
            self._lay_red(stain, left, top, most, white)
            for stamp, x, y in white:
                lay(stain, stamp, (x - left, y - top), hides=0.94)
        return self._photograph(stain, row, column, blurred=bool(self.is_blurred(*middle)[0]))

    # What lies where.

    @cached_property
    def _slots(self) -> tuple[int, int]:
        side = _SLOT_UM / self.options.um_per_px
        return int(self.options.height / side) + 1, int(self.options.width / side) + 1

    @cached_property
    def _reds(self) -> list[list[_Stamp]]:
        """Red cells of the smear, and flat ones of its feathered end, each turned in eight ways."""
        rng = np.random.default_rng([self.options.seed, 1])
        banks = []
        for pallor in (self.look.pallor, 0.0):
            drawn = [self._stamp(red_cell(rng, pallor=pallor)) for _ in range(N_RED_DRAWINGS)]
            banks.append([_turned(stamp, way) for stamp in drawn for way in range(8)])
        return banks

    @cached_property
    def _whites(self) -> dict[str, list[_Stamp]]:
        rng = np.random.default_rng([self.options.seed, 2])
        drawn = {}
        for name in self._shares[0]:
            clone = self._clone if name in CLONAL else USUAL
            stamps = [self._stamp(DRAW[name](rng, clone)) for _ in range(_WHITE_DRAWINGS)]
            drawn[name] = [_turned(stamp, way) for stamp in stamps for way in range(8)]
        return drawn

    @cached_property
    def _shares(self) -> tuple[list[str], np.ndarray]:
        """Class names and their shares, blasts at the middle of their kind's range."""
        blasts = sum(self.kind.ratios) / 2 if self.kind.blast_class else 0.0
        names, shares = list(self.kind.mix), np.array(list(self.kind.mix.values()))
        shares = shares / shares.sum() * (1 - blasts)
        return ([*names, self.kind.blast_class], np.r_[shares, blasts]) if blasts else (names, shares)

    def _white(self, row: int, column: int) -> list[tuple[SlideCell, tuple]]:
        """The white cell of one slot, if it has one, with what is drawn of it (stamp, x, y)."""
        rng = np.random.default_rng([self.options.seed, 3, row, column])
        side = _SLOT_UM / self.options.um_per_px
        x, y = np.rint((np.array([column, row]) + rng.uniform(0.18, 0.82, 2)) * side)
        thick = float(self.thickness(np.array([x]), np.array([y]))[0])
        share = self.options.white_per_mm2 * (_SLOT_UM / 1000) ** 2 * min(thick / 0.5, 2.0)
        edge = _MARGIN_PX
        inside = edge < x < self.options.width - edge and edge < y < self.options.height - edge
        if not inside or rng.random() >= share:
            return []
        names, shares = self._shares
        name = str(rng.choice(names, p=shares))
        stamp = self._whites[name][int(rng.integers(8 * _WHITE_DRAWINGS))]
        low, high = stamp.outline.min(0), stamp.outline.max(0)
        box = tuple(round(float(v), 2) for v in (x + low[0], y + low[1], x + high[0], y + high[1]))
        return [(SlideCell(name, box), (stamp, x, y))]

    def _white_near(self, left: int, top: int, side: int) -> list[tuple]:
        slot = _SLOT_UM / self.options.um_per_px
        rows = range(max(int((top - _MARGIN_PX) / slot), 0), int((top + side + _MARGIN_PX) / slot) + 1)
        columns = range(max(int((left - _MARGIN_PX) / slot), 0), int((left + side + _MARGIN_PX) / slot) + 1)
        return [drawn for row in rows for column in columns for _, drawn in self._white(row, column)]

    def _lay_red(self, stain: np.ndarray, left: int, top: int, most: float, white: list[tuple]) -> None:
        """Red cells on the places of one lattice, or of several over each other where the smear is thick."""
        radius = RED_CELL_UM / 2 / self.options.um_per_px
        pitch = np.array([_PITCH * radius, _PITCH * radius * 3**0.5 / 2])
        n_layers = int(np.ceil(most / _ONE_LAYER))
        side = len(stain)
        for layer in range(n_layers):
            first = np.floor((np.array([left, top]) - radius) / pitch).astype(int) - 1
            last = np.ceil((np.array([left, top]) + side + radius) / pitch).astype(int) + 1
            column, row = (g.ravel() for g in np.meshgrid(*(np.arange(a, b) for a, b in zip(first, last, strict=True))))
            draws = [_scrambled(column, row, 7 * layer + k, self.options.seed) for k in range(4)]
            x = (column + 0.5 * (row % 2) + 0.37 * layer) * pitch[0] + (draws[0] - 0.5) * 0.4 * radius
            y = (row + 0.29 * layer) * pitch[1] + (draws[1] - 0.5) * 0.4 * radius
            thick = self.thickness(x, y)
            chosen = draws[2] < thick / (np.maximum(np.ceil(thick / _ONE_LAYER), 1) * _FULL)
            chosen &= layer < np.ceil(thick / _ONE_LAYER)
            for stamp, wx, wy in white:
                chosen &= np.hypot(x - wx, y - wy) > stamp.radius + 0.88 * radius
            for k in np.flatnonzero(chosen):
                bank = self._reds[int(thick[k] < MONOLAYER[0])]
                lay(stain, bank[int(draws[3][k] * len(bank))], (int(x[k]) - left, int(y[k]) - top), hides=0.0)

    def _photograph(self, stain: np.ndarray, row: int, column: int, *, blurred: bool) -> np.ndarray:
        """The scanner's tile: light through stain and lens, noise, and in the slide's corner the word RENDERED."""
        middle = np.s_[_MARGIN_PX : _MARGIN_PX + TILE_PX]
        if not blurred:  # the lens's own blur is less than half a pixel
            stain = np.ascontiguousarray(stain[middle, middle])
        light = stain.reshape(-1, 3) @ -np.array(self.look.stain, np.float32)
        light = np.exp(light, out=light).reshape(stain.shape)
        light *= np.array(self.look.glass, np.float32)
        if blurred:
            picture = Image.fromarray(np.clip(light, 0, 255).astype(np.uint8))
            light = np.asarray(picture.filter(ImageFilter.GaussianBlur(_BLUR_PX)), np.float32)[middle, middle]
        rng = np.random.default_rng([self.options.seed, 4, row, column])
        shift = rng.integers(0, TILE_PX, 2)
        light = light + self._noise[shift[0] : shift[0] + TILE_PX, shift[1] : shift[1] + TILE_PX, None]
        pixels = np.clip(light, 0, 255, out=light).astype(np.uint8)
        return burn_label(pixels) if row == column == 0 else pixels

    def _place(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Along the smear (0 where the drop was, 1 at its tip) and across it (-1 to 1), its edges uneven."""
        width, height = self.options.width, self.options.height
        u, v = np.asarray(x) / width, np.asarray(y) / height
        wave = sum(size * np.sin(rate * 6.283 * v + phase) for rate, phase, size in self._waves)
        along = (u - 0.04 + wave) / 0.92 + 0.04 * (2 * v - 1) ** 2
        return along, (v - 0.5) / (0.46 - 0.10 * np.clip(along, 0, 1) ** 3)

    def _stamp(self, drawn) -> _Stamp:
        """A drawing at the slide's scale."""
        scale = 1 / (PX_PER_UM * self.options.um_per_px)
        half = int(np.ceil(drawn.alpha.shape[0] // 2 * scale)) + 1
        side, reach = 2 * half + 1, (2 * half + 1) / scale / 2
        middle = drawn.alpha.shape[0] / 2
        layers = np.dstack([drawn.density, drawn.alpha])
        edge = int(max(0, np.ceil(reach - middle))) + 1
        layers = np.pad(layers, ((edge, edge), (edge, edge), (0, 0)))
        box = tuple(middle + edge + way * reach for way in (-1, -1, 1, 1))
        pictures = (Image.fromarray(np.ascontiguousarray(layers[..., c])) for c in range(4))
        small = np.dstack([np.asarray(p.resize((side, side), Image.Resampling.BOX, box=box)) for p in pictures])
        outline = drawn.contour * scale
        return _Stamp(small[..., :3], small[..., 3], float(drawn.radii.mean() * scale), outline + 0.5)


def _turned(stamp: _Stamp, way: int) -> _Stamp:
    """One of the eight turned and mirrored versions, its outline with it."""
    outline = stamp.outline - 0.5
    turned, alpha = stamp.density, stamp.alpha
    for _ in range(way % 4):
        turned, alpha, outline = np.rot90(turned), np.rot90(alpha), np.stack([outline[:, 1], -outline[:, 0]], 1)
    if way >= 4:
        turned, alpha, outline = turned[:, ::-1], alpha[:, ::-1], outline * (-1, 1)
    return _Stamp(np.ascontiguousarray(turned), np.ascontiguousarray(alpha), stamp.radius, outline + 0.5)


def _scrambled(column: np.ndarray, row: np.ndarray, number: int, seed: int) -> np.ndarray:
    """(N,) in [0, 1), the same for a place whoever asks: a hash of it (splitmix64's finish)."""
    with np.errstate(over="ignore"):
        z = column.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z += row.astype(np.uint64) * np.uint64(0xBF58476D1CE4E5B9)
        z += np.uint64(number * 0x94D049BB + seed * 0x632BE59B + 1) * np.uint64(0xD6E8FEB86659FD93)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) / 2**53
