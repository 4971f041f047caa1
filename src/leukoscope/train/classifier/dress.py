"""What a training cell is shown as: framed, turned, on other ground, in other colours. Whole batches, on any device.

Some sources cut their cells out and put them on black (C-NMC). A classifier that sees lymphoblasts on black and
everything else on a smear learns "black means blast". The cue is broken from both sides: cells cut out on black are put
on real smear with their colour matched, and a few cells from smears on black. A laboratory's own light, stain, camera
and background are broken likewise: every cell may be shown on any laboratory's ground, and in its colours.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from leukoscope.train.augment import density_of, jitter_colour, mix_hues, recolour
from leukoscope.train.classifier.data import BLACK, MADE, WINDOW_PAD, CellStore

MOST_CONTRAST = 1.7  # more than this amplifies JPEG blocks into texture
WHITE = 240 / 255


@dataclass(frozen=True, slots=True)
class Dress:
    """How much of it. Shares are of the cells; `colour_strength` as in `augment.jitter_colour`.

    frame       the crop's side is this many times the box's longer side, drawn evenly in the logarithm
    grounds     cells from smears that are shown on another picture's background
    black       cells of either kind that are shown on black
    cut         cells of which the frame shows 55 to 95 %
    own_colour  cells that keep their own stain, light and focus
    foreign     cells that are brought to the colours of another data set (Reinhard et al. 2001, in optical density)
    mixing      cells whose channels are mixed
    """

    frame: tuple[float, float] = (1.15, 1.8)
    grounds: float = 0.4
    black: float = 0.1
    cut: float = 0.08
    own_colour: float = 0.1
    foreign: float = 0.3
    mixing: float = 0.25
    colour_strength: float = 1.0


class Wardrobe:
    """A store's pictures on one device, and each data set's colours.

    `batch(rows, size, dress, seed)` gives the pixels of one training step.
    """

    def __init__(self, store: CellStore, device: str) -> None:
        self.device = device
        self.windows = torch.from_numpy(store.windows).to(device)
        self.masks = torch.from_numpy(store.masks).to(device)
        self.shapes = store.box_shapes
        self.masked = store.masked
        self.made = store.sets == MADE
        self.grounds = torch.from_numpy(store.backgrounds).to(device)
        names = [name for name in np.unique(store.sets).tolist() if name != MADE]
        self.set_of = np.array([names.index(n) if n in names else 0 for n in store.sets.tolist()])
        self.colours = torch.stack([self._colours(np.flatnonzero(store.sets == n)) for n in names])  # (K, 2, 3)
        smear = [i for i, n in enumerate(names) if not store.masked[store.sets == n].all()]
        self.smear_sets = np.array(smear or range(len(names)))

    def batch(self, rows: np.ndarray, size: int, dress: Dress, seed: tuple[int, ...]) -> torch.Tensor:
        """(B, 3, size, size) float in [0, 1] of cells `rows` (B,), as `dress` says; the same for the same seed."""
        rng = np.random.default_rng(seed)
        torch_rng = torch.Generator(self.device).manual_seed(int(rng.integers(2**31)))
        pixels = self._take(self.windows, rows)
        pixels = self._on_grounds(pixels, rows, dress, rng)
        crops = self._framed(pixels, rows, size, dress, rng)
        changed = torch.from_numpy(rng.random(len(rows)) >= dress.own_colour).to(self.device)
        chosen = crops[changed]
        chosen = self._foreign(chosen, rows[changed.cpu().numpy()], dress, rng)
        chosen = mix_hues(chosen, torch_rng, share=dress.mixing)
        crops[changed] = jitter_colour(chosen, torch_rng, strength=dress.colour_strength)
        return crops

    def plain(self, rows: np.ndarray, size: int, pad_fraction: float) -> torch.Tensor:
        """(B, 3, size, size) float in [0, 1]: cells as analysis crops them."""
        zoom = np.full(len(rows), (1 + 2 * pad_fraction) / (1 + 2 * WINDOW_PAD))
        still = np.zeros(len(rows))
        return _sample(self._take(self.windows, rows), size, zoom, still, still + 1, np.zeros((len(rows), 2)))

    def on_smear(self, rows: np.ndarray, size: int, pad_fraction: float, seed: int) -> torch.Tensor:
        """As `plain`, cut-out cells recoloured and on smear: how folds of cut-out cells are scored."""
        rng = np.random.default_rng(seed)
        pixels = self._to_smear_colours(self._take(self.windows, rows), rows, rng)
        pixels = self._paste(pixels, rows, self._ground(len(rows), rng))
        zoom = np.full(len(rows), (1 + 2 * pad_fraction) / (1 + 2 * WINDOW_PAD))
        still = np.zeros(len(rows))
        return _sample(pixels, size, zoom, still, still + 1, np.zeros((len(rows), 2)))

    def _take(self, of: torch.Tensor, rows: np.ndarray) -> torch.Tensor:
        picked = of[torch.from_numpy(np.ascontiguousarray(rows)).to(self.device)]
        return picked.permute(0, 3, 1, 2).float() / 255

    def _mask(self, rows: np.ndarray, side: int) -> torch.Tensor:
        """(B, 1, side, side) in [0, 1]."""
        picked = self.masks[torch.from_numpy(np.ascontiguousarray(rows)).to(self.device)][:, None].float() / 255
        return F.interpolate(picked, size=(side, side), mode="bilinear", align_corners=False)

    def _paste(self, pixels: torch.Tensor, rows: np.ndarray, ground: torch.Tensor) -> torch.Tensor:
        mask = self._mask(rows, pixels.shape[-1])
        return mask * pixels + (1 - mask) * ground

    def _ground(self, n: int, rng: np.random.Generator) -> torch.Tensor:
        """(n, 3, S, S) pieces of smear, turned and enlarged at random; white where there are none."""
        if not len(self.grounds):
            side = self.windows.shape[1]
            return torch.full((n, 3, side, side), WHITE, device=self.device)
        picked = self._take(self.grounds, rng.integers(len(self.grounds), size=n))
        zoom, angle = np.exp(rng.uniform(np.log(0.55), np.log(1.2), n)), rng.uniform(0, 2 * np.pi, n)
        return _sample(picked, picked.shape[-1], zoom, angle, rng.choice([-1.0, 1.0], n), rng.normal(0, 0.2, (n, 2)))

    def _on_grounds(
        self, pixels: torch.Tensor, rows: np.ndarray, dress: Dress, rng: np.random.Generator
    ) -> torch.Tensor:
        """Cut-out cells go on smear, some cells on another smear, a few on black."""
        draw, cut_out = rng.random(len(rows)), self.masked[rows]
        black = (draw < dress.black) & ~self.made[rows]
        moved = ~black & (cut_out | ((draw < dress.black + dress.grounds) & ~self.made[rows]))
        pixels = self._to_smear_colours(pixels, np.where(black & (rng.random(len(rows)) < 0.5), -1, rows), rng)
        ground = torch.zeros_like(pixels)
        if moved.any():
            ground[torch.from_numpy(moved).to(self.device)] = self._ground(int(moved.sum()), rng)
        changed = torch.from_numpy(black | moved).to(self.device)[:, None, None, None]
        return torch.where(changed, self._paste(pixels, rows, ground), pixels)

    def _to_smear_colours(self, pixels: torch.Tensor, rows: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        """Cut-out cells (rows; -1: leave) in the colours of a data set of smears drawn for each: one transform for a
        whole source, so that what differs between its cells stays."""
        cut_out = (rows >= 0) & self.masked[rows]
        target = self.smear_sets[rng.integers(len(self.smear_sets), size=len(rows))]
        if not cut_out.any():
            return pixels
        chosen = torch.from_numpy(cut_out).to(self.device)
        colours = self.colours[torch.from_numpy(self.set_of[rows[cut_out]]).to(self.device)]
        theirs = self.colours[torch.from_numpy(target[cut_out]).to(self.device)]
        out = pixels.clone()
        out[chosen] = recolour(pixels[chosen], colours, theirs, most_contrast=MOST_CONTRAST)
        return out

    def _foreign(self, crops: torch.Tensor, rows: np.ndarray, dress: Dress, rng: np.random.Generator) -> torch.Tensor:
        """Some crops in another data set's colours, part of the way and a little beside it."""
        n = len(rows)
        chosen = (rng.random(n) < dress.foreign) & ~self.masked[rows]
        to = rng.integers(len(self.colours), size=n)
        beside = torch.from_numpy(np.exp(rng.normal(0, 0.1, (n, 2, 3))).astype(np.float32)).to(self.device)
        share = torch.from_numpy(rng.uniform(0.3, 1.2, (n, 1, 1)).astype(np.float32)).to(self.device)
        if not chosen.any():
            return crops
        of_set = torch.from_numpy(self.set_of[rows]).to(self.device)
        colours = self.colours[of_set]
        theirs = colours + share * (self.colours[torch.from_numpy(to).to(self.device)] * beside - colours)
        pick = torch.from_numpy(chosen).to(self.device)
        out = crops.clone()
        out[pick] = recolour(crops[pick], colours[pick], theirs[pick], most_contrast=MOST_CONTRAST)
        return out

    def _framed(
        self, pixels: torch.Tensor, rows: np.ndarray, size: int, dress: Dress, rng: np.random.Generator
    ) -> torch.Tensor:
        """Windows to crops: flipped, turned, shifted, stretched a little, framed; some cut by the field's edge."""
        n = len(rows)
        wide = np.exp(rng.uniform(*np.log(dress.frame), n)) / (1 + 2 * WINDOW_PAD)
        shift = rng.normal(0, 0.05, (n, 2))
        axis, left = rng.integers(2, size=n), rng.uniform(0.55, 0.95, n)
        is_cut = (rng.random(n) < dress.cut) & ~self.made[rows]
        if is_cut.any():
            half = self.shapes[rows, axis]  # of the box, as a share of half the window: the window is -1 to 1
            line = np.where(is_cut, -half + 2 * half * left, 9.0)
            pixels = _beyond(pixels, line, axis)
            shift[is_cut, axis[is_cut]] -= (half * (1 - left))[is_cut]
            longer = self.shapes[rows].max(1)
            shown = self.shapes[rows].copy()
            shown[np.arange(n), axis] *= left
            wide = np.where(is_cut, wide * shown.max(1) / longer, wide)
        angle, flip = rng.uniform(0, 2 * np.pi, n), rng.choice([-1.0, 1.0], n)
        stretch = np.exp(rng.normal(0, 0.05, n))
        return _sample(pixels, size, wide, angle, flip * stretch, shift)

    def _colours(self, rows: np.ndarray, n: int = 256) -> torch.Tensor:
        """(2, 3) mean and deviation of optical density of the darker half of a set's cells: nucleus in any of them."""
        rows = np.random.default_rng(0).choice(rows, min(n, len(rows)), replace=False)
        od = density_of(self._take(self.windows, rows))
        side = self.masks.shape[1] // 2
        od = F.interpolate(od, size=(side, side), mode="area")
        inside = (self._mask(rows, side) > 0.5) & (od.sum(1, keepdim=True) < density_of(torch.tensor(BLACK / 255)) * 3)
        pixels = od.permute(0, 2, 3, 1)[inside[:, 0]]
        if not len(pixels):
            return torch.tensor([[0.5] * 3, [0.3] * 3], device=self.device)
        dark = pixels[pixels.sum(1) >= pixels.sum(1).median()]
        return torch.stack([dark.mean(0), dark.std(0).clamp_min(0.02)])


