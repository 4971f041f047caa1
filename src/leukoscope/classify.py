"""Name the located cells: crop, run the classifier in batches, turn logits into probabilities."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from leukoscope.crop import crop_cells, match_nuclei
from leukoscope.errors import ModelError
from leukoscope.locate import prepare
from leukoscope.models.runtime import Session
from leukoscope.scale import with_scale
from leukoscope.types import Calls, Cells, Field

BATCH = 16  # cells a call: more are no faster on a processor, and memory stays that of sixteen


def classify(field: Field, cells: Cells, classifier: Session) -> Calls:
    """Class probabilities of a field's cells, row-aligned with `cells`.

    A scale that the field does not state is measured at its red cells (`leukoscope.scale`).
    """
    view = with_scale(prepare(field, classifier.card), cells)
    probs = [p for _, p in classify_balanced(view, cells, classifier)]
    return join_calls(cells, probs, classifier)


def join_calls(cells: Cells, probs: list[np.ndarray], classifier: Session) -> Calls:
    """The batches of `classify_balanced` as one `Calls`."""
    taxonomy = classifier.card.taxonomy
    return Calls(cells, np.concatenate(probs) if probs else np.zeros((0, len(taxonomy.names))), taxonomy)


def classify_balanced(field: Field, cells: Cells, classifier: Session) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Crops (n, S, S, 3) and probabilities (n, C), n <= BATCH, of a field that `prepare` has already seen.

    One batch at a time, so that two thousand cells need no more memory than sixteen. A cell's numbers depend on
    its own field only.
    """
    rule = classifier.card.crop
    for start in range(0, len(cells), BATCH):
        boxes = cells.boxes[start : start + BATCH]
        crops = crop_cells(field.pixels, boxes, rule, um_per_px=field.um_per_px)
        yield crops, _probabilities(crops, diameters_um(field, boxes), classifier)


def diameters_um(field: Field, boxes: np.ndarray) -> np.ndarray:
    """(N,) float32: the longer side of each box (N, 4) in micrometres; 0 where the scale is unknown or the field's
    edge cuts the cell, whose size is then unknown too."""
    height, width = field.pixels.shape[:2]
    whole = (boxes[:, :2] > 1).all(1) & (boxes[:, 2] < width - 1) & (boxes[:, 3] < height - 1)
    longer = (boxes[:, 2:] - boxes[:, :2]).max(1)
    return (longer * whole * (field.um_per_px or 0.0)).astype(np.float32)


def _probabilities(crops: np.ndarray, diameters_um: np.ndarray, classifier: Session) -> np.ndarray:
    """(N, C) float32: softmax of the logits over the card's temperature."""
    inputs = {"pixels": match_nuclei(crops, classifier.card.crop.nucleus_density)}
    if "diameter_um" in classifier.inputs:
        inputs["diameter_um"] = diameters_um
    (logits,) = classifier.run(**inputs)
    n_classes = len(classifier.card.taxonomy.names)
    if logits.shape != (len(crops), n_classes):
        raise ModelError(
            f"model {classifier.card.name!r} gave logits of shape {logits.shape} for {len(crops)} cells; "
            f"its taxonomy has {n_classes} classes: the card and the ONNX file do not belong together"
        )
    z = logits.astype(np.float64) / classifier.card.temperature
    z = np.exp(z - z.max(1, keepdims=True))
    return (z / z.sum(1, keepdims=True)).astype(np.float32)
