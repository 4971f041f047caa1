"""Train the outliner: its batches, guesses and loss, on the one loop (`train.loop`).

Patches around cells, turned, stretched, with a box that is off by what locators are off by, in another stain, light
and focus. Cells of which only the box is known teach too: the running average of the network outlines them in their
own stain, and where what it drew fills the annotated box, the network has to draw the same in another stain (Sohn et
al., FixMatch, NeurIPS 2020, with the box as the test of a guess).
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from leukoscope.dataset.manifest import Dataset
from leukoscope.errors import ConfigError, DataError
from leukoscope.models.torch_lite import fold_norms
from leukoscope.models.torch_outline import UNKNOWN, UNKNOWN_PART, OutlineNet, outline_loss
from leukoscope.progress import Progress, no_progress
from leukoscope.train.augment import jitter_colour
from leukoscope.train.checkpoint import read_average, run_fingerprint, run_mark
from leukoscope.train.fields import seen_fields
from leukoscope.train.loop import FINAL_RATE, Stage, Task, quick_average, run_task, warm_cosine, warm_steps
from leukoscope.train.optimizers import backbone_optimizer
from leukoscope.train.outliner.config import OutlinerConfig
from leukoscope.train.outliner.data import PATCH_PX, Patches, boxes_in_view, draw_views, load_patches, plain_view, show
from leukoscope.train.processes import join_processes
from leukoscope.train.run_folder import data_entry, read_run, write_run

# Longest gradient of a step. On painted cells, from random weights, the median length is 1.3 in steps 20 to 60, the
# longest of all 4.3: what is cut is a rare batch of wrong guesses.
CLIP = 5.0
LOSS_NAMES = ("entropy", "dice")
Guess = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # (pixels (N, 3, S, S), boxes (N, 4)) → logits


def train_outliner(
    config: OutlinerConfig, data: list[Dataset], run: Path, *, resume: bool = False, progress: Progress = no_progress
) -> Path:
    """Train and leave `last.pt` (averaged weights), `log.csv` and `run.json` in folder `run`; returns `run`.

    Resuming gives the weights that an uninterrupted run gives: every step draws from its own seed.
    """
    run_mark(run, resume=resume)
    chosen = seen_fields(data, config.splits)
    unknown = sorted((set(config.masks) | set(config.shares)) - {d.name for d in chosen} - {"*"})
    if unknown:
        raise ConfigError(f"masks or shares name {', '.join(unknown)}, which is no data set given with --data")
    fingerprint = run_fingerprint(config, chosen)
    groups = [_load(d, config) for d in chosen]
    if all(g.labels is None for g in groups):
        raise DataError("none of the data sets has masks or contours: boxes alone teach no outline")
    write_run(run, "outline", config, [_entry(d, g, config) for d, g in zip(chosen, groups, strict=True)])
    processes = join_processes()
    net, average = _network(config).to(processes.device), _network(config).to(processes.device).eval()

    def guess(pixels: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        return average(pixels.to(processes.device), boxes.to(processes.device)).cpu()

    def loss(batch: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        pixels, boxes, labels, weights = (t.to(processes.device) for t in batch)
        parts = outline_loss(net(_normalised(pixels), boxes), labels, weights)
        return parts.sum(), torch.cat([parts, weights.mean().reshape(1)])

    share = partial(warm_cosine, steps=config.steps, warm=warm_steps(config.steps, 10, most=50), final=FINAL_RATE)
    task = Task(
        network=net,
        stages=(Stage("all", 1, lambda: backbone_optimizer(net, config), share),),
        steps=config.steps,
        pieces=lambda place: ([make_batch(groups, guess, config, step)] for step in range(place.step, config.steps)),
        loss=loss,
        names=(*LOSS_NAMES, "learnt_share"),
        clip=CLIP,
        keep=quick_average(config.ema),
        average=average.state_dict(),
        log_every=25,
    )
    run_task(task, run, fingerprint=fingerprint, processes=processes, progress=progress)
    return run


def read_outliner(run: str | Path) -> tuple[OutlineNet, dict]:
    """The averaged network of a finished or running run folder, in evaluation mode, and its `run.json`."""
    record, average = read_run(run, "outline"), read_average(run)
    net = OutlineNet(width=record["config"]["width"], pretrained=False)
    fold_norms(net.backbone)
    net.load_state_dict(average)
    return net.eval(), record


def make_batch(
    groups: list[Patches], guess: Guess, config: OutlinerConfig, step: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The batch of one step: pixels (B, 3, S, S) in [0, 1], boxes (B, 4) px, labels (B, S, S), weights (B,)."""
    rng = np.random.default_rng((config.seed, step))
    torch_rng = torch.Generator().manual_seed(int(rng.integers(2**31)))
    guessing = step >= config.guess_from * config.steps
    share = np.array([float(config.shares.get(g.name, 1.0)) * (guessing or g.labels is not None) for g in groups])
    drawn = rng.choice(len(groups), config.batch_size, p=share / share.sum())
    rows = [int(rng.integers(len(groups[g]))) for g in drawn]
    patches = torch.from_numpy(np.stack([groups[g].pixels[r] for g, r in zip(drawn, rows, strict=True)]))
    labels = torch.zeros(len(rows), PATCH_PX, PATCH_PX, dtype=torch.uint8)
    weights = torch.ones(len(rows))
    for i, (g, r) in enumerate(zip(drawn, rows, strict=True)):
        if groups[g].labels is not None:
            labels[i] = torch.from_numpy(groups[g].labels[r])
    guessed = torch.tensor([groups[g].labels is None for g in drawn])
    if guessed.any():
        boxes = torch.from_numpy(np.stack([groups[g].boxes[r] for g, r in zip(drawn, rows, strict=True)]))[guessed]
        labels[guessed], weights[guessed] = guess_labels(guess, patches[guessed], boxes, config)
    maps, boxes = draw_views(labels, rng, context=config.context, size=config.size)
    pixels, seen = show(patches, labels, maps, config.size)
    changed = torch.from_numpy(rng.random(len(rows)) >= config.own_colour) | guessed
    if changed.any():
        pixels[changed] = jitter_colour(pixels[changed], torch_rng, strength=config.colour_strength)
    return pixels, boxes, seen, weights


