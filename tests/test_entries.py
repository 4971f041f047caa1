"""The entries that are written have the keys that their types name, and no other."""

from __future__ import annotations

import json
import types
from typing import get_args, get_origin, get_type_hints, is_typeddict

import numpy as np

from leukoscope.entries import FieldEntry, PatientEntry
from leukoscope.pipeline.ratios import Correction
from leukoscope.pipeline.summary import summarise
from leukoscope.taxonomy import BLOOD_12


def strays(entry: object, kind: object, where: str = "") -> list[str]:
    """What of an entry its type does not name, and what it lacks."""
    if is_typeddict(kind):
        hints = get_type_hints(kind)
        wrong = [f"{where}: unknown {k}" for k in set(entry) - set(hints)]
        wrong += [f"{where}: lacks {k}" for k in kind.__required_keys__ - set(entry)]
        return wrong + [s for k, v in entry.items() if k in hints for s in strays(v, hints[k], f"{where}.{k}")]
    if get_origin(kind) is types.UnionType:
        kinds = [k for k in get_args(kind) if k is not type(None)]
        return [] if entry is None or len(kinds) > 1 else strays(entry, kinds[0], where)
    if get_origin(kind) is list and isinstance(entry, list):
        return [s for e in entry for s in strays(e, get_args(kind)[0], f"{where}[]")]
    return []


def field_entry() -> dict:
    probs = {name: 0.0 for name in BLOOD_12.names} | {BLOOD_12.names[0]: 1.0}
    cell = {"box": [0.0, 0.0, 9.0, 9.0], "class": BLOOD_12.names[0], "probs": probs, "score": 0.9, "suspicion": 0.0}
    return {
        "file": "a.png", "sha256": "0", "patient_id": "p", "smear_id": "s", "center": "c", "status": "ok",
        "reason": None, "width": 9, "height": 9, "um_per_px": 0.1, "quality": None, "cells": [cell] * 30,
    }  # fmt: skip


def test_a_patient_has_the_keys_of_its_type():
    confusion = np.full((len(BLOOD_12.names),) * 2, 1) + 40 * np.eye(len(BLOOD_12.names), dtype=int)
    said = {"specimen": "blood", "min_cells": 100, "correction": Correction(confusion=confusion)}
    patients = list(summarise([field_entry()], BLOOD_12, **said))
    assert patients[0]["ratios"][0]["corrected"] is not None
    assert strays(json.loads(json.dumps(patients)), list[PatientEntry]) == []


def test_a_field_has_the_keys_of_its_type_and_a_stray_key_is_seen():
    assert strays(field_entry(), FieldEntry) == []
    assert strays(field_entry() | {"colour": 1}, FieldEntry) == [": unknown colour"]
    assert strays({k: v for k, v in field_entry().items() if k != "sha256"}, FieldEntry) == [": lacks sha256"]
