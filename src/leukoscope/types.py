"""The nouns. Frozen records of read-only arrays, checked once, when they are built.

Pixel convention, everywhere: x runs right, y runs down, the origin is the top left *corner* of the top left
pixel, boxes are [x0, y0, x1, y1] in pixels, half-open, so width = x1 - x0 and a full H x W frame is
[0, 0, W, H]. Contours are (K, 2) float32 arrays of x, y corners in the same system. Colour is RGB.
"""

from dataclasses import dataclass

import numpy as np

from leukoscope.errors import DataError
from leukoscope.raster import Pixels, Raster
from leukoscope.taxonomy import Taxonomy

SPECIMENS = ("blood", "marrow")


@dataclass(frozen=True, slots=True)
class FieldKey:
    """Where a field comes from; travels with every result so that `count` can refuse to mix patients."""

    field_id: str
    smear_id: str
    patient_id: str
    center: str
    specimen: str

    def __post_init__(self) -> None:
        if self.specimen not in SPECIMENS:
            raise DataError(f"specimen must be one of {', '.join(SPECIMENS)}, got {self.specimen!r}")


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """One photograph: pixels (H, W, 3) uint8 RGB, and micrometres a pixel where known (else None)."""

    key: FieldKey
    pixels: Pixels
    um_per_px: float | None = None

    def __post_init__(self) -> None:
        p = self.pixels
        is_picture = isinstance(p, np.ndarray | Raster) and p.dtype == np.uint8 and p.ndim == 3
        if not is_picture or p.shape[2] != 3 or 0 in p.shape:
            got = f"{getattr(p, 'dtype', type(p).__name__)} {getattr(p, 'shape', '')}"
            raise DataError(f"field pixels must be uint8 (H, W, 3), got {got}")
        if self.um_per_px is not None and not 0 < self.um_per_px < 100:
            raise DataError(f"um_per_px must be between 0 and 100 micrometres a pixel, got {self.um_per_px}")
        if isinstance(p, np.ndarray):
            _freeze(self, "pixels", p)


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Cells located in one field.

    boxes     (N, 4) float32, px, xyxy, half-open
    scores    (N,) float32 in [0, 1]: how sure the locator is (1 for truth)
    contours  N arrays (K, 2) float32, or None from a locator that gives boxes only
    """

    key: FieldKey
    boxes: np.ndarray
    scores: np.ndarray
    contours: tuple[np.ndarray, ...] | None = None

    def __post_init__(self) -> None:
        boxes = np.asarray(self.boxes, np.float32).reshape(-1, 4)
        scores = np.asarray(self.scores, np.float32).reshape(-1)
        if len(boxes) != len(scores):
            raise DataError(f"cells need one score a box, got {len(boxes)} boxes and {len(scores)} scores")
        if not np.isfinite(boxes).all():
            raise DataError("cell boxes must be finite numbers")
        bad = np.flatnonzero((boxes[:, 2] <= boxes[:, 0]) | (boxes[:, 3] <= boxes[:, 1]))
        if len(bad):
            raise DataError(f"cell boxes must have x1 > x0 and y1 > y0; box {bad[0]} is {boxes[bad[0]].tolist()}")
        if not ((scores >= 0) & (scores <= 1)).all():  # also catches NaN
            raise DataError("cell scores must lie in [0, 1]")
        if self.contours is not None and len(self.contours) != len(boxes):
            raise DataError(f"cells need one contour a box, got {len(self.contours)} for {len(boxes)} boxes")
        _freeze(self, "boxes", boxes)
        _freeze(self, "scores", scores)

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True, slots=True, eq=False)
class Calls:
    """Class probabilities of located cells: probs (N, C) float32, rows sum to 1, columns = taxonomy.names.

    words  for each cell {attribute: value} of what else is said of it, or None from a classifier of classes only
    least_prob  a cell whose best probability is below it is not identified; 0: every cell is
    """

    cells: Cells
    probs: np.ndarray
    taxonomy: Taxonomy
    words: tuple[dict[str, str], ...] | None = None
    least_prob: float = 0.0

    def __post_init__(self) -> None:
        n_classes = len(self.taxonomy.names)
        probs = np.asarray(self.probs, np.float32).reshape(-1, n_classes) if len(self.cells) == 0 else self.probs
        probs = np.asarray(probs, np.float32)
        if probs.shape != (len(self.cells), n_classes):
            raise DataError(f"calls need probs of shape ({len(self.cells)}, {n_classes}), got {probs.shape}")
        if len(probs) and (not (probs >= 0).all() or not np.allclose(probs.sum(1), 1, atol=1e-3)):
            raise DataError("calls need rows of probabilities that are not negative and sum to 1")
        if self.words is not None and len(self.words) != len(self.cells):
            raise DataError(f"calls need words for each cell, got {len(self.words)} for {len(self.cells)} cells")
        _freeze(self, "probs", probs)

    def class_ids(self) -> np.ndarray:
        """(N,) column of each cell's most probable class."""
        return self.probs.argmax(1) if len(self.probs) else np.zeros(0, np.int64)

    def identified(self) -> np.ndarray:
        """(N,) bool: whether the best probability is high enough for the cell to count as its class."""
        return is_identified(self.probs, self.least_prob)


