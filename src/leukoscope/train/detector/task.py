"""Train a detector: the detection transformers on the one loop (`train.loop`); YOLO goes to `train.yolo`.

DEIM's training (Huang et al., CVPR 2025): the matchability-aware loss, dense one-to-one through mosaic and mix-up,
a flat and then falling rate, averaged weights. Under `torchrun` each process takes its share of every epoch, and the
first one writes. A batch draws from its own seed, so a killed run goes on to the weights that it would have had.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from leukoscope.dataset.detection import detection_taxonomy, label_fields, usable_fields
from leukoscope.dataset.manifest import Dataset
from leukoscope.errors import DataError
from leukoscope.evaluate.boxes import score_boxes
from leukoscope.models.torch_detr import Detr, ExportedDetr
from leukoscope.progress import Progress, no_progress
from leukoscope.taxonomy import Taxonomy
from leukoscope.train.checkpoint import run_fingerprint, run_mark
from leukoscope.train.compiled import compile_parts
from leukoscope.train.detector.config import DetectorConfig, YoloConfig
from leukoscope.train.detector.data import Batch, Batches, Pictures, Recipe
from leukoscope.train.detector.network import batch_losses, build_detector, make_optimizer, resolve
from leukoscope.train.detector.predict import TrainedDetector, detect, truth_boxes
from leukoscope.train.detector.run import split_off_validation, write_detector_run
from leukoscope.train.loop import EpochEnd, Place, Stage, Task, half_precision, run_task
from leukoscope.train.processes import Processes, join_processes, leave_processes

PARTS = ("loss", "loss_mal", "loss_bbox", "loss_giou")  # the whole loss, and the last decoder layer's parts


def train_detector(
    config: DetectorConfig | YoloConfig,
    data: list[Dataset],
    run: str | Path,
    *,
    resume: bool = False,
    progress: Progress = no_progress,
) -> Path:
    """Train and leave `run.json`, `log.csv`, `best.pt` and `last.pt` in folder `run`; returns `run`.

    data      fields of config.splits train; those in split "val" choose the best weights, or config.val_share of the
              training fields does (by patient, else by field) where no set has any
    `log.csv` has a row an epoch: losses, rate, AP on validation. Weights are averaged ones.
    ConfigError and DataError come before any work.
    """
    run = Path(run)
    if isinstance(config, YoloConfig):
        from leukoscope.train.detector.yolo import train_yolo

        return train_yolo(config, data, run, resume=resume, progress=progress)
    run_mark(run, resume=resume)
    config = resolve(config)
    taxonomy = detection_taxonomy(config.taxonomy)
    train, val = split_off_validation(data, config)
    pictures = read_pictures(train, taxonomy, config)
    val = [usable_fields(d, taxonomy, leave_out=config.leave_out) for d in val]
    fingerprint = run_fingerprint(config, [*train, *val])
    processes = join_processes()
    try:
        net, origin = build_detector(config, len(taxonomy.names))
        if processes.is_first:
            write_detector_run(run, config, taxonomy, {"train": train, "val": val}, origin=origin)
        processes.wait()  # so that no process looks for a checkpoint before the folder stands
        net.to(processes.device)
        if processes.device.type == "cuda":  # as pixels lie, so that no convolution turns them around
            net.to(memory_format=torch.channels_last)
        if processes.size > 1 and processes.device.type == "cuda":
            net = torch.nn.SyncBatchNorm.convert_sync_batchnorm(net)
        processes.agree(net)
        if config.compile == "on" or not config.multi_scale:  # each size would be a program of its own
            compile_parts((net.backbone, net.encoder), config.compile, processes.device)
        validation = Validation(config, val, taxonomy, processes, time.monotonic())
        task = detector_task(config, net, pictures, validation)
        run_task(task, run, fingerprint=fingerprint, processes=processes, progress=progress)
    finally:
        leave_processes()
    return run


def detector_task(config: DetectorConfig, net: Detr, pictures: Pictures, validation: Validation) -> Task:
    """What the loop works on."""
    processes = validation.processes
    n_steps = steps_of_epoch(len(pictures), config, processes)
    part = 1 / (config.accumulate * processes.size)

    def loss(piece: tuple[Batch, int]) -> tuple[torch.Tensor, torch.Tensor]:
        batch, seed = piece
        torch.manual_seed(seed)  # denoising
        losses = batch_losses(net, batch.pixels, batch.labels)
        nothing = losses["loss"].new_tensor(math.nan)
        parts = torch.stack([losses.get(name, nothing).detach().float() for name in PARTS])
        return losses["loss"] * part, parts * part

    share = partial(flat_cosine, config, n_steps)
    return Task(
        network=net,
        stages=(Stage("all", config.epochs, lambda: make_optimizer(net, config), share),),
        steps=n_steps,
        pieces=lambda place: epoch_pieces(pictures, config, place, processes),
        loss=loss,
        names=PARTS,
        clip=config.gradient_norm,
        clip_over=list(net.parameters()),
        keep=lambda updates: config.ema * (1 - math.exp(-(updates + 1) / config.ema_warmup)),
        end_epoch=partial(end_epoch, validation, net, n_steps),
        patience=config.patience,
        dtype=half_precision(config.amp, processes.device),
    )


def read_pictures(datasets: list[Dataset], taxonomy: Taxonomy, config: DetectorConfig) -> Pictures:
    """The training fields of several data sets; DataError when they hold no cell of any class."""
    fields = [(d, f) for d in datasets for f in label_fields(d, taxonomy, leave_out=config.leave_out)]
    if not any(len(f.labels) for _, f in fields):
        names = ", ".join(d.name for d in datasets)
        raise DataError(f"no box of taxonomy {taxonomy.name!r} in {names}, splits {', '.join(config.splits)}")
    return Pictures(fields, balance=config.white_balance, memory_px=config.memory_px, memory_mb=config.memory_mb)


def recipe_of_epoch(config: DetectorConfig, epoch: int) -> Recipe:
    """What is done to the pictures of an epoch: dense within its span, plain before it and at the end, where all
    pictures have one size, too (DEIM's four stages)."""
    dense_from, dense_until = config.dense_span
    ending = epoch >= config.epochs - config.plain_epochs
    return Recipe(
        side=config.side,
        plain=ending or epoch < dense_from,
        dense=dense_from <= epoch < dense_until,
        mosaic_prob=config.mosaic,
        mixup_prob=config.mixup,
        rotation=config.rotation,
        flip_vertical=config.flip_vertical,
        stain_strength=config.stain_strength,
        multi_scale=0.0 if ending else config.multi_scale,
    )


def flat_cosine(config: DetectorConfig, steps_per_epoch: int, step: int) -> float:
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


def steps_of_epoch(n_fields: int, config: DetectorConfig, processes: Processes) -> int:
    """Steps in which every field is seen once, but for a rest that fills none; few fields are seen several times."""
    a_step = config.batch_size * config.accumulate * processes.size
    return max(1, math.ceil(a_step / n_fields)) * n_fields // a_step


def order_of_epoch(n_fields: int, config: DetectorConfig, epoch: int, processes: Processes) -> np.ndarray:
    """Rows of the fields that this process sees in an epoch."""
    a_step = config.batch_size * config.accumulate * processes.size
    rng = np.random.default_rng((config.seed, epoch))
    turns = max(1, math.ceil(a_step / n_fields))
    order = np.concatenate([rng.permutation(n_fields) for _ in range(turns)])
    return order[: steps_of_epoch(n_fields, config, processes) * a_step].reshape(-1, processes.size)[:, processes.rank]


def epoch_pieces(
    pictures: Pictures, config: DetectorConfig, place: Place, processes: Processes
) -> Iterator[list[tuple[Batch, int]]]:
    """For each step from a place to the end of its epoch: its batches, each with the seed of its denoising."""
    epoch, first = place.epoch, place.step * config.accumulate
    order, key = order_of_epoch(len(pictures), config, epoch, processes), (config.seed, epoch, processes.rank)
    batches = Batches(pictures, recipe_of_epoch(config, epoch), order, key=key, size=config.batch_size, first=first)
    loader = torch.utils.data.DataLoader(
        batches, batch_size=None, shuffle=False, num_workers=config.workers, collate_fn=_as_is
    )
    of_step = []
    for number, batch in enumerate(loader, first):
        of_step.append((batch, ((config.seed * 1009 + epoch) * 100_003 + number) * 64 + processes.rank))
        if len(of_step) == config.accumulate:
            yield of_step
            of_step = []


def _as_is(batch):
    return batch


@dataclass(frozen=True, slots=True)
class Validation:
    """What the weights of an epoch are judged on, by the first process."""

    config: DetectorConfig
    fields: list[Dataset]
    taxonomy: Taxonomy
    processes: Processes
    started: float

    def score(self, net: Detr, average: dict) -> dict:
        """`score_boxes` of a copy of the network with these weights."""
        net = copy.deepcopy(net)
        net.load_state_dict(average)
        detector = TrainedDetector(ExportedDetr(net.eval()), self.taxonomy, self.config.side, self.config.white_balance)
        detections = [boxes for d in self.fields for boxes in detect(detector, d)]
        truth = [boxes for d in self.fields for boxes in truth_boxes(d, self.taxonomy)]
        return score_boxes(truth, detections, self.taxonomy.names)


def end_epoch(
    validation: Validation, net: Detr, n_steps: int, place: Place, average: dict, means: dict[str, float]
) -> EpochEnd:
    """The epoch's row, and AP50-95 of the averaged weights; without validation fields a later epoch is better."""
    config, done = validation.config, place.epoch + 1
    scored = bool(validation.fields) and (done % config.validate_every == 0 or done == config.epochs)
    ap = {"ap50_95": math.nan, "ap50": math.nan}
    if scored and validation.processes.is_first:
        ap = validation.score(net, average)
    rate = flat_cosine(config, n_steps, done * n_steps - 1) * config.learning_rate
    row = {"epoch": done, **{k: f"{v:.4f}" for k, v in means.items()}, "rate": f"{rate:.3g}"}
    row |= {f"val_{k}": f"{ap[k]:.4f}" if scored else "" for k in ("ap50_95", "ap50")}
    row["clock_s"] = f"{time.monotonic() - validation.started:.0f}"
    if not validation.fields:
        return EpochEnd(row, (float(done),))
    value = validation.processes.same(ap["ap50_95"]) if scored else math.nan
    return EpochEnd(row, None if math.isnan(value) else (value,))
