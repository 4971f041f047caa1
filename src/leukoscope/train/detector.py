"""Train a detector: `train_detector`, one flat loop for the detection transformers; YOLO goes to `train.yolo`.

DEIM's training (Huang et al., CVPR 2025): the matchability-aware loss, dense one-to-one through mosaic and mix-up,
a flat and then falling rate, averaged weights. Under `torchrun` each process takes its share of every epoch, and the
first one writes. A batch draws from its own seed, so a killed run goes on to the weights that it would have had.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from leukoscope.dataset.detection import detection_taxonomy, label_fields, usable_fields
from leukoscope.dataset.manifest import Dataset
from leukoscope.errors import DataError
from leukoscope.evaluate.boxes import score_boxes
from leukoscope.models.torch_detr import ExportedDetr
from leukoscope.taxonomy import Taxonomy
from leukoscope.train.checkpoint import append_log, load_checkpoint, run_fingerprint, run_mark, save_checkpoint
from leukoscope.train.detector_config import DetectorConfig, YoloConfig
from leukoscope.train.detector_data import Batches, Pictures, Recipe
from leukoscope.train.detector_predict import TrainedDetector, detect, truth_boxes
from leukoscope.train.detector_run import split_off_validation, write_run
from leukoscope.train.detector_state import Process, TrainState

CHECKPOINT_SECONDS = 120
PARTS = ("loss", "loss_mal", "loss_bbox", "loss_giou")  # the whole loss, and the last decoder layer's parts


def train_detector(
    config: DetectorConfig | YoloConfig,
    datasets: list[Dataset],
    run: str | Path,
    *,
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Train and leave `run.json`, `log.csv`, `best.pt` and `last.pt` in folder `run`; returns `run`.

    datasets  fields of config.splits train; those in split "val" choose the best weights, or config.val_share of the
              training fields does (by patient, else by field) where no set has any
    `log.csv` has a row an epoch: losses, rate, AP on validation. Weights are averaged ones.
    ConfigError and DataError come before any work.
    """
    run = Path(run)
    if isinstance(config, YoloConfig):
        from leukoscope.train.yolo import train_yolo

        return train_yolo(config, datasets, run, resume=resume, progress=progress)
    run_mark(run, resume=resume)
    taxonomy = detection_taxonomy(config.taxonomy)
    train, val = split_off_validation(datasets, config)
    pictures = read_pictures(train, taxonomy, config)
    val = [usable_fields(d, taxonomy, leave_out=config.leave_out) for d in val]
    fingerprint = run_fingerprint(config, [*train, *val])
    process = Process.start()
    try:
        state = TrainState(config, len(taxonomy.names), process)
        if process.rank == 0:
            run.mkdir(parents=True, exist_ok=True)
            write_run(run, config, taxonomy, {"train": train, "val": val}, origin=state.origin)
        if (run / "checkpoint.pt").exists():
            state.load(load_checkpoint(run / "checkpoint.pt", fingerprint=fingerprint))
        while state.epoch < config.epochs and not state.over():
            row = _train_epoch(state, pictures, run / "checkpoint.pt", fingerprint=fingerprint, progress=progress)
            _end_epoch(state, val, taxonomy, row=row, run=run, fingerprint=fingerprint)
    finally:
        process.stop()
    return run


def read_pictures(datasets: list[Dataset], taxonomy: Taxonomy, config: DetectorConfig) -> Pictures:
    """The training fields of several data sets; DataError when they hold no cell of any class."""
    fields = [(d, f) for d in datasets for f in label_fields(d, taxonomy, leave_out=config.leave_out)]
    if not any(len(f.labels) for _, f in fields):
        names = ", ".join(d.name for d in datasets)
        raise DataError(f"no box of taxonomy {taxonomy.name!r} in {names}, splits {', '.join(config.splits)}")
    return Pictures(fields, balance=config.white_balance, memory_px=config.memory_px, memory_mb=config.memory_mb)


def recipe_of_epoch(config: DetectorConfig, epoch: int) -> Recipe:
    """What is done to the pictures of an epoch: dense within its span, plain at the end."""
    dense_from, dense_until = config.dense_span
    return Recipe(
        side=config.side,
        plain=epoch >= config.epochs - config.plain_epochs,
        dense=dense_from <= epoch < dense_until,
        mosaic_prob=config.mosaic,
        mixup_prob=config.mixup,
        rotation=config.rotation,
        flip_vertical=config.flip_vertical,
        stain_strength=config.stain_strength,
        multi_scale=config.multi_scale,
    )


