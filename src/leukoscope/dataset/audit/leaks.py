"""What the manifest alone tells: patients and smears on two sides, and cells that stand under two labels."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from leukoscope.dataset.audit.duplicates import Pair
from leukoscope.dataset.audit.turns import turn_points
from leukoscope.dataset.checks import drawn_twice
from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField
from leukoscope.dataset.names import spelled_alike
from leukoscope.geometry import box_iou
from leukoscope.taxonomy import nearest_class

_SAME_CELL = 0.5  # IoU of two boxes laid over one another
_SAME_BOX = 0.8  # IoU of two boxes of one picture that are meant for one cell


@dataclass(frozen=True, slots=True)
class Side:
    """Where a field stands: number of the data set among those audited (0 or 1), its split or None."""

    dataset: int
    split: str | None


@dataclass(frozen=True, slots=True)
class Straddler:
    """A patient or a smear that stands on more than one side."""

    kind: str  # "patient" or "smear"
    center: str
    patient_id: str
    smear_id: str
    sides: tuple[tuple[Side, int], ...]  # each side and its number of fields


@dataclass(frozen=True, slots=True)
class TwoLabels:
    """One cell that stands under two classes: rows of its two fields (the same row: two boxes of one picture)."""

    first: int
    second: int
    first_box: tuple[float, float, float, float]
    second_box: tuple[float, float, float, float]
    first_class: str
    second_class: str


def are_apart(one: Side, other: Side) -> bool:
    """Whether two fields stand on different sides: in different data sets, or in different stated splits of one."""
    if one.dataset != other.dataset:
        return True
    return one.split is not None and other.split is not None and one.split != other.split


def find_straddlers(datasets: Sequence[Dataset]) -> tuple[Straddler, ...]:
    """Patients, and smears, with fields on more than one side.

    A patient is told by centre and patient_id together, a smear by these and smear_id: two hospitals may both have a
    patient 1. Fields that state none are left out.
    """
    counts: dict[tuple[str, str, str, str], dict[Side, int]] = defaultdict(lambda: defaultdict(int))
    for number, dataset in enumerate(datasets):
        for field in dataset.fields:
            key, side = field.key, Side(number, field.split)
            if key.patient_id:
                counts["patient", key.center, key.patient_id, ""][side] += 1
            if key.smear_id:
                counts["smear", key.center, key.patient_id, key.smear_id][side] += 1
    straddlers = []
    for name, sides in sorted(counts.items(), key=lambda item: item[0]):
        places = list(sides)
        if any(are_apart(a, b) for i, a in enumerate(places) for b in places[i + 1 :]):
            order = sorted(sides.items(), key=lambda item: (item[0].dataset, item[0].split or ""))
            straddlers.append(Straddler(*name, tuple(order)))
    return tuple(straddlers)


@dataclass(frozen=True, slots=True)
class SpelledAlike:
    """Patients of one centre whose ids differ in case, spaces or zeros alone, and the sides on which they stand."""

    center: str
    patient_ids: tuple[str, ...]
    sides: tuple[Side, ...]


def find_spelled_alike(datasets: Sequence[Dataset]) -> tuple[SpelledAlike, ...]:
    """Patient ids that may be one patient, spelled twice: 7 and 7.0, P12 and p12."""
    places: dict[str, dict[str, set[Side]]] = defaultdict(lambda: defaultdict(set))
    for number, dataset in enumerate(datasets):
        for field in dataset.fields:
            places[field.key.center][field.key.patient_id].add(Side(number, field.split))
    collisions = []
    for center, sides_of in sorted(places.items()):
        for alike in spelled_alike(sides_of):
            sides = {side for name in alike for side in sides_of[name]}
            collisions.append(
                SpelledAlike(center, alike, tuple(sorted(sides, key=lambda s: (s.dataset, s.split or ""))))
            )
    return tuple(collisions)


def one_source_classes(seen: Iterable[tuple[str, str]]) -> dict[str, str]:
    """{class: source} of the classes that one source alone shows, of several; `seen` holds (class, source) of cells.

    What tells such a class from others may be its laboratory's stain, camera or cutting, and a network learns that.
    """
    sources: dict[str, set[str]] = defaultdict(set)
    for name, source in seen:
        sources[name].add(source)
    several = len(set().union(*sources.values())) > 1
    return {name: next(iter(of)) for name, of in sorted(sources.items()) if several and len(of) == 1}


def find_one_source(datasets: Sequence[Dataset]) -> dict[str, str]:
    """The same of data sets: a source is a centre, or the data set where no centre is stated."""
    return one_source_classes(
        (cell.class_name, field.key.center or dataset.name)
        for dataset in datasets
        for field in dataset.fields
        for cell in field.cells
        if cell.class_name
    )


def find_drawn_twice(fields: Sequence[TruthField]) -> tuple[tuple[int, TruthCell, TruthCell], ...]:
    """(row, cell, cell) of boxes of one picture that are nearly the same and may be one cell, drawn twice."""
    return tuple((row, one, other) for row, field in enumerate(fields) for one, other in drawn_twice(field.cells))


def find_two_labels(fields: Sequence[TruthField], pairs: Sequence[Pair]) -> tuple[TwoLabels, ...]:
    """Cells under two classes: across the two pictures of a pair, and twice in one picture.

    A class and a coarser one that it belongs to (neutrophil, white_cell) don't contradict each other.
    """
    contradictions = []
    for pair in pairs:
        one, other = fields[pair.first], fields[pair.second]
        if one.cells and other.cells:
            moved = carry_boxes([c.box for c in one.cells], one, other, pair)
            for i, j in _matches(moved, other.cells):
                if _contradict(one.cells[i], other.cells[j]):
                    contradictions.append(_two_labels(pair.first, pair.second, one.cells[i], other.cells[j]))
    for row, field in enumerate(fields):
        contradictions += _twice_in_one(row, field)
    return tuple(contradictions)


def carry_boxes(boxes: list, one: TruthField, other: TruthField, pair: Pair) -> np.ndarray:
    """Boxes (N, 4) px of the pair's first picture, in px of the second; they may reach over its edge."""
    corners = np.asarray(boxes, np.float64).reshape(-1, 2, 2) / (one.width, one.height)
    turned = turn_points(corners, pair.turn)
    x, y, width, height = pair.window
    placed = (turned - (x, y)) / (width, height) * (other.width, other.height)
    return np.concatenate([placed.min(axis=1), placed.max(axis=1)], axis=1)


