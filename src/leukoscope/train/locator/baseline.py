"""What a locator has to beat: nuclei by a threshold on how much red light they absorb, joined into cells.

Red cells let red light through and stained nuclei do not (the same contrast that classical counters use). Nothing is
learnt but four numbers, chosen on bccd's train split.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

from leukoscope.dataset.manifest import Dataset
from leukoscope.evaluate.boxes import Matches, match_boxes
from leukoscope.images import background_color, read_image, white_balance
from leukoscope.train.locator.data import is_white

SIDE = 256  # px of the longer side that is looked at
LEAST_DENSITY = 0.25  # of red light (natural logarithm), whatever the picture's own threshold
JOIN_PX = 15  # lobes of one nucleus nearer than this belong together
LEAST_AREA = 0.01  # of the picture; platelets and dirt are smaller
GROWTH = 1.3  # a cell's box over its nucleus' box


def stain_boxes(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4) px xyxy and scores (N,), the share of light absorbed, of white-balanced pixels (H, W, 3) uint8."""
    height, width = pixels.shape[:2]
    scale = SIDE / max(height, width)
    small = Image.fromarray(np.ascontiguousarray(pixels)).resize((round(width * scale), round(height * scale)))
    red = np.asarray(small)[..., 0].astype(np.float64)
    density = ndimage.gaussian_filter(-np.log(np.maximum(red, 4) / 240), 1.0)
    nucleus = density > max(_otsu(density), LEAST_DENSITY)
    joined = ndimage.binary_closing(np.pad(nucleus, JOIN_PX), np.ones((JOIN_PX, JOIN_PX)))
    joined = joined[JOIN_PX:-JOIN_PX, JOIN_PX:-JOIN_PX]
    labels, _ = ndimage.label(ndimage.binary_fill_holes(joined))
    boxes, scores = [], []
    for i, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
        inside = labels[rows, columns] == i
        if inside.sum() < LEAST_AREA * labels.size:
            continue
        centre = np.array([columns.start + columns.stop, rows.start + rows.stop]) / 2
        half = np.array([columns.stop - columns.start, rows.stop - rows.start]) / 2 * GROWTH
        boxes.append(np.clip(np.r_[centre - half, centre + half] / scale, 0, [width, height, width, height]))
        scores.append(1 - np.exp(-density[rows, columns][inside].mean()))
    return np.array(boxes).reshape(-1, 4), np.array(scores)


def match_stain(dataset: Dataset) -> list[Matches]:
    """A data set's white cells against `stain_boxes`, one entry a field."""
    matches = []
    for field in dataset.fields:
        pixels = read_image(dataset.path(field))
        boxes, scores = stain_boxes(white_balance(pixels, background_color(pixels)))
        truth = np.array([c.box for c in field.cells if is_white(c)], np.float64).reshape(-1, 4)
        matches.append(match_boxes(truth, boxes, scores))
    return matches


def _otsu(values: np.ndarray) -> float:
    """The threshold that parts the values into the two most unlike groups (Otsu 1979)."""
    counts, edges = np.histogram(values, 128)
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    total = np.cumsum(counts * middles)
    between = (total[-1] * below - total * below[-1]) ** 2 / np.maximum(below * above, 1)
    return float(middles[between.argmax()])
