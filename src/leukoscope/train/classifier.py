"""Train the cell classifier: one flat loop.

Crops are turned, shifted and zoomed around their cell, put on other backgrounds, and stained, lit and focused
anew. Normalisation layers keep ImageNet's statistics (they are folded away). A cell of which only the lineage is
known (a neutrophil that is neither called band nor segmented) teaches the sum of the classes it may be.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from leukoscope.crop import match_nuclei
from leukoscope.dataset.manifest import Dataset
from leukoscope.dataset.splits import drop_copies
from leukoscope.errors import ConfigError
from leukoscope.models.torch_classifier import CellClassifier
from leukoscope.taxonomy import read_attribute_set, read_taxonomy
from leukoscope.train.attributes import attribute_loss, value_weights
from leukoscope.train.augment import jitter_colour, mix_channels
from leukoscope.train.checkpoint import (
    append_log,
    load_checkpoint,
    read_average,
    run_fingerprint,
    run_mark,
    save_checkpoint,
    start_from,
    update_average,
)
from leukoscope.train.classifier_data import (
    MADE_ARTEFACT,
    WINDOW_PAD,
    CellStore,
    ColourMatch,
    cut_by_frame,
    fit_colour_match,
    in_white_frame,
    load_cells,
    on_black,
    on_smear,
)

CHECKPOINT_SECONDS = 120


@dataclass(frozen=True, slots=True)
class ClassifierConfig:
    """Settings of one classifier run (a TOML file with these keys and task = "classify")."""

    name: str
    taxonomy: str
    size: int  # pixels a side of the crops trained on
    pad_fraction: float
    steps: int
    batch_size: int
    learning_rate: float
    splits: tuple = ("train",)  # of data sets with splits; a set without any is used whole
    init_from: str | None = None  # a run folder whose weights this one starts from
    holdout_patients: tuple = ()  # never trained on: for folds by patient
    class_sets: dict = field(default_factory=dict)
    um_per_px: dict = field(default_factory=dict)
    nucleus_density: tuple | None = None  # the crop rule's; None leaves the stain as it is
    colour_strength: float = 1.0
    own_colour: float = 0.0  # share of the crops that keep their own stain, light and focus
    head_rate: float = 1.0  # times the learning rate, for the last layer and the diameter's: the backbone needs less
    frozen_blocks: int = 3
    grey: bool = False  # the network sees no colour, in training a random mix of the channels
    start_share: float = 0.0  # of the finished weights that is init_from's own
    attributes: str | None = None  # an attribute set that a second layer learns from the cells that state them
    attribute_weight: float = 0.5  # of that layer's loss
    label_smoothing: float = 0.03
    weight_decay: float = 0.02
    ema: float = 0.998
    seed: int = 0
    licence: str = "Apache-2.0"
    description: str = ""
    limits: tuple = ()


def train_classifier(
    config: ClassifierConfig,
    datasets: list[Dataset],
    run: Path,
    *,
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Train and leave `last.pt` (EMA weights), `log.csv` and `config.json` in folder `run`; returns `run`.

    Resuming gives the weights that an uninterrupted run gives: every step draws from its own seed.
    """
    if not 0 <= config.start_share < 1 or (config.start_share and not config.init_from):
        raise ConfigError(f"start_share must be 0 to below 1 and needs init_from, got {config.start_share}")
    run.mkdir(parents=True, exist_ok=True)
    checkpoint = run_mark(run, resume=resume)
    chosen = [chosen_fields(d, config) for d in datasets]
    taxonomy = read_taxonomy(config.taxonomy)
    described = read_attribute_set(config.attributes) if config.attributes else None
    settings = {"class_sets": config.class_sets, "um_per_px": config.um_per_px, "seed": config.seed}
    store = load_cells(chosen, taxonomy, attributes=described, **settings)
    balance = value_weights(store.attributes, described) if described else None
    match = fit_colour_match(store, config.seed)
    fingerprint = run_fingerprint(config, chosen)
    _write_run(run, config, chosen, store, match)

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(config.seed)
    model = CellClassifier(len(taxonomy.names), n_values=described.n_values if described else 0, grey=config.grey)
    model = model.to(device, memory_format=torch.channels_last)
    if config.init_from:
        start_from(model, config.init_from, may_lack="attributes.")
    for part in (model.features.stem, *model.features.blocks[: config.frozen_blocks]):
        part.requires_grad_(False)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = _optimizer(model, config)
    rates = [group["lr"] for group in optimizer.param_groups]
    average = {k: v.clone() for k, v in model.state_dict().items()}
    first = 0
    if checkpoint.exists():
        state = load_checkpoint(checkpoint, fingerprint=fingerprint)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        average = {k: v.to(device) for k, v in state["average"].items()}
        first = state["step"]

    weights = _sampling_weights(store)
    saved = time.monotonic()
    losses: list[float] = []
    for step in range(first, config.steps):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * _schedule(step, config.steps)
        pixels, diameters, targets, stated = make_batch(store, match, config, weights, step)
        model.train()
        torch.manual_seed(config.seed * 1_000_003 + step)  # dropout
        pixels, diameters = pixels.to(device), diameters.to(device)
        logits, values = model.described(pixels, diameters) if described else (model(pixels, diameters), None)
        loss = set_cross_entropy(logits, targets.to(device), smoothing=config.label_smoothing)
        if described:
            loss = loss + config.attribute_weight * attribute_loss(values, stated.to(device), balance)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 2.0)
        optimizer.step()
        update_average(average, model, min(config.ema, (step + 1) / (step + 10)))
        losses.append(loss.item())
        done = step + 1
        if done % 20 == 0 or done == config.steps:
            append_log(run, {"step": done, "loss": f"{np.mean(losses):.4f}", "clock_s": f"{time.monotonic():.0f}"})
            losses.clear()
        if time.monotonic() - saved > CHECKPOINT_SECONDS or done == config.steps:
            save_checkpoint(
                checkpoint,
                {
                    "fingerprint": fingerprint,
                    "step": done,
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "average": average,
                },
            )
            save_checkpoint(run / "last.pt", {"model": average})
            saved = time.monotonic()
        if progress:
            progress(done, config.steps)
    if config.start_share:
        save_checkpoint(run / "last.pt", {"model": mix_with_start(average, read_average(config.init_from), config)})
    return run


