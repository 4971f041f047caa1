"""What a model sees in a set's photographs, before any label is read: cells found, and each cell's activations.

Nothing here depends on the annotations but where the boxes are, so the same observations serve every ranking.
"""

from dataclasses import dataclass, replace

import numpy as np

from leukoscope.checks.activations import Activations
from leukoscope.classify import BATCH, diameters_um
from leukoscope.crop import crop_cells, match_nuclei
from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField
from leukoscope.errors import ImageError
from leukoscope.images import read_field
from leukoscope.locate import locate_balanced, prepare
from leukoscope.models.bundle import Bundle
from leukoscope.models.probabilities import softmax
from leukoscope.models.runtime import Session
from leukoscope.progress import Progress, no_progress
from leukoscope.scale import with_scale
from leukoscope.types import Cells, Field

UNTYPED = (None, "white_cell")  # cells whose type nobody stated: there is no label to doubt
NOT_WHITE = ("red_cell", "platelet")  # annotated in some sets; the locator is not asked for them
_LOWEST_SCORE = 0.02  # a box that the locator saw, however faintly, is less suspect than one it did not see
_FULL_FRAME = 0.9  # a box of this share of its picture's area: there is nothing to locate


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """What the model saw in one field; boxes px xyxy.

    found_boxes, scores  (D, 4), (D,) of the locator, best first; None where it was not asked
    found_artefact    (D,) probability that it is no cell but an artefact; 0 below the card's threshold
    found_class       D names of the classifier's most probable class, "" below the threshold
    activations       {row in the field's cells: (F,) float32} of typed cells
    """

    found_boxes: np.ndarray | None
    scores: np.ndarray | None
    found_artefact: np.ndarray | None
    found_class: tuple[str, ...]
    activations: dict[int, np.ndarray]


@dataclass(frozen=True, slots=True, eq=False)
class Observations:
    """Of a set: by field id; fields that could not be read as (file, reason); the locator's threshold, if any."""

    by_field: dict[str, Observation]
    failed: tuple[tuple[str, str], ...]
    threshold: float | None


def observe(dataset: Dataset, bundles: dict[str, Bundle], *, progress: Progress = no_progress) -> Observations:
    """Run a model over the photographs of a set.

    bundles  of `find_model`: "locate", "classify" or both; what is missing is not observed
    progress called with (done, total) after each photograph
    """
    locator = Session(_keep_faint_boxes(bundles["locate"])) if "locate" in bundles else None
    threshold = bundles["locate"].card.thresholds["score"] if locator else None
    classifier = Activations(bundles["classify"]) if "classify" in bundles else None
    by_field, failed = {}, []
    for number, truth in enumerate(dataset.fields, 1):
        try:
            field = read_field(dataset.path(truth), truth.key, um_per_px=truth.um_per_px)
        except ImageError as error:
            failed.append((truth.file, error.reason))
        else:
            by_field[truth.key.field_id] = _observe_field(truth, field, locator, classifier, threshold=threshold)
        progress(number, len(dataset.fields))
    return Observations(by_field, tuple(failed), threshold)


def is_typed(cell: TruthCell) -> bool:
    """Whether there is a label of a white cell's type to doubt."""
    return cell.class_name not in UNTYPED and cell.class_name not in NOT_WHITE


def is_single_cell(truth: TruthField) -> bool:
    """Whether the picture is cut to its one cell, so that there is nothing to locate."""
    if len(truth.cells) != 1:
        return False
    x0, y0, x1, y1 = truth.cells[0].box
    return (x1 - x0) * (y1 - y0) >= _FULL_FRAME * truth.width * truth.height


def _keep_faint_boxes(bundle: Bundle) -> Bundle:
    card = bundle.card
    lowest = min(_LOWEST_SCORE, card.thresholds["score"])
    return replace(bundle, card=replace(card, thresholds={**card.thresholds, "score": lowest}))


def _observe_field(
    truth: TruthField, field: Field, locator: Session | None, classifier: Activations | None, *, threshold: float | None
) -> Observation:
    found_boxes = scores = artefact = None
    names: tuple[str, ...] = ()
    if locator is not None and not is_single_cell(truth):
        cells = locate_balanced(prepare(field, locator.card), locator)
        found_boxes, scores = cells.boxes, cells.scores
        artefact, names = np.zeros(len(found_boxes)), ("",) * len(found_boxes)
    typed = [i for i, c in enumerate(truth.cells) if is_typed(c)] if classifier is not None else []
    sure = np.flatnonzero(scores >= threshold) if scores is not None and classifier is not None else np.zeros(0, int)
    activations: dict[int, np.ndarray] = {}
    if len(typed) + len(sure):
        boxes = np.array([truth.cells[i].box for i in typed], np.float32).reshape(-1, 4)
        boxes = np.concatenate([boxes, found_boxes[sure]]) if len(sure) else boxes
        seen, probs = _classify(field, boxes, classifier)
        activations = {row: seen[n] for n, row in enumerate(typed)}
        if len(sure):
            taxonomy = classifier.card.taxonomy
            of_found = probs[len(typed) :]
            artefact[sure] = of_found[:, taxonomy.columns(taxonomy.artefacts)].sum(1)
            called = dict(zip(sure.tolist(), of_found.argmax(1).tolist(), strict=True))
            names = tuple(taxonomy.names[called[i]] if i in called else "" for i in range(len(found_boxes)))
    return Observation(found_boxes, scores, artefact, names, activations)


def _classify(field: Field, boxes: np.ndarray, classifier: Activations) -> tuple[np.ndarray, np.ndarray]:
    """Activations (N, F) and probabilities (N, C) of boxes (N, 4), prepared and cropped as in an analysis."""
    view = prepare(field, classifier.card)
    view = with_scale(view, Cells(field.key, boxes, np.ones(len(boxes))))
    seen, probs = [], []
    for start in range(0, len(boxes), BATCH):
        batch = boxes[start : start + BATCH]
        crops = crop_cells(view.pixels, batch, classifier.card.crop, um_per_px=view.um_per_px)
        inputs = {"pixels": match_nuclei(crops, classifier.card.crop.nucleus_density)}
        if "diameter_um" in classifier.inputs:
            inputs["diameter_um"] = diameters_um(view, batch)
        activations, logits = classifier.run(**inputs)
        seen.append(activations)
        probs.append(softmax(logits, classifier.card.temperature))
    return np.concatenate(seen), np.concatenate(probs)
