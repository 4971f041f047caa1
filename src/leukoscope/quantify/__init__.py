"""From counts to a ratio one may believe: what a classifier's own errors do to a share of cells, and the correction."""

from leukoscope.quantify.corrected import CorrectedRatio, ErrorRate, Evidence, correct_ratio, ratio_of, weigh
from leukoscope.quantify.needed import further_cells, further_cells_corrected
from leukoscope.quantify.patient import confusion_from_labels, confusion_of, correct_patient, weigh_patient
from leukoscope.quantify.trend import Change, Smear, Trend, trend

__all__ = [
    "Change",
    "CorrectedRatio",
    "ErrorRate",
    "Evidence",
    "Smear",
    "Trend",
    "confusion_from_labels",
    "confusion_of",
    "correct_patient",
    "correct_ratio",
    "further_cells",
    "further_cells_corrected",
    "ratio_of",
    "trend",
    "weigh",
    "weigh_patient",
]