def _beyond(pixels: torch.Tensor, line: np.ndarray, axis: np.ndarray) -> torch.Tensor:
    """Pixels (B, 3, S, S) white beyond `line` (B,), in -1 to 1, along x (axis 0) or y (axis 1)."""
    side = pixels.shape[-1]
    places = (torch.arange(side, device=pixels.device) + 0.5) / side * 2 - 1
    over = places[None] > torch.from_numpy(line.astype(np.float32)).to(pixels.device)[:, None]  # (B, S)
    along_x = torch.from_numpy(axis == 0).to(pixels.device)[:, None, None]
    where = torch.where(along_x, over[:, None, :], over[:, :, None])[:, None]
    return torch.where(where, torch.full_like(pixels, WHITE), pixels)


def _sample(
    batch: torch.Tensor, size: int, zoom: np.ndarray, angle: np.ndarray, flip: np.ndarray, shift: np.ndarray
) -> torch.Tensor:
    """(B, 3, size, size): squares of `zoom` times the side, turned by `angle`, x times `flip`, around `shift`."""
    cos, sin = np.cos(angle) * zoom, np.sin(angle) * zoom
    rows = [np.stack([cos * flip, -sin, shift[:, 0]], 1), np.stack([sin * flip, cos, shift[:, 1]], 1)]
    theta = torch.from_numpy(np.stack(rows, 1).astype(np.float32)).to(batch.device)
    grid = F.affine_grid(theta, [len(batch), 3, size, size], align_corners=False)
    return F.grid_sample(batch, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
