"""Training pictures for the outliner: a patch around each cell, with what is known of its outline, turned and scaled.

Three kinds of data set, by what comes with them: mask pictures (background, cytoplasm, nucleus), contours of cells
(the nucleus not told), or boxes only. Of the last the running average of the network draws the outlines itself, and
those whose box is the annotated one are learnt from (`outliner.py`).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from leukoscope.checks.mask_boxes import mask_parts
from leukoscope.crop import resample_square
from leukoscope.crop_contour import coverage
from leukoscope.dataset.manifest import Dataset, TruthField
from leukoscope.dataset.masks import mask_name, read_mask_values
from leukoscope.errors import DataError
from leukoscope.geometry import box_iou, contour_box
from leukoscope.images import background_color, read_image, white_balance
from leukoscope.models.torch_outline import UNKNOWN_PART
from leukoscope.train.locator.data import is_white

PATCH_PX = 160  # a side of a patch in memory
PATCH_SIDES = 2.4  # of a cell's longer side: what a patch shows
FITS_IOU = 0.4  # a part of a mask and a box are the same cell from this on; bccd's boxes leave room
CYTOPLASM, NUCLEUS = 64, 205  # grey levels of a mask from which on a pixel is one of them; masks hold 0, 128..155, 255
JITTER = (-0.06, 0.20)  # of a cell's side: how far each side of its box lies outside the outline
BORDER_POINTS = 64


@dataclass(frozen=True, slots=True, eq=False)
class Patches:
    """Cells of one data set, each in the middle of its patch.

    pixels   (N, P, P, 3) uint8, white-balanced
    labels   (N, P, P) uint8 (torch_outline: 0, 1, 2, UNKNOWN_PART), None where only boxes are known
    boxes    (N, 4) float32 px of the patch
    fields   (N,) str, field ids
    """

    name: str
    pixels: np.ndarray
    labels: np.ndarray | None
    boxes: np.ndarray
    fields: np.ndarray

    def __len__(self) -> int:
        return len(self.pixels)


@dataclass(frozen=True, slots=True, eq=False)
class Outlined:
    """A cell of a field with its truth: box (4,) px, labels (h, w) uint8 from field px `origin` (x, y); or contour."""

    box: np.ndarray
    labels: np.ndarray
    origin: tuple[int, int]


def load_patches(dataset: Dataset, *, masks: str | None, balance: bool) -> Patches:
    """Every white cell of a data set that has what the set is to teach.

    masks   path of a field's mask relative to the pictures, with {stem} or {number} in it. Cells with contours take
            their nuclei from it, where it is there. None: contours, where the set has any, else boxes only
    DataError when no cell is left.
    """
    by_contour = any(c.contour for f in dataset.fields for c in f.cells)
    pixels, labels, boxes, fields = [], [], [], []
    for field in dataset.fields:
        cells = field_outlines(dataset, field, masks=masks, by_contour=by_contour)
        if cells:
            picture = read_image(dataset.path(field))
            if balance:
                picture = white_balance(picture, background_color(picture))
        for cell in cells:
            x0, y0, x1, y1 = cell.box
            side = PATCH_SIDES * max(x1 - x0, y1 - y0)
            middle = ((x0 + x1) / 2, (y0 + y1) / 2)
            pixels.append(np.asarray(resample_square(picture, middle, side, size=PATCH_PX, background=240)))
            labels.append(sample_labels(cell, middle, side))
            corner = np.tile(middle, 2) - side / 2
            boxes.append((cell.box - corner) * (PATCH_PX / side))
            fields.append(field.key.field_id)
    if not pixels:
        raise DataError(f"data set {dataset.name!r} has no white cell with an outline to learn from")
    labels_of = np.stack(labels) if masks or by_contour else None
    return Patches(dataset.name, np.stack(pixels), labels_of, np.array(boxes, np.float32), np.array(fields))


def field_outlines(dataset: Dataset, field: TruthField, *, masks: str | None, by_contour: bool) -> list[Outlined]:
    """The white cells of a field with their labels; with box-only sets the labels are those of the whole box."""
    white = [c for c in field.cells if is_white(c)]
    path = None if masks is None else dataset.image_root / mask_name(field, masks)
    values = read_mask_values(path) if path is not None and path.is_file() else None
    if by_contour:
        return [_of_contour(np.array(c.contour, np.float64), values) for c in white if c.contour]
    if masks is not None:
        return [] if values is None else outlines_of_mask(values, np.array([c.box for c in white]))
    return [Outlined(np.array(c.box, np.float64), np.zeros((1, 1), np.uint8), (0, 0)) for c in white]


def outlines_of_mask(values: np.ndarray, boxes: np.ndarray) -> list[Outlined]:
    """Parts of a mask (H, W) grey levels that are the cells of the boxes (N, 4), one to one, largest overlap first.

    The box of an outlined cell is that of its part, not the annotated one, which leaves room around it.
    """
    if not len(boxes):
        return []
    cell = values >= CYTOPLASM
    parts = [np.array(box) for box, area in mask_parts(cell) if area >= 100]
    if not parts:
        return []
    overlap = box_iou(np.array(parts), boxes)
    outlines = []
    while overlap.max(initial=0) >= FITS_IOU:
        part, box = np.unravel_index(overlap.argmax(), overlap.shape)
        overlap[part], overlap[:, box] = 0, 0
        x0, y0, x1, y1 = (int(v) for v in parts[part])
        inside = values[y0:y1, x0:x1]
        labels = (inside >= CYTOPLASM).astype(np.uint8) + (inside >= NUCLEUS)
        outlines.append(Outlined(parts[part], labels, (x0, y0)))
    return outlines


def _of_contour(contour: np.ndarray, values: np.ndarray | None) -> Outlined:
    """The pixels of a contour (K, 2), by whether their larger part lies in it; nuclei where the field's mask has them.

    Touching cells are one part of a mask but two contours, so the contours say which cell it is.
    """
    box = contour_box(contour)
    x0, y0 = np.floor(box[:2]).astype(int)
    size = int(np.ceil((box[2:] - (x0, y0)).max())) + 1
    inside = coverage(contour - (x0, y0), size) >= 0.5
    labels = inside * np.uint8(UNKNOWN_PART)
    if values is not None:
        labels = np.zeros((size, size), np.uint8)
        seen = values[max(y0, 0) : y0 + size, max(x0, 0) : x0 + size] >= NUCLEUS
        top, left = max(-y0, 0), max(-x0, 0)
        labels[top : top + seen.shape[0], left : left + seen.shape[1]] = seen
        labels = (labels + 1) * inside.astype(np.uint8)
    return Outlined(box, labels, (int(x0), int(y0)))


def sample_labels(cell: Outlined, middle: tuple[float, float], side: float) -> np.ndarray:
    """(P, P) uint8: a cell's labels at the pixel middles of the patch, nearest; 0 outside them."""
    centers = (np.arange(PATCH_PX) + 0.5) * (side / PATCH_PX) - side / 2
    x, y = (
        np.floor(centers + middle[0]).astype(int) - cell.origin[0],
        np.floor(centers + middle[1]).astype(int) - cell.origin[1],
    )
    height, width = cell.labels.shape
    out = cell.labels[np.clip(y, 0, height - 1)][:, np.clip(x, 0, width - 1)].copy()
    out[(y < 0) | (y >= height)] = 0
    out[:, (x < 0) | (x >= width)] = 0
    return out


