"""Find the white cells of a field: letterbox or tile, run the locator, map its boxes back, merge.

A detector (task "detect") finds and names cells in one stage: `detect` gives its `Calls`.
"""

from dataclasses import replace

import numpy as np

from leukoscope.errors import InputError, ModelError
from leukoscope.geometry import box_iou, drop_nested, merge_tiles, nms, tiles
from leukoscope.images import background_color, white_balance
from leukoscope.models.bundle import Card
from leukoscope.models.runtime import Session
from leukoscope.raster import Pixels, Raster
from leukoscope.scale import red_cell_px
from leukoscope.types import Calls, Cells, Field

PADDING = 240  # right of and below a letterboxed field: the colour of white-balanced empty glass
TILES_PER_INPUT = 3  # a field of up to this many times the input's side is shown to the locator whole
# In red cells, a third to two thirds of a white cell: a view of up to WHOLE_RED_CELLS shows cells large enough, and
# larger fields are cut into tiles of TILE_RED_CELLS. The training pictures show 5 to 10 red cells across.
WHOLE_RED_CELLS, TILE_RED_CELLS = 14.0, 9.0
LEAST_CELL = 0.12  # of a view's longer side: cells narrower are found, but their boxes are coarse
LOOK_SIDE = 2.4  # of a box's longer side; this and the weights were chosen on pbc val and bccd val
LOOK_IOU, LOOK_SCORE, LOOK_LEAST = 0.6, 0.3, 0.1
# Lobes of a nucleus are found once more beside their cell, most where cells are shown small. Of a lobe's box, LOBE lies
# in its cell's; people's boxes of cells that touch lie in one another by 0.44 at most (bccd, bionet).
LOBE, LOBE_SHARE = 0.75, 0.5
TILE_OVERLAP = 0.25  # of a tile's side: no white cell is longer
BOX_DIGITS = 2  # of a box in px: what a record holds is what was cut out


def locate(field: Field, locator: Session, *, tile_px: int | None = None) -> Cells:
    """The white cells of a field, best score first.

    A field whose longer side is above `tile_px` is cut into overlapping tiles of that side, for in one picture its
    cells would become too small to be found; a cell that several tiles see is reported once, and whole. None: it is
    chosen from the field by `fitting_tile_px`. Boxes lie within the field and are at least a pixel wide.
    """
    return locate_balanced(prepare(field, locator.card), locator, tile_px=tile_px)


def fitting_tile_px(view: Field, locator: Session, *, red_px: float | None) -> int:
    """The side in px of the tiles that show a field's cells to the locator as large as those it learnt.

    view    from `prepare`
    red_px  diameter of the red cells (`leukoscope.scale.red_cell_px`, pooled over the smear's fields where there are
            several); None: not known. Then the field is shown whole first, and in halves, quarters and so on until
            the boxes found are as wide as white cells are; where none are, the card's own side (`default_tile_px`).
    """
    least, longer = max(locator.card.input_size) // 2, max(view.pixels.shape[:2])
    if red_px is not None:
        whole = longer <= WHOLE_RED_CELLS * red_px
        return max(least, longer if whole else round(TILE_RED_CELLS * red_px))
    default = default_tile_px(locator.card)
    if longer <= default:
        return default
    tile_px = longer
    while tile_px >= max(least, default / 4):
        boxes = locate_balanced(view, locator, tile_px=tile_px).boxes
        if len(boxes) and np.median((boxes[:, 2:] - boxes[:, :2]).max(1)) >= LEAST_CELL * tile_px:
            return tile_px
        tile_px //= 2
    return default


