"""From counts to a ratio one may believe: what a classifier's own errors do to a share of cells, and the correction."""

from leukoscope.quantify.corrected import CorrectedRatio, ErrorRate, Evidence, correct_ratio, ratio_of, weigh
from leukoscope.quantify.needed import further_cells, further_cells_corrected
from leukoscope.quantify.patient import (
    by_patient_for_card,
    cells_by_patient,
    confusion_for_card,
    confusion_from_labels,
    confusion_of,
    correct_patient,
    weigh_patient,
)
from leukoscope.quantify.scatter import Scatter, default_scatter, no_scatter, scatter_of
from leukoscope.quantify.trend import Change, Overdispersion, Smear, Trend, trend

__all__ = [
    "Change",
    "CorrectedRatio",
    "ErrorRate",
    "Evidence",
    "Overdispersion",
    "Scatter",
    "Smear",
    "Trend",
    "by_patient_for_card",
    "cells_by_patient",
    "confusion_for_card",
    "confusion_from_labels",
    "confusion_of",
    "correct_patient",
    "correct_ratio",
    "default_scatter",
    "further_cells",
    "further_cells_corrected",
    "no_scatter",
    "ratio_of",
    "scatter_of",
    "trend",
    "weigh",
    "weigh_patient",
]
