"""What makes a result flatter than it is: duplicates across splits, patients on both sides, cells under two labels."""

from leukoscope.dataset.audit.check import Audit, audit_dataset, describe, to_dict
from leukoscope.dataset.audit.duplicates import (
    LEAST_AGREEMENT,
    Duplicates,
    Pair,
    compare_thumbnails,
    connected,
    find_duplicates,
)
from leukoscope.dataset.audit.overlap import Overlap, find_overlaps

__all__ = [
    "LEAST_AGREEMENT",
    "Audit",
    "Duplicates",
    "Overlap",
    "Pair",
    "audit_dataset",
    "compare_thumbnails",
    "connected",
    "describe",
    "find_duplicates",
    "find_overlaps",
    "to_dict",
]
