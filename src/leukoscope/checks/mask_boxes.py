"""Masks without a box, and boxes that do not fit their own outline."""

import numpy as np

from leukoscope.checks.observe import NOT_WHITE
from leukoscope.checks.suspect import Suspect
from leukoscope.dataset.manifest import Dataset, TruthField
from leukoscope.dataset.masks import mask_name, read_mask
from leukoscope.errors import DataError, InputError
from leukoscope.geometry import box_iou, contour_box

_LEAST_SHARE = 0.25  # of the median mask's area: what is smaller is a speck
_FITS_IOU = 0.5


def doubt_outlines(dataset: Dataset) -> list[Suspect]:
    """Boxes whose own outline's box overlaps them by less than half: one of the two belongs to another cell."""
    suspects = []
    for field in dataset.fields:
        for row, cell in enumerate(field.cells):
            if cell.contour is None:
                continue
            iou = float(box_iou(np.array(cell.box), contour_box(np.array(cell.contour)))[0, 0])
            if iou < _FITS_IOU:
                detail = f"the outline's box overlaps by {iou:.2f}"
                suspects.append(Suspect("box_off_outline", 1 - iou, field, row, cell.box, "outline", detail=detail))
    return suspects


def doubt_masks(dataset: Dataset, pattern: str) -> tuple[list[Suspect], list[str]]:
    """Connected parts of the masks that no box of a white cell covers; and notes.

    pattern  a mask's path relative to the set's pictures, with {stem} or {number} of the picture's name
    Suspicion is one minus the share of the part that boxes cover. InputError when the pattern names no file.
    """
    if "{stem}" not in pattern and "{number}" not in pattern:
        raise InputError(
            f"--masks {pattern!r} would be the same mask for every picture: expected {{stem}} or {{number}} in it, "
            f"for example 'masks/{{stem}}.png'"
        )
    parts: list[tuple[TruthField, np.ndarray, tuple[float, float, float, float], int]] = []
    n_masks, unread = 0, []
    for field in dataset.fields:
        path = dataset.image_root / mask_name(field, pattern)
        if not path.is_file():
            continue
        n_masks += 1
        try:
            mask = read_mask(path)
        except DataError:
            unread.append(path.name)
            continue
        if mask.shape != (field.height, field.width):
            unread.append(path.name)
            continue
        parts += [(field, mask, box, area) for box, area in mask_parts(mask)]
    if not n_masks:
        raise InputError(
            f"--masks {pattern!r} names no file under {dataset.image_root}: the first would be "
            f"{mask_name(dataset.fields[0], pattern) if dataset.fields else '(the set has no pictures)'}"
        )
    notes = [f"{n_masks} masks of {len(dataset.fields)} photographs were compared with the boxes."]
    if unread:
        notes.append(f"{len(unread)} masks are no picture of their photograph's size: {', '.join(unread[:3])}.")
    typical = float(np.median([area for *_, area in parts])) if parts else 0.0
    suspects = []
    for field, mask, box, area in parts:
        share = _boxed_share(field, mask, box)
        if area >= _LEAST_SHARE * typical and share < _FITS_IOU:
            detail = f"boxes cover {100 * share:.0f} % of the mask"
            suspects.append(Suspect("mask_without_box", 1 - share, field, None, box, "mask", detail=detail))
    return suspects, notes


def mask_parts(mask: np.ndarray) -> list[tuple[tuple[float, float, float, float], int]]:
    """(box px xyxy, area px²) of each part of an (H, W) bool mask, corners joined, largest first.

    Runs of True pixels are joined row by row (union-find over runs), so a mask costs as many steps as it has runs.
    """
    runs: list[tuple[int, int, int]] = []  # y, x0, x1
    parent: list[int] = []

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    above: list[int] = []
    for y in range(len(mask)):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], mask[y].astype(np.int8), [0]])))
        here = []
        for x0, x1 in edges.reshape(-1, 2).tolist():
            number = len(runs)
            runs.append((y, x0, x1))
            parent.append(number)
            here.append(number)
            for other in above:
                if runs[other][1] <= x1 and runs[other][2] >= x0:
                    parent[root(other)] = root(number)
        above = here
    boxes: dict[int, list[float]] = {}
    areas: dict[int, int] = {}
    for number, (y, x0, x1) in enumerate(runs):
        top = root(number)
        box = boxes.setdefault(top, [x0, y, x1, y + 1])
        box[:] = [min(box[0], x0), min(box[1], y), max(box[2], x1), max(box[3], y + 1)]
        areas[top] = areas.get(top, 0) + x1 - x0
    order = sorted(areas, key=lambda t: -areas[t])
    return [(tuple(float(v) for v in boxes[t]), areas[t]) for t in order]


def _boxed_share(field: TruthField, mask: np.ndarray, box: tuple[float, float, float, float]) -> float:
    """Share of the mask's pixels in `box` that lie in some box of a white cell."""
    x0, y0, x1, y1 = (int(v) for v in box)
    inside = mask[y0:y1, x0:x1]
    covered = np.zeros_like(inside)
    for cell in field.cells:
        if cell.class_name not in NOT_WHITE:
            left, top, right, bottom = (round(v) for v in cell.box)
            covered[max(top - y0, 0) : max(bottom - y0, 0), max(left - x0, 0) : max(right - x0, 0)] = True
    return float((inside & covered).sum() / max(inside.sum(), 1))
