"""YOLO11-seg by ultralytics (extra `yolo`, AGPL-3.0) as a segmenter: learnt from our contours, giving our contours.

It stands where locator and outliner stand (docs/outlines.md): a field in, `Cells` with contours out. Training,
augmentation and the choice of the best epoch are ultralytics'. Running it needs ultralytics too: no bundle is written.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from leukoscope.dataset.manifest import Dataset
from leukoscope.errors import ConfigError, DataError
from leukoscope.files import file_digest
from leukoscope.geometry import contour_area
from leukoscope.models.torch_yolo import import_ultralytics, require_weights
from leukoscope.pipeline.fields import Segmenter
from leukoscope.progress import Progress, no_progress
from leukoscope.train.checkpoint import load_checkpoint, run_fingerprint, save_checkpoint
from leukoscope.train.config import YoloRunConfig
from leukoscope.train.fields import seen_fields, validation_fields
from leukoscope.train.locator.data import is_white
from leukoscope.train.run_folder import data_entry, read_run, write_run
from leukoscope.train.yolo_runs import fit_yolo, open_yolo_run, plain_weights, write_yolo_data
from leukoscope.types import Cells, Field

SIZES = ("yolo11n-seg", "yolo11s-seg", "yolo11m-seg", "yolo11l-seg", "yolo11x-seg")
CELL = "white_cell"  # the one class: what kind of cell it is, is the classifier's to say
MOST_CELLS = 300


@dataclass(frozen=True, slots=True)
class YoloSegConfig(YoloRunConfig):
    """Settings of one YOLO11-seg run (a TOML file with these keys and task = "segment").

    arch      yolo11n-seg, yolo11s-seg, yolo11m-seg, yolo11l-seg or yolo11x-seg
    score, nms_iou  of the cells that are given
    """

    score: float = 0.25
    nms_iou: float = 0.6
    licence: str = field(default="AGPL-3.0", kw_only=True)

    def __post_init__(self) -> None:
        if self.arch not in SIZES:
            raise ConfigError(f"arch must be one of {', '.join(SIZES)}, got {self.arch!r}")
        YoloRunConfig.__post_init__(self)


def train_yolo_seg(
    config: YoloSegConfig, data: list[Dataset], run: Path, *, resume: bool = False, progress: Progress = no_progress
) -> Path:
    """Train and leave `last.pt` (plain tensors) and `run.json` in folder `run`; returns `run`.

    Fields of `splits` train, fields of "val" choose the epoch; both need a contour for every white cell, else the
    field is left out. The licence is said on stderr before anything runs.
    """
    run = Path(run)
    require_weights(config.weights)
    train = [with_contours(d) for d in seen_fields(data, config.splits)]
    val = [with_contours(d) for d in validation_fields(data)]
    if not any(d.fields for d in train) or not any(d.fields for d in val):
        raise DataError(
            "YOLO11-seg needs fields whose white cells all have contours, to train on and in split val: "
            "import polygons (CVAT, COCO, YOLO) or masks"
        )
    fingerprint = run_fingerprint(config, [*train, *val])
    folder = open_yolo_run(run, fingerprint, resume=resume)
    if (run / "last.pt").exists():
        load_checkpoint(run / "last.pt", fingerprint=fingerprint)
        return run
    parts = {"train": train, "val": val}
    if not (folder / "fingerprint.txt").exists():
        write_polygons(folder, parts, fingerprint=fingerprint)
    fit_yolo(config, folder, task="segment", progress=progress, **_settings(config))
    entries = [data_entry(d, part=part) for part, of_part in parts.items() for d in of_part]
    write_run(run, "segment", config, entries)
    save_checkpoint(run / "last.pt", {"fingerprint": fingerprint, "model": plain_weights(folder, "best.pt")})
    return run


def open_segmenter(run: str | Path) -> Segmenter:
    """A run as what `analyze` takes in the place of a locator; ConfigError for a folder of another task."""
    find, name = read_segmenter(run), read_run(run, "segment")["config"]["name"]
    return Segmenter(name, file_digest(Path(run) / "last.pt"), find)


def read_segmenter(run: str | Path) -> Callable[[Field], Cells]:
    """The trained network as a function from a field to its white cells, best first, each with one contour.

    Where a predicted mask falls apart its largest part is the contour; a cell without one is left out.
    """
    run = Path(run)
    record = read_run(run, "segment")
    if not (run / "last.pt").is_file():
        raise ConfigError(f"{run} is no finished run of task 'segment': train configs/yolo11-seg.toml first")
    config, library = record["config"], import_ultralytics()
    model = library.YOLO(f"{config['arch']}.yaml", task="segment")
    from ultralytics.nn.tasks import SegmentationModel

    model.model = SegmentationModel(f"{config['arch']}.yaml", ch=3, nc=1, verbose=False)
    model.model.load_state_dict(torch.load(run / "last.pt", map_location="cpu", weights_only=True)["model"])
    model.model.names = {0: CELL}

    alone = threading.Lock()  # a prediction keeps its state in the model

    def segment(field: Field) -> Cells:
        settings = {"imgsz": config["side"], "conf": config["score"], "iou": config["nms_iou"], "max_det": MOST_CELLS}
        blue_first = np.ascontiguousarray(field.pixels[..., ::-1])
        with alone:
            (predicted,) = model.predict(blue_first, retina_masks=True, verbose=False, **settings)
        return as_cells(field, predicted.boxes.xyxy.cpu().numpy(), predicted.boxes.conf.cpu().numpy(),
                        predicted.masks.xy if predicted.masks is not None else [])  # fmt: skip

    return segment


def as_cells(field: Field, boxes: np.ndarray, scores: np.ndarray, contours: list[np.ndarray]) -> Cells:
    """Boxes (N, 4), scores (N,) and contours (K, 2) of a prediction as `Cells` within the field, best first."""
    height, width = field.pixels.shape[:2]
    boxes = np.clip(np.asarray(boxes, np.float32).reshape(-1, 4), 0, (width, height, width, height))
    contours = [np.clip(np.asarray(c, np.float32).reshape(-1, 2), 0, (width, height)) for c in contours]
    real = [
        i
        for i in np.argsort(-np.asarray(scores), kind="stable")
        if (boxes[i, 2:] - boxes[i, :2] >= 1).all() and contour_area(contours[i]) >= 1
    ]
    return Cells(field.key, boxes[real], np.asarray(scores, np.float32)[real], tuple(contours[i] for i in real))


def with_contours(dataset: Dataset) -> Dataset:
    """The fields whose white cells all have contours, with these cells only."""
    kept = []
    for truth in dataset.fields:
        white = tuple(replace(c, class_name=CELL) for c in truth.cells if is_white(c))
        if all(c.contour for c in white):
            kept.append(replace(truth, cells=white))
    return replace(dataset, fields=tuple(kept))


def write_polygons(folder: Path, parts: dict[str, list[Dataset]], *, fingerprint: str = "") -> Path:
    """The data sets as polygons of the one class; returns data.yaml."""
    return write_yolo_data(folder, parts, (CELL,), lambda f, part: replace(f, split=part), fingerprint=fingerprint)


def _settings(config: YoloSegConfig) -> dict:
    return {
        "optimizer": "SGD",
        "warmup_epochs": min(3.0, config.epochs / 4),
        "degrees": 180.0,
        "flipud": 0.5,
        "device": 0 if torch.cuda.is_available() else "cpu",
        "overlap_mask": True,
    }
