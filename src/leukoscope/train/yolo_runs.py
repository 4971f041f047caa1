"""One run of ultralytics' training (extra `yolo`, AGPL-3.0), for detector and segmenter alike.

Its own files stay in `RUN/yolo`: the data written out for it, its log and weights. The weights come back as plain
tensors. Validation, augmentation and the choice of the best epoch are ultralytics'.
"""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from leukoscope.dataset.export_pictures import copy_pictures, picture_names
from leukoscope.dataset.export_yolo import write_yolo
from leukoscope.dataset.exporter import picture_place
from leukoscope.dataset.manifest import Dataset, TruthField
from leukoscope.errors import ConfigError
from leukoscope.files import write_text
from leukoscope.models.torch_yolo import NOTICE, import_ultralytics
from leukoscope.progress import Progress, no_progress
from leukoscope.train.checkpoint import run_mark

Relabel = Callable[[TruthField, str], TruthField]  # (field, "train" or "val") → the field as it is learnt


def open_yolo_run(run: Path, fingerprint: str, *, resume: bool) -> Path:
    """ultralytics' folder in `run`, where it may not be yet. The licence is said on stderr; ConfigError where the
    folder is of another configuration or other data, and where the library is missing."""
    folder = run_mark(run, "yolo", resume=resume)
    stated = folder / "fingerprint.txt"
    if stated.exists() and stated.read_text("utf-8") != fingerprint:
        raise ConfigError(f"{run} belongs to another configuration or other data: choose another --out")
    print(NOTICE, file=sys.stderr)
    import_ultralytics()
    return folder


def write_yolo_data(
    folder: Path, parts: dict[str, list[Dataset]], names: tuple[str, ...], relabel: Relabel, *, fingerprint: str
) -> Path:
    """Export the data sets that have fields, one folder each, and one `data.yaml` over them; returns its path.

    A `fingerprint.txt` says that it is whole.
    """
    shutil.rmtree(folder / "data", ignore_errors=True)  # of one that was killed while it wrote
    places: dict[str, list[str]] = {}
    for part, datasets in parts.items():
        for number, dataset in enumerate(d for d in datasets if d.fields):
            out = folder / "data" / f"{part}-{number}"
            out.mkdir(parents=True)
            relabelled = replace(dataset, fields=tuple(relabel(f, part) for f in dataset.fields))
            of_pictures = picture_names(relabelled)
            copy_pictures(relabelled, lambda f, o=out, n=of_pictures: o / picture_place("yolo", f, n), no_progress)
            write_yolo(relabelled, out, of_pictures, names)
            places.setdefault(part, []).append(str((out / "images" / part).resolve()))
    path = folder / "data.yaml"
    # JSON is YAML: no quoting to get wrong.
    content = {**places, "nc": len(names), "names": dict(enumerate(names))}
    write_text(path, "\n".join(f"{k}: {json.dumps(v)}" for k, v in content.items()) + "\n")
    write_text(folder / "fingerprint.txt", fingerprint)
    return path


def fit_yolo(config, folder: Path, *, task: str, progress: Progress, **settings: object) -> None:
    """ultralytics' training in `folder`/train, by `folder`/data.yaml; goes on from its last.pt where there is one.

    config  a YoloConfig or YoloSegConfig; task: "detect" or "segment"; settings: more of `YOLO.train`
    """
    last = folder / "train" / "weights" / "last.pt"
    first = str(last) if last.exists() else config.weights or f"{config.arch}.yaml"
    model = import_ultralytics().YOLO(first, task=task)
    model.add_callback(
        "on_fit_epoch_end", lambda trainer: progress(min(trainer.epoch + 1, config.epochs), config.epochs)
    )
    if last.exists():
        model.train(resume=True)
        return
    model.train(
        data=str((folder / "data.yaml").resolve()),
        epochs=config.epochs,
        imgsz=config.side,
        batch=config.batch_size,
        lr0=config.learning_rate,
        mosaic=config.mosaic,
        workers=config.workers,
        seed=config.seed,
        amp=torch.cuda.is_available(),
        pretrained=config.weights is not None,
        project=str(folder.resolve()),
        name="train",
        exist_ok=True,
        plots=False,
        verbose=False,
        **settings,
    )


def plain_weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """The weights `folder`/train/weights/`name` of a finished training as plain float tensors."""
    # Written by this very run: the one kind of pickle that is opened.
    kept = torch.load(folder / "train" / "weights" / name, map_location="cpu", weights_only=False)
    state = (kept.get("ema") or kept["model"]).state_dict()
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
