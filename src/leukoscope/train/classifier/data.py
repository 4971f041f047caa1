"""Cells for training the classifier: windows around boxes, kept in memory, and what they are mixed with.

A store can be written into one file (`write_store`), with windows as WebP: that travels to a machine with a GPU, and
training from it needs neither the pictures nor the manifests.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from leukoscope.crop import crop_cells
from leukoscope.dataset.manifest import Dataset, TruthField
from leukoscope.errors import DataError, ImageError
from leukoscope.images import background_color, read_image, white_balance
from leukoscope.models.bundle import CropRule
from leukoscope.scale import measure_um_per_px
from leukoscope.taxonomy import AttributeSet, Taxonomy

WINDOW_PAD = 0.5  # context kept around a box, as a share of its longer side: room to shift, turn and zoom
WINDOW_RULE = CropRule(size=200, pad_fraction=WINDOW_PAD)
MASK_SIDE = 100
MADE = "made"  # the data set that cells made in training are of
NOT_WHITE = ("red_cell", "platelet")  # annotated in some sets; no class of a differential
BLACK = 12  # pixels up to this are the black that cells were cut out on


@dataclass(frozen=True, slots=True, eq=False)
class CellStore:
    """Cells for training, row-aligned.

    windows     (N, 200, 200, 3) uint8, white-balanced; side = 2 × the box's longer side
    masks       (N, 100, 100) uint8, 255 in the cell: the cut-out itself, or for a smear the ellipse that fills the box
    diameters   (N,) float32, micrometres, 0 where unknown
    box_shapes  (N, 2) float32: box width and height as shares of the window's side
    masked      (N,) bool: cut out on black
    sets        (N,) str: data set, MADE for a cell that no set has
    classes     (N,) str: the manifest's class
    patients    (N,) str: patient, else smear, else photograph: what is never divided
    splits      (N,) str: split, "" where the set states none
    attributes  (N, A) int64: place of each attribute's value among its values, -1 where nobody states it
    backgrounds (M, 200, 200, 3) uint8: smear without a white cell, at a window's scale
    ground_sets (M,) str: the data set of each
    """

    windows: np.ndarray
    masks: np.ndarray
    diameters: np.ndarray
    box_shapes: np.ndarray
    masked: np.ndarray
    sets: np.ndarray
    classes: np.ndarray
    patients: np.ndarray
    splits: np.ndarray
    attributes: np.ndarray
    backgrounds: np.ndarray
    ground_sets: np.ndarray

    def __len__(self) -> int:
        return len(self.windows)

    @property
    def groups(self) -> np.ndarray:
        """(N,) str: data set and class, for balanced draws."""
        return np.char.add(np.char.add(self.sets, ":"), self.classes)

    def subset(self, rows: np.ndarray) -> CellStore:
        """Some rows, by number or by (N,) bool; all backgrounds."""
        return replace(self, **{name: getattr(self, name)[rows] for name in _ROWS})

    def grounds_of(self, sets: list[str]) -> CellStore:
        """The same rows, with the backgrounds of these data sets only."""
        kept = np.isin(self.ground_sets, sets)
        return replace(self, backgrounds=self.backgrounds[kept], ground_sets=self.ground_sets[kept])

    def joined(self, other: CellStore) -> CellStore:
        """The rows of both, this one's first, and both's backgrounds."""
        both = {f.name: np.concatenate([getattr(self, f.name), getattr(other, f.name)]) for f in fields(self)}
        return CellStore(**both)


_GROUNDS = ("backgrounds", "ground_sets")
_ROWS = tuple(name for name in CellStore.__dataclass_fields__ if name not in _GROUNDS)


def read_balanced(path: str | Path) -> tuple[np.ndarray, bool]:
    """A picture with white-balanced background, and whether its cell is cut out on black (then left as it is)."""
    pixels = read_image(path)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    if (border.max(1) <= BLACK).mean() > 0.4:
        return pixels, True
    return white_balance(pixels, background_color(pixels)), False


def load_cells(
    datasets: list[Dataset],
    *,
    um_per_px: dict[str, float],
    seed: int,
    backgrounds: int = 250,
    attributes: AttributeSet | None = None,
) -> CellStore:
    """Read every typed cell of the data sets.

    um_per_px    nominal scale by data set name, where the manifest states none; elsewhere the red cells beside a cell
                 are its ruler, as in analysis
    backgrounds  at most so many pieces of smear of each data set
    attributes   what else is learnt of the cells that state it
    """
    rng = np.random.default_rng(seed)
    rows: list[tuple] = []
    tiles: list[np.ndarray] = []
    tile_sets: list[str] = []
    for dataset in datasets:
        wanted = set(rng.permutation(len(dataset.fields))[: 2 * backgrounds].tolist())
        set_tiles: list[np.ndarray] = []
        for number, field in enumerate(dataset.fields):
            if any(c.class_name is not None and c.class_name not in NOT_WHITE for c in field.cells):
                read, tile = _read_rows(dataset, field, um_per_px, attributes, with_tile=number in wanted)
                rows += read
                set_tiles += [tile] if tile is not None and len(set_tiles) < backgrounds else []
        tiles += set_tiles
        tile_sets += [dataset.name] * len(set_tiles)
    if not rows:
        names = ", ".join(d.name for d in datasets)
        raise DataError(f"no typed cells in {names}: a classifier needs classes, not boxes alone")
    columns = list(zip(*rows, strict=True))
    side = WINDOW_RULE.size
    return CellStore(
        windows=np.stack(columns[0]),
        masks=np.stack(columns[1]),
        diameters=np.array(columns[2], np.float32),
        box_shapes=np.stack(columns[3]).astype(np.float32),
        masked=np.array(columns[4]),
        sets=np.array(columns[5]),
        classes=np.array(columns[6]),
        patients=np.array(columns[7]),
        splits=np.array(columns[8]),
        attributes=np.stack(columns[9]),
        backgrounds=np.stack(tiles) if tiles else np.zeros((0, side, side, 3), np.uint8),
        ground_sets=np.array(tile_sets, "U32"),
    )


def _read_rows(
    dataset: Dataset,
    field: TruthField,
    um_per_px: dict[str, float],
    attributes: AttributeSet | None,
    *,
    with_tile: bool,
) -> tuple[list[tuple], np.ndarray | None]:
    """A row of every typed cell of one photograph, and a piece of its background where there is room for one."""
    try:
        pixels, masked = read_balanced(dataset.path(field))
    except ImageError as error:
        raise DataError(f"{dataset.path(field)}: {error}") from None
    boxes = np.array([c.box for c in field.cells], np.float64)
    scale = field.um_per_px or um_per_px.get(dataset.name) or (0.0 if masked else measure_um_per_px(pixels, boxes) or 0)
    patient = field.key.patient_id or field.key.smear_id or field.key.field_id
    rows = []
    for cell, box in zip(field.cells, boxes, strict=True):
        if cell.class_name is not None and cell.class_name not in NOT_WHITE:
            said = stated_values(cell.attributes, attributes)
            words = (dataset.name, cell.class_name, patient, field.split or "")
            rows.append((*cut_window(pixels, box, scale, masked), masked, *words, said))
    tile = background_tile(pixels, boxes) if with_tile and not masked and len(boxes) == 1 else None
    return rows, tile


def cut_window(pixels: np.ndarray, box: np.ndarray, scale: float, masked: bool) -> tuple:
    """Window, mask, diameter in µm and shape of one box (4,) in a white-balanced picture."""
    longer = max(box[2] - box[0], box[3] - box[1])
    if masked:
        window = crop_cells(pixels, box[None], WINDOW_RULE, background=0)[0]
    else:  # what lies beyond the picture is its mirror image: a white frame would tell of the set that cuts closely
        room = np.ceil(
            np.maximum(WINDOW_PAD * longer + np.array([-box[:2].min(), *(box[2:] - pixels.shape[1::-1])]), 0)
        )
        wide = min(int(room.max()) + 2, *pixels.shape[:2])
        framed = np.pad(pixels, ((wide, wide), (wide, wide), (0, 0)), mode="symmetric")
        window = crop_cells(framed, box[None] + wide, WINDOW_RULE)[0]
    shape = (box[2:] - box[:2]) / (longer * (1 + 2 * WINDOW_PAD))
    return window, cell_mask(window, shape, masked=masked), longer * scale, shape


def cell_mask(window: np.ndarray, shape: np.ndarray, *, masked: bool) -> np.ndarray:
    """(100, 100) uint8: the cut-out itself less its rim, or the ellipse of a box of `shape` (shares of the side)."""
    if masked:
        lit = Image.fromarray((window.max(2) > BLACK).astype(np.uint8) * 255)
        # The rim of a cut-out is a blend with the black around it: leave it out, and let the edge fade.
        inner = lit.resize((MASK_SIDE, MASK_SIDE), Image.Resampling.BOX).point(lambda v: 255 * (v > 200))
        return np.asarray(inner.filter(ImageFilter.MinFilter(5)).filter(ImageFilter.GaussianBlur(1.2)))
    fine = 2 * MASK_SIDE
    drawn = Image.new("L", (fine, fine))
    half = 1.02 * np.asarray(shape) * fine / 2
    ImageDraw.Draw(drawn).ellipse((*(fine / 2 - half), *(fine / 2 + half)), fill=255)
    return np.asarray(drawn.resize((MASK_SIDE, MASK_SIDE), Image.Resampling.BOX))


def background_tile(pixels: np.ndarray, boxes: np.ndarray) -> np.ndarray | None:
    """A window's worth of smear without the white cells `boxes` (K, 4), mirrored where short; None without room."""
    height, width = pixels.shape[:2]
    (x0, y0), (x1, y1) = boxes[:, :2].min(0) - 6, boxes[:, 2:].max(0) + 6
    sides = [pixels[:, : max(int(x0), 0)], pixels[:, int(x1) :], pixels[: max(int(y0), 0)], pixels[int(y1) :]]
    piece = max(sides, key=lambda p: min(p.shape[:2]))
    longer = float((boxes[:, 2:] - boxes[:, :2]).max())
    side = round(longer * (1 + 2 * WINDOW_PAD))
    if min(piece.shape[:2]) < 0.15 * side:
        return None
    for axis in (0, 1):
        while piece.shape[axis] < side:
            piece = np.concatenate([piece, np.flip(piece, axis)], axis)
    square = np.ascontiguousarray(piece[:side, :side])
    return np.asarray(Image.fromarray(square).resize((WINDOW_RULE.size,) * 2, Image.Resampling.BILINEAR))


