"""What the study leaves for `leukoscope analyze --specimen marrow`: the classifier beside locator and outliner."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leukoscope.evaluate.calibration import fit_temperature
from leukoscope.experiments.cblc.members import Member
from leukoscope.models.bundle import write_card
from leukoscope.quantify import by_patient_for_card
from leukoscope.taxonomy import Taxonomy
from leukoscope.train.crops.bundle import write_onnx
from leukoscope.train.crops.data import CropSet
from leukoscope.train.crops.ensemble import EnsembleNetwork
from leukoscope.train.crops.predict import load_finetuned, read_run
from leukoscope.train.run_folder import CARD, ONNX, begin_card

_N_CHECKED = 8


@dataclass(frozen=True, slots=True, eq=False)
class LeftOut:
    """What the ensemble says of cells that none, or not all, of its members were trained on.

    logits (N, C) and labels (N,) of matched cells, each called by the member that left its patient out
    confusion (C, C) of them, rows truth; patients (N,) whose they are
    """

    logits: np.ndarray
    labels: np.ndarray
    confusion: np.ndarray
    patients: np.ndarray

    def by_patient(self, taxonomy: Taxonomy) -> dict:
        """The card's `confusion_by_patient`, from which `analyze` learns how much patients differ."""
        named = [[taxonomy.names[i] for i in rows] for rows in (self.labels, self.logits.argmax(1))]
        return by_patient_for_card(*named, self.patients.tolist(), taxonomy, unit="patient")


def export_classifier(
    members: Sequence[Member],
    weights: Sequence[float],
    out: Path,
    *,
    left_out: LeftOut,
    validation: CropSet,
    where: dict[str, str],
    results: Sequence[dict] = (),
) -> Path:
    """The ensemble as one classifier bundle in folder `out`; returns `out`.

    left_out    sets the temperature and the card's confusion matrix, from which `analyze` corrects its ratios
    validation  crops on which the exported graph is compared with torch
    where       command and commit, for the card
    """
    record = read_run(members[0].last)
    network = EnsembleNetwork([load_finetuned(m.last)[0] for m in members], weights or None).eval()
    out.mkdir(parents=True, exist_ok=True)
    write_onnx(network, out / ONNX, checked=validation.crops[:_N_CHECKED])
    config = record["config"]
    names = list(validation.taxonomy.names)
    temperature = fit_temperature(left_out.logits, left_out.labels)
    training = {
        "data": record["train"],
        "members": len(members),
        "weights": [float(w) for w in weights] or [1 / len(members)] * len(members),
        "environment": record["environment"],
        "confusion_from": "cells of development patients, each called by the member that left the patient out",
    }
    card = begin_card(
        record,
        out,
        task="classify",
        size=config["size"],
        training=training,
        words={"command": where["command"], "commit": where["commit"], "results": results},
        name=f"{config['name']}, ensemble of {len(members)}",
        white_balance=True,
        taxonomy=validation.taxonomy,
        crop=validation.rule,
        temperature=round(temperature, 4),
        confusion={"rows": "truth", "columns": "pred", "names": names, "counts": left_out.confusion.tolist()},
        confusion_by_patient=left_out.by_patient(validation.taxonomy),
    )
    write_card(card, out / CARD)
    return out
