"""How well a cell's attributes are told, one attribute at a time, and from which probability on their words are shown.

An attribute is judged on the cells that state it. Macro-F1 over the values that the truth has, as for classes: a model
that always says the commonest value has a good accuracy and a poor macro-F1.
"""

from collections.abc import Sequence

import numpy as np

from leukoscope.errors import DataError
from leukoscope.evaluate.calibration import fit_temperature
from leukoscope.evaluate.classes import confusion_matrix, macro_f1
from leukoscope.evaluate.readings import with_limits
from leukoscope.models.words import WordRule
from leukoscope.taxonomy import AttributeSet

LEAST_RIGHT = 0.90  # of the cells a value is said of, these many must have it
LEAST_SAID = 10  # validation cells that a value must be said of, or nothing is known of it
LEAST_SHOWN = 0.50  # of the cells must get a word, or the attribute is not worth a column
THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98)
RULE = (
    f"A word is shown from the lowest probability at which, on validation cells as they are and restained, each value "
    f"was right in at least {100 * LEAST_RIGHT:.0f} of 100 cells that it was said of; attributes without such a "
    f"probability, or that would then be said of fewer than half of the cells, are not shown"
)


def attribute_matrices(calls: np.ndarray, stated: np.ndarray, attributes: AttributeSet) -> list[np.ndarray]:
    """A confusion matrix (K, K) for each attribute, truth by call.

    calls   (N, A) place of the value called
    stated  (N, A) place of the value stated, -1 where none is: such cells are not judged
    """
    calls, stated = np.asarray(calls, np.int64), np.asarray(stated, np.int64)
    shape = (len(stated), len(attributes.names))
    if calls.shape != shape or stated.shape != shape:
        raise DataError(f"attributes need calls and truths of shape {shape}, got {calls.shape} and {stated.shape}")
    matrices = []
    for column, attribute in enumerate(attributes.attributes):
        known = stated[:, column] >= 0
        n_values = len(attribute.values)
        matrices.append(confusion_matrix(stated[known, column], calls[known, column], n_classes=n_values))
    return matrices


def attribute_f1(calls: np.ndarray, stated: np.ndarray, attributes: AttributeSet) -> np.ndarray:
    """(A,) macro-F1 of each attribute, over the values that its truth has; NaN where nobody states it."""
    return np.array([macro_f1(m) for m in attribute_matrices(calls, stated, attributes)])


def most_probable(values: np.ndarray, attributes: AttributeSet) -> np.ndarray:
    """(N, A) place of the value with the highest number among each attribute's columns of (N, V)."""
    return np.stack([values[:, columns].argmax(1) for columns in attributes.slices()], 1)


def score_words(
    cells: Sequence[tuple[dict[str, str], dict[str, str]]], clusters: np.ndarray, rule: WordRule
) -> dict[str, dict]:
    """How often the words a report would show are right, for each attribute that the rule shows and the cells state.

    cells     what is stated and what is said of each cell, {attribute: value}
    clusters  (N,) what is left out in turn for the limits
    """
    scores: dict[str, dict] = {}
    for name in rule.shown:
        stated = [i for i, (truth, _) in enumerate(cells) if name in truth]
        said = [i for i in stated if name in cells[i][1]]
        if not stated:
            continue
        right = np.array([cells[i][0][name] == cells[i][1][name] for i in said], bool)
        scores[name] = {"n_stated": len(stated), "n_said": len(said)}
        if said:
            of_said = np.asarray(clusters)[said]
            whole = np.arange(len(said))
            scores[name]["right"] = with_limits(lambda rows, v=right: float(v[rows].mean()), whole, of_said)
    return scores


def choose_word_rule(
    values: np.ndarray, stated: np.ndarray, attributes: AttributeSet, *, classes: Sequence[str]
) -> WordRule:
    """Temperatures and thresholds by RULE from validation cells: a model's output values (N, V), stated (N, A)."""
    temperatures, thresholds, measured = [], [], []
    for column, (attribute, columns) in enumerate(zip(attributes.attributes, attributes.slices(), strict=True)):
        known = stated[:, column] >= 0
        if not known.any():
            raise DataError(f"no validation cell states {attribute.name}: its threshold can't be chosen")
        logits, truth = values[known][:, columns].astype(np.float64), stated[known, column]
        temperature = round(fit_temperature(logits, truth), 4)
        z = np.exp((logits - logits.max(1, keepdims=True)) / temperature)
        probs = z / z.sum(1, keepdims=True)
        threshold, precision = _lowest_threshold(probs, truth)
        f1 = macro_f1(confusion_matrix(truth, probs.argmax(1), n_classes=probs.shape[1]))
        temperatures.append(temperature)
        thresholds.append(threshold)
        measured.append({"attribute": attribute.name, "n_cells": len(truth), "macro_f1": round(f1, 4), **precision})
    return WordRule(attributes, tuple(classes), tuple(temperatures), tuple(thresholds), RULE, tuple(measured))


def _lowest_threshold(probs: np.ndarray, truth: np.ndarray) -> tuple[float | None, dict]:
    """The threshold by RULE, and the share of cells shown and of words right there; (None, nothing) without one."""
    called, sure = probs.argmax(1), probs.max(1)
    for threshold in THRESHOLDS:
        shown = sure >= threshold
        said = np.bincount(called[shown], minlength=probs.shape[1])
        right = np.bincount(called[shown & (called == truth)], minlength=probs.shape[1])
        if shown.mean() < LEAST_SHOWN:
            break
        # A value that the cells have and the model never says would be silently missing: it fails too.
        needed = (said > 0) | (np.bincount(truth, minlength=probs.shape[1]) > 0)
        if (said[needed] >= LEAST_SAID).all() and (right[needed] >= LEAST_RIGHT * said[needed]).all():
            share = round(float(right.sum() / said.sum()), 4)
            return threshold, {"shown": round(float(shown.mean()), 4), "right": share}
    return None, {"shown": 0.0, "right": None}
