"""The whole path from smear photographs to a patient report: `analyze`."""

from leukoscope.pipeline.analyze import AnalyzeOptions, analyze

__all__ = ["AnalyzeOptions", "analyze"]