def locate_closely(field: Field, locator: Session, *, tile_px: int | None = None) -> Cells:
    """`locate`, and a second look at each cell from near: two more calls a cell for truer boxes.

    Seen are LOOK_SIDE times the box's longer side, as they are and mirrored. The box becomes half the first one and a
    quarter of what each look finds in its place (IoU of LOOK_IOU at least; else the first box again). Cells scored
    below LOOK_SCORE keep their box. No cell is gained or lost, and scores stay.
    """
    view = prepare(field, locator.card)
    cells = locate_balanced(view, locator, tile_px=tile_px)
    boxes = cells.boxes.astype(np.float64)
    for row in np.flatnonzero(cells.scores >= LOOK_SCORE):
        looks = [_look(view, boxes[row], locator, mirrored=mirrored) for mirrored in (False, True)]
        boxes[row] = boxes[row] / 2 + sum(looks) / 4
    return Cells(cells.key, boxes, cells.scores)


def _look(view: Field, box: np.ndarray, locator: Session, *, mirrored: bool) -> np.ndarray:
    """The box (4,) in field px that one look from near finds in place of `box`; `box` where it finds none."""
    height, width = view.pixels.shape[:2]
    side = max(1, round(float((box[2:] - box[:2]).max()) * LOOK_SIDE))
    x, y = (round(float(c) - side / 2) for c in ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2))
    window = np.full((side, side, 3), PADDING, np.uint8)
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + side, width), min(y + side, height)
    window[y0 - y : y1 - y, x0 - x : x1 - x] = view.pixels[y0:y1, x0:x1]
    if mirrored:
        window = np.ascontiguousarray(window[:, ::-1])
    located = locate_balanced(replace(view, pixels=window), locator, tile_px=max(side, default_tile_px(locator.card)))
    seen = located.boxes[located.scores >= LOOK_LEAST].astype(np.float64)
    if mirrored:
        seen = np.stack([side - seen[:, 2], seen[:, 1], side - seen[:, 0], seen[:, 3]], 1)
    seen = np.clip(seen + (x, y, x, y), 0, (width, height, width, height))
    overlap = box_iou(box, seen)[0]
    return seen[overlap.argmax()] if overlap.max(initial=0.0) >= LOOK_IOU else box


def detect(field: Field, detector: Session, *, tile_px: int | None = None) -> Calls:
    """The cells of a field and their classes by a one-stage detector, best score first; artefacts are among them."""
    return detect_balanced(prepare(field, detector.card), detector, tile_px=tile_px)


def detect_balanced(field: Field, detector: Session, *, tile_px: int | None = None) -> Calls:
    """`detect` for a field that `prepare` has already seen.

    A cell's score is its best class's; its probabilities are its class scores s, as s^(1/T) with the card's
    temperature T, over their sum.
    """
    card = detector.card
    assert card.taxonomy is not None and card.temperature  # which a detector's card is refused without
    tile_px = default_tile_px(card) if tile_px is None else tile_px
    boxes, scores, of_classes = _search(field, detector, tile_px=tile_px)
    powers = np.maximum(of_classes, 1e-9) ** (1 / card.temperature)
    probs = powers / powers.sum(1, keepdims=True)
    return Calls(Cells(field.key, boxes, scores), probs, card.taxonomy)


def prepare(field: Field, card: Card) -> Field:
    """The field as a model wants it: white-balanced by its own background where the card says so, else as it is.

    Balanced is what is cut out of it, once it has the size that a model sees: the whole is never copied.
    """
    raster = Raster.of(field.pixels)
    if card.white_balance:
        raster = white_balance(raster, background_color(raster))
    return replace(field, pixels=raster)


def default_tile_px(card: Card) -> int:
    """The card's own `tile_px` threshold, else three times the longer side of its input."""
    return int(card.thresholds.get("tile_px", TILES_PER_INPUT * max(card.input_size)))


def locate_balanced(field: Field, locator: Session, *, tile_px: int | None = None) -> Cells:
    """`locate` for a field that `prepare` has already seen."""
    if tile_px is None:
        tile_px = fitting_tile_px(field, locator, red_px=red_cell_px(field.pixels))
    boxes, scores, _ = _search(field, locator, tile_px=tile_px)
    return Cells(field.key, boxes, scores)