@torch.no_grad()
def guess_labels(
    guess: Guess, patches: torch.Tensor, boxes: torch.Tensor, config: OutlinerConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the network draws in patches (N, P, P, 3) for boxes (N, 4): labels (N, P, P) uint8, and weights (N,).

    Pixels that it isn't sure of are UNKNOWN. The weight is 0 where the drawn cell's box misses the annotated one. A box
    tests the cell, not its nucleus, so a guess tells no nucleus: learnt from, early guesses that dark cytoplasm is
    nucleus confirmed themselves (docs/decisions/0015).
    """
    view = plain_view(boxes, context=config.context)
    inside = boxes_in_view(boxes, size=config.size, context=config.context)
    pixels, _ = show(patches, None, view, config.size)
    cell = 1 - guess(_normalised(pixels), inside).softmax(1)[:, 0]
    label = torch.full(cell.shape, UNKNOWN)
    label[cell >= config.guess_sure] = UNKNOWN_PART
    label[cell <= 1 - config.guess_sure] = 0
    weights = torch.stack([_fits(c, box, config.guess_iou) for c, box in zip(cell, inside, strict=True)])
    back = _inverse(view)
    grid = torch.nn.functional.affine_grid(back, (len(back), 1, PATCH_PX, PATCH_PX), align_corners=False)
    shifted = (label[:, None] + 1).float()  # 0 is then what lies outside the view
    drawn = torch.nn.functional.grid_sample(shifted, grid, mode="nearest", align_corners=False)[:, 0].round()
    return (drawn - 1).clamp(min=0).to(torch.uint8), weights


def _fits(cell: torch.Tensor, box: torch.Tensor, least: float) -> torch.Tensor:
    """1 where the box of the pixels (S, S) above one half has at least this IoU with box (4,), else 0."""
    ys, xs = torch.nonzero(cell > 0.5, as_tuple=True)
    if not len(ys):
        return torch.tensor(0.0)
    drawn = torch.stack([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]).float()
    common = (torch.minimum(drawn[2:], box[2:]) - torch.maximum(drawn[:2], box[:2])).clamp(min=0).prod()
    union = (drawn[2:] - drawn[:2]).prod() + (box[2:] - box[:2]).prod() - common
    return (common / union >= least).float()


def _inverse(maps: torch.Tensor) -> torch.Tensor:
    """Affine maps (N, 2, 3) turned around."""
    back = torch.linalg.inv(maps[:, :, :2])
    return torch.cat([back, -back @ maps[:, :, 2:]], 2)


def _normalised(pixels: torch.Tensor) -> torch.Tensor:
    return ((pixels * 255 - 127.0) / 128.0).contiguous(memory_format=torch.channels_last)


def _network(config: OutlinerConfig) -> OutlineNet:
    torch.manual_seed(config.seed)
    net = OutlineNet(width=config.width, pretrained=config.pretrained)
    fold_norms(net.backbone)
    return net.to(memory_format=torch.channels_last)


def _load(dataset: Dataset, config: OutlinerConfig) -> Patches:
    """A data set's patches, from every n-th field so that about `most_cells` are held."""
    n_cells = sum(len(f.cells) for f in dataset.fields)
    every = max(1, math.ceil(n_cells / config.most_cells)) if dataset.name not in config.masks else 1
    thinned = replace(dataset, fields=dataset.fields[::every])
    return load_patches(thinned, masks=mask_pattern(config.masks, dataset), balance=config.white_balance)


def mask_pattern(masks: dict, dataset: Dataset) -> str | None:
    """The pattern that a configuration names for a data set, else that of "*" if the set has contours, else None."""
    has_contours = any(c.contour for f in dataset.fields for c in f.cells)
    return masks.get(dataset.name, masks.get("*") if has_contours else None)


def _entry(dataset: Dataset, patches: Patches, config: OutlinerConfig) -> dict:
    source = "contours" if patches.labels is not None else "boxes"
    source = "masks" if mask_pattern(config.masks, dataset) else source
    return data_entry(dataset, n_cells=len(patches), learnt_from=source)
