"""YOLO11-seg by ultralytics (extra `yolo`, AGPL-3.0) as a segmenter: learnt from our contours, giving our contours.

It stands where locator and outliner stand (docs/outlines.md): a field in, `Cells` with contours out. Training,
augmentation and the choice of the best epoch are ultralytics'. Running it needs ultralytics too: no bundle is written.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from leukoscope.dataset.export_pictures import copy_pictures, picture_names
from leukoscope.dataset.export_yolo import write_yolo
from leukoscope.dataset.exporter import picture_place
from leukoscope.dataset.manifest import Dataset, TruthField
from leukoscope.errors import ConfigError, DataError
from leukoscope.files import write_json, write_text
from leukoscope.geometry import contour_area
from leukoscope.models.torch_yolo import NOTICE, import_ultralytics, require_weights
from leukoscope.pipeline.fields import Segmenter
from leukoscope.progress import Progress, no_progress
from leukoscope.train.checkpoint import load_checkpoint, run_fingerprint, run_mark, save_checkpoint
from leukoscope.train.fields import seen_fields, validation_fields
from leukoscope.train.locator.data import is_white
from leukoscope.types import Cells, Field

SIZES = ("yolo11n-seg", "yolo11s-seg", "yolo11m-seg", "yolo11l-seg", "yolo11x-seg")
CELL = "white_cell"  # the one class: what kind of cell it is, is the classifier's to say
MOST_CELLS = 300


@dataclass(frozen=True, slots=True)
class YoloSegConfig:
    """Settings of one YOLO11-seg run (a TOML file with these keys and task = "segment").

    arch      yolo11n-seg, yolo11s-seg, yolo11m-seg, yolo11l-seg or yolo11x-seg
    weights   a published `.pt` by path (ultralytics unpickles it: take one from a source you trust), or None
    score, nms_iou  of the cells that are given
    """

    name: str
    arch: str
    epochs: int = 100
    side: int = 640
    batch_size: int = 16
    learning_rate: float = 0.01
    mosaic: float = 1.0
    weights: str | None = None
    score: float = 0.25
    nms_iou: float = 0.6
    splits: tuple = ("train",)
    workers: int = 0
    seed: int = 0
    licence: str = "AGPL-3.0"
    description: str = ""
    limits: tuple = ()

    def __post_init__(self) -> None:
        if self.arch not in SIZES:
            raise ConfigError(f"arch must be one of {', '.join(SIZES)}, got {self.arch!r}")
        if self.side % 32 or self.side < 32:
            raise ConfigError(f"side must be a multiple of 32 px, got {self.side}")
        if "AGPL" not in self.licence:
            raise ConfigError(
                f"weights that ultralytics trained are under AGPL-3.0: licence must say so, got {self.licence!r}"
            )


def train_yolo_seg(
    config: YoloSegConfig,
    datasets: list[Dataset],
    run: Path,
    *,
    resume: bool = False,
    progress: Progress = no_progress,
) -> Path:
    """Train and leave `last.pt` (plain tensors) and `run.json` in folder `run`; returns `run`.

    Fields of `splits` train, fields of "val" choose the epoch; both need a contour for every white cell, else the
    field is left out. The licence is said on stderr before anything runs.
    """
    run = Path(run)
    require_weights(config.weights)
    train = [with_contours(d) for d in seen_fields(datasets, config.splits)]
    val = [with_contours(d) for d in validation_fields(datasets)]
    if not any(d.fields for d in train) or not any(d.fields for d in val):
        raise DataError(
            "YOLO11-seg needs fields whose white cells all have contours, to train on and in split val: "
            "import polygons (CVAT, COCO, YOLO) or masks"
        )
    fingerprint = run_fingerprint(config, [*train, *val])
    done, folder = run / "last.pt", run_mark(run, "yolo", resume=resume)
    print(NOTICE, file=sys.stderr)
    library = import_ultralytics()
    if done.exists():
        load_checkpoint(done, fingerprint=fingerprint)
        return run
    last = folder / "train" / "weights" / "last.pt"
    data = folder / "data.yaml"
    if not data.exists():
        write_polygons(folder, {"train": train, "val": val})
        write_text(folder / "fingerprint.txt", fingerprint)
    elif (folder / "fingerprint.txt").read_text("utf-8") != fingerprint:
        raise ConfigError(f"{run} belongs to another configuration or other data: choose another --out")
    model = library.YOLO(str(last) if last.exists() else config.weights or f"{config.arch}.yaml", task="segment")
    model.add_callback("on_fit_epoch_end", lambda trainer: progress(trainer.epoch + 1, config.epochs))
    if last.exists():
        model.train(resume=True)
    else:
        model.train(data=str(data.resolve()), project=str(folder.resolve()), **_settings(config))
    # Written by this very run: the one kind of pickle that is opened.
    kept = torch.load(folder / "train" / "weights" / "best.pt", map_location="cpu", weights_only=False)
    net = kept.get("ema") or kept["model"]
    state = {k: v.float() if v.is_floating_point() else v for k, v in net.state_dict().items()}
    parts = {"train": train, "val": val}
    data_entries = [
        {"part": part, "name": d.name, "sha256": d.sha256(), "licence": d.licence, "n_fields": len(d.fields)}
        for part, of_part in parts.items()
        for d in of_part
    ]
    record = {"task": "segment", "config": asdict(config), "data": data_entries, "torch": torch.__version__}
    write_json(run / "run.json", record)
    save_checkpoint(done, {"fingerprint": fingerprint, "model": state})
    return run


def open_segmenter(run: str | Path) -> Segmenter:
    """A run as what `analyze` takes in the place of a locator; ConfigError for a folder of another task."""
    path = Path(run) / "last.pt"
    find = read_segmenter(run)
    name = json.loads((Path(run) / "run.json").read_text("utf-8"))["config"]["name"]
    return Segmenter(name, hashlib.sha256(path.read_bytes()).hexdigest(), find)


def read_segmenter(run: str | Path) -> Callable[[Field], Cells]:
    """The trained network as a function from a field to its white cells, best first, each with one contour.

    Where a predicted mask falls apart its largest part is the contour; a cell without one is left out.
    """
    run = Path(run)
    try:
        record = json.loads((run / "run.json").read_text("utf-8"))
    except (OSError, ValueError):
        raise ConfigError(f"{run} is no training run: it has no readable run.json") from None
    if record.get("task") != "segment" or not (run / "last.pt").is_file():
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
    for field in dataset.fields:
        white = tuple(replace(c, class_name=CELL) for c in field.cells if is_white(c))
        if all(c.contour for c in white):
            kept.append(replace(field, cells=white))
    return replace(dataset, fields=tuple(kept))


def write_polygons(folder: Path, parts: dict[str, list[Dataset]]) -> Path:
    """Export the data sets as YOLO polygons, one folder each, and one `data.yaml` over them; returns its path."""
    places: dict[str, list[str]] = {}
    for part, datasets in parts.items():
        for number, dataset in enumerate(d for d in datasets if d.fields):
            out = folder / "data" / f"{part}-{number}"
            out.mkdir(parents=True)
            relabelled = replace(dataset, fields=tuple(_in_split(f, part) for f in dataset.fields))
            names = picture_names(relabelled)
            copy_pictures(relabelled, lambda f, o=out, n=names: o / picture_place("yolo", f, n), no_progress)
            write_yolo(relabelled, out, names, (CELL,))
            places.setdefault(part, []).append(str((out / "images" / part).resolve()))
    path = folder / "data.yaml"
    # JSON is YAML: no quoting to get wrong.
    content = {**places, "nc": 1, "names": {0: CELL}}
    write_text(path, "\n".join(f"{k}: {json.dumps(v)}" for k, v in content.items()) + "\n")
    return path


def _in_split(field: TruthField, part: str) -> TruthField:
    return replace(field, split=part)


def _settings(config: YoloSegConfig) -> dict:
    return {
        "epochs": config.epochs,
        "imgsz": config.side,
        "batch": config.batch_size,
        "optimizer": "SGD",
        "lr0": config.learning_rate,
        "warmup_epochs": min(3.0, config.epochs / 4),
        "degrees": 180.0,
        "flipud": 0.5,
        "mosaic": config.mosaic,
        "workers": config.workers,
        "seed": config.seed,
        "amp": torch.cuda.is_available(),
        "device": 0 if torch.cuda.is_available() else "cpu",
        "pretrained": config.weights is not None,
        "overlap_mask": True,
        "name": "train",
        "exist_ok": True,
        "plots": False,
        "verbose": False,
    }
