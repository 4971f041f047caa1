"""Labelled cells of the user's own laboratory, as `leukoscope evaluate` has measured them: how the model errs there."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leukoscope.errors import UNREADABLE, InputError
from leukoscope.models.bundle import Card
from leukoscope.quantify import cells_by_patient, confusion_of

READING = "as_labelled"


@dataclass(frozen=True, slots=True, eq=False)
class OwnCells:
    """Labelled cells, truth x called; where they come from: file name, SHA-256.

    confusion   (C, C), or (C, C + 1) with those not identified
    by_patient  (P, C, C + 1) the same by patient; None where the file tells no patients apart
    """

    confusion: np.ndarray
    file: str
    sha256: str
    by_patient: np.ndarray | None = None

    def facts(self) -> dict:
        """For the record's provenance."""
        return {"file": self.file, "sha256": self.sha256, "n_cells": int(self.confusion.sum())}


def read_own_cells(path: str | Path, card: Card) -> OwnCells:
    """Read `metrics.json` of `leukoscope evaluate`; InputError unless it measured this very classifier."""
    path = Path(path)
    try:
        data = path.read_bytes()
        metrics = json.loads(data)
        return _own_cells(path, data, metrics, card)
    except OSError as error:
        raise InputError(f"can't read the own cells {path}: {error.strerror}") from None
    except UNREADABLE:
        raise InputError(
            f"{path} is not the metrics.json of a classifier, or was edited: write one with `leukoscope evaluate "
            "--model ... --data your-labelled-cells`"
        ) from None


def _own_cells(path: Path, data: bytes, metrics: dict, card: Card) -> OwnCells:
    """The tables of a file that was read; one of UNREADABLE where its keys or values are others."""
    if metrics["models"]["classify"]["onnx_sha256"] != card.onnx_sha256:
        raise InputError(
            f"{path} measured another classifier than {card.name!r}: evaluate the model that you analyse with"
        )
    classification = metrics["classification"]
    readings, by_patient = classification["readings"], classification.get("confusion_by_patient")
    digest = hashlib.sha256(data).hexdigest()
    if by_patient is not None:
        tables = cells_by_patient(by_patient, card.taxonomy, least=1)
        if tables is not None:
            return OwnCells(tables.sum(0), path.name, digest, tables if by_patient.get("unit") == "patient" else None)
    if READING not in readings:
        have = ", ".join(readings) or "none"
        raise InputError(
            f"{path} has no reading {READING!r} (it has {have}): label your cells with the model's classes"
        )
    if card.thresholds.get("unidentified", 0.0) > 0:
        raise InputError(
            f"{path} does not say which cells {card.name!r} could not identify: evaluate again with this version"
        )
    table = {"names": readings[READING]["labels"], "counts": readings[READING]["confusion"]}
    return OwnCells(confusion_of(table, card.taxonomy), path.name, digest)
