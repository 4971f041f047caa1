"""Measure models: pure functions, each equal to a reference, and `evaluate_model`, which runs them on a data set."""

from leukoscope.evaluate.run import describe, evaluate_model

__all__ = ["describe", "evaluate_model"]