def is_identified(probs: np.ndarray, least_prob: float) -> np.ndarray:
    """(N,) bool for probs (N, C): the rule of `Calls.identified`, for probabilities that are not in a `Calls` yet."""
    probs = np.asarray(probs, np.float32)
    return probs.max(1, initial=0.0) >= np.float32(least_prob)


@dataclass(frozen=True, slots=True, eq=False)
class Differential:
    """Counted cells of one patient and one specimen.

    counts    (C,) int64: cells by most probable class, artefacts included (the taxonomy says what is counted)
    expected  (C,) float64: summed probabilities of the same cells
    n_fields  fields that were read, cells or none
    n_unidentified  further cells, which the model could not name: in no class
    """

    patient_id: str
    specimen: str
    counts: np.ndarray
    expected: np.ndarray
    n_fields: int
    taxonomy: Taxonomy
    n_unidentified: int = 0

    def __post_init__(self) -> None:
        counts = np.asarray(self.counts)
        if counts.dtype.kind == "f" and not (np.abs(counts) < 2**53).all():  # nor NaN: a cast would make numbers of it
            raise DataError("a differential's counts must be whole numbers of cells")
        counts = counts.astype(np.int64)
        expected = np.asarray(self.expected, np.float64)
        shape = (len(self.taxonomy.names),)
        if counts.shape != shape or expected.shape != shape:
            raise DataError(f"a differential needs {shape[0]} counts, got {counts.shape} and {expected.shape}")
        if (counts < 0).any() or (expected < 0).any() or min(self.n_fields, self.n_unidentified) < 0:
            raise DataError("a differential's counts can't be negative")
        _freeze(self, "counts", counts)
        _freeze(self, "expected", expected)

    @property
    def n_counted(self) -> int:
        """Cells in the denominator: leukocytes in blood, all nucleated cells in marrow."""
        return int(self.counts[self.taxonomy.columns(self.taxonomy.denominator(self.specimen))].sum())

    @property
    def n_found(self) -> int:
        """All cells that were found, artefacts and cells that are not identified included."""
        return int(self.counts.sum()) + self.n_unidentified


@dataclass(frozen=True, slots=True)
class Ratio:
    """A share of counted cells with its interval, all in [0, 1]; NaN where nothing was counted."""

    name: str
    numerator: int
    denominator: int
    low: float
    high: float
    level: float
    method: str

    @property
    def value(self) -> float:
        return self.numerator / self.denominator if self.denominator else float("nan")


def _freeze(record: object, attribute: str, array: np.ndarray) -> None:
    """Store a read-only view: the record can't be edited, the caller's own array stays as it was."""
    view = array.view()
    view.flags.writeable = False
    object.__setattr__(record, attribute, view)
