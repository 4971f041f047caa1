"""Train the white-cell locator: its batches and its loss, on the one loop (`train.loop`).

Canvases of one to four photographs, turned, cut and scaled, with stain, light and focus drawn anew; a backbone whose
normalisation layers and first blocks stay as ImageNet left them; the exponential average of the weights ships.
"""

from functools import partial
from pathlib import Path

import numpy as np
import torch

from leukoscope.dataset.manifest import Dataset
from leukoscope.errors import ConfigError, DataError
from leukoscope.models.torch_lite import fold_norms, freeze_norms, normalise
from leukoscope.models.torch_locator import LocatorNet, locator_loss
from leukoscope.progress import Progress, no_progress
from leukoscope.train.augment import jitter_colour
from leukoscope.train.checkpoint import read_average, run_fingerprint, run_mark
from leukoscope.train.fields import seen_fields
from leukoscope.train.locator.config import LocatorConfig
from leukoscope.train.locator.data import Photo, draw_canvas, is_white, load_photos
from leukoscope.train.loop import FINAL_RATE, Stage, Task, quick_average, run_task, warm_cosine, warm_steps
from leukoscope.train.optimizers import backbone_optimizer
from leukoscope.train.processes import join_processes
from leukoscope.train.run_folder import data_entry, read_run, write_run

# Longest gradient of a step. On painted cells, from random weights, the median length is 11 in steps 20 to 60, the
# longest 38: nearly every step is cut, so that no batch of crowded pictures moves the weights more than the others do.
CLIP = 5.0
LOSS_NAMES = ("score_loss", "overlap_loss", "sides_loss")
LOSS_WEIGHTS = (1.0, 2.0, 4.0)  # of these


def train_locator(
    config: LocatorConfig, data: list[Dataset], run: Path, *, resume: bool = False, progress: Progress = no_progress
) -> Path:
    """Train and leave `last.pt` (averaged weights), `log.csv` and `run.json` in folder `run`; returns `run`.

    Resuming gives the weights that an uninterrupted run gives: every step draws from its own seed.
    """
    run_mark(run, resume=resume)
    chosen = seen_fields(data, config.splits)
    for dataset in chosen:
        if not any(is_white(c) for f in dataset.fields for c in f.cells):
            raise DataError(
                f"data set {dataset.name!r} has no white cell in splits {', '.join(config.splits)} that is no copy of "
                "a picture of another split: nothing to learn"
            )
    weights = _weights(chosen, config.shares)
    fingerprint = run_fingerprint(config, chosen)
    entries = [data_entry(d, n_white_cells=sum(is_white(c) for f in d.fields for c in f.cells)) for d in chosen]
    write_run(run, "locate", config, entries)
    groups = [load_photos(d, config.memory_px, balance=config.white_balance) for d in chosen]

    torch.manual_seed(config.seed)
    if config.init_from:
        net = read_locator(config.init_from)[0]
    else:
        net = LocatorNet(levels=config.levels, width=config.width, pretrained=config.pretrained)
    fit_locator(net, groups, weights, config, run, fingerprint=fingerprint, progress=progress)
    return run


def fit_locator(
    net: LocatorNet,
    groups: list[list[Photo]],
    weights: np.ndarray,
    config: LocatorConfig,
    run: Path,
    *,
    fingerprint: str,
    progress: Progress = no_progress,
) -> dict:
    """Train `net` on groups of photographs, each drawn with its weight; returns the averaged weights, which `last.pt`
    of folder `run` holds too. A checkpoint there of the same fingerprint is gone on with."""
    processes = join_processes()
    torch.manual_seed(config.seed)
    if config.fold:
        fold_norms(net.backbone)
    net.to(processes.device, memory_format=torch.channels_last)

    def loss(batch: tuple) -> tuple[torch.Tensor, torch.Tensor]:
        pixels, truth, cut = batch
        maps = net(normalise(pixels).to(processes.device, memory_format=torch.channels_last))
        parts = locator_loss(net, maps, [t.to(processes.device) for t in truth], [c.to(processes.device) for c in cut])
        return (parts * parts.new_tensor(LOSS_WEIGHTS)).sum(), parts

    share = partial(warm_cosine, steps=config.steps, warm=warm_steps(config.steps, 10, most=100), final=FINAL_RATE)
    stage = Stage("all", 1, lambda: _optimizer(net, config), share, ready=lambda: freeze_norms(net.train()))
    task = Task(
        network=net,
        stages=(stage,),
        steps=config.steps,
        pieces=lambda place: ([make_batch(groups, weights, config, step)] for step in range(place.step, config.steps)),
        loss=loss,
        names=LOSS_NAMES,
        clip=CLIP,
        keep=quick_average(config.ema),
        log_every=25,
    )
    return run_task(task, run, fingerprint=fingerprint, processes=processes, progress=progress)


def read_locator(run: str | Path) -> tuple[LocatorNet, dict]:
    """The averaged network of a finished or running run folder, in evaluation mode, and its `run.json`."""
    record, average = read_run(run, "locate"), read_average(run)
    net = LocatorNet(levels=tuple(record["config"]["levels"]), width=record["config"]["width"], pretrained=False)
    if record["config"].get("fold"):
        fold_norms(net.backbone)
    net.load_state_dict(average)
    return net.eval(), record


def make_batch(
    groups: list[list[Photo]], weights: np.ndarray, config: LocatorConfig, step: int
) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
    """The batch of one step: pixels (B, S, S, 3) float in [0, 255], and per picture boxes to find and boxes to skip."""
    rng = np.random.default_rng((config.seed, step))
    torch_rng = torch.Generator().manual_seed(int(rng.integers(2**31)))
    how = {"plain": config.plain, "transpose": config.transpose, "touching": config.touching}
    canvases = [draw_canvas(groups, weights, config.side, rng, **how) for _ in range(config.batch_size)]
    batch = torch.from_numpy(np.stack([c.pixels for c in canvases])).permute(0, 3, 1, 2).float() / 255
    changed = torch.from_numpy(rng.random(len(batch)) >= config.own_colour)
    if changed.any():
        batch[changed] = jitter_colour(batch[changed], torch_rng, strength=config.colour_strength)
    truth = [torch.from_numpy(c.boxes) for c in canvases]
    return (batch * 255).permute(0, 2, 3, 1), truth, [torch.from_numpy(c.cut) for c in canvases]


def _weights(datasets: list[Dataset], shares: dict) -> np.ndarray:
    unknown = sorted(set(shares) - {d.name for d in datasets})
    if unknown:
        raise ConfigError(f"shares names {', '.join(unknown)}; the data sets are {', '.join(d.name for d in datasets)}")
    weights = np.array([float(shares.get(d.name, 1.0)) for d in datasets])
    if not (weights >= 0).all() or not weights.sum() > 0:
        raise ConfigError(f"shares can't be negative or all zero, got {shares}")
    return weights / weights.sum()


def _optimizer(net: LocatorNet, config: LocatorConfig) -> torch.optim.Optimizer:
    """Every batch normalisation of the backbone stays still too."""
    freeze_norms(net)
    return backbone_optimizer(net, config)
