"""What makes a result flatter than it is: duplicates across splits, patients on both sides, cells under two labels."""

from leukoscope.dataset.audit.check import Audit, audit_dataset, describe, to_dict
from leukoscope.dataset.audit.duplicates import LEAST_AGREEMENT, Duplicates, Pair, connected, find_duplicates

__all__ = [
    "LEAST_AGREEMENT",
    "Audit",
    "Duplicates",
    "Pair",
    "audit_dataset",
    "connected",
    "describe",
    "find_duplicates",
    "to_dict",
]
