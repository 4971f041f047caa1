"""Train the cell classifier: one flat loop.

Crops of several laboratories' cells are framed, put on other backgrounds, and stained, lit and focused anew
(`train/dress.py`), on the processor or on a GPU. A cell of which only the lineage is known (a neutrophil that is
neither called band nor segmented) teaches the sum of the classes it may be.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from leukoscope.dataset.manifest import Dataset
from leukoscope.dataset.splits import drop_copies
from leukoscope.errors import ConfigError
from leukoscope.models.bundle import find_model, part_of_model
from leukoscope.models.torch_classifier import POOLED, CellClassifier
from leukoscope.taxonomy import read_attribute_set, read_taxonomy
from leukoscope.train.adapt.network import read_network
from leukoscope.train.attributes import attribute_loss, value_weights
from leukoscope.train.augment import match_nuclei_of, mix_channels
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
from leukoscope.train.classifier_data import MADE, CellStore, class_targets, load_cells
from leukoscope.train.contrast import contrast_loss
from leukoscope.train.dress import Dress, Wardrobe
from leukoscope.train.made_cells import make_cells

CHECKPOINT_SECONDS = 120
NORMS = ("folded", "trained")


@dataclass(frozen=True, slots=True)
class ClassifierConfig:
    """Settings of one classifier run (a TOML file with these keys and task = "classify")."""

    name: str
    taxonomy: str
    size: int  # pixels a side of the crops trained on
    pad_fraction: float  # of the crops that analysis cuts; training frames them as `dress` says
    steps: int
    batch_size: int
    learning_rate: float
    splits: tuple = ("train",)  # of data sets with splits; a set without any is used whole
    init_from: str | None = (
        None  # a run folder, a model folder or a bundled model's name whose weights this starts from
    )
    holdout_patients: tuple = ()  # never trained on: for folds by patient or smear
    class_sets: dict = field(default_factory=dict)
    um_per_px: dict = field(default_factory=dict)
    nucleus_density: tuple | None = None  # the crop rule's; None leaves the stain as it is
    dress: dict = field(default_factory=dict)  # keys of `dress.Dress`, over its defaults
    destroyed: int = 0  # real cells made smudges of
    drawn: int = 0  # smudges drawn
    artefacts: int = 0  # other things that are not to be counted
    norms: str = "folded"  # "trained": normalisation layers learn, and are folded in at the end
    head_rate: float = 1.0  # times the learning rate, for the last layer and the diameter's: the backbone needs less
    frozen_blocks: int = 0
    grey: bool = False  # the network sees no colour, in training a random mix of the channels
    contrast: float = 0.0  # weight of supervised contrast between cells of one class in different data sets
    start_share: float = 0.0  # of the finished weights that is init_from's own
    attributes: str | None = None  # an attribute set that a second layer learns from the cells that state them
    attribute_weight: float = 0.5  # of that layer's loss
    label_smoothing: float = 0.05
    weight_decay: float = 0.05
    ema: float = 0.998
    seed: int = 0
    temperature: float | None = None  # of the bundle; None: set on the validation fields
    prior: dict = field(default_factory=dict)  # class → what is added to its logit in the bundle
    thresholds: dict = field(default_factory=dict)  # of the bundle's card
    licence: str = "Apache-2.0"
    description: str = ""
    limits: tuple = ()

    def dressed(self) -> Dress:
        """What cells are shown as; ConfigError for a key that `Dress` has not."""
        unknown = sorted(set(self.dress) - {f.name for f in fields(Dress)})
        if unknown:
            known = ", ".join(f.name for f in fields(Dress))
            raise ConfigError(f"[dress] has unknown key {', '.join(unknown)}; it has {known}")
        return Dress(**{k: tuple(v) if isinstance(v, list) else v for k, v in self.dress.items()})


def train_classifier(
    config: ClassifierConfig,
    datasets: list[Dataset],
    run: Path,
    *,
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Train and leave `last.pt` (averaged weights), `log.csv` and `run.json` in folder `run`; returns `run`.

    Resuming gives the weights that an uninterrupted run gives: every step draws from its own seed.
    """
    _check(config)
    run.mkdir(parents=True, exist_ok=True)
    run_mark(run, resume=resume)
    chosen = [chosen_fields(d, config) for d in datasets]
    described = read_attribute_set(config.attributes) if config.attributes else None
    store = load_cells(chosen, um_per_px=config.um_per_px, seed=config.seed, attributes=described)
    made = make_cells(
        store, destroyed=config.destroyed, drawn=config.drawn, artefacts=config.artefacts, seed=config.seed
    )
    store = store.joined(made) if len(made) else store
    data = [{"name": d.name, "sha256": d.sha256(), "licence": d.licence, "n_fields": len(d.fields)} for d in chosen]
    return train_store(config, store, run, data=data, fingerprint=run_fingerprint(config, chosen), progress=progress)


