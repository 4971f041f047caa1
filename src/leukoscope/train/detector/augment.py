"""What is done to a detector's training picture, one function each: all take and return a `Picture`.

DEIM's and RT-DETR's augmentations in numpy and Pillow. A turned cell's box is drawn around the ellipse that its box
held, for cells are round: the box around a turned rectangle would be too large by up to two fifths.
"""

import math
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageEnhance

from leukoscope.geometry import box_iou
from leukoscope.locate import PADDING

LEAST_SEEN = 0.4  # share of a box that must be left of it; less, and the cell is background
LEAST_PX = 2.0
CROP_IOUS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)  # RT-DETR's; 1.0 means no crop


class Picture(NamedTuple):
    """pixels (H, W, 3) uint8 RGB; boxes (n, 4) float32 px xyxy; labels (n,) int64."""

    pixels: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray


def resize_to(picture: Picture, scale: float) -> Picture:
    """The picture `scale` times as large."""
    height, width = picture.pixels.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    pixels = np.asarray(Image.fromarray(picture.pixels).resize(size, Image.Resampling.BILINEAR))
    factors = np.array([size[0] / width, size[1] / height] * 2, np.float32)
    return Picture(pixels, picture.boxes * factors, picture.labels)


def flip(picture: Picture, rng: np.random.Generator, *, vertical: bool) -> Picture:
    """Mirrored left to right in half of the cases, and upside down in half if `vertical`."""
    pixels, boxes, labels = picture
    height, width = pixels.shape[:2]
    if rng.random() < 0.5:
        pixels, boxes = (
            pixels[:, ::-1],
            np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1),
        )
    if vertical and rng.random() < 0.5:
        pixels, boxes = (
            pixels[::-1],
            np.stack([boxes[:, 0], height - boxes[:, 3], boxes[:, 2], height - boxes[:, 1]], 1),
        )
    return Picture(np.ascontiguousarray(pixels), boxes, labels)


def turn(picture: Picture, degrees: float) -> Picture:
    """Turned around its middle, the corners filled with glass."""
    height, width = picture.pixels.shape[:2]
    return affine(picture, (height, width), degrees=degrees, scale=1.0, shift=(0.0, 0.0))


def affine(
    picture: Picture, size: tuple[int, int], *, degrees: float, scale: float, shift: tuple[float, float]
) -> Picture:
    """Turned and scaled around its middle, then moved by `shift` (x, y) px, on a canvas of `size` (height, width)."""
    height, width = picture.pixels.shape[:2]
    cos, sin = math.cos(math.radians(degrees)) * scale, math.sin(math.radians(degrees)) * scale
    matrix = np.array([[cos, -sin], [sin, cos]])
    middle, target = np.array([width, height]) / 2, np.array([size[1], size[0]]) / 2 + shift
    back = np.linalg.inv(matrix)
    origin = middle - back @ target
    coefficients = (back[0, 0], back[0, 1], origin[0], back[1, 0], back[1, 1], origin[1])
    image = Image.fromarray(picture.pixels).transform(
        (size[1], size[0]), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR, fillcolor=(PADDING,) * 3
    )
    centre = (picture.boxes[:, :2] + picture.boxes[:, 2:]) / 2
    half = (picture.boxes[:, 2:] - picture.boxes[:, :2]) / 2
    centre = (centre - middle) @ matrix.T + target
    half = np.sqrt(half**2 @ (matrix**2).T)  # the box around the turned ellipse
    boxes = np.concatenate([centre - half, centre + half], 1).astype(np.float32)
    return clip(Picture(np.asarray(image), boxes, picture.labels))


def clip(picture: Picture) -> Picture:
    """Boxes cut at the picture's edge; a cell of which less than LEAST_SEEN is left loses its box."""
    height, width = picture.pixels.shape[:2]
    whole = picture.boxes
    boxes = np.clip(whole, 0, np.array([width, height, width, height], np.float32))
    seen = np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(1) / np.maximum((whole[:, 2:] - whole[:, :2]).prod(1), 1e-6)
    kept = (seen >= LEAST_SEEN) & (boxes[:, 2:] - boxes[:, :2] >= LEAST_PX).all(1)
    return Picture(picture.pixels, boxes[kept], picture.labels[kept])


