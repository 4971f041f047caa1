"""From counts to a ratio one may believe: what a classifier's own errors do to a share of cells, and the correction."""

from leukoscope.quantify.corrected import CorrectedRatio, ErrorRate, correct_ratio

__all__ = ["CorrectedRatio", "ErrorRate", "correct_ratio"]
