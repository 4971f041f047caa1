"""Boxes that no locator finds, and confident finds without a box."""

from dataclasses import replace

import numpy as np

from leukoscope.checks.observe import NOT_WHITE, Observation, Observations, is_single_cell
from leukoscope.checks.suspect import Suspect, trusted
from leukoscope.dataset.manifest import Dataset, TruthField
from leukoscope.geometry import box_iou

SAME_CELL_IOU = 0.3  # annotators draw a cell's edge tighter or looser; another cell overlaps less
_EDGE_PX = 2.0
_NO_CELL = ("artefact", "smudge_cell", "other", "not_identifiable")  # the locator is not asked to find these


def doubt_boxes(dataset: Dataset, seen: Observations) -> tuple[list[Suspect], list[str]]:
    """Every box of a white cell, and every find without one above the locator's threshold; and notes.

    Suspicion is the locator's confidence (see `confidence`), or one minus it. Cells cut by the picture's edge are left
    out by rule in many sets: a find there is as suspect as this set's own habit says, the share of such finds that
    have a box. How far the suspicions may leave 0.5 is the F1 of the locator against the set's boxes.
    """
    asked = [(f, seen.by_field[f.key.field_id]) for f in dataset.fields if f.key.field_id in seen.by_field]
    asked = [(f, o) for f, o in asked if o.found_boxes is not None and not is_single_cell(f)]
    if not asked:
        return [], ["Boxes were not judged: the model has no locator, or each picture is cut to its one cell."]
    overlaps = [_overlap(f, o) for f, o in asked]
    habit = _edge_habit(asked, overlaps, seen.threshold)
    suspects: list[Suspect] = []
    for (field, observed), overlap in zip(asked, overlaps, strict=True):
        suspects += _not_found(field, observed, overlap, threshold=seen.threshold)
        suspects += _no_box(field, observed, overlap, threshold=seen.threshold, edge_habit=habit)
    n_boxes = sum(s.kind == "not_found" for s in suspects)
    n_missed = sum(s.kind == "not_found" and s.suspicion > 0.5 for s in suspects)
    n_free = sum(s.kind == "no_box" for s in suspects)
    agreement = 2 * (n_boxes - n_missed) / max(2 * n_boxes - n_missed + n_free, 1)
    suspects = [replace(s, suspicion=trusted(s.suspicion, agreement)) for s in suspects]
    notes = [
        f"{n_boxes} boxes of white cells in {len(asked)} photographs were compared with the locator's finds "
        f"(F1 {agreement:.2f}); boxes of {' and '.join(n.replace('_', ' ') + 's' for n in NOT_WHITE)} were not judged.",
        f"Of cells that a picture's edge cuts, this set boxes about {100 * habit:.0f} %: "
        f"finds without a box there are weighed by that.",
    ]
    n_single = sum(is_single_cell(f) for f in dataset.fields)
    if n_single:
        notes.append(f"{n_single} pictures are cut to their one cell: there is nothing to locate in them.")
    return suspects, notes


def confidence(score: np.ndarray | float, threshold: float) -> np.ndarray | float:
    """A locator's score on a scale where its threshold is 0.5: linear from 0 to the threshold and from there to 1."""
    below = 0.5 * np.asarray(score) / max(threshold, 1e-9)
    above = 0.5 + 0.5 * (np.asarray(score) - threshold) / max(1 - threshold, 1e-9)
    return np.clip(np.where(np.asarray(score) < threshold, below, above), 0, 1)


def _white(field: TruthField) -> list[int]:
    return [row for row, c in enumerate(field.cells) if c.class_name not in NOT_WHITE]


def _overlap(field: TruthField, observed: Observation) -> np.ndarray:
    """(G, D) bool: annotated white cell and find are the same cell: they overlap, or a centre lies in the other box."""
    truth = np.array([field.cells[row].box for row in _white(field)], np.float64).reshape(-1, 4)
    boxes = observed.found_boxes.astype(np.float64)
    return (box_iou(truth, boxes) >= SAME_CELL_IOU) | (_holds_centre(truth, boxes) & _holds_centre(boxes, truth).T)


def _holds_centre(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N, M) bool: box n holds the middle of other m."""
    middle = (others[:, :2] + others[:, 2:]) / 2
    inside = (middle[None] >= boxes[:, None, :2]) & (middle[None] <= boxes[:, None, 2:])
    return inside.all(2)


def _at_edge(field: TruthField, boxes: np.ndarray) -> np.ndarray:
    """(N,) bool: the box reaches the picture's edge."""
    low = (boxes[:, :2] <= _EDGE_PX).any(1)
    return low | (boxes[:, 2] >= field.width - _EDGE_PX) | (boxes[:, 3] >= field.height - _EDGE_PX)


def _edge_habit(asked: list[tuple[TruthField, Observation]], overlaps: list[np.ndarray], threshold: float) -> float:
    """Share of confident finds at a picture's edge that have a box, one half added to either side for few."""
    boxed = total = 0
    for (field, observed), overlap in zip(asked, overlaps, strict=True):
        there = _at_edge(field, observed.found_boxes) & (observed.scores >= threshold)
        total += int(there.sum())
        boxed += int(overlap.any(0)[there].sum())
    return (boxed + 0.5) / (total + 1)


def _not_found(field: TruthField, observed: Observation, overlap: np.ndarray, *, threshold: float) -> list[Suspect]:
    suspects = []
    for place, row in enumerate(_white(field)):
        cell = field.cells[row]
        if cell.class_name in _NO_CELL:
            continue
        score = float(observed.scores[overlap[place]].max(initial=0))
        suspects.append(
            Suspect(
                kind="not_found",
                suspicion=float(1 - confidence(score, threshold)),
                field=field,
                row=row,
                box=cell.box,
                says="nothing" if score < threshold else "white cell",
                p_says=score,
            )
        )
    return suspects


def _no_box(
    field: TruthField, observed: Observation, overlap: np.ndarray, *, threshold: float, edge_habit: float
) -> list[Suspect]:
    suspects = []
    free = np.flatnonzero((observed.scores >= threshold) & ~overlap.any(0))
    edge = _at_edge(field, observed.found_boxes)
    others = [c for c in field.cells if c.class_name in NOT_WHITE]
    shared = box_iou(observed.found_boxes, np.array([c.box for c in others])) if others and len(free) else None
    for i in free:
        suspicion = float(confidence(float(observed.scores[i]), threshold)) * (1 - float(observed.found_artefact[i]))
        details = []
        if edge[i]:
            suspicion *= edge_habit
            details.append("cut by the picture's edge")
        if shared is not None and shared[i].max() >= SAME_CELL_IOU:
            details.append(f"boxed as {others[int(shared[i].argmax())].class_name.replace('_', ' ')}")
        if observed.found_class[i]:
            details.append(f"looks like {observed.found_class[i].replace('_', ' ')}")
        suspects.append(
            Suspect(
                kind="no_box",
                suspicion=suspicion,
                field=field,
                row=None,
                box=tuple(float(v) for v in observed.found_boxes[i]),
                says="white cell",
                p_says=float(observed.scores[i]),
                detail="; ".join(details),
            )
        )
    return suspects
