"""Labelled cells of the user's own laboratory, as `leukoscope evaluate` has measured them: how the model errs there."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leukoscope.errors import InputError
from leukoscope.models.bundle import Card
from leukoscope.quantify import confusion_of

READING = "as_labelled"


@dataclass(frozen=True, slots=True, eq=False)
class OwnCells:
    """confusion (C, C) labelled cells, truth x called; where they come from: file name, SHA-256."""

    confusion: np.ndarray
    file: str
    sha256: str

    def facts(self) -> dict:
        """For the record's provenance."""
        return {"file": self.file, "sha256": self.sha256, "n_cells": int(self.confusion.sum())}


def read_own_cells(path: str | Path, card: Card) -> OwnCells:
    """Read `metrics.json` of `leukoscope evaluate`; InputError unless it measured this very classifier."""
    path = Path(path)
    try:
        data = path.read_bytes()
        metrics = json.loads(data)
        measured = metrics["models"]["classify"]["onnx_sha256"]
        readings = metrics["classification"]["readings"]
    except OSError as error:
        raise InputError(f"can't read the own cells {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"{path} is not the metrics.json of a classifier: write one with `leukoscope evaluate --model ... --data "
            "your-labelled-cells`"
        ) from None
    if measured != card.onnx_sha256:
        raise InputError(
            f"{path} measured another classifier than {card.name!r}: evaluate the model that you analyse with"
        )
    if READING not in readings:
        have = ", ".join(readings) or "none"
        raise InputError(
            f"{path} has no reading {READING!r} (it has {have}): label your cells with the model's classes"
        )
    table = {"names": readings[READING]["labels"], "counts": readings[READING]["confusion"]}
    return OwnCells(confusion_of(table, card.taxonomy), path.name, hashlib.sha256(data).hexdigest())
