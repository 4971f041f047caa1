"""Training pictures for the locator: photographs held in memory, cut, scaled and put together into square canvases."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from leukoscope.dataset.manifest import Dataset, TruthCell
from leukoscope.geometry import box_iou
from leukoscope.images import background_color, read_image, white_balance

GLASS = 240  # what surrounds a letterboxed field, at training as at inference
NOT_WHITE = ("red_cell", "platelet", "artefact", "smudge_cell")
SEEN_ENOUGH = 0.4  # a cell is learnt when this much of its box is on the canvas; less, and its place is left out


class Photo(NamedTuple):
    """A photograph, shrunk to the memory size: pixels (H, W, 3) uint8, boxes (n, 4) float32 px xyxy."""

    pixels: np.ndarray
    boxes: np.ndarray


@dataclass(frozen=True, slots=True)
class Canvas:
    """A training picture: pixels (S, S, 3) uint8, boxes (n, 4), and boxes `cut` (m, 4) of cells mostly out of sight."""

    pixels: np.ndarray
    boxes: np.ndarray
    cut: np.ndarray


def is_white(cell: TruthCell) -> bool:
    """Whether an annotated cell is one the locator should find."""
    return cell.class_name not in NOT_WHITE


def load_photos(dataset: Dataset, memory_px: int, *, balance: bool) -> list[Photo]:
    """Read a data set's pictures, longer side at most memory_px, white-balanced if `balance`."""
    photos = []
    for field in dataset.fields:
        pixels = read_image(dataset.path(field))
        scale = min(1.0, memory_px / max(pixels.shape[:2]))
        boxes = np.array([c.box for c in field.cells if is_white(c)], np.float32).reshape(-1, 4) * scale
        if scale < 1:
            pixels = _resize(pixels, scale)
        if balance:
            pixels = white_balance(pixels, background_color(pixels))
        photos.append(Photo(pixels, boxes))
    return photos


def draw_canvas(
    groups: list[list[Photo]],
    weights: np.ndarray,
    side: int,
    rng: np.random.Generator,
    *,
    plain: float = 0.45,
    transpose: bool = True,
    touching: float = 0.0,
) -> Canvas:
    """One training picture out of photographs from every group (a group is drawn with its weight).

    A share of `plain` is one photograph near the scale of inference; of the rest, 8 in 11 are a mosaic of four with
    cells of 20 to 150 px (for a side of 256) and 3 in 11 one cell that fills much of the canvas. In a share of
    `touching`, a cell gets one or two others that lean on it.
    """
    kind = rng.random()
    canvas = np.full((side, side, 3), GLASS, np.uint8)
    whole = (0, 0, side, side)
    kept: list[np.ndarray] = []
    cut: list[np.ndarray] = []
    if kind < plain:
        photo = _turned(_pick(groups, weights, rng), rng, transpose)
        scale = side / max(photo.pixels.shape[:2]) * np.exp(rng.uniform(-0.35, 0.35))
        _paste(canvas, whole, photo, scale, rng, (kept, cut))
    elif kind < plain + (1 - plain) * 8 / 11:
        middle = rng.integers(int(0.3 * side), int(0.7 * side), 2)
        xs, ys = (0, int(middle[0]), side), (0, int(middle[1]), side)
        for i in range(4):
            frame = (xs[i % 2], ys[i // 2], xs[i % 2 + 1], ys[i // 2 + 1])
            photo = _turned(_pick(groups, weights, rng), rng, transpose)
            _paste(canvas, frame, photo, _scale_to(photo, side * _log_uniform(rng, 0.08, 0.6)), rng, (kept, cut))
    else:
        photo = _turned(_pick(groups, weights, rng), rng, transpose)
        _paste(canvas, whole, photo, _scale_to(photo, side * _log_uniform(rng, 0.5, 0.95)), rng, (kept, cut))
    if touching and rng.random() < touching:
        for _ in range(rng.integers(1, 3)):
            _lean(canvas, kept, _turned(_pick(groups, weights, rng), rng, transpose), rng)
    boxes = np.array(kept, np.float32).reshape(-1, 4)
    return Canvas(canvas, boxes, np.array(cut, np.float32).reshape(-1, 4))


def _pick(groups: list[list[Photo]], weights: np.ndarray, rng: np.random.Generator) -> Photo:
    group = groups[rng.choice(len(groups), p=weights)]
    return group[rng.integers(len(group))]


def _turned(photo: Photo, rng: np.random.Generator, transpose: bool) -> Photo:
    """The photograph in one of its eight orientations, or of the four that keep its sides upright."""
    pixels, boxes = photo
    if rng.random() < 0.5:
        x0, x1 = pixels.shape[1] - boxes[:, 2], pixels.shape[1] - boxes[:, 0]
        pixels, boxes = pixels[:, ::-1], np.stack([x0, boxes[:, 1], x1, boxes[:, 3]], 1)
    if rng.random() < 0.5:
        y0, y1 = pixels.shape[0] - boxes[:, 3], pixels.shape[0] - boxes[:, 1]
        pixels, boxes = pixels[::-1], np.stack([boxes[:, 0], y0, boxes[:, 2], y1], 1)
    if transpose and rng.random() < 0.5:
        pixels, boxes = pixels.transpose(1, 0, 2), boxes[:, [1, 0, 3, 2]]
    return Photo(pixels, boxes)


def _lean(canvas: np.ndarray, kept: list[np.ndarray], photo: Photo, rng: np.random.Generator) -> None:
    """Put a cell of `photo` on the canvas so that it touches one of the boxes `kept`, and add its box to them.

    Two cells that touch were found as one: photographs of single cells, most of what is learnt from, never show any.
    """
    side = len(canvas)
    hosts = [b for b in kept if min(b[2:] - b[:2]) >= 0.05 * side]
    inner = photo.boxes[(photo.boxes[:, :2] > 1).all(1) & (photo.boxes[:, 2:] < photo.pixels.shape[1::-1]).all(1)]
    if not hosts or not len(inner):
        return
    host, box = hosts[rng.integers(len(hosts))], inner[rng.integers(len(inner))]
    host_half, half = (host[2:] - host[:2]) / 2, (box[2:] - box[:2]) / 2
    half = half * (host_half.mean() / half.mean() * _log_uniform(rng, 0.7, 1.4))
    angle = rng.uniform(0, 2 * np.pi)
    away = np.array([np.cos(angle), np.sin(angle)])
    reach = sum(1 / np.sqrt(((away / h) ** 2).sum()) for h in (host_half, half))  # of the two ellipses, along `away`
    centre = (host[:2] + host[2:]) / 2 + away * reach * rng.uniform(0.85, 1.03)
    x0, y0 = np.rint(centre - half).astype(int)
    width, height = np.maximum(np.rint(2 * half).astype(int), 4)
    new = np.array([x0, y0, x0 + width, y0 + height], np.float32)
    if min(x0, y0) < 0 or max(x0 + width, y0 + height) > side or box_iou(new, np.stack(kept)).max() > 0.3:
        return
    picture = Image.fromarray(np.ascontiguousarray(photo.pixels))
    cell = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR, tuple(box.tolist())), np.float32)
    y, x = np.mgrid[:height, :width] + 0.5
    distance = np.hypot((x - width / 2) / (width / 2), (y - height / 2) / (height / 2))
    shown = np.clip((1.02 - distance) * min(width, height) / 4, 0, 1)[..., None]  # a soft rim of some two pixels
    under = canvas[y0 : y0 + height, x0 : x0 + width]
    under[:] = np.rint(shown * cell + (1 - shown) * under)
    kept.append(new)


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _scale_to(photo: Photo, cell_px: float) -> float:
    """The scale at which the photograph's median cell is cell_px wide (no cells: a fifth of the picture is)."""
    if not len(photo.boxes):
        return cell_px / (0.2 * max(photo.pixels.shape[:2]))
    sides = np.sqrt((photo.boxes[:, 2] - photo.boxes[:, 0]) * (photo.boxes[:, 3] - photo.boxes[:, 1]))
    return cell_px / max(float(np.median(sides)), 1.0)