def _matches(moved: np.ndarray, cells: tuple[TruthCell, ...]) -> list[tuple[int, int]]:
    """Pairs of rows that are each other's best partner."""
    overlap = box_iou(moved, np.array([c.box for c in cells], np.float64))
    best, back = overlap.argmax(axis=1), overlap.argmax(axis=0)
    return [(i, int(j)) for i, j in enumerate(best) if overlap[i, j] >= _SAME_CELL and back[j] == i]


def _twice_in_one(row: int, field: TruthField) -> list[TwoLabels]:
    if len(field.cells) < 2:
        return []
    boxes = np.array([c.box for c in field.cells], np.float64)
    pairs = np.argwhere(np.triu(box_iou(boxes, boxes) >= _SAME_BOX, 1))
    cells = field.cells
    return [_two_labels(row, row, cells[i], cells[j]) for i, j in pairs if _contradict(cells[i], cells[j])]


def _two_labels(first: int, second: int, one: TruthCell, other: TruthCell) -> TwoLabels:
    return TwoLabels(first, second, one.box, other.box, one.class_name, other.class_name)


def _contradict(one: TruthCell, other: TruthCell) -> bool:
    if one.class_name is None or other.class_name is None:
        return False
    a, b = one.class_name, other.class_name
    return nearest_class(a, (b,)) is None and nearest_class(b, (a,)) is None
