"""Cells cut out of a field by a rule, with their masks."""

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

from leukoscope.crop import crop_cells, match_nuclei
from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField
from leukoscope.errors import DataError, ImageError
from leukoscope.images import background_color, read_field, white_balance
from leukoscope.models.bundle import CropRule
from leukoscope.scale import with_scale
from leukoscope.train.classifier.data import NOT_WHITE
from leukoscope.types import Cells, Field


def cut_boxes(field: Field, boxes: np.ndarray, rule: CropRule, *, balance: bool) -> np.ndarray:
    """Crops (N, S, S, 3) of boxes (N, 4) of a photograph as it was read, prepared as analysis prepares them."""
    view = field
    if balance:
        view = replace(field, pixels=white_balance(field.pixels, background_color(field.pixels)))
    if rule.pad_um is not None:
        view = with_scale(view, Cells(field.key, boxes, np.ones(len(boxes))))
    return match_nuclei(crop_cells(view.pixels, boxes, rule, um_per_px=view.um_per_px), rule.nucleus_density)


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    cells: list[TruthCell]
    crops: np.ndarray
    masks: np.ndarray | None


def white_cells(truth: TruthField) -> list[TruthCell]:
    return [c for c in truth.cells if c.class_name not in NOT_WHITE]


def cut_field(dataset: Dataset, truth: TruthField, rule: CropRule, *, white_balance: bool, masks: bool) -> Cut:
    try:
        picture = read_field(dataset.path(truth), truth.key, um_per_px=truth.um_per_px)
    except ImageError as error:
        raise DataError(f"{dataset.path(truth)}: {error}") from None
    cells = white_cells(truth)
    boxes = np.array([c.box for c in cells], np.float64)
    crops = cut_boxes(picture, boxes, rule, balance=white_balance)
    drawn = None
    if masks:
        drawn = np.stack([_mask(picture.pixels.shape[:2], c, rule, truth.um_per_px) for c in cells])
    return Cut(cells, crops, drawn)


def _mask(shape: tuple[int, int], cell: TruthCell, rule: CropRule, um_per_px: float | None) -> np.ndarray:
    """(S, S) uint8: 1 inside the cell's contour, cut as its crop is."""
    height, width = shape
    drawn = Image.new("L", (width, height))
    if cell.contour is not None:
        ImageDraw.Draw(drawn).polygon([(x - 0.5, y - 0.5) for x, y in cell.contour], fill=255)
    pixels = np.repeat(np.asarray(drawn)[..., None], 3, 2)
    crop = crop_cells(pixels, np.array([cell.box]), rule, um_per_px=um_per_px, background=0)[0, ..., 0]
    return (crop >= 128).astype(np.uint8)