def _search(field: Field, locator: Session, *, tile_px: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes (N, 4) in field px and scores (N,), best first, and each box's scores by class (N, C); C is 1 of a
    locator, whose one class is the cell."""
    card = locator.card
    if tile_px < max(card.input_size) // 2:
        raise InputError(f"tile_px must be at least {max(card.input_size) // 2} for model {card.name!r}, got {tile_px}")
    height, width = field.pixels.shape[:2]
    frames = tiles(height, width, tile_px, round(tile_px * TILE_OVERLAP))
    raster = Raster.of(field.pixels)
    of_tiles = [_locate_tile(raster.part(frame), frame[:2], locator) for frame in map(tuple, frames.tolist())]
    boxes, of_classes = np.concatenate([b for b, _ in of_tiles]), np.concatenate([s for _, s in of_tiles])
    scores = of_classes.max(1)
    if len(frames) > 1:
        tile_ids = np.repeat(np.arange(len(frames)), [len(s) for _, s in of_tiles])
        iou = card.thresholds["nms_iou"]
        merged, scores = merge_tiles(boxes, scores, tile_ids=tile_ids, tile_boxes=frames, iou=iou)
        # A merged box is one of those found, or the box around two halves: it has the classes of its nearest.
        of_classes = of_classes[box_iou(merged, boxes).argmax(1)] if len(merged) else of_classes[:0]
        boxes = merged
    # Processors differ in the last bits of a box, and its crop of eight bits would by a grey level.
    return np.round(boxes, BOX_DIGITS), scores, of_classes


def letterbox(
    pixels: Pixels, input_size: tuple[int, int], *, step: int | None = None
) -> tuple[np.ndarray, tuple[float, float]]:
    """Fit pixels (H, W, 3) into the model's input (height, width): aspect kept, padded right and below with 240.

    step  the canvas is no larger than it must be, in multiples of so many px (`Session.side_step`); None: it is the
          whole input
    Returns the canvas (height, width, 3) uint8, and how many of its pixels one pixel became in x and in y.
    """
    height, width = pixels.shape[:2]
    scale = min(input_size[0] / height, input_size[1] / width)
    new_height, new_width = (max(1, round(side * scale)) for side in (height, width))
    sides = input_size if step is None else tuple(-(-side // step) * step for side in (new_height, new_width))
    canvas = np.full((*sides, 3), PADDING, np.uint8)
    if (new_height, new_width) == (height, width):
        canvas[:height, :width] = pixels
    else:
        canvas[:new_height, :new_width] = np.asarray(Raster.of(pixels).resized((new_width, new_height)))
    return canvas, (new_width / width, new_height / height)


def _locate_tile(pixels: Raster, origin: tuple[int, int], locator: Session) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4) float64 in field px and scores by class (N, C) of one tile, top left corner `origin` (x, y)."""
    card = locator.card
    canvas, (scale_x, scale_y) = letterbox(pixels, card.input_size, step=locator.side_step)
    boxes, scores = locator.run(pixels=canvas[None])
    n_classes = len(card.taxonomy.names) if card.task == "detect" and card.taxonomy else 1
    if scores.size != len(boxes) * n_classes:
        raise ModelError(
            f"model {card.name!r} gave scores of shape {scores.shape} for {len(boxes)} boxes and {n_classes} classes: "
            f"the card and the ONNX file do not belong together"
        )
    scores = scores.reshape(len(boxes), n_classes)
    likely = scores.max(1) >= card.thresholds["score"]
    boxes = boxes[likely].astype(np.float64) / (scale_x, scale_y, scale_x, scale_y)
    scores = np.minimum(scores[likely].astype(np.float64), 1.0)
    height, width = pixels.shape[:2]
    boxes = np.clip(boxes, 0, (width, height, width, height))
    real = (boxes[:, 2:] - boxes[:, :2] >= 1).all(1)
    boxes, scores = boxes[real], scores[real]
    kept = nms(boxes, scores.max(1), card.thresholds["nms_iou"])
    if card.task == "locate":  # a detector's platelet may lie on a cell
        kept = kept[drop_nested(boxes[kept], scores[kept, 0], inside=LOBE, share=LOBE_SHARE)]
    return boxes[kept] + (*origin, *origin), scores[kept]