def class_targets(store: CellStore, taxonomy: Taxonomy, class_sets: dict[str, tuple[str, ...]]) -> np.ndarray:
    """(N, C) bool: the taxonomy's classes that each cell may be; a row without any is not to be trained on.

    class_sets  vocabulary class → the taxonomy's classes it may be (a class of the taxonomy is itself); an empty list
                leaves the class out; a class in neither is a DataError
    """
    out = np.zeros((len(store), len(taxonomy.names)), bool)
    for name in np.unique(store.classes).tolist():
        rows = store.classes == name
        if name in taxonomy.names:
            allowed: tuple[str, ...] = (name,)
        elif name in class_sets:
            allowed = tuple(class_sets[name])
        elif (store.sets[rows] == MADE).all():
            allowed = taxonomy.artefacts
        else:
            where = ", ".join(np.unique(store.sets[rows]).tolist())
            raise DataError(
                f"data set {where!r} has class {name!r}, which taxonomy {taxonomy.name!r} lacks: say in [class_sets] "
                "which of its classes such a cell may be, or give an empty list to leave it out"
            )
        if allowed:
            out[np.ix_(rows, taxonomy.columns(allowed))] = True
    return out


def stated_values(stated: tuple[tuple[str, str], ...], attributes: AttributeSet | None) -> np.ndarray:
    """(A,) int64: place of each attribute's stated value among its values, -1 where none is stated.

    DataError for a value that the set has not: the data set was imported with other words.
    """
    if attributes is None:
        return np.zeros(0, np.int64)
    said = dict(stated)
    out = np.full(len(attributes.names), -1, np.int64)
    for i, attribute in enumerate(attributes.attributes):
        value = said.get(attribute.name)
        if value is not None and value not in attribute.values:
            raise DataError(
                f"a cell's {attribute.name} is {value!r}: attribute set {attributes.name!r} has "
                f"{', '.join(attribute.values)}; import the set again with its source stated"
            )
        if value is not None:
            out[i] = attribute.values.index(value)
    return out
