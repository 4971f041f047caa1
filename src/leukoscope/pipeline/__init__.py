"""The whole path from smear photographs to a patient report: `analyze`."""

from leukoscope.pipeline.analyze import AnalyzeOptions, analyze
from leukoscope.pipeline.progress import ProgressBar

__all__ = ["AnalyzeOptions", "ProgressBar", "analyze"]
