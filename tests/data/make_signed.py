"""A signed record as the reading room hands it out (web/signing.py), made of a patient of a run's record."""

from __future__ import annotations

from leukoscope.report import Record


def make_signed(record: Record, patient: int = 0, *, version: int = 1, by: str = "Dr. Grace Hopper") -> dict:
    """The patient as read by one person who agreed with every call."""
    entry = record.patients[patient]
    cells = [
        {
            "cell": 0,
            "field": at,
            "file": field["file"],
            "box": cell["box"],
            "model": cell["class"],
            "class": cell["class"] if cell["identified"] else None,
            "call": None,
            "reader": None,
            "seen": True,
            "hidden": False,
        }
        for at, field in enumerate(record.fields())
        if field["patient_id"] == entry["patient_id"]
        for cell in field["cells"]
    ]
    return {
        "signed_version": 1,
        "patient_id": entry["patient_id"],
        "specimen": entry["specimen"],
        "center": entry["center"][0],
        "smear_ids": entry["smear_ids"],
        "record_sha256": "ab" * 32,
        "provenance": {k: record.provenance[k] for k in ("leukoscope", "models", "taxonomy", "use")},
        "readings": [{"kind": "first", "reader": by, "active_ms": 191_000, "state": "signed"}],
        "numbers": {
            "differential": [
                {"class": r["class"], "before": r["count"], "count": r["count"], "share": r["share"]}
                for r in entry["differential"]
            ],
            "ratios": entry["ratios"],
            "before": entry["ratios"],
            "flags": entry["flags"],
            "n_cells": entry["n_cells"],
            "n_counted": entry["n_counted"],
            "unidentified": entry["n_unidentified"],
        },
        "agreement_with_model": {},
        "cells": [cell | {"cell": n} for n, cell in enumerate(cells)],
        "version": version,
        "signed": {"by": by, "at": 1_795_701_909_123},
        "log": {"events": 3, "hash": "cd" * 32},
    }
