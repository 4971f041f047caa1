"""Make a locator bundle out of a training run: the ONNX graph, thresholds chosen on validation fields, the card."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Unpack

import numpy as np
import torch

from leukoscope.dataset.manifest import Dataset
from leukoscope.evaluate.boxes import Matches, match_boxes
from leukoscope.images import read_field
from leukoscope.locate import locate
from leukoscope.models.bundle import read_bundle, write_card
from leukoscope.models.runtime import Session
from leukoscope.models.torch_locator import ExportedLocator, LocatorNet
from leukoscope.models.torch_onnx import export_graph, round_to_half
from leukoscope.train.locator.data import is_white
from leukoscope.train.locator.task import read_locator
from leukoscope.train.run_folder import CARD, LITE0, ONNX, CardWords, begin_card, entries_of

NMS_IOU = 0.5
LOW_SCORE = 0.01  # what average precision and the choice of a threshold look at
TILE_SIDES = 2.5  # a field is cut into tiles when it is longer than this many times the input


def export_locator(
    run: str | Path, out: str | Path, *, validation: Sequence[Dataset], **words: Unpack[CardWords]
) -> Path:
    """Write `card.json` and `model.onnx` of a run into folder `out`; returns `out`.

    validation  data sets, already cut down to the fields that the score threshold is chosen on
    words       for the card
    """
    net, record = read_locator(run)
    side = record["config"]["side"]
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    write_onnx(net, side, out / ONNX)
    training = {"threshold_chosen_on": entries_of(validation)}
    card = begin_card(
        record,
        out,
        task="locate",
        size=side,
        words=words,
        training=training | {"pretrained": LITE0},
        white_balance=record["config"]["white_balance"],
        thresholds={"score": LOW_SCORE, "nms_iou": NMS_IOU, "tile_px": TILE_SIDES * side},
    )
    write_card(card, out / CARD)
    session = Session(read_bundle(out))
    score, figures = choose_threshold([m for d in validation for m in match_set(session, d)])
    training = card.training | {"threshold_figures": figures}
    card = replace(card, thresholds=card.thresholds | {"score": score}, training=training)
    write_card(card, out / CARD)
    return out


def write_onnx(net: LocatorNet, side: int, path: str | Path) -> None:
    """The network with normalisation and decoding as one ONNX file for side x side pixels.

    Its convolutions are rounded to sixteen bits and stored so, in `net` too: half the file, and what is measured ships.
    """
    graph = ExportedLocator(round_to_half(net).eval()).to("cpu", memory_format=torch.contiguous_format)
    example = (torch.zeros(1, side, side, 3, dtype=torch.uint8),)
    export_graph(graph, example, path, inputs=("pixels",), outputs=("boxes", "scores"), halved=True)


def match_set(locator: Session, dataset: Dataset) -> list[Matches]:
    """A data set's white cells against the boxes found, one entry a field; the card's score threshold holds."""
    matches = []
    for field in dataset.fields:
        cells = locate(read_field(dataset.path(field), field.key, um_per_px=field.um_per_px), locator)
        truth = np.array([c.box for c in field.cells if is_white(c)], np.float64).reshape(-1, 4)
        matches.append(match_boxes(truth, cells.boxes, cells.scores))
    return matches


def choose_threshold(matches: Sequence[Matches]) -> tuple[float, dict]:
    """The score threshold for a new laboratory, and precision and recall at it (IoU 0.5).

    Scores fall on a stain that was not trained on. So the threshold is not F1's maximum itself but the lowest one
    whose F1 is within a hundredth of it: it costs at most that much at home and keeps cells elsewhere.
    """
    scores = np.concatenate([m.scores for m in matches])
    hit = np.concatenate([m.hit[0] for m in matches])
    n_truth = sum(m.n_truth for m in matches)
    grid = np.round(np.arange(0.05, 0.95, 0.01), 2)
    hits = np.array([hit[scores >= t].sum() for t in grid])
    kept = np.array([(scores >= t).sum() for t in grid])
    f1 = 2 * hits / np.maximum(kept + n_truth, 1)
    i = int(np.flatnonzero(f1 >= f1.max() - 0.01)[0])
    figures = {"precision": float(hits[i] / max(kept[i], 1)), "recall": float(hits[i] / max(n_truth, 1))}
    return float(grid[i]), figures | {"f1": float(f1[i]), "f1_best": float(f1.max()), "n_cells": n_truth}
