"""The record's ratios: as counted, and corrected for the classifier's errors where its card says how often it errs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np

from leukoscope.count import BANDS, COVERS, band, ratios
from leukoscope.models.bundle import Card
from leukoscope.quantify import ErrorRate, confusion_of, further_cells, further_cells_corrected, ratio_of, weigh_patient
from leukoscope.types import Differential, Ratio

DIGITS = 6
CORRECTED_COVERS = (
    "sampling error and the classifier's errors as often as it made them in validation; not that it may err otherwise "
    "on another laboratory's stain, nor cells that were not found"
)
OWN_COVERS = (
    "sampling error and the classifier's errors as its validation and labelled cells of this laboratory show them; "
    "not cells that were not found"
)
BAND_EDGES = tuple(sorted(edge for edge, _ in BANDS if edge > 0))


@dataclass(frozen=True, slots=True, eq=False)
class Correction:
    """What a classifier's card gives to correct ratios with.

    confusion   (C, C) validation cells, truth x called; None: the card has none
    thresholds  ratio name -> the lines that a patient may be on either side of
    own         (C, C) labelled cells of the laboratory whose pictures are analysed, or None
    """

    confusion: np.ndarray | None = None
    thresholds: dict[str, tuple[float, ...]] | None = None
    own: np.ndarray | None = None

    @classmethod
    def of(cls, card: Card, own: np.ndarray | None = None) -> Correction:
        """From a classifier's card: its confusion matrix, and thresholds called ratio_NAME (a study's own line).

        Own cells correct also where the card has no matrix.

        ModelError where the matrix does not fit the card's taxonomy.
        """
        lines = {"blasts": BAND_EDGES}
        for name, value in card.thresholds.items():
            if name.startswith("ratio_"):
                lines[name.removeprefix("ratio_")] = (value,)
        confusion = confusion_of(card.confusion, card.taxonomy)
        if confusion is None and own is not None:
            confusion = np.zeros_like(own)
        return cls(confusion, lines, own)


def ratio_entries(differential: Differential, correction: Correction) -> list[dict]:
    """The record's `ratios` of one patient."""
    return [_ratio_entry(differential, ratio, correction) for ratio in ratios(differential)]


def _ratio_entry(differential: Differential, ratio: Ratio, correction: Correction) -> dict:
    lines = (correction.thresholds or {"blasts": BAND_EDGES}).get(ratio.name, ())
    return {
        "name": ratio.name,
        "numerator": ratio.numerator,
        "denominator": ratio.denominator,
        "value": number(ratio.value),
        "low": number(ratio.low),
        "high": number(ratio.high),
        "level": ratio.level,
        "method": ratio.method,
        "band": band(ratio),
        "covers": COVERS,
        "further_cells": [
            {"threshold": t, "cells": further_cells(ratio.numerator, ratio.denominator, t, level=ratio.level)}
            for t in lines
        ],
        "corrected": _corrected_entry(differential, ratio, correction, lines),
    }


def _corrected_entry(
    differential: Differential, ratio: Ratio, correction: Correction, lines: Iterable[float]
) -> dict | None:
    if correction.confusion is None:
        return None
    own = correction.own
    evidence = weigh_patient(differential, correction.confusion, ratio.name, local=own)
    corrected = ratio_of(evidence, level=ratio.level)
    known = math.isfinite(corrected.value)
    return {
        "value": number(corrected.value),
        "low": number(corrected.low) if known else None,
        "high": number(corrected.high) if known else None,
        "level": corrected.level,
        "method": corrected.method,
        "reason": corrected.reason,
        "covers": CORRECTED_COVERS if own is None else OWN_COVERS,
        "own_cells": 0 if own is None else int(own.sum()),
        "sensitivity": _rate_entry(corrected.sensitivity),
        "false_alarm": _rate_entry(corrected.false_alarm),
        "unseen": number(corrected.unseen),
        "further_cells": [
            {"threshold": t, "cells": further_cells_corrected(evidence, t, level=ratio.level)} for t in lines if known
        ],
    }


def _rate_entry(rate: ErrorRate) -> dict:
    known = rate.n_cells > 0
    values = asdict(rate)
    return {k: number(v) if known or k.startswith("n_") else None for k, v in values.items()}


def number(value: float) -> float | None:
    """Rounded for the record; null for NaN."""
    return None if math.isnan(value) else round(value, DIGITS)
