"""Cells that no set has enough of, made from those there are: smudges and other things that are not to be counted.

Smudges are drawn (`leukoscope.simulate.smudges`) and, more of them, real cells destroyed: the nucleus of a real cell is
pulled apart, paled and laid on a real background, its cytoplasm gone. Other artefacts are places without a white cell,
and white cells of which the frame shows less than half (PCM, Appendix A, "Other").
"""

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from leukoscope.images.color import WHITE, optical_density
from leukoscope.simulate.smudges import crushed, stain_deposit
from leukoscope.train.classifier.data import MADE, MASK_SIDE, CellStore, cell_mask

SMUDGE, ARTEFACT = "smudge_cell", "artefact"


def make_cells(store: CellStore, *, destroyed: int, drawn: int, artefacts: int, seed: int) -> CellStore:
    """Made cells as a store whose `sets` are MADE; an empty one where `store` has no smear background.

    `patients` of a made cell: the data set and patient of the cell it was made of, "" where it was made of none.
    """
    rng = np.random.default_rng((seed, 11))
    smears = np.flatnonzero(~store.masked & (store.sets != MADE))
    if not len(store.backgrounds) or not len(smears):
        return _nothing(store)
    of = rng.choice(smears, destroyed), rng.choice(smears, artefacts // 3)
    parts = [
        (destroy_cells(store, of[0], rng), SMUDGE),
        (draw_cells(store, drawn, rng, deposits=False), SMUDGE),
        (draw_cells(store, artefacts // 3, rng, deposits=True), ARTEFACT),
        (_empty_places(store, artefacts // 3, rng), ARTEFACT),
        (_cut_cells(store, of[1], rng), ARTEFACT),
    ]
    origin = np.char.add(np.char.add(store.sets, "/"), store.patients)
    made_of = [origin[of[0]], *(np.full(len(p), "") for p, _ in parts[1:4]), origin[of[1]]]
    windows = np.concatenate([p for p, _ in parts])
    classes = np.repeat([name for _, name in parts], [len(p) for p, _ in parts])
    n, shape = len(windows), np.array([0.5, 0.5], np.float32)
    mask = cell_mask(windows[0], shape, masked=False) if n else np.zeros((MASK_SIDE, MASK_SIDE), np.uint8)
    return CellStore(
        windows=windows,
        masks=np.broadcast_to(mask, (n, *mask.shape)).copy(),
        diameters=np.zeros(n, np.float32),
        box_shapes=np.broadcast_to(shape, (n, 2)).copy(),
        masked=np.zeros(n, bool),
        sets=np.full(n, MADE),
        classes=classes,
        patients=np.concatenate(made_of),
        splits=np.full(n, "train"),
        attributes=np.full((n, store.attributes.shape[1]), -1, np.int64),
        backgrounds=store.backgrounds[:0],
        ground_sets=store.ground_sets[:0],
    )


def _nothing(store: CellStore) -> CellStore:
    return replace(
        store.subset(np.zeros(0, np.int64)), backgrounds=store.backgrounds[:0], ground_sets=store.ground_sets[:0]
    )


def destroy_cells(store: CellStore, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(K, S, S, 3) uint8: nuclei of cells `rows` smeared out on other backgrounds, framed by what is left."""
    out = []
    for row in rows.tolist():
        od = optical_density(store.windows[row])
        inside = _enlarged(store.masks[row], len(od)) / 255.0
        total = od.sum(2)
        is_solid = rng.random() < 0.5  # a bare nucleus squeezed out of shape; else one torn to strands
        if is_solid:
            total = _resized(_resized(total[..., None], 24), len(od))[..., 0]
        level = np.quantile(total[inside > 0.5], rng.uniform(0.35, 0.6)) if (inside > 0.5).any() else total.mean()
        share = inside / (1 + np.exp(-(total - level) / 0.15))
        nucleus = _warped(np.concatenate([od * share[..., None], share[..., None]], 2), rng, is_solid=is_solid)
        stain, cover = nucleus[..., :3], nucleus[..., 3:]
        pale = rng.uniform(0.6, 1.1) if is_solid else rng.uniform(0.35, 0.95)
        cover = np.clip(cover * pale, 0, 1)
        texture = 1 + rng.uniform(0.1, 0.5) * _noise(rng, len(od), int(rng.integers(8, 40)))[..., None]
        tile = optical_density(_tile(store, rng))
        out.append(_framed(tile * (1 - cover) + np.clip(stain * pale * texture, 0, None), cover[..., 0], tile, rng))
    return np.stack(out) if out else store.windows[:0]


def draw_cells(store: CellStore, n: int, rng: np.random.Generator, *, deposits: bool) -> np.ndarray:
    """(n, S, S, 3) uint8: drawn smudges, or deposits of stain, on real backgrounds."""
    side, out = store.windows.shape[1], []
    for _ in range(n):
        drawn = stain_deposit(rng) if deposits else crushed(rng)
        patch = np.concatenate([drawn.density, drawn.alpha[..., None]], 2)
        half = len(patch) // 2
        reach = int(np.abs(drawn.contour).max()) + 1
        room = 2 * reach  # half of a window that is twice as wide as its box
        patch = np.pad(patch, ((room, room), (room, room), (0, 0)))
        middle = half + room
        square = patch[middle - room : middle + room, middle - room : middle + room]
        small = _resized(square, side)
        tint = np.exp(rng.normal(0, 0.2, 3))
        tile = optical_density(_tile(store, rng))
        out.append(_pixels(tile * (1 - small[..., 3:]) + small[..., :3] * tint))
    return np.stack(out) if out else store.windows[:0]


def _empty_places(store: CellStore, n: int, rng: np.random.Generator) -> np.ndarray:
    """Red cells, platelets and empty glass, as near as a locator would frame them."""
    return np.stack([_tile(store, rng, zoom=(0.3, 1.0)) for _ in range(n)]) if n else store.windows[:0]


def _cut_cells(store: CellStore, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """White cells of which the frame shows less than half, framed by what it shows."""
    side, out = store.windows.shape[1], []
    for row in rows.tolist():
        shown, axis = rng.uniform(0.2, 0.45), int(rng.integers(2))
        window = store.windows[row] if axis else store.windows[row].swapaxes(0, 1)
        half = store.box_shapes[row, 0 if axis else 1] * side / 2
        line = int(side / 2 - half + 2 * half * shown)
        cut = np.full_like(window, WHITE)
        cut[:, :line] = window[:, :line]
        middle, reach = side / 2 - half + half * shown, side / 2 * max(0.5, shown)
        box = (middle - reach, side / 2 - reach, middle + reach, side / 2 + reach)
        moved = Image.fromarray(np.ascontiguousarray(cut)).transform(
            (side, side), Image.Transform.EXTENT, box, Image.Resampling.BILINEAR, fillcolor=(WHITE,) * 3
        )
        out.append(np.asarray(moved))
    return np.stack(out) if out else store.windows[:0]


def _framed(od: np.ndarray, cover: np.ndarray, tile: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The picture of densities `od` (S, S, 3) as a window around what `cover` (S, S) marks."""
    side = len(od)
    ys, xs = np.nonzero(cover > 0.12)
    if len(xs) < 20:
        return _pixels(od)
    x0, x1, y0, y1 = xs.min(), xs.max() + 1, ys.min(), ys.max() + 1
    reach = max(x1 - x0, y1 - y0) * rng.uniform(0.9, 1.1)
    box = np.array([(x0 + x1) / 2 - reach, (y0 + y1) / 2 - reach, (x0 + x1) / 2 + reach, (y0 + y1) / 2 + reach])
    pad = side  # beyond the window the background goes on, mirrored
    wide = np.pad(_pixels(od), ((pad, pad), (pad, pad), (0, 0)), mode="symmetric")
    ground = np.pad(_pixels(tile), ((pad, pad), (pad, pad), (0, 0)), mode="symmetric")
    ground[pad : pad + side, pad : pad + side] = wide[pad : pad + side, pad : pad + side]
    return np.asarray(
        Image.fromarray(ground).transform(
            (side, side), Image.Transform.EXTENT, tuple(np.clip(box + pad, 0, 3 * side)), Image.Resampling.BILINEAR
        )
    )


def _warped(maps: np.ndarray, rng: np.random.Generator, *, is_solid: bool) -> np.ndarray:
    """Maps (S, S, K) pulled out one way, bent by slow noise, torn by fast noise unless solid, and blurred."""
    side = len(maps)
    turn, pull = rng.uniform(0, np.pi), rng.uniform(1.0, 1.7)
    c, s = np.cos(turn), np.sin(turn)
    stretch = np.array([[c, -s], [s, c]]) @ np.diag([1 / pull, 1.0]) @ np.array([[c, s], [-s, c]])
    y, x = (np.mgrid[:side, :side] + 0.5) / side * 2 - 1
    places = np.stack([x, y], -1) @ stretch.T
    slow, fast = rng.uniform(0.05, 0.28), rng.uniform(0.0, 0.01 if is_solid else 0.07)
    for axis in (0, 1):
        places[..., axis] += slow * _noise(rng, side, 4) + fast * _noise(rng, side, 24)
    grid = torch.from_numpy(places.astype(np.float32))[None]
    batch = torch.from_numpy(maps.astype(np.float32)).permute(2, 0, 1)[None]
    bent = F.grid_sample(batch, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    small = max(16, int(side * rng.uniform(0.12, 0.9)))
    soft = F.interpolate(bent, size=(small, small), mode="bilinear", antialias=True)
    return F.interpolate(soft, size=(side, side), mode="bicubic")[0].permute(1, 2, 0).clamp_min(0).numpy()


def _noise(rng: np.random.Generator, side: int, cells: int) -> np.ndarray:
    """(side, side) smooth noise of deviation near one, `cells` knots a side."""
    knots = Image.fromarray(rng.normal(size=(cells, cells)).astype(np.float32))
    return np.asarray(knots.resize((side, side), Image.Resampling.BICUBIC))


def _tile(store: CellStore, rng: np.random.Generator, *, zoom: tuple[float, float] = (0.6, 1.0)) -> np.ndarray:
    """A piece of background (S, S, 3) uint8, turned and enlarged at random."""
    tile = store.backgrounds[rng.integers(len(store.backgrounds))]
    side = len(tile)
    tile = np.rot90(tile, int(rng.integers(4)))
    part = max(16, int(side * rng.uniform(*zoom)))
    x, y = rng.integers(side - part + 1, size=2)
    cut = Image.fromarray(np.ascontiguousarray(tile[y : y + part, x : x + part]))
    return np.asarray(cut.resize((side, side), Image.Resampling.BILINEAR))


def _resized(maps: np.ndarray, side: int) -> np.ndarray:
    batch = torch.from_numpy(maps.astype(np.float32)).permute(2, 0, 1)[None]
    return F.interpolate(batch, size=(side, side), mode="bilinear", antialias=True)[0].permute(1, 2, 0).numpy()


def _enlarged(mask: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(mask).resize((side, side), Image.Resampling.BILINEAR), np.float32)


def _pixels(od: np.ndarray) -> np.ndarray:
    return np.clip(WHITE * np.exp(-od), 0, 255).astype(np.uint8)
