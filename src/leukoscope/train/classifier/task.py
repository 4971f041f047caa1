"""Train the cell classifier: its settings, its batches and its loss, on the one loop (`train.loop`).

Crops of several laboratories' cells are framed, put on other backgrounds, and stained, lit and focused anew
(`dress`), on the processor or on a GPU. A cell of which only the lineage is known (a neutrophil that is neither called
band nor segmented) teaches the sum of the classes it may be.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from leukoscope.dataset.manifest import Dataset
from leukoscope.errors import ConfigError
from leukoscope.files import write_json
from leukoscope.models.bundle import find_model, part_of_model
from leukoscope.models.torch_classifier import POOLED, CellClassifier
from leukoscope.taxonomy import read_attribute_set, read_taxonomy
from leukoscope.train.adapt.network import read_network
from leukoscope.train.augment import match_nuclei_of, mix_channels
from leukoscope.train.checkpoint import read_average, run_fingerprint, run_mark, start_from
from leukoscope.train.classifier.attributes import attribute_loss, value_weights
from leukoscope.train.classifier.contrast import contrast_loss
from leukoscope.train.classifier.data import MADE, CellStore, class_targets, load_cells
from leukoscope.train.classifier.dress import Dress, Wardrobe
from leukoscope.train.classifier.made_cells import make_cells
from leukoscope.train.fields import seen_fields
from leukoscope.train.loop import (
    FINAL_RATE,
    Stage,
    Task,
    adamw,
    half_precision,
    quick_average,
    run_task,
    warm_cosine,
    warm_steps,
)
from leukoscope.train.processes import join_processes

CLIP = 2.0  # longest gradient of a step; the weights begin near their place, and one odd batch must not move them far
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
    chosen = seen_fields(datasets, config.splits, without=config.holdout_patients)
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
    own = join_processes()
    feeder = Feeder(config, store, own.device.type)
    _write_run(run, config, data, feeder.store)
    described = read_attribute_set(config.attributes) if config.attributes else None
    balance = value_weights(feeder.store.attributes, described) if described else None
    torch.manual_seed(config.seed)
    model = _network(config, own.device)

    def loss(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(config.seed * 1_000_003 + batch.step)  # dropout
        total = _loss(config, feeder, model, batch, balance)
        return total, total.detach().reshape(1)

    share = partial(warm_cosine, steps=config.steps, warm=warm_steps(config.steps, 20, most=200), final=FINAL_RATE)
    task = Task(
        network=model,
        stages=(Stage("all", 1, lambda: _optimizer(model, config), share),),
        steps=config.steps,
        pieces=lambda at: ([feeder.batch(step)] for step in range(at.step, config.steps)),
        loss=loss,
        names=("loss",),
        clip=CLIP,
        clip_over=[p for p in model.parameters() if p.requires_grad],
        keep=quick_average(config.ema),
        log_every=20,
        dtype=half_precision("auto", own.device),
        ships=partial(_shipped, config, model),
    )
    run_task(task, run, fingerprint=fingerprint, own=own, progress=progress)
    return run


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """One step's pixels (B, S, S, 3) float in [0, 255], diameters (B,) and rows (B,) of the store."""

    step: int
    pixels: torch.Tensor
    diameters: torch.Tensor
    rows: torch.Tensor


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

    def batch(self, step: int) -> Batch:
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
        diameters = torch.from_numpy(diameters.astype(np.float32)).to(self.device)
        return Batch(step, pixels, diameters, torch.from_numpy(rows).to(self.device))


def _network(config: ClassifierConfig, device: torch.device) -> CellClassifier:
    """The network as training begins, on the device."""
    described = read_attribute_set(config.attributes) if config.attributes else None
    model = CellClassifier(
        len(read_taxonomy(config.taxonomy).names),
        n_values=described.n_values if described else 0,
        grey=config.grey,
        norms=config.norms == "trained",
    ).to(device, memory_format=torch.channels_last)
    if config.init_from:
        state = start_weights(config.init_from)
        start_from(model, state, source=config.init_from, may_differ=("attributes.", "second.", "fc."))
    for part in (model.features.stem, *model.features.blocks[: config.frozen_blocks]):
        part.requires_grad_(not config.frozen_blocks)
    return model


def _loss(
    config: ClassifierConfig, feeder: Feeder, model: CellClassifier, batch: Batch, balance: list | None
) -> torch.Tensor:
    """What a step minimises; `balance`: weights of each attribute's values, None where none are learnt."""
    maps = model.maps(batch.pixels)
    pooled = model.hear(batch.pixels, batch.diameters, maps=maps)
    targets = feeder.targets[batch.rows]
    loss = set_cross_entropy(model.fc(model.dropout(pooled)).float(), targets, smoothing=config.label_smoothing)
    if config.contrast:
        loss = loss + config.contrast * contrast_loss(pooled[:, :1280].float(), targets, feeder.sets[batch.rows])
    if balance:
        values = model.attributes(model.dropout(model.details_of(maps, batch.diameters)))
        loss = loss + config.attribute_weight * attribute_loss(values.float(), feeder.stated[batch.rows], balance)
    return loss


def _shipped(config: ClassifierConfig, model: CellClassifier, average: dict) -> dict:
    """The averaged weights with the normalisation folded in, mixed with those that the run began from."""
    if config.norms == "trained":
        averaged = copy.deepcopy(model).requires_grad_(False)
        averaged.load_state_dict(average)
        average = averaged.folded().state_dict()
    return mix_with_start(average, start_weights(config.init_from), config) if config.start_share else average


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
    return adamw(groups, weight_decay=config.weight_decay)


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
    write_json(run / "run.json", record)