def mix_with_start(average: dict, start: dict, config: ClassifierConfig) -> dict:
    """Weights between those that the run began from and those it reached: a short last stage gains at home and loses
    elsewhere, and the mean of both does better than either (Wortsman et al., Robust fine-tuning, CVPR 2022)."""
    return {
        key: torch.lerp(value, start[key].to(value), config.start_share)
        if key in start and value.is_floating_point()
        else value
        for key, value in average.items()
    }


def set_cross_entropy(logits: torch.Tensor, targets: torch.Tensor, *, smoothing: float) -> torch.Tensor:
    """Mean of -log of the probability summed over the classes a cell may be.

    logits (N, C); targets (N, C) bool. Smoothing mixes in the mean of -log p over all classes.
    """
    log_probs = F.log_softmax(logits, 1)
    own = -torch.logsumexp(log_probs.masked_fill(~targets, float("-inf")), 1)
    return ((1 - smoothing) * own - smoothing * log_probs.mean(1)).mean()


def make_batch(
    store: CellStore, match: ColourMatch | None, config: ClassifierConfig, weights: np.ndarray, step: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The batch of one step: pixels (B, S, S, 3) uint8, diameters (B,), targets (B, C) bool, stated values (B, A)."""
    rng = np.random.default_rng((config.seed, step))
    torch_rng = torch.Generator().manual_seed(int(rng.integers(2**31)))
    rows = rng.choice(len(store.windows), config.batch_size, p=weights)
    windows = np.stack([dress(store, i, match, rng) for i in rows])
    batch = torch.from_numpy(windows).permute(0, 3, 1, 2).float() / 255
    crops = turn_and_crop(batch, config.size, config.pad_fraction, rng)
    changed = torch.ones(len(rows), dtype=torch.bool)
    if config.own_colour:
        changed = torch.from_numpy(rng.random(len(rows)) >= config.own_colour)
    crops[changed] = jitter_colour(crops[changed], torch_rng, strength=config.colour_strength)
    crops = (crops * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()  # (B, S, S, 3), channels last
    crops = match_nuclei(crops, config.nucleus_density)
    if config.grey:
        own = np.random.default_rng((config.seed, step, 7))  # so that the other draws stay what they are with colour
        crops = mix_channels(crops, own.dirichlet((1, 1, 1), len(crops)))
    known = rng.random(len(rows)) < 0.5  # half of the time as if the scale were unknown
    diameters = store.diameters[rows] * known * np.exp(rng.normal(0, 0.08, len(rows)))  # rulers err
    targets, stated = torch.from_numpy(store.targets[rows]), torch.from_numpy(store.attributes[rows])
    return torch.from_numpy(crops), torch.from_numpy(diameters.astype(np.float32)), targets, stated


def dress(store: CellStore, i: int, match: ColourMatch | None, rng: np.random.Generator) -> np.ndarray:
    """Cell i as it is or on another background, so that the background says nothing of the class.

    Some cells on smears are cut by the frame, by less than half: those still count (PCM, Appendix A).
    """
    draw = rng.random()
    if store.masked[i] and (match is None or not store.backgrounds or draw < 0.35):
        recolour = match is not None and 0.25 <= draw < 0.35
        window = on_black(store, i, match.to_smear if recolour else None)
        return in_white_frame(store, i, window) if rng.random() < 0.5 else window
    if not store.masked[i] and draw < 0.16:
        window = on_black(store, i, match.to_masked if match and draw < 0.08 else None)
        return in_white_frame(store, i, window) if rng.random() < 0.5 else window
    window = on_smear(store, i, match, rng, recolour=draw < 0.95) if store.masked[i] else store.windows[i]
    if rng.random() < 0.12 and store.groups[i] != MADE_ARTEFACT:
        window = cut_by_frame(store, i, window, rng)
    return window


def turn_and_crop(batch: torch.Tensor, size: int, pad_fraction: float, rng: np.random.Generator) -> torch.Tensor:
    """Windows (N, 3, H, H) to crops (N, 3, size, size): flipped, turned, shifted, stretched a little and zoomed."""
    n = len(batch)
    angle = rng.uniform(0, 2 * np.pi, n)
    flip = rng.choice([-1.0, 1.0], n)
    zoom = (1 + 2 * pad_fraction) / (1 + 2 * WINDOW_PAD) * np.exp(rng.normal(0, 0.12, n))
    stretch = np.exp(rng.normal(0, 0.05, n))
    cos, sin = np.cos(angle) * zoom, np.sin(angle) * zoom
    shift = rng.normal(0, 0.05, (n, 2))
    theta = np.stack(
        [
            np.stack([cos * flip * stretch, -sin, shift[:, 0]], 1),
            np.stack([sin * flip * stretch, cos, shift[:, 1]], 1),
        ],
        1,
    ).astype(np.float32)
    grid = F.affine_grid(torch.from_numpy(theta), (n, 3, size, size), align_corners=False)
    return F.grid_sample(batch, grid, mode="bilinear", padding_mode="border", align_corners=False)


def chosen_fields(dataset: Dataset, config: ClassifierConfig) -> Dataset:
    """The fields of a data set that this run may see, without copies of pictures in the splits it may not see."""
    has_splits = any(f.split for f in dataset.fields)
    seen = [not has_splits or f.split in config.splits for f in dataset.fields]
    fields = [f for f, s in zip(dataset.fields, seen, strict=True) if s]
    hidden = [f for f, s in zip(dataset.fields, seen, strict=True) if not s]
    kept = tuple(f for f in fields if f.key.patient_id not in config.holdout_patients)
    return drop_copies(replace(dataset, fields=kept), replace(dataset, fields=tuple(hidden)))


def _sampling_weights(store: CellStore) -> np.ndarray:
    """A group (data set and class) is drawn by the root of its size, and within it each patient likewise."""
    weights = np.zeros(len(store.groups))
    for group in np.unique(store.groups):
        rows = np.flatnonzero(store.groups == group)
        for patient in np.unique(store.patients[rows]):
            own = rows[store.patients[rows] == patient]
            weights[own] = 1 / np.sqrt(len(own))
        weights[rows] *= np.sqrt(len(rows)) / weights[rows].sum()
    return weights / weights.sum()


def _optimizer(model: CellClassifier, config: ClassifierConfig) -> torch.optim.Optimizer:
    """AdamW; the layers that start from chance and the diameter's, two numbers beside 1,392, at their own rate."""
    described = model.attributes.parameters() if model.attributes is not None else ()
    head = [*model.fc.parameters(), *model.diameter.parameters(), *described]
    backbone = [p for p in model.features.parameters() if p.requires_grad]
    groups = [
        {"params": head, "lr": config.learning_rate * config.head_rate},
        {"params": backbone, "lr": config.learning_rate},
    ]
    return torch.optim.AdamW(groups, weight_decay=config.weight_decay)


def _schedule(step: int, steps: int) -> float:
    warm = min(200, max(1, steps // 20))
    if step < warm:
        return (step + 1) / warm
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _write_run(
    run: Path, config: ClassifierConfig, datasets: list[Dataset], store: CellStore, match: ColourMatch | None
) -> None:
    groups, counts = np.unique(store.groups, return_counts=True)
    record = {
        "task": "classify",
        "config": asdict(config),
        "data": [
            {"name": d.name, "sha256": d.sha256(), "licence": d.licence, "n_fields": len(d.fields)} for d in datasets
        ],
        "cells": dict(zip(groups.tolist(), counts.tolist(), strict=True)),
        "colour_match": asdict(match) if match else None,
        "torch": torch.__version__,
    }
    (run / "run.json").write_text(json.dumps(record, indent=1) + "\n", "utf-8")