def train_store(
    config: ClassifierConfig,
    store: CellStore,
    run: Path,
    *,
    data: list[dict],
    fingerprint: str,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """`train_classifier` on cells that are read already; goes on from a checkpoint of the same `fingerprint` in `run`.

    data  what `run.json` says of the data sets
    """
    _check(config)
    run.mkdir(parents=True, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    feeder = Feeder(config, store, device)
    _write_run(run, config, data, feeder.store)
    state = _TrainState(config, feeder, device)
    first = state.load(run / "checkpoint.pt", fingerprint) if (run / "checkpoint.pt").exists() else 0
    saved, losses = time.monotonic(), []
    for step in range(first, config.steps):
        losses.append(state.step(step))
        done = step + 1
        if done % 20 == 0 or done == config.steps:
            mean = float(torch.stack(losses).mean())
            append_log(run, {"step": done, "loss": f"{mean:.4f}", "clock_s": f"{time.monotonic():.0f}"})
            losses.clear()
        if time.monotonic() - saved > CHECKPOINT_SECONDS or done == config.steps:
            state.save(run / "checkpoint.pt", fingerprint, done)
            saved = time.monotonic()
        if progress:
            progress(done, config.steps)
    average = state.averaged()
    if config.start_share:
        average = mix_with_start(average, start_weights(config.init_from), config)
    save_checkpoint(run / "last.pt", {"model": average})
    return run


class Feeder:
    """The batches of a run, each drawn from its own seed."""

    def __init__(self, config: ClassifierConfig, store: CellStore, device: str) -> None:
        self.config, self.dress, self.device = config, config.dressed(), device
        targets = class_targets(store, read_taxonomy(config.taxonomy), config.class_sets)
        self.store = store.subset(targets.any(1))
        self.targets = torch.from_numpy(targets[targets.any(1)]).to(device)
        self.stated = torch.from_numpy(self.store.attributes).to(device)
        self.wardrobe = Wardrobe(self.store, device)
        _, sets = np.unique(self.store.sets, return_inverse=True)
        self.sets = torch.from_numpy(sets).to(device)
        self.weights = sampling_weights(self.store)

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """One step's pixels (B, S, S, 3) float in [0, 255], diameters (B,) and rows (B,) of the store."""
        config = self.config
        rng = np.random.default_rng((config.seed, step))
        rows = rng.choice(len(self.store), config.batch_size, p=self.weights)
        crops = self.wardrobe.batch(rows, config.size, self.dress, (config.seed, step, 5))
        crops = match_nuclei_of(crops, config.nucleus_density)
        if config.grey:
            crops = mix_channels(crops, rng.dirichlet((1, 1, 1), len(crops)))
        known = rng.random(len(rows)) < 0.5  # half of the time as if the scale were unknown
        diameters = self.store.diameters[rows] * known * np.exp(rng.normal(0, 0.12, len(rows)))  # rulers err
        pixels = (crops * 255).permute(0, 2, 3, 1).contiguous()  # channels last: else four times as slow on a processor
        where = torch.from_numpy(rows).to(self.device)
        return pixels, torch.from_numpy(diameters.astype(np.float32)).to(self.device), where


class _TrainState:
    """Network, optimiser and running average of one run."""

    def __init__(self, config: ClassifierConfig, feeder: Feeder, device: str) -> None:
        self.config, self.feeder, self.device = config, feeder, device
        torch.manual_seed(config.seed)
        described = read_attribute_set(config.attributes) if config.attributes else None
        self.balance = value_weights(feeder.store.attributes, described) if described else None
        self.model = CellClassifier(
            len(read_taxonomy(config.taxonomy).names),
            n_values=described.n_values if described else 0,
            grey=config.grey,
            norms=config.norms == "trained",
        ).to(device, memory_format=torch.channels_last)
        if config.init_from:
            state = start_weights(config.init_from)
            start_from(self.model, state, source=config.init_from, may_differ=("attributes.", "second.", "fc."))
        for part in (self.model.features.stem, *self.model.features.blocks[: config.frozen_blocks]):
            part.requires_grad_(not config.frozen_blocks)
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = _optimizer(self.model, config)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.average = {k: v.clone() for k, v in self.model.state_dict().items()}

    def step(self, step: int) -> torch.Tensor:
        """One step; returns its loss (a scalar tensor, detached)."""
        config = self.config
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * _schedule(step, config.steps)
        pixels, diameters, rows = self.feeder.batch(step)
        self.model.train()
        torch.manual_seed(config.seed * 1_000_003 + step)  # dropout
        with torch.autocast(self.device, torch.bfloat16, enabled=self.device == "cuda"):
            loss = self._loss(pixels, diameters, rows)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 2.0)
        self.optimizer.step()
        update_average(self.average, self.model, min(config.ema, (step + 1) / (step + 10)))
        return loss.detach()

    def _loss(self, pixels: torch.Tensor, diameters: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        config, feeder, model = self.config, self.feeder, self.model
        maps = model.maps(pixels)
        heard = model.hear(pixels, diameters, maps=maps)
        targets = feeder.targets[rows]
        loss = set_cross_entropy(model.fc(model.dropout(heard)).float(), targets, smoothing=config.label_smoothing)
        if config.contrast:
            loss = loss + config.contrast * contrast_loss(heard[:, :1280].float(), targets, feeder.sets[rows])
        if self.balance:
            values = model.attributes(model.dropout(model.details_of(maps, diameters)))
            loss = loss + config.attribute_weight * attribute_loss(values.float(), feeder.stated[rows], self.balance)
        return loss

    def load(self, path: Path, fingerprint: str) -> int:
        """Go on from a checkpoint; returns the steps done."""
        state = load_checkpoint(path, fingerprint=fingerprint)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average = {k: v.to(self.device) for k, v in state["average"].items()}
        return state["step"]

    def save(self, path: Path, fingerprint: str, done: int) -> None:
        parts = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "average": self.average}
        save_checkpoint(path, {"fingerprint": fingerprint, "step": done, **parts})

    def averaged(self) -> dict:
        """The averaged weights, normalisation folded in."""
        self.model.load_state_dict(self.average)
        return (self.model.folded() if self.config.norms == "trained" else self.model.to("cpu")).state_dict()


def start_weights(source: str) -> dict:
    """Weights of a run folder, or of the classifier of a model folder or bundled model; of two trunks the first."""
    if (Path(source) / "last.pt").is_file() or (Path(source) / "run.json").is_file():
        return read_average(source)
    network = read_network(part_of_model(find_model(source), "classify"))
    state = {k: v for k, v in network.state_dict().items() if not k.startswith("second.")}
    return state | {"fc.weight": network.fc.weight.detach()[:, :POOLED]}


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


def chosen_fields(dataset: Dataset, config: ClassifierConfig) -> Dataset:
    """The fields of a data set that this run may see, without copies of pictures in the splits it may not see."""
    has_splits = any(f.split for f in dataset.fields)
    seen = [not has_splits or f.split in config.splits for f in dataset.fields]
    chosen = [f for f, s in zip(dataset.fields, seen, strict=True) if s]
    hidden = [f for f, s in zip(dataset.fields, seen, strict=True) if not s]
    held = config.holdout_patients
    kept = tuple(f for f in chosen if f.key.patient_id not in held and f.key.smear_id not in held)
    return drop_copies(replace(dataset, fields=kept), replace(dataset, fields=tuple(hidden)))


def sampling_weights(store: CellStore) -> np.ndarray:
    """(N,) summing to 1: a group (data set and class) is drawn by the root of its size, in it each patient likewise."""
    groups, weights = store.groups, np.zeros(len(store))
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        for patient in np.unique(store.patients[rows]):
            own = rows[store.patients[rows] == patient]
            weights[own] = 1 / np.sqrt(len(own))
        weights[rows] *= np.sqrt(len(rows)) / weights[rows].sum()
    return weights / weights.sum()


def one_source_classes(cells: dict[str, int]) -> dict[str, str]:
    """{class: data set} of the classes that one data set alone shows, of several trained on: what tells such a class
    from others may be the laboratory. cells: number by "set:class"; made cells count for no set."""
    sets: dict[str, set[str]] = {}
    for group in cells:
        name, _, kind = group.partition(":")
        if name != MADE:
            sets.setdefault(kind, set()).add(name)
    several = len(set().union(*sets.values())) > 1 if sets else False
    return {kind: next(iter(of)) for kind, of in sorted(sets.items()) if several and len(of) == 1}


def _check(config: ClassifierConfig) -> None:
    """ConfigError for settings that can't be."""
    config.dressed()
    if not 0 <= config.start_share < 1 or (config.start_share and not config.init_from):
        raise ConfigError(f"start_share must be 0 to below 1 and needs init_from, got {config.start_share}")
    if config.norms not in NORMS or (config.norms == "trained" and config.init_from):
        raise ConfigError(
            f"norms must be one of {', '.join(NORMS)}, and folded with init_from, whose weights have none left; "
            f"got {config.norms!r}" + (f" and init_from {config.init_from!r}" if config.init_from else "")
        )
    names = read_taxonomy(config.taxonomy).names
    unknown = sorted(set(config.prior) - set(names))
    if unknown:
        raise ConfigError(f"[prior] names {', '.join(unknown)}, which taxonomy {config.taxonomy!r} has not")


def _optimizer(model: CellClassifier, config: ClassifierConfig) -> torch.optim.Optimizer:
    """AdamW; the layers that start from chance and the diameter's, two numbers beside 1,392, at their own rate."""
    described = model.attributes.parameters() if model.attributes is not None else ()
    head = [*model.fc.parameters(), *model.diameter.parameters(), *described]
    backbone = [p for p in model.features.parameters() if p.requires_grad]
    groups = [
        {"params": head, "lr": config.learning_rate * config.head_rate},
        {"params": [p for p in backbone if p.dim() > 1], "lr": config.learning_rate},
        {"params": [p for p in backbone if p.dim() <= 1], "lr": config.learning_rate, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, weight_decay=config.weight_decay)


def _schedule(step: int, steps: int) -> float:
    warm = min(200, max(1, steps // 20))
    if step < warm:
        return (step + 1) / warm
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _write_run(run: Path, config: ClassifierConfig, data: list[dict], store: CellStore) -> None:
    groups, counts = np.unique(store.groups, return_counts=True)
    record = {
        "task": "classify",
        "config": asdict(config),
        "data": data,
        "cells": (cells := dict(zip(groups.tolist(), counts.tolist(), strict=True))),
        "one_source": one_source_classes(cells),
        "torch": torch.__version__,
    }
    (run / "run.json").write_text(json.dumps(record, indent=1) + "\n", "utf-8")
