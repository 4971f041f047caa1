"""Find the white cells of a field: letterbox or tile, run the locator, map its boxes back, merge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from leukoscope.errors import InputError
from leukoscope.geometry import merge_tiles, nms, tiles
from leukoscope.images import background_color, white_balance
from leukoscope.models.bundle import Card
from leukoscope.models.runtime import Session
from leukoscope.types import Cells, Field

PADDING = 240  # right of and below a letterboxed field: the colour of white-balanced empty glass
TILES_PER_INPUT = 3  # a field of up to this many times the input's side is shown to the locator whole
TILE_OVERLAP = 0.25  # of a tile's side: no white cell is longer


def locate(field: Field, locator: Session, *, tile_px: int | None = None) -> Cells:
    """The white cells of a field, best score first.

    A field whose longer side is above `tile_px` is cut into overlapping tiles of that side, for in one picture its
    cells would become too small to be found; a cell that several tiles see is reported once, and whole. `tile_px`:
    see `default_tile_px`. Boxes lie within the field and are at least a pixel wide.
    """
    return locate_balanced(prepare(field, locator.card), locator, tile_px=tile_px)


def prepare(field: Field, card: Card) -> Field:
    """The field as a model wants it: white-balanced by its own background where the card says so, else as it is."""
    if not card.white_balance:
        return field
    return replace(field, pixels=white_balance(field.pixels, background_color(field.pixels)))


def default_tile_px(card: Card) -> int:
    """The card's own `tile_px` threshold, else three times the longer side of its input."""
    return int(card.thresholds.get("tile_px", TILES_PER_INPUT * max(card.input_size)))


def locate_balanced(field: Field, locator: Session, *, tile_px: int | None = None) -> Cells:
    """`locate` for a field that `prepare` has already seen."""
    card = locator.card
    tile_px = default_tile_px(card) if tile_px is None else tile_px
    if tile_px < max(card.input_size) // 2:
        raise InputError(f"tile_px must be at least {max(card.input_size) // 2} for model {card.name!r}, got {tile_px}")
    height, width = field.pixels.shape[:2]
    frames = tiles(height, width, tile_px, round(tile_px * TILE_OVERLAP))
    found = [_locate_tile(field.pixels[y0:y1, x0:x1], (x0, y0), locator) for x0, y0, x1, y1 in frames]
    boxes, scores = np.concatenate([b for b, _ in found]), np.concatenate([s for _, s in found])
    if len(frames) > 1:
        tile_ids = np.repeat(np.arange(len(frames)), [len(s) for _, s in found])
        boxes, scores = merge_tiles(boxes, scores, tile_ids=tile_ids, tile_boxes=frames, iou=card.thresholds["nms_iou"])
    return Cells(field.key, boxes, scores)


def letterbox(pixels: np.ndarray, input_size: tuple[int, int]) -> tuple[np.ndarray, tuple[float, float]]:
    """Fit pixels (H, W, 3) into the model's input (height, width): aspect kept, padded right and below with 240.

    Returns (height, width, 3) uint8, and how many input pixels one pixel became in x and in y.
    """
    height, width = pixels.shape[:2]
    scale = min(input_size[0] / height, input_size[1] / width)
    new_height, new_width = (max(1, round(side * scale)) for side in (height, width))
    canvas = np.full((*input_size, 3), PADDING, np.uint8)
    if (new_height, new_width) == (height, width):
        canvas[:height, :width] = pixels
    else:
        image = Image.fromarray(np.ascontiguousarray(pixels))
        canvas[:new_height, :new_width] = image.resize((new_width, new_height), Image.Resampling.BILINEAR)
    return canvas, (new_width / width, new_height / height)


def _locate_tile(pixels: np.ndarray, origin: tuple[int, int], locator: Session) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4) float64 in field px and scores (N,) of one tile whose top left corner is `origin` (x, y)."""
    card = locator.card
    canvas, (scale_x, scale_y) = letterbox(pixels, card.input_size)
    boxes, scores = locator.run(pixels=canvas[None])
    likely = scores >= card.thresholds["score"]
    boxes = boxes[likely].astype(np.float64) / (scale_x, scale_y, scale_x, scale_y)
    scores = np.minimum(scores[likely].astype(np.float64), 1.0)
    height, width = pixels.shape[:2]
    boxes = np.clip(boxes, 0, (width, height, width, height))
    real = (boxes[:, 2:] - boxes[:, :2] >= 1).all(1)
    boxes, scores = boxes[real], scores[real]
    kept = nms(boxes, scores, card.thresholds["nms_iou"])
    return boxes[kept] + (*origin, *origin), scores[kept]
