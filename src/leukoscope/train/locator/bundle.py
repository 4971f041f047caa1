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
from leukoscope.models.torch_lite import fold_norms
from leukoscope.models.torch_locator import ANY_SIDES, ExportedLocator, LocatorNet
from leukoscope.models.torch_onnx import check_graph, export_graph, round_to_half
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
    net.draw_tighter(record["config"].get("tighter", ()))  # a run of an earlier version has none
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


def write_onnx(net: LocatorNet, side: int, path: str | Path, *, shown: np.ndarray | None = None) -> None:
    """The network with normalisation and decoding as one ONNX file, for pixels of any sides that are multiples of 32.

    side   of the pictures that it is compared with torch on; then half of one is
    shown  pixels (1, side, side, 3) uint8 to compare on in the place of noise
    Its backbone's norms are folded, its convolutions rounded to sixteen bits and stored so, in `net` too: half the
    file, and what is measured ships.
    """
    fold_norms(net.backbone)  # else the exporter does it, and the weights that were rounded are no more
    graph = ExportedLocator(round_to_half(net).eval()).to("cpu", memory_format=torch.contiguous_format)
    example = (torch.zeros(1, side, side, 3, dtype=torch.uint8),)
    names = {"inputs": ("pixels",), "outputs": ("boxes", "scores")}
    checked = np.random.default_rng(0).integers(0, 256, example[0].shape, np.uint8) if shown is None else shown
    free = {"pixels": dict(zip((1, 2), ANY_SIDES, strict=True))}
    export_graph(graph, example, path, traced=True, free=free, halved=True, checked=(checked,), **names)
    check_graph(graph, (checked[:, : -(-side // 64) * 32],), Path(path), **names)


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