def _paste(
    canvas: np.ndarray, frame: tuple, photo: Photo, scale: float, rng: np.random.Generator, cells: tuple
) -> None:
    """Put the photograph, scaled, at a random place of frame (x0, y0, x1, y1); add its boxes to found = (kept, cut)."""
    fx0, fy0, fx1, fy1 = frame
    scale *= _log_uniform(rng, 0.95, 1.05)
    size = np.array([photo.pixels.shape[1], photo.pixels.shape[0]]) * scale
    room = np.array([fx1 - fx0, fy1 - fy0]) - size
    if len(photo.boxes) and rng.random() < 0.85:  # most often with one cell wholly inside, where it fits
        box = photo.boxes[rng.integers(len(photo.boxes))] * scale
        low, high = -box[:2], np.array([fx1 - fx0, fy1 - fy0]) - box[2:]
        low, high = np.minimum(low, high), np.maximum(low, high)
        offset = np.clip(rng.uniform(low, high), np.minimum(room, 0), np.maximum(room, 0))
    else:
        offset = rng.uniform(np.minimum(room, 0), np.maximum(room, 0))
    offset = offset.round()
    # The piece of the photograph that the frame shows, in the photograph's px.
    x0, y0 = np.maximum(-offset, 0)
    x1, y1 = np.minimum(np.array([fx1 - fx0, fy1 - fy0]) - offset, size)
    w, h = int(round(x1 - x0)), int(round(y1 - y0))
    if w < 2 or h < 2:
        return
    source = Image.fromarray(np.ascontiguousarray(photo.pixels))
    piece = source.resize((w, h), Image.Resampling.BILINEAR, (x0 / scale, y0 / scale, x1 / scale, y1 / scale))
    px, py = fx0 + int(max(offset[0], 0)), fy0 + int(max(offset[1], 0))
    w, h = min(w, fx1 - px), min(h, fy1 - py)
    canvas[py : py + h, px : px + w] = np.asarray(piece)[:h, :w]
    shift = np.tile(offset + (fx0, fy0), 2)
    seen = np.array([px, py, px + w, py + h], np.float32)
    for box in photo.boxes * scale + shift:
        clipped = np.concatenate([np.maximum(box[:2], seen[:2]), np.minimum(box[2:], seen[2:])])
        area = np.maximum(clipped[2:] - clipped[:2], 0).prod()
        if area > 0:
            cells[0 if area >= SEEN_ENOUGH * (box[2:] - box[:2]).prod() else 1].append(clipped)


def _resize(pixels: np.ndarray, scale: float) -> np.ndarray:
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
