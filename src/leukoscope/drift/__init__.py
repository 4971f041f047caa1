"""Drift watch: does a run still look like the runs that its model, or its site, is trusted for? Nothing leaves here."""

from leukoscope.drift.judge import Finding, judge
from leukoscope.drift.page import write_drift_page
from leukoscope.drift.profile import (
    MEASURES,
    Profile,
    find_reference,
    measure_run,
    measure_runs,
    read_profile,
    write_profile,
)

__all__ = [
    "MEASURES",
    "Finding",
    "Profile",
    "find_reference",
    "judge",
    "measure_run",
    "measure_runs",
    "read_profile",
    "write_drift_page",
    "write_profile",
]
