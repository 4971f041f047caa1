"""What a trained detector finds in annotated fields, as the nouns that `evaluate.boxes` scores."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from leukoscope.dataset.detection import label_fields
from leukoscope.dataset.manifest import Dataset
from leukoscope.errors import ConfigError
from leukoscope.evaluate.boxes import FieldBoxes
from leukoscope.geometry import nms
from leukoscope.images import background_color, read_image, white_balance
from leukoscope.locate import letterbox
from leukoscope.models.torch_detr import Detr, ExportedDetr
from leukoscope.progress import Progress, no_progress
from leukoscope.taxonomy import Taxonomy
from leukoscope.train.checkpoint import read_checkpoint
from leukoscope.train.detector.config import is_yolo
from leukoscope.train.run_folder import read_run

MOST_PAIRS = 300  # box and class: a photograph of marrow may show 300 cells


@dataclass(frozen=True, slots=True, eq=False)
class TrainedDetector:
    """A network ready to find cells.

    graph    pixels (1, S, S, 3) uint8 → boxes (Q, 4) px xyxy of S, scores (Q, C) in [0, 1]
    nms_iou  boxes of one class that overlap more are one; None for a transformer, which needs no suppression
    """

    graph: nn.Module
    taxonomy: Taxonomy
    side: int
    white_balance: bool
    nms_iou: float | None = None


def read_detector(run: str | Path) -> TrainedDetector:
    """The best weights of a run (the last, where none was chosen yet), whichever library trained it."""
    record = read_run(run, "detect")
    config, taxonomy = record["config"], Taxonomy.from_dict(record["taxonomy"])
    state = read_weights_of_run(run)
    if is_yolo(record["arch"]):
        from leukoscope.models.torch_yolo import NMS_IOU, ExportedYolo, build_yolo

        net = build_yolo(record["arch"], len(taxonomy.names))
        net.load_state_dict(state)
        return TrainedDetector(ExportedYolo(net.eval()), taxonomy, config["side"], False, NMS_IOU)
    net = Detr(record["arch"], len(taxonomy.names), normalise=config["normalise"], pretrained=False)
    net.load_state_dict(state)
    return TrainedDetector(ExportedDetr(net.eval()), taxonomy, config["side"], config["white_balance"])


def read_weights_of_run(run: str | Path) -> dict:
    """`best.pt`'s tensors, else `last.pt`'s; ConfigError when the run has neither."""
    for name in ("best.pt", "last.pt"):
        path = Path(run) / name
        if path.is_file():
            return read_checkpoint(path, "model", dict)["model"]
    raise ConfigError(f"no weights in {run}: expected best.pt or last.pt (train that configuration first)")


def detect(
    detector: str | Path | TrainedDetector,
    dataset: Dataset,
    *,
    max_boxes: int = MOST_PAIRS,
    progress: Progress = no_progress,
) -> list[FieldBoxes]:
    """Boxes of every field in the order of `dataset.fields`, px of the field; class_ids are the taxonomy's columns.

    detector  a run folder of `train_detector`, or what `read_detector` gives
    A box may stand under several classes, each with its own score, as COCO's detectors are scored.
    """
    if not isinstance(detector, TrainedDetector):
        detector = read_detector(detector)
    device = next((p.device for p in detector.graph.parameters()), torch.device("cpu"))
    detections = []
    for number, field in enumerate(dataset.fields, 1):
        pixels = read_image(dataset.path(field))
        detections.append(detect_pixels(detector, pixels, max_boxes=max_boxes, device=device))
        progress(number, len(dataset.fields))
    return detections


@torch.no_grad()
def detect_pixels(
    detector: TrainedDetector, pixels: np.ndarray, *, max_boxes: int = MOST_PAIRS, device: torch.device | str = "cpu"
) -> FieldBoxes:
    """`detect` for one picture (H, W, 3) uint8."""
    height, width = pixels.shape[:2]
    if detector.white_balance:
        pixels = white_balance(pixels, background_color(pixels))
    canvas, scale = letterbox(pixels, (detector.side, detector.side))
    boxes, scores = detector.graph(torch.from_numpy(canvas)[None].to(device))
    boxes = boxes.double().cpu().numpy() / (*scale, *scale)
    boxes = np.clip(boxes, 0, (width, height, width, height))
    return best_pairs(boxes, scores.double().cpu().numpy(), nms_iou=detector.nms_iou, most=max_boxes)


def best_pairs(boxes: np.ndarray, scores: np.ndarray, *, nms_iou: float | None, most: int) -> FieldBoxes:
    """The best pairs of box (N, 4) and class (N, C), best first; overlapping ones of a class once, if nms_iou."""
    real = (boxes[:, 2:] - boxes[:, :2] >= 1e-3).all(1)
    boxes, scores = boxes[real], scores[real]
    order = np.argsort(-scores, axis=None, kind="stable")[:MOST_PAIRS]
    rows, columns = np.unravel_index(order, scores.shape)
    values = scores[rows, columns]
    if nms_iou is not None:
        kept = [np.flatnonzero(columns == c)[nms(boxes[rows[columns == c]], values[columns == c], nms_iou)]
                for c in np.unique(columns)]  # fmt: skip
        chosen = np.sort(np.concatenate(kept)) if kept else np.zeros(0, np.int64)
        rows, columns, values = rows[chosen], columns[chosen], values[chosen]
    return FieldBoxes(boxes[rows[:most]], columns[:most], values[:most])


def truth_boxes(dataset: Dataset, taxonomy: Taxonomy) -> list[FieldBoxes]:
    """The annotated boxes of every field, row-aligned with `detect`.

    DataError when a field shows a class that the taxonomy has no place for: cut the set down first with
    `dataset.detection.usable_fields`.
    """
    return [FieldBoxes(f.boxes, f.labels) for f in label_fields(dataset, taxonomy)]
