"""Rendered smears with known truth, for the demo and the tests. Always labelled as rendered."""

from leukoscope.simulate.smear import simulate

__all__ = ["simulate"]
