"""Train the cell classifier: on the one loop (`train.loop`).

Crops of several laboratories' cells are framed, put on other backgrounds, and stained, lit and focused anew
(`dress`), on the processor or on a GPU. A cell of which only the lineage is known (a neutrophil that is neither called
band nor segmented) teaches the sum of the classes it may be.
"""

from functools import partial
from pathlib import Path

import numpy as np
import torch

from leukoscope.dataset.audit.leaks import one_source_classes
from leukoscope.dataset.manifest import Dataset
from leukoscope.models.torch_classifier import CellClassifier
from leukoscope.progress import Progress, no_progress
from leukoscope.taxonomy import read_attribute_set
from leukoscope.train.checkpoint import run_fingerprint, run_mark
from leukoscope.train.classifier.batches import Batch, Feeder
from leukoscope.train.classifier.config import ClassifierConfig, check_config
from leukoscope.train.classifier.data import MADE, CellStore, load_cells
from leukoscope.train.classifier.loss import attribute_loss, contrast_loss, set_cross_entropy, value_weights
from leukoscope.train.classifier.made_cells import make_cells
from leukoscope.train.classifier.network import first_network, make_optimizer, shipped_weights
from leukoscope.train.fields import seen_fields
from leukoscope.train.loop import (
    FINAL_RATE,
    Stage,
    Task,
    half_precision,
    quick_average,
    run_task,
    warm_cosine,
    warm_steps,
)
from leukoscope.train.processes import join_processes
from leukoscope.train.run_folder import data_entry, write_run

CLIP = 2.0  # longest gradient of a step; the weights begin near their place, and one odd batch must not move them far


def train_classifier(
    config: ClassifierConfig, data: list[Dataset], run: Path, *, resume: bool = False, progress: Progress = no_progress
) -> Path:
    """Train and leave `last.pt` (averaged weights), `log.csv` and `run.json` in folder `run`; returns `run`.

    Resuming gives the weights that an uninterrupted run gives: every step draws from its own seed.
    """
    check_config(config)
    run_mark(run, resume=resume)
    chosen = seen_fields(data, config.splits, without=config.holdout_patients)
    described = read_attribute_set(config.attributes) if config.attributes else None
    store = load_cells(chosen, um_per_px=config.um_per_px, seed=config.seed, attributes=described)
    made = make_cells(
        store, destroyed=config.destroyed, drawn=config.drawn, artefacts=config.artefacts, seed=config.seed
    )
    store = store.joined(made) if len(made) else store
    entries, fingerprint = [data_entry(d) for d in chosen], run_fingerprint(config, chosen)
    return train_store(config, store, run, data=entries, fingerprint=fingerprint, progress=progress)


def train_store(
    config: ClassifierConfig,
    store: CellStore,
    run: Path,
    *,
    data: list[dict],
    fingerprint: str,
    progress: Progress = no_progress,
) -> Path:
    """`train_classifier` on cells that are read already; goes on from a checkpoint of the same `fingerprint` in `run`.

    data  what `run.json` says of the data sets
    """
    check_config(config)
    processes = join_processes()
    feeder = Feeder(config, store, processes.device.type)
    groups, counts = np.unique(feeder.store.groups, return_counts=True)
    cells = dict(zip(groups.tolist(), counts.tolist(), strict=True))
    write_run(run, "classify", config, data, cells=cells, one_source=_one_source(cells))
    described = read_attribute_set(config.attributes) if config.attributes else None
    balance = value_weights(feeder.store.attributes, described) if described else None
    torch.manual_seed(config.seed)
    model = first_network(config, processes.device)

    def loss(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(config.seed * 1_000_003 + batch.step)  # dropout
        total = _loss(config, feeder, model, batch, balance)
        return total, total.detach().reshape(1)

    share = partial(warm_cosine, steps=config.steps, warm=warm_steps(config.steps, 20, most=200), final=FINAL_RATE)
    task = Task(
        network=model,
        stages=(Stage("all", 1, lambda: make_optimizer(model, config), share),),
        steps=config.steps,
        pieces=lambda place: ([feeder.batch(step)] for step in range(place.step, config.steps)),
        loss=loss,
        names=("loss",),
        clip=CLIP,
        clip_over=[p for p in model.parameters() if p.requires_grad],
        keep=quick_average(config.ema),
        log_every=20,
        dtype=half_precision("auto", processes.device),
        ships=partial(shipped_weights, config, model),
    )
    run_task(task, run, fingerprint=fingerprint, processes=processes, progress=progress)
    return run


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


def _one_source(cells: dict[str, int]) -> dict[str, str]:
    """{class: data set} that one set alone taught; cells: number by "set:class". Made cells are of no set."""
    seen = (group.partition(":") for group in cells)
    return one_source_classes((kind, name) for name, _, kind in seen if name != MADE)
