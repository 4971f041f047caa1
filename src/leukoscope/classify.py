"""Name the located cells: crop, run the classifier in batches, turn logits into probabilities."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from leukoscope.crop import match_nuclei
from leukoscope.crop_contour import crop_by_rule
from leukoscope.errors import ModelError
from leukoscope.locate import prepare
from leukoscope.models.probabilities import softmax
from leukoscope.models.runtime import Session
from leukoscope.scale import with_scale
from leukoscope.types import Calls, Cells, Field

BATCH = 16  # cells a call: more are no faster on a processor, and memory stays that of sixteen


class Batch(NamedTuple):
    """Some of a field's cells: crops (n, S, S, 3) uint8, probs (n, C), words {attribute: value} of each (None: a
    classifier of classes only), features (n, F) that tell like cells (None: the model gives none)."""

    crops: np.ndarray
    probs: np.ndarray
    words: list[dict[str, str]] | None
    features: np.ndarray | None = None


def classify(field: Field, cells: Cells, classifier: Session) -> Calls:
    """Class probabilities of a field's cells, row-aligned with `cells`, and what else the model says of them.

    A scale that the field does not state is measured at its red cells (`leukoscope.scale`).
    """
    view = with_scale(prepare(field, classifier.card), cells)
    batches = list(classify_batches(view, cells, classifier))
    taxonomy, described = classifier.card.taxonomy, classifier.card.attributes is not None
    probs = np.concatenate([b.probs for b in batches]) if batches else np.zeros((0, len(taxonomy.names)))
    return Calls(cells, probs, taxonomy, tuple(w for b in batches for w in b.words) if described else None)


def classify_batches(field: Field, cells: Cells, classifier: Session) -> Iterator[Batch]:
    """At most BATCH cells at a time of a field that `prepare` has already seen, in the order of `cells`.

    One batch at a time, so that two thousand cells need no more memory than sixteen. A cell's numbers depend on
    its own field only.
    """
    rule = classifier.card.crop
    for start in range(0, len(cells), BATCH):
        some = take_cells(cells, start, start + BATCH)
        crops = crop_by_rule(field.pixels, some, rule, um_per_px=field.um_per_px)
        yield _name(crops, diameters_um(field, some.boxes), classifier)


def take_cells(cells: Cells, first: int, stop: int) -> Cells:
    """Rows first to stop - 1 of a field's cells."""
    contours = None if cells.contours is None else cells.contours[first:stop]
    return Cells(cells.key, cells.boxes[first:stop], cells.scores[first:stop], contours)


def diameters_um(field: Field, boxes: np.ndarray) -> np.ndarray:
    """(N,) float32: the longer side of each box (N, 4) in micrometres; 0 where the scale is unknown or the field's
    edge cuts the cell, whose size is then unknown too."""
    height, width = field.pixels.shape[:2]
    whole = (boxes[:, :2] > 1).all(1) & (boxes[:, 2] < width - 1) & (boxes[:, 3] < height - 1)
    longer = (boxes[:, 2:] - boxes[:, :2]).max(1)
    return (longer * whole * (field.um_per_px or 0.0)).astype(np.float32)


def _name(crops: np.ndarray, diameters_um: np.ndarray, classifier: Session) -> Batch:
    """Softmax of the logits over the card's temperature, and the words that are sure enough."""
    card = classifier.card
    inputs = {"pixels": match_nuclei(crops, card.crop.nucleus_density)}
    if "diameter_um" in classifier.inputs:
        inputs["diameter_um"] = diameters_um
    outputs = classifier.run_named(**inputs)
    logits, names = outputs["logits"], card.taxonomy.names
    if logits.shape != (len(crops), len(names)):
        raise ModelError(
            f"model {card.name!r} gave logits of shape {logits.shape} for {len(crops)} cells; "
            f"its taxonomy has {len(names)} classes: the card and the ONNX file do not belong together"
        )
    probs = softmax(logits, card.temperature).astype(np.float32)
    words = None
    if card.attributes is not None:
        words = card.attributes.say(outputs["attributes"], [names[c] for c in probs.argmax(1)])
    return Batch(crops, probs, words, outputs.get("features"))
