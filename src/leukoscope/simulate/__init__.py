"""Rendered smears with known truth, for the demo, the tests and whole cohorts. Always labelled as rendered."""

from leukoscope.simulate.cohort import CohortOptions, simulate_cohort
from leukoscope.simulate.smear import simulate

__all__ = ["CohortOptions", "simulate", "simulate_cohort"]
