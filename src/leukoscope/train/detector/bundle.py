"""Make a bundle out of a detector run: the ONNX graph, its threshold and temperature on validation fields, the card.

One class that counts (WBC/Other): a locator, task "locate", whose boxes of the other classes are left out. Several:
task "detect", which locates and names cells in one stage.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from torch import nn

from leukoscope.dataset.detection import counted_columns, label_fields, usable_fields
from leukoscope.dataset.manifest import Dataset
from leukoscope.errors import ConfigError
from leukoscope.evaluate.boxes import Matches, match_boxes, pair_boxes
from leukoscope.evaluate.calibration import negative_log_likelihood
from leukoscope.images import read_field
from leukoscope.locate import detect, locate
from leukoscope.models.bundle import read_bundle, write_card
from leukoscope.models.runtime import Session
from leukoscope.models.torch_detr import DEIMV2_SIZES
from leukoscope.models.torch_onnx import export_graph
from leukoscope.taxonomy import Taxonomy
from leukoscope.train.detector.predict import TrainedDetector, read_detector
from leukoscope.train.locator.bundle import LOW_SCORE, choose_threshold
from leukoscope.train.run_folder import CARD, ONNX, CardWords, begin_card, entries_of, read_run

NMS_IOU = 0.7
TILE_SIDES = 2.5  # a field is cut into tiles when it is longer than this many times the input
TEMPERATURES = np.round(np.exp(np.linspace(np.log(0.25), np.log(8), 61)), 3)


def export_detector(
    run: str | Path, out: str | Path, *, validation: Sequence[Dataset], **words: Unpack[CardWords]
) -> Path:
    """Write `card.json` and `model.onnx` of a run into folder `out`; returns `out`.

    validation  data sets, already cut down to the fields that threshold and temperature are chosen on; without any
                field they stay at 0.3 and 1, and the card says so
    words       for the card
    ConfigError for a network whose ONNX graph is not what torch computes (`exportable`).
    """
    record, out = read_run(run, "detect"), Path(out)
    if not exportable(record["arch"]):
        raise ConfigError(
            f"{record['arch']} has no bundle: its ONNX graph does not give torch's boxes; use its run folder"
        )
    detector = read_detector(run)
    config, taxonomy = record["config"], detector.taxonomy
    columns = counted_columns(taxonomy)
    task = "locate" if len(columns) == 1 else "detect"
    out.mkdir(parents=True, exist_ok=True)
    write_onnx(detector, out / ONNX, columns=columns if task == "locate" else None)
    chosen_on = entries_of(validation) or "nothing: no validation field was given"
    thresholds = {"score": LOW_SCORE, "nms_iou": detector.nms_iou or NMS_IOU, "tile_px": TILE_SIDES * detector.side}
    card = begin_card(
        record,
        out,
        task=task,
        size=detector.side,
        words=words,
        training={"threshold_chosen_on": chosen_on, **record["environment"]},
        white_balance=detector.white_balance,
        taxonomy=taxonomy,
        temperature=1.0 if task == "detect" else None,
        thresholds=thresholds,
    )
    write_card(card, out / CARD)
    validation = [usable_fields(d, taxonomy, leave_out=tuple(config["leave_out"])) for d in validation]
    if not any(d.fields for d in validation):
        write_card(replace(card, thresholds=thresholds | {"score": 0.3}), out / CARD)
        return out
    session = Session(read_bundle(out))
    matches, scored, truth = match_sets(session, validation, taxonomy)
    score, figures = choose_threshold(matches)
    card = replace(
        card, thresholds=thresholds | {"score": score}, training=card.training | {"threshold_figures": figures}
    )
    if task == "detect":
        card = replace(card, temperature=fit_temperature(scored, truth))
    write_card(card, out / CARD)
    return out


def exportable(arch: str) -> bool:
    """Whether the exported graph equals torch. transformers' DEIMv2 exports, but its scores differ by up to a half."""
    return arch not in DEIMV2_SIZES


def write_onnx(detector: TrainedDetector, path: str | Path, *, columns: list[int] | None) -> None:
    """The network with normalisation and decoding as one ONNX file; with `columns` a locator of those classes."""
    graph: nn.Module = type(detector.graph)(detector.graph.net, columns=columns).eval().cpu()
    pixels = torch.zeros(1, detector.side, detector.side, 3, dtype=torch.uint8)
    with torch.no_grad(), _without_checks():
        graph(pixels)  # anchors are made once, for this size
        export_graph(graph, (pixels,), path, inputs=("pixels",), outputs=("boxes", "scores"))


@contextlib.contextmanager
def _without_checks() -> Iterator[None]:
    """transformers' checks of shapes would become parts of the graph, which ONNX has no words for."""
    before = os.environ.get("TRANSFORMERS_DISABLE_TORCH_CHECK")
    os.environ["TRANSFORMERS_DISABLE_TORCH_CHECK"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TRANSFORMERS_DISABLE_TORCH_CHECK"]
        else:
            os.environ["TRANSFORMERS_DISABLE_TORCH_CHECK"] = before


def match_sets(
    session: Session, datasets: Sequence[Dataset], taxonomy: Taxonomy
) -> tuple[list[Matches], np.ndarray, np.ndarray]:
    """Counted cells against boxes found, an entry a field; and of the boxes that found one (IoU 0.5), the detector's
    probabilities (M, C) at temperature 1 and the true columns (M,). No rows of these from a locator."""
    counted = counted_columns(taxonomy)
    matches, probs, columns = [], [np.zeros((0, len(taxonomy.names)))], [np.zeros(0, np.int64)]
    for dataset in datasets:
        for labelled in label_fields(dataset, taxonomy):
            field = read_field(dataset.path(labelled.field), labelled.field.key, um_per_px=labelled.field.um_per_px)
            is_cell = np.isin(labelled.labels, counted)
            truth, labels = labelled.boxes[is_cell], labelled.labels[is_cell]
            if session.card.task == "locate":
                cells = locate(field, session)
                matches.append(match_boxes(truth, cells.boxes, cells.scores))
                continue
            calls = detect(field, session)
            called = np.isin(calls.class_ids(), counted)
            boxes, scores = calls.cells.boxes[called], calls.cells.scores[called]
            matches.append(match_boxes(truth, boxes, scores))
            if len(truth):
                paired = pair_boxes(truth, boxes, scores)
                probs.append(calls.probs[called][paired >= 0])
                columns.append(labels[paired[paired >= 0]])
    return matches, np.concatenate(probs), np.concatenate(columns)


def fit_temperature(probs: np.ndarray, truth: np.ndarray) -> float:
    """The T at which p^(1/T), over its sum, gives the true classes the highest likelihood; 1 without any cell.

    probs (M, C), rows sum to 1; truth (M,) columns.
    """
    if not len(truth):
        return 1.0
    logs = np.log(np.maximum(probs.astype(np.float64), 1e-12))

    return float(min(TEMPERATURES, key=lambda temperature: negative_log_likelihood(logs / temperature, truth)))
