"""Run a model over annotated fields: what the locator finds, and what the classifier says of cells.

Cells are prepared, cropped and named by the same functions as in `analyze`.
"""

from dataclasses import dataclass, replace

import numpy as np

from leukoscope.classify import classify
from leukoscope.dataset.detection import class_column
from leukoscope.dataset.manifest import Dataset, TruthField
from leukoscope.errors import ImageError
from leukoscope.images import read_field
from leukoscope.locate import detect, locate
from leukoscope.models.bundle import Bundle
from leukoscope.models.runtime import Session
from leukoscope.progress import Progress, no_progress
from leukoscope.taxonomy import Taxonomy
from leukoscope.types import Cells, Field

# Boxes below the card's threshold are asked for too: average precision is about the whole ranking.
LOWEST_SCORE = 0.001
NOT_WHITE = ("red_cell", "platelet")  # annotated in some sets; the locator is not asked for them

UNTYPED = "white_cell"  # says no more than that a type was not stated


@dataclass(frozen=True, slots=True, eq=False)
class FieldPrediction:
    """One field's truth and predictions, all boxes px xyxy.

    boxes, class_names        truth (G, 4) of white cells, class None where nobody stated a type
    truth_probs               (G, C) of the true boxes, None without a classifier
    found, scores             (D, 4), (D,) of the locator down to LOWEST_SCORE, None without a locator
    found_probs               (D, C) of those found, NaN rows below the card's threshold; None unless there are both
                              (a one-stage detector is both, but says nothing of true boxes)
    found_classes             (D,) a one-stage detector's best class of each, else None
    stated, words             of each true cell: the attributes that the set states, and those that the classifier
                              says of the true box (None from one that says none)
    """

    truth: TruthField
    boxes: np.ndarray
    class_names: tuple[str | None, ...]
    truth_probs: np.ndarray | None
    found_boxes: np.ndarray | None
    scores: np.ndarray | None
    found_probs: np.ndarray | None
    found_classes: np.ndarray | None = None
    stated: tuple[dict[str, str], ...] = ()
    words: tuple[dict[str, str], ...] | None = None


def predict_fields(
    bundles: dict[str, Bundle], dataset: Dataset, *, progress: Progress = no_progress
) -> tuple[list[FieldPrediction], list[dict[str, str]]]:
    """Predictions field by field, and the fields that could not be read: [{"file", "reason"}].

    bundles  of `find_model`: "locate", "classify" or both, or "detect"
    progress called with (done, total) after each field
    """
    finder = bundles.get("detect", bundles.get("locate"))
    locator = Session(_keep_every_box(finder)) if finder else None
    threshold = finder.card.thresholds["score"] if finder else 0.0
    classifier = Session(bundles["classify"]) if "classify" in bundles else None
    predictions, failed = [], []
    for number, truth in enumerate(dataset.fields, 1):
        try:
            field = read_field(dataset.path(truth), truth.key, um_per_px=truth.um_per_px)
        except ImageError as error:
            failed.append({"file": truth.file, "reason": error.reason})
        else:
            predictions.append(_predict_field(truth, field, locator, classifier, threshold=threshold))
        progress(number, len(dataset.fields))
    return predictions, failed


def _is_counted(class_name: str | None, taxonomy: Taxonomy) -> bool:
    """Whether a detector is to find a cell: unplaced classes are cells too, "other" and its like are not."""
    column = class_column(class_name, taxonomy)
    return column is None or column in taxonomy.columns(taxonomy.counted)


def _keep_every_box(bundle: Bundle) -> Bundle:
    card = bundle.card
    return replace(bundle, card=replace(card, thresholds={**card.thresholds, "score": LOWEST_SCORE}))


def _predict_field(
    truth: TruthField, field: Field, locator: Session | None, classifier: Session | None, *, threshold: float
) -> FieldPrediction:
    white = [c for c in truth.cells if c.class_name not in NOT_WHITE]
    if locator and not classifier and locator.card.taxonomy is not None:
        white = [c for c in white if _is_counted(c.class_name, locator.card.taxonomy)]
    boxes = np.array([c.box for c in white], np.float64).reshape(-1, 4)
    truth_probs = found_probs = found_classes = words = None
    if locator and locator.card.task == "detect":
        calls = detect(field, locator)
        cells, found_classes = calls.cells, calls.class_ids()
        found_probs = np.where(cells.scores[:, None] >= threshold, calls.probs, np.nan)
    else:
        cells = locate(field, locator) if locator else None
    if classifier:
        calls = classify(field, Cells(truth.key, boxes, np.ones(len(boxes))), classifier)
        truth_probs, words = calls.probs, calls.words
    if classifier and locator:
        sure = np.flatnonzero(cells.scores >= threshold)
        found_probs = np.full((len(cells), len(classifier.card.taxonomy.names)), np.nan)
        found_probs[sure] = classify(field, Cells(truth.key, cells.boxes[sure], cells.scores[sure]), classifier).probs
    return FieldPrediction(
        truth=truth,
        boxes=boxes,
        class_names=tuple(None if c.class_name == UNTYPED else c.class_name for c in white),
        truth_probs=truth_probs,
        found_boxes=cells.boxes if cells else None,
        scores=cells.scores if cells else None,
        found_probs=found_probs,
        found_classes=found_classes,
        stated=tuple(dict(c.attributes) for c in white),
        words=words,
    )