def plain_view(boxes: torch.Tensor, *, context: float) -> torch.Tensor:
    """(N, 2, 3) affine maps that show patches as analysis shows cells: their box in the middle, `context` around."""
    middle, longer = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).amax(1)
    share = longer * (1 + 2 * context) / PATCH_PX
    shift = 2 * middle / PATCH_PX - 1
    zero = torch.zeros_like(share)
    rows = [torch.stack([share, zero, shift[:, 0]], 1), torch.stack([zero, share, shift[:, 1]], 1)]
    return torch.stack(rows, 1)


def boxes_in_view(boxes: torch.Tensor, *, size: int, context: float) -> torch.Tensor:
    """(N, 4) px of a crop of `size`: where `plain_view` shows the boxes."""
    middle, longer = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).amax(1, keepdim=True)
    scale = size / (longer * (1 + 2 * context))
    return (boxes - middle.repeat(1, 2)) * scale.repeat(1, 4) + size / 2


def draw_views(
    labels: torch.Tensor, rng: np.random.Generator, *, context: float, size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Random views of patches: affine maps (N, 2, 3) for `grid_sample`, and the cells' boxes (N, 4) px in them.

    labels  (N, P, P): what is cell decides where the box lies. Each patch is turned, mirrored and stretched; then its
    cell gets a box that is off by JITTER at every side, and the view is what analysis would cut out for that box.
    """
    maps, boxes = [], []
    for one in labels:
        turn = _random_turn(rng)
        points = border_points(one.numpy()) @ turn.T  # patch in [-1, 1]
        low, high = points.min(0), points.max(0)
        room = rng.uniform(*JITTER, 4) if rng.random() < 0.7 else np.full(4, rng.uniform(*JITTER))
        low, high = low - room[:2] * (high - low), high + room[2:] * (high - low)
        side = (high - low).max() * (1 + 2 * context)
        middle = (low + high) / 2
        back = np.linalg.inv(turn)
        # output [-1, 1] → turned patch → patch
        maps.append(np.c_[back * (side / 2), back @ middle])
        boxes.append((np.r_[low, high] - np.tile(middle, 2)) * (size / side) + size / 2)
    return torch.from_numpy(np.array(maps, np.float32)), torch.from_numpy(np.array(boxes, np.float32))


def show(pixels: torch.Tensor, labels: torch.Tensor | None, maps: torch.Tensor, size: int) -> tuple:
    """Patches through affine maps: pixels (N, 3, S, S) in [0, 1] and labels (N, S, S) int64 (or None).

    pixels (N, P, P, 3) uint8. What lies outside a patch is empty glass and background.
    """
    grid = functional.affine_grid(maps, (len(maps), 3, size, size), align_corners=False)
    stain = 240 - pixels.permute(0, 3, 1, 2).float()  # zero padding is then empty glass
    seen = (240 - functional.grid_sample(stain, grid, mode="bilinear", align_corners=False)) / 255
    if labels is None:
        return seen.clamp_(0, 1), None
    turned = functional.grid_sample(labels[:, None].float(), grid, mode="nearest", align_corners=False)
    return seen.clamp_(0, 1), turned[:, 0].round().long()


def border_points(labels: np.ndarray) -> np.ndarray:
    """(M, 2) x, y in [-1, 1] of a patch: the cell's ends in some rows and columns; the middle where no cell is."""
    cell = (labels >= 1) & (labels <= UNKNOWN_PART)
    points = []
    for mask, turned in ((cell, False), (cell.T, True)):
        lines = np.flatnonzero(mask.any(1))
        lines = lines[:: max(1, len(lines) // BORDER_POINTS)]
        first, last = mask[lines].argmax(1), mask.shape[1] - mask[lines][:, ::-1].argmax(1)
        for ends in (np.stack([first, lines + 0.5], 1), np.stack([last, lines + 0.5], 1)):
            points.append(ends[:, ::-1] if turned else ends)
    points = np.concatenate(points)
    if not len(points):
        points = np.array([[0.35, 0.35], [0.65, 0.65]]) * len(labels)
    return 2 * points / len(labels) - 1


def _random_turn(rng: np.random.Generator) -> np.ndarray:
    """(2, 2): any rotation, mirrored or not, stretched by up to a tenth along some direction."""
    angle, lean = rng.uniform(0, 2 * np.pi, 2)
    stretch = np.exp(rng.normal(0, 0.05))

    def rotation(a: float) -> np.ndarray:
        return np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])

    mirror = np.diag([1.0, -1.0 if rng.random() < 0.5 else 1.0])
    return rotation(lean) @ np.diag([stretch, 1 / stretch]) @ rotation(angle - lean) @ mirror
