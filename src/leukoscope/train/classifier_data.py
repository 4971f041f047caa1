"""Cells for training the classifier: windows around boxes, kept in memory, and what they are mixed with.

Some sources cut their cells out and put them on black (C-NMC). A classifier that sees lymphoblasts on black and
everything else on a smear learns "black means blast". The cue is broken from both sides: cells cut out on black
are put on real smear background with their colour matched, and cells from smears are put on black.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from leukoscope.crop import crop_cells
from leukoscope.dataset.manifest import Dataset
from leukoscope.errors import DataError, ImageError
from leukoscope.images import background_color, read_image, white_balance
from leukoscope.models.bundle import CropRule
from leukoscope.taxonomy import AttributeSet, Taxonomy

WINDOW_PAD = 0.6  # context kept around a box, as a share of its longer side: room to shift, turn and zoom
WINDOW_RULE = CropRule(size=224, pad_fraction=WINDOW_PAD)
MOST_CONTRAST = 1.7  # more than this amplifies JPEG blocks into texture
MADE_ARTEFACT = "made:artefact"
BLACK = 12  # pixels up to this are the black that cells were cut out on


@dataclass(frozen=True, slots=True, eq=False)
class CellStore:
    """Training cells, row-aligned.

    windows     (N, 224, 224, 3) uint8, white-balanced; side = 2.2 × the box's longer side
    targets     (N, C) bool: the classes a cell may have (several for an unspecified neutrophil)
    diameters   (N,) float32, micrometres, 0 where unknown
    box_shapes  (N, 2) float32: box width and height as shares of the window's side
    masked      (N,) bool: cut out on black
    groups      (N,) str: data set and class, for balanced sampling
    patients    (N,) str
    backgrounds strips of smear without a white cell, and their micrometres a pixel
    attributes  (N, A) int64: place of each attribute's value among its values, -1 where nobody states it
    """

    windows: np.ndarray
    targets: np.ndarray
    diameters: np.ndarray
    box_shapes: np.ndarray
    masked: np.ndarray
    groups: np.ndarray
    patients: np.ndarray
    backgrounds: list[tuple[np.ndarray, float]]
    attributes: np.ndarray


def read_balanced(path: object) -> tuple[np.ndarray, bool]:
    """A picture with white-balanced background, and whether its cell is cut out on black (then left as it is)."""
    pixels = read_image(path)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    if (border.max(1) <= BLACK).mean() > 0.4:
        return pixels, True
    return white_balance(pixels, background_color(pixels)), False


def load_cells(
    datasets: list[Dataset],
    taxonomy: Taxonomy,
    *,
    class_sets: dict[str, tuple[str, ...]],
    um_per_px: dict[str, float],
    seed: int,
    artefacts: bool = True,
    attributes: AttributeSet | None = None,
) -> CellStore:
    """Read every typed cell of the data sets.

    class_sets  vocabulary class → the taxonomy's classes it may be (a class of the taxonomy is itself);
                an empty tuple leaves the class out; a class in neither is a DataError
    um_per_px   nominal scale by data set name, where the manifest states none
    artefacts   also make artefacts of the smears: red cells and empty background, and white cells that are
                more than half cut off (PCM, Appendix A, "Other")
    attributes  what else is learnt of the cells that state it
    """
    rng = np.random.default_rng(seed)
    rows: list[tuple] = []
    backgrounds: list[tuple[np.ndarray, float]] = []
    for dataset in datasets:
        for field in dataset.fields:
            typed = [(c, _targets(c.class_name, taxonomy, class_sets, dataset.name)) for c in field.cells]
            typed = [(c, t) for c, t in typed if t is not None]
            if not typed:
                continue
            try:
                pixels, masked = read_balanced(dataset.path(field))
            except ImageError as error:
                raise DataError(f"{dataset.path(field)}: {error}") from None
            scale = field.um_per_px or um_per_px.get(dataset.name, 0.0)
            for cell, target in typed:
                box = np.array(cell.box, np.float64)
                group = f"{dataset.name}:{cell.class_name}"
                said = stated_values(cell.attributes, attributes)
                rows.append((*_row(pixels, box, target, scale, masked, group, field.key.patient_id), said))
            if not masked and len(field.cells) == 1:
                strip = _strip(pixels, field.cells[0].box)
                if strip is not None:
                    backgrounds.append((strip, scale))
                    if artefacts and rng.random() < 0.15:
                        made = _artefact(pixels, field.cells[0].box, taxonomy, scale, rng)
                        rows.append((*made, stated_values((), attributes)))
    if not rows:
        names = ", ".join(d.name for d in datasets)
        raise DataError(f"no typed cells in {names}: a classifier needs classes, not boxes alone")
    columns = list(zip(*rows, strict=True))
    return CellStore(
        windows=np.stack(columns[0]),
        targets=np.stack(columns[1]),
        diameters=np.array(columns[2], np.float32),
        box_shapes=np.stack(columns[3]).astype(np.float32),
        masked=np.array(columns[4]),
        groups=np.array(columns[5]),
        patients=np.array(columns[6]),
        backgrounds=backgrounds,
        attributes=np.stack(columns[7]),
    )


def stated_values(stated: tuple[tuple[str, str], ...], attributes: AttributeSet | None) -> np.ndarray:
    """(A,) int64: place of each attribute's stated value among its values, -1 where none is stated.

    DataError for a value that the set has not: the data set was imported with other words.
    """
    said = dict(stated)
    out = np.full(len(attributes.names) if attributes else 0, -1, np.int64)
    for i, attribute in enumerate(attributes.attributes if attributes else ()):
        value = said.get(attribute.name)
        if value is not None and value not in attribute.values:
            raise DataError(
                f"a cell's {attribute.name} is {value!r}: attribute set {attributes.name!r} has "
                f"{', '.join(attribute.values)}; import the set again with its source stated"
            )
        if value is not None:
            out[i] = attribute.values.index(value)
    return out


def _targets(name: str | None, taxonomy: Taxonomy, class_sets: dict, dataset: str) -> np.ndarray | None:
    if name is None:
        return None
    if name in taxonomy.names:
        allowed = (name,)
    elif name in class_sets:
        allowed = tuple(class_sets[name])
    else:
        raise DataError(
            f"data set {dataset!r} has class {name!r}, which taxonomy {taxonomy.name!r} lacks: say in [class_sets] "
            "which of its classes such a cell may be, or give an empty list to leave it out"
        )
    if not allowed:
        return None
    target = np.zeros(len(taxonomy.names), bool)
    target[taxonomy.columns(allowed)] = True
    return target


def _row(pixels, box, target, scale, masked, group, patient) -> tuple:
    longer = max(box[2] - box[0], box[3] - box[1])
    window = crop_cells(pixels, box[None], WINDOW_RULE, background=0 if masked else 240)[0]
    shape = (box[2:] - box[:2]) / (longer * (1 + 2 * WINDOW_PAD))
    return window, target, longer * scale, shape, masked, group, patient


def _strip(pixels: np.ndarray, box: tuple) -> np.ndarray | None:
    """The wider side of a smear beside its only white cell, as an upright strip; None when too narrow."""
    width = pixels.shape[1]
    left, right = int(box[0]) - 6, width - int(box[2]) - 6
    if max(left, right) < 64:
        return None
    return (pixels[:, :left] if left >= right else pixels[:, width - right :]).copy()


def _artefact(pixels: np.ndarray, box: tuple, taxonomy: Taxonomy, scale: float, rng: np.random.Generator) -> tuple:
    """Something a locator may fire on that is no countable cell, made from a real smear."""
    target = np.zeros(len(taxonomy.names), bool)
    target[taxonomy.columns(taxonomy.artefacts)] = True
    found = _empty_place(pixels.shape[1], pixels.shape[0], box, rng) if rng.random() < 0.65 else None
    if found is None:  # a white cell of which the frame shows less than half
        x0, y0, x1, y1 = box
        shown = rng.uniform(0.2, 0.45)
        if rng.random() < 0.5:
            x1 = x0 + shown * (x1 - x0)
            pixels = pixels[:, : int(x1)]
        else:
            y1 = y0 + shown * (y1 - y0)
            pixels = pixels[: int(y1)]
        found = np.array([x0, y0, x1, y1])
    return _row(pixels, found, target, scale, False, MADE_ARTEFACT, "made")


def _empty_place(width: int, height: int, box: tuple, rng: np.random.Generator) -> np.ndarray | None:
    """A box that touches the white cell a little at most: red cells, platelets, background; None without room."""
    x0, y0, x1, y1 = box
    for _ in range(20):
        side = max(x1 - x0, y1 - y0) * rng.uniform(0.3, 1.0)
        x, y = rng.uniform(side / 2, width - side / 2), rng.uniform(side / 2, height - side / 2)
        apart = max(abs(x - (x0 + x1) / 2) - (x1 - x0) / 2, abs(y - (y0 + y1) / 2) - (y1 - y0) / 2)
        if apart > 0.3 * side:
            return np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2])
    return None


@dataclass(frozen=True, slots=True)
class ColourMatch:
    """Mean and deviation of optical density, by channel, of cells cut out on black and of cells in smears."""

    masked_mean: tuple[float, float, float]
    masked_std: tuple[float, float, float]
    smear_mean: tuple[float, float, float]
    smear_std: tuple[float, float, float]

    def to_smear(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (..., 3) uint8 of cut-out cells in the smears' colours."""
        return _move(pixels, self.masked_mean, self.masked_std, self.smear_mean, self.smear_std)

    def to_masked(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (..., 3) uint8 of smear cells in the cut-out cells' colours."""
        return _move(pixels, self.smear_mean, self.smear_std, self.masked_mean, self.masked_std)


def fit_colour_match(store: CellStore, seed: int, *, n: int = 300) -> ColourMatch | None:
    """One colour transform for a whole source, so that what differs between its cells stays; None without cut-outs.

    Fitted to the darker half of each cell, which is nucleus in either source: cut-out lymphoblasts have next to no
    cytoplasm, and granulocytes much.
    """
    if not store.masked.any() or store.masked.all():
        return None
    rng = np.random.default_rng(seed)
    stats = []
    for is_masked in (True, False):
        rows = np.flatnonzero((store.masked == is_masked) & (store.groups != MADE_ARTEFACT))
        rows = rng.choice(rows, min(n, len(rows)), replace=False)
        od = np.concatenate([_nucleus_density(store.windows[i][cell_mask(store, i) > 0.5][::7]) for i in rows])
        stats += [tuple(map(float, od.mean(0))), tuple(map(float, od.std(0)))]
    return ColourMatch(*stats)


def cell_mask(store: CellStore, i: int) -> np.ndarray:
    """(224, 224) float in [0, 1]: the cut-out itself, or for a smear the ellipse that fills the box."""
    size = store.windows.shape[1]
    if store.masked[i]:
        lit = (store.windows[i].max(2) > BLACK).astype(np.uint8) * 255
        small = np.asarray(Image.fromarray(lit).resize((size // 4, size // 4), Image.Resampling.BOX)) > 200
        # The rim of a cut-out is a blend with the black around it: leave it out.
        inner = small & np.roll(small, 1, 0) & np.roll(small, -1, 0) & np.roll(small, 1, 1) & np.roll(small, -1, 1)
        soft = Image.fromarray(inner.astype(np.uint8) * 255).resize((size, size), Image.Resampling.BILINEAR)
        return np.asarray(soft, np.float32) / 255
    w, h = store.box_shapes[i] * size / 2
    y, x = np.mgrid[:size, :size].astype(np.float32) - (size - 1) / 2
    distance = np.sqrt((x / w) ** 2 + (y / h) ** 2)
    return np.clip((1.02 - distance) * w / 2, 0, 1)


def on_smear(
    store: CellStore, i: int, match: ColourMatch, rng: np.random.Generator, *, recolour: bool = True
) -> np.ndarray:
    """Cut-out cell i on a real smear background at the smear's scale: (224, 224, 3) uint8."""
    size = store.windows.shape[1]
    strip, strip_scale = store.backgrounds[rng.integers(len(store.backgrounds))]
    side_px = size / 2
    if strip_scale and store.diameters[i]:
        side_px = store.diameters[i] / strip_scale * (1 + 2 * WINDOW_PAD)
    background = _background(strip, side_px, size, rng)
    alpha = cell_mask(store, i)[..., None]
    cell = match.to_smear(store.windows[i]) if recolour else store.windows[i]
    return (alpha * cell + (1 - alpha) * background).astype(np.uint8)


def on_black(store: CellStore, i: int, recolour: Callable[[np.ndarray], np.ndarray] | None) -> np.ndarray:
    """Cell i cut out by its mask, on black, its colours moved by `recolour` first: (224, 224, 3) uint8."""
    cell = recolour(store.windows[i]) if recolour else store.windows[i]
    return (cell_mask(store, i)[..., None] * cell).astype(np.uint8)


def in_white_frame(store: CellStore, i: int, window: np.ndarray) -> np.ndarray:
    """The window with all that lies outside the box in background white, as when a tight cut-out is cropped."""
    size = len(window)
    half = store.box_shapes[i] * size / 2
    (x0, y0), (x1, y1) = np.floor(size / 2 - half).astype(int), np.ceil(size / 2 + half).astype(int)
    framed = np.full_like(window, 240)
    framed[y0:y1, x0:x1] = window[y0:y1, x0:x1]
    return framed


def cut_by_frame(store: CellStore, i: int, window: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The window as if the field ended across the cell: 55 to 95 % of its box is left, and the crop follows that."""
    size, axis, share = len(window), int(rng.integers(2)), rng.uniform(0.55, 0.95)
    half = store.box_shapes[i] * size / 2
    line = size / 2 - half[axis] + 2 * half[axis] * share
    window = window.copy()
    beyond = slice(int(line), None)
    window[(slice(None), beyond) if axis == 0 else (beyond, slice(None))] = 240
    left = half.copy()
    left[axis] *= share
    zoom = left.max() / half.max()
    center = np.full(2, size / 2)
    center[axis] -= half[axis] * (1 - share)
    x, y = center - zoom * size / 2
    moved = Image.fromarray(window).transform(
        (size, size), Image.Transform.AFFINE, (zoom, 0, x, 0, zoom, y), Image.Resampling.BILINEAR, fillcolor=(240,) * 3
    )
    return np.asarray(moved)


def _background(strip: np.ndarray, side_px: float, size: int, rng: np.random.Generator) -> np.ndarray:
    """A square of smear: the strip mirrored until it is wide enough, cut at random, resized."""
    side = int(np.clip(side_px, 32, strip.shape[0]))
    wide = strip
    while wide.shape[1] < side:
        wide = np.concatenate([wide, wide[:, ::-1]], 1)
    x, y = rng.integers(wide.shape[1] - side + 1), rng.integers(wide.shape[0] - side + 1)
    return np.asarray(Image.fromarray(wide[y : y + side, x : x + side]).resize((size, size), Image.Resampling.BILINEAR))


def _density(pixels: np.ndarray) -> np.ndarray:
    return -np.log(np.maximum(pixels.astype(np.float32), 2) / 240)


def _nucleus_density(pixels: np.ndarray) -> np.ndarray:
    """Optical densities (M, 3) of the darker half of a cell's pixels (N, 3)."""
    od = _density(pixels)
    return od[od.sum(1) >= np.median(od.sum(1))] if len(od) else od


def _move(pixels, from_mean, from_std, to_mean, to_std) -> np.ndarray:
    f_mean, f_std, t_mean, t_std = (np.array(v, np.float32) for v in (from_mean, from_std, to_mean, to_std))
    contrast = np.clip(t_std / f_std, 1 / MOST_CONTRAST, MOST_CONTRAST)
    od = (_density(pixels) - f_mean) * contrast + t_mean
    return np.clip(240 * np.exp(-od), 0, 255).astype(np.uint8)