def mosaic(pictures: list[Picture], side: int, rng: np.random.Generator) -> Picture:
    """Four pictures in the quarters of one, then turned by up to 10°, scaled by 0.5 to 1.5 and moved by up to a tenth
    (DEIM's dense one-to-one: four times the cells, so four times the matches, for one picture's work)."""
    half = side // 2
    canvas = np.full((2 * half, 2 * half, 3), PADDING, np.uint8)
    boxes, labels = [], []
    for i, picture in enumerate(pictures):
        small = resize_to(picture, half / max(picture.pixels.shape[:2]))
        height, width = small.pixels.shape[:2]
        x, y = half * (i % 2), half * (i // 2)
        canvas[y : y + height, x : x + width] = small.pixels[:half, :half]
        boxes.append(small.boxes + np.array([x, y, x, y], np.float32))
        labels.append(small.labels)
    whole = Picture(canvas, np.concatenate(boxes), np.concatenate(labels))
    shift = tuple(float(v) * side for v in rng.uniform(-0.1, 0.1, 2))
    degrees, scale = float(rng.uniform(-10, 10)), float(rng.uniform(0.5, 1.5))
    return affine(whole, (side, side), degrees=degrees, scale=scale, shift=shift)


def zoom_out(picture: Picture, rng: np.random.Generator, *, probability: float = 0.5) -> Picture:
    """The picture somewhere on a ground of glass up to twice its size a side (RT-DETR: up to four times, for scenes
    whose objects fill the frame; cells are small enough already)."""
    if rng.random() >= probability:
        return picture
    height, width = picture.pixels.shape[:2]
    ratio = float(rng.uniform(1.0, 2.0))
    canvas = np.full((round(height * ratio), round(width * ratio), 3), PADDING, np.uint8)
    x, y = int(rng.integers(canvas.shape[1] - width + 1)), int(rng.integers(canvas.shape[0] - height + 1))
    canvas[y : y + height, x : x + width] = picture.pixels
    return Picture(canvas, picture.boxes + np.array([x, y, x, y], np.float32), picture.labels)


def iou_crop(picture: Picture, rng: np.random.Generator, *, probability: float = 0.8, trials: int = 40) -> Picture:
    """A window of 0.3 to 1 of each side that overlaps some cell by a drawn IoU (SSD's crop, as RT-DETR uses it).

    Cells whose middle the window leaves out lose their box. Where no window fits, or there is no cell: unchanged.
    """
    least = float(rng.choice(CROP_IOUS))
    if rng.random() >= probability or least >= 1 or not len(picture.boxes):
        return picture
    height, width = picture.pixels.shape[:2]
    for _ in range(trials):
        w, h = (int(side * rng.uniform(0.3, 1.0)) for side in (width, height))
        if not 0.5 <= w / max(h, 1) <= 2.0:
            continue
        x, y = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
        window = np.array([x, y, x + w, y + h], np.float32)
        centre = (picture.boxes[:, :2] + picture.boxes[:, 2:]) / 2
        inside = ((centre > window[:2]) & (centre < window[2:])).all(1)
        if not inside.any() or box_iou(picture.boxes[inside], window).max() < least:
            continue
        pixels = np.ascontiguousarray(picture.pixels[y : y + h, x : x + w])
        moved = picture.boxes[inside] - np.array([x, y, x, y], np.float32)
        return clip(Picture(pixels, moved, picture.labels[inside]))
    return picture


def distort_colour(picture: Picture, rng: np.random.Generator) -> Picture:
    """Brightness, contrast, saturation and hue, each in half of the cases (SSD's photometric distortion)."""
    image = Image.fromarray(picture.pixels)
    changes = (
        (ImageEnhance.Brightness, 0.875, 1.125),
        (ImageEnhance.Contrast, 0.5, 1.5),
        (ImageEnhance.Color, 0.5, 1.5),
    )
    for enhancer, low, high in changes:
        if rng.random() < 0.5:
            image = enhancer(image).enhance(float(rng.uniform(low, high)))
    if rng.random() < 0.5:
        by = int(rng.integers(-13, 14))  # a twentieth of the circle either way
        hue, saturation, value = image.convert("HSV").split()
        hue = hue.point([(level + by) % 256 for level in range(256)])
        image = Image.merge("HSV", (hue, saturation, value)).convert("RGB")
    return picture._replace(pixels=np.asarray(image))
