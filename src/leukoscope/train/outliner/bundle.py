"""Make an outliner bundle out of a training run: the ONNX graph, what it reaches on validation cells, the card."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Unpack

import numpy as np
import torch

from leukoscope.dataset.manifest import Dataset
from leukoscope.images import read_field
from leukoscope.models.bundle import CropRule, read_bundle, write_card
from leukoscope.models.runtime import Session
from leukoscope.models.torch_onnx import export_graph, round_to_half
from leukoscope.models.torch_outline import ExportedOutliner, OutlineNet
from leukoscope.outline import outline
from leukoscope.train.outliner.data import Outlined, field_outlines
from leukoscope.train.outliner.task import mask_pattern, read_outliner
from leukoscope.train.run_folder import CARD, LITE0, ONNX, CardWords, begin_card
from leukoscope.types import Cells

THRESHOLDS = {"cell": 0.5, "nucleus": 0.5}
LOOSE = 0.08  # of the outline's side: how far from it the boxes lie that validation outlines are drawn for


def export_outliner(
    run: str | Path, out: str | Path, *, validation: Sequence[Dataset], **words: Unpack[CardWords]
) -> Path:
    """Write `card.json` and `model.onnx` of a run into folder `out`; returns `out`.

    validation  data sets, already cut down to the fields that the card's figures are measured on
    words       for the card
    Weights are stored in 16 bits and computed with in 32, which halves the file.
    """
    net, record = read_outliner(run)
    config = record["config"]
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    write_onnx(net, config["size"], out / ONNX)
    card = begin_card(
        record,
        out,
        task="outline",
        size=config["size"],
        words=words,
        training={"pretrained": LITE0},
        white_balance=config["white_balance"],
        crop=CropRule(size=config["size"], pad_fraction=config["context"]),
        thresholds=dict(THRESHOLDS),
    )
    write_card(card, out / CARD)
    session = Session(read_bundle(out))
    rows = [measure_set(session, d, masks=mask_pattern(config["masks"], d)) for d in validation]
    write_card(replace(card, results=tuple(r for r in rows if r["n_cells"])), out / CARD)
    return out


def write_onnx(net: OutlineNet, size: int, path: str | Path) -> None:
    """The network with normalisation and softmax as one ONNX file for any number of size x size crops."""
    graph = ExportedOutliner(round_to_half(net, least_dims=1)).to("cpu", memory_format=torch.contiguous_format)
    example = (torch.zeros(2, size, size, 3, dtype=torch.uint8), torch.tensor([[8.0, 8, size - 8, size - 8]] * 2))
    export_graph(graph, example, path, inputs=("pixels", "boxes"), outputs=("probs",), rows=True, halved=True)


def measure_set(outliner: Session, dataset: Dataset, *, masks: str | None) -> dict:
    """Mean IoU of cells and of nuclei, and the share of cells above 0.5, given loose boxes around the true outlines."""
    overlaps = []
    by_contour = any(c.contour for f in dataset.fields for c in f.cells)
    for field in dataset.fields if masks or by_contour else ():
        truth = field_outlines(dataset, field, masks=masks, by_contour=by_contour)
        if truth:
            view = read_field(dataset.path(field), field.key, um_per_px=field.um_per_px)
            boxes = np.array([_loose(t.box) for t in truth], np.float32)
            drawn = outline(view, Cells(field.key, boxes, np.ones(len(boxes), np.float32)), outliner)
            overlaps += [pixel_iou(drawn.cells.contours[i], drawn.nuclei[i], t) for i, t in enumerate(truth)]
    measured = np.array(overlaps, np.float64).reshape(-1, 2)
    of_nuclei = measured[~np.isnan(measured[:, 1]), 1]
    return {
        "measure": "IoU given loose boxes",
        "set": dataset.name,
        "n_cells": len(measured),
        "cell": round(float(measured[:, 0].mean()), 4) if len(measured) else None,
        "nucleus": round(float(of_nuclei.mean()), 4) if len(of_nuclei) else None,
        "cells_above_0.5": round(float((measured[:, 0] >= 0.5).mean()), 4) if len(measured) else None,
    }


def pixel_iou(contour: np.ndarray, nucleus: tuple[np.ndarray, ...], truth: Outlined) -> tuple[float, float]:
    """IoU in whole pixels of a drawn cell and of its nucleus with the truth's labels; NaN where no nucleus is told."""
    corners = np.concatenate([np.zeros((0, 2)), contour, *nucleus])
    low = np.minimum(corners.min(0), truth.origin) if len(corners) else np.array(truth.origin)
    far = np.add(truth.origin, truth.labels.shape[::-1])
    high = np.maximum(corners.max(0), far) if len(corners) else far
    low, high = low.astype(int), np.ceil(high).astype(int)
    known = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
    x, y = np.subtract(truth.origin, low)
    known[y : y + truth.labels.shape[0], x : x + truth.labels.shape[1]] = truth.labels
    cell = _iou(_drawn([contour], low, known.shape), known > 0)
    has_nucleus = (known == 2).any()
    return cell, _iou(_drawn(nucleus, low, known.shape), known == 2) if has_nucleus else float("nan")


def _drawn(contours: Sequence[np.ndarray], low: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    from leukoscope.outline import fill_outline

    drawn = np.zeros(shape, bool)
    for contour in contours:
        if len(contour):
            drawn |= fill_outline(contour - low, shape)
    return drawn


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 0.0


def _loose(box: np.ndarray) -> np.ndarray:
    room = LOOSE * np.tile(box[2:] - box[:2], 2)
    return box + room * (-1, -1, 1, 1)
