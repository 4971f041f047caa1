"""The record's ratios: as counted, and corrected for the classifier's errors where its card says how often it errs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np

from leukoscope.count import COVERS, band_minimum, denominator_of, ratios, read_bands
from leukoscope.entries import CorrectedEntry, Further, NoneSeen, RateEntry, RatioEntry
from leukoscope.models.bundle import Card
from leukoscope.quantify import (
    ErrorRate,
    cells_by_patient,
    confusion_of,
    further_cells,
    further_cells_corrected,
    ratio_of,
    weigh_patient,
)
from leukoscope.quantify.needed import NONE_SEEN_LINES, ONE_SIDED_LEVEL, cells_to_exclude, most_missed
from leukoscope.types import Differential, Ratio

DIGITS = 6
CORRECTED_COVERS = (
    "sampling error, the classifier's errors as often as it made them in validation, and that patients differ in them; "
    "not that it may err otherwise on another laboratory's stain, nor cells that were not found"
)
OWN_COVERS = (
    "sampling error, the classifier's errors as its validation and labelled cells of this laboratory show them, and "
    "that patients differ in them; not cells that were not found"
)


@dataclass(frozen=True, slots=True, eq=False)
class Correction:
    """What a classifier's card gives to correct ratios with.

    confusion   (C, C) validation cells, truth x called, or (C, C + 1) with those not identified; None: none is known
    thresholds  ratio name -> the lines that a patient may be on either side of
    local       the same of labelled cells of the laboratory whose pictures are analysed, or None
    by_patient  (P, C, C + 1) cells by patient, of validation and of the laboratory together, which tell how much error
                rates differ between patients; None: not told
    unit        what a "patient" of them is, for people
    """

    confusion: np.ndarray | None = None
    thresholds: dict[str, tuple[float, ...]] | None = None
    local: np.ndarray | None = None
    by_patient: np.ndarray | None = None
    unit: str = "patient"

    @classmethod
    def of(cls, card: Card, local: np.ndarray | None = None, own_by_patient: np.ndarray | None = None) -> Correction:
        """From a classifier's card: its confusion matrix, and thresholds called ratio_NAME (a study's own line).

        Own cells correct also where the card has no matrix.

        ModelError where the matrix does not fit the card's taxonomy.
        """
        lines = {}
        for name, value in card.thresholds.items():
            if name.startswith("ratio_"):
                lines[name.removeprefix("ratio_")] = (value,)
        confusion = confusion_of(card.confusion, card.taxonomy)
        if confusion is None and local is not None:
            confusion = np.zeros_like(local)
        by_patient = [cells_by_patient(card.confusion_by_patient, card.taxonomy), own_by_patient]
        by_patient = [tables for tables in by_patient if tables is not None]
        unit = str((card.confusion_by_patient or {}).get("unit", "patient"))
        return cls(confusion, lines, local, np.concatenate(by_patient) if by_patient else None, unit)


def ratio_entries(
    differential: Differential, correction: Correction, *, min_cells: int | None = None
) -> list[RatioEntry]:
    """The record's `ratios` of one patient; `min_cells` as `count.read_bands` takes its minimum."""
    return [_ratio_entry(differential, ratio, correction, min_cells) for ratio in ratios(differential)]


def _ratio_entry(differential: Differential, ratio: Ratio, correction: Correction, min_cells: int | None) -> RatioEntry:
    reading = read_bands(differential, ratio, minimum=min_cells)
    lines = (correction.thresholds or {}).get(ratio.name, reading.lines)
    of, _ = denominator_of(differential.taxonomy, differential.specimen, ratio.name)
    per_field = ratio.denominator / differential.n_fields if differential.n_fields else 0.0
    return {
        "name": ratio.name,
        "of": of,
        "numerator": ratio.numerator,
        "denominator": ratio.denominator,
        "value": number(ratio.value),
        "low": number(ratio.low),
        "high": number(ratio.high),
        "level": ratio.level,
        "method": ratio.method,
        "band": reading.band,
        "band_reason": reading.reason,
        "band_minimum": band_minimum(differential.specimen, min_cells),
        "lines": list(reading.lines),
        "covers": COVERS,
        "further_cells": [
            _further(t, further_cells(ratio.numerator, ratio.denominator, t, level=ratio.level), per_field)
            for t in lines
        ],
        "none_seen": _none_seen_entry(ratio, per_field),
        "corrected": _corrected_entry(differential, ratio, correction, lines),
    }


def _further(line: float, cells: int | None, per_field: float) -> Further:
    """Further cells that settle a line, and in how many photographs like those so far they are found."""
    fields = None if cells is None or not per_field else math.ceil(cells / per_field)
    return {"threshold": line, "cells": cells, "fields": fields}


def _none_seen_entry(ratio: Ratio, per_field: float) -> NoneSeen | None:
    """What a count without any cell of the numerator can have missed; None where there is one, or no cell at all."""
    if ratio.numerator or not ratio.denominator:
        return None
    cells = [(line, cells_to_exclude(line) - ratio.denominator) for line in NONE_SEEN_LINES]
    return {
        "upper": number(most_missed(ratio.denominator)),
        "level": ONE_SIDED_LEVEL,
        "further_cells": [_further(line, max(0, more), per_field) for line, more in cells],
    }


def _corrected_entry(
    differential: Differential, ratio: Ratio, correction: Correction, lines: Iterable[float]
) -> CorrectedEntry | None:
    if correction.confusion is None:
        return None
    per_field = ratio.denominator / differential.n_fields if differential.n_fields else 0.0
    local = correction.local
    calls = {"local": local, "scatter": correction.by_patient}
    evidence = weigh_patient(differential, correction.confusion, ratio.name, **calls)
    corrected = ratio_of(evidence, level=ratio.level)
    known = math.isfinite(corrected.value)
    return {
        "value": number(corrected.value),
        "low": number(corrected.low) if known else None,
        "high": number(corrected.high) if known else None,
        "level": corrected.level,
        "method": corrected.method,
        "reason": corrected.reason,
        "covers": CORRECTED_COVERS if local is None else OWN_COVERS,
        "own_cells": 0 if local is None else int(local.sum()),
        "sensitivity": _rate_entry(corrected.sensitivity),
        "false_alarm": _rate_entry(corrected.false_alarm),
        "unseen": number(corrected.unseen),
        "worth": None if math.isnan(corrected.worth) else round(corrected.worth, 1),
        "scatter": {
            "sd": number(corrected.scatter_sd),
            "n_patients": corrected.n_patients,
            "unit": correction.unit,
        },
        "further_cells": [
            _further(t, further_cells_corrected(evidence, t, level=ratio.level), per_field) for t in lines if known
        ],
    }


def _rate_entry(rate: ErrorRate) -> RateEntry:
    known = rate.n_cells > 0
    values = asdict(rate)
    return {k: number(v) if known or k.startswith("n_") else None for k, v in values.items()}


def number(value: float) -> float | None:
    """Rounded for the record; null for NaN."""
    return None if math.isnan(value) else round(value, DIGITS)