def flat_cosine(step: int, config: DetectorConfig, steps_per_epoch: int) -> float:
    """Share of the learning rate at a step: warm-up by the square, flat until the dense span ends, then a cosine to
    final_rate / learning_rate, which the plain epochs keep (DEIM's FlatCosine schedule)."""
    lowest = config.final_rate / config.learning_rate
    total, plain = config.epochs * steps_per_epoch, config.plain_epochs * steps_per_epoch
    flat = config.dense_span[1] * steps_per_epoch
    warmup = min(config.warmup_steps, total // 4)
    if step < warmup:
        return ((step + 1) / warmup) ** 2
    if step < flat:
        return 1.0
    if step >= total - plain:
        return lowest
    return lowest + (1 - lowest) * 0.5 * (1 + math.cos(math.pi * (step - flat) / (total - flat - plain)))


def order_of_epoch(n_fields: int, config: DetectorConfig, epoch: int, process: Process) -> tuple[np.ndarray, int]:
    """Rows of the fields that this process sees in an epoch, and how many steps they are.

    Every field once, but for the rest that fills no step; a set smaller than a step is gone through several times.
    """
    a_step = config.batch_size * config.accumulate * process.world
    rng = np.random.default_rng((config.seed, epoch))
    turns = max(1, math.ceil(a_step / n_fields))
    order = np.concatenate([rng.permutation(n_fields) for _ in range(turns)])
    steps = len(order) // a_step
    return order[: steps * a_step].reshape(-1, process.world)[:, process.rank], steps


def _train_epoch(
    state: TrainState, pictures: Pictures, checkpoint: Path, *, fingerprint: str, progress: Callable | None
) -> dict[str, str]:
    """The rest of the present epoch; the means of its losses and its last rate, as text for the log."""
    config, process, saved = state.config, state.process, time.monotonic()
    order, n_steps = order_of_epoch(len(pictures), config, state.epoch, process)
    recipe, key = recipe_of_epoch(config, state.epoch), (config.seed, state.epoch, process.rank)
    batches = Batches(pictures, recipe, order, key=key, size=config.batch_size, first=state.step * config.accumulate)
    loader = torch.utils.data.DataLoader(
        batches, batch_size=None, shuffle=False, num_workers=config.workers, collate_fn=_as_is
    )
    losses: list[list[float]] = []
    rate = 1.0
    state.model.train()
    for number, batch in enumerate(loader, state.step * config.accumulate):
        last = (number + 1) % config.accumulate == 0
        torch.manual_seed(((config.seed * 1009 + state.epoch) * 100_003 + number) * 64 + process.rank)  # denoising
        with contextlib.nullcontext() if last or process.world == 1 else state.model.no_sync():
            parts = state.backward(batch.pixels, batch.labels, share=1 / config.accumulate)
        losses.append([parts.get(name, math.nan) for name in PARTS])
        if not last:
            continue
        rate = flat_cosine(state.epoch * n_steps + state.step, config, n_steps)
        state.update(rate)
        state.step += 1
        if process.rank == 0 and time.monotonic() - saved > CHECKPOINT_SECONDS and state.step < n_steps:
            save_checkpoint(checkpoint, {"fingerprint": fingerprint, **state.state()})
            saved = time.monotonic()
        if progress:
            progress(state.epoch * n_steps + state.step, config.epochs * n_steps)
    means = np.mean(losses, 0) if losses else [math.nan] * len(PARTS)
    row = {name: f"{value:.4f}" for name, value in zip(PARTS, means, strict=True)}
    return row | {"rate": f"{rate * config.learning_rate:.3g}"}


def _as_is(batch):
    return batch


def _end_epoch(
    state: TrainState, val: list[Dataset], taxonomy: Taxonomy, *, row: dict, run: Path, fingerprint: str
) -> None:
    """Validate the averaged weights, keep them if they are the best so far, write the log and the checkpoint."""
    config, process = state.config, state.process
    state.epoch, state.step = state.epoch + 1, 0
    scored = bool(val) and (state.epoch % config.validate_every == 0 or state.epoch == config.epochs)
    ap = {"ap50_95": math.nan, "ap50": math.nan}
    if process.rank == 0:
        if scored:
            ap = validate(state, val, taxonomy)
        shown = {f"val_{k}": f"{ap[k]:.4f}" if scored else "" for k in ("ap50_95", "ap50")}
        append_log(run, {"epoch": state.epoch, **row, **shown, "clock_s": f"{time.monotonic():.0f}"})
        save_checkpoint(run / "last.pt", {"model": state.average, "epoch": state.epoch})
        if (scored and ap["ap50_95"] > state.best) or not val:
            save_checkpoint(run / "best.pt", {"model": state.average, "epoch": state.epoch, "ap50_95": ap["ap50_95"]})
    if scored:
        value = process.same(ap["ap50_95"])
        state.since = 0 if value > state.best else state.since + 1
        state.best = max(state.best, value)
    if process.rank == 0:
        save_checkpoint(run / "checkpoint.pt", {"fingerprint": fingerprint, **state.state()})


def validate(state: TrainState, val: list[Dataset], taxonomy: Taxonomy) -> dict:
    """`score_boxes` of the averaged weights on the validation fields."""
    config = state.config
    detector = TrainedDetector(ExportedDetr(state.averaged_net()), taxonomy, config.side, config.white_balance)
    found = [boxes for d in val for boxes in detect(detector, d)]
    truth = [boxes for d in val for boxes in truth_boxes(d, taxonomy)]
    return score_boxes(truth, found, taxonomy.names)
