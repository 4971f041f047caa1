"""LP+FT for a new site: first the last layer, then the last blocks too, on a few labelled cells.

Kumar et al. 2022 (linear probing, then fine-tuning); PCM, section 2.3.2, does the same with ten per cent of a target.
The early blocks stay frozen, so their output is computed once for each view of a cell, and a step on a processor
takes a fraction of a full one; a second trunk stays frozen too. Normalisation layers are folded into the convolutions
and can't drift.
"""

import hashlib
import math
import tempfile
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from leukoscope.crop import match_nuclei
from leukoscope.errors import DataError
from leukoscope.models.torch_classifier import CellClassifier, fewer_pixels
from leukoscope.models.torch_lite import STAGE_ENDS, normalise
from leukoscope.progress import Progress, no_progress
from leukoscope.train.augment import jitter_colour
from leukoscope.train.checkpoint import run_mark, settings_fingerprint
from leukoscope.train.classifier.loss import set_cross_entropy
from leukoscope.train.loop import run_task
from leukoscope.train.optimizers import adamw
from leukoscope.train.processes import Processes
from leukoscope.train.tasks import Place, Stage, Task

CUT = STAGE_ENDS[2] + 1  # blocks before this one (stride 16, 112 channels) stay frozen
CLIP = 2.0  # longest gradient of a step: the weights begin near their place, as in the classifier's training

_Batch = tuple[torch.Tensor, torch.Tensor | None, torch.Tensor, torch.Tensor]  # early, second, diameters, targets


@dataclass(frozen=True, slots=True)
class SiteTuning:
    """Settings of one LP+FT run. Shares are of each batch; what is missing (no source cells) goes to the rest."""

    head_steps: int = 60
    steps: int = 120
    batch_size: int = 48
    learning_rate: float = 1e-4
    head_rate: float = 10.0  # times the learning rate, for the last layer and the diameter's
    source_share: float = 0.4
    unlabelled_share: float = 0.0  # cells with a teacher's probabilities in place of a label
    colour_strength: float = 0.3
    views: int = 12  # of each labelled cell; a third as many of each other one
    weight_decay: float = 0.02
    label_smoothing: float = 0.03
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class TuningCells:
    """crops (N, S, S, 3) uint8 by the card's rule, before `match_nuclei`; diameters (N,) µm, 0 where unknown; targets
    (N, C) float: the classes a cell may be (ones), or a teacher's probabilities (rows that sum to 1)."""

    crops: np.ndarray
    diameters: np.ndarray
    targets: np.ndarray

    def __post_init__(self) -> None:
        if not len(self.crops) == len(self.diameters) == len(self.targets):
            raise DataError(
                f"cells to tune on need a diameter and a target each, got {len(self.crops)} crops, "
                f"{len(self.diameters)} diameters, {len(self.targets)} targets"
            )


@dataclass(frozen=True, slots=True, eq=False)
class SiteCells:
    """What a site's tuning learns from: its labelled cells, and where there are any cells of the source, and cells
    whose targets are a teacher's."""

    labelled: TuningCells
    source: TuningCells | None = None
    unlabelled: TuningCells | None = None


def tune_to_site(
    model: CellClassifier,
    site: SiteCells,
    settings: SiteTuning,
    *,
    density: tuple[float, float, float] | None,
    run: str | Path | None = None,
    resume: bool = False,
    progress: Progress = no_progress,
) -> CellClassifier:
    """A copy of `model` fitted to a site; `density`: the crop rule's nucleus_density. Same seed, same weights.

    run  a folder for the loop's checkpoint and log; with `resume` it goes on from there, to the weights that it would
         have had. None: nothing is kept. ConfigError where the checkpoint is of other cells, weights or settings.
    Half of the labelled cells' diameters are hidden in each batch, as in training.
    """
    if not len(site.labelled.crops):
        raise DataError("fine-tuning needs at least one labelled cell")
    if run is not None:
        run_mark(run, resume=resume)
        Path(run).mkdir(parents=True, exist_ok=True)
    tuned = deepcopy(model).eval().requires_grad_(False)
    others = ((site.source, settings.source_share), (site.unlabelled, settings.unlabelled_share))
    groups = [(cells, share) for cells, share in others if cells is not None]
    groups.insert(0, (site.labelled, 1.0 - sum(share for _, share in groups)))
    if settings.head_steps or settings.steps:
        task = _task(tuned, groups, settings, density)
        fingerprint = settings_fingerprint(settings, [_digest(model), *(_digest(cells) for cells, _ in groups)])
        with tempfile.TemporaryDirectory() as folder:
            # A step takes a fraction of a second: no accelerator, and no other process, is worth joining.
            alone = Processes(0, 1, torch.device("cpu"))
            run_task(task, Path(run or folder), fingerprint=fingerprint, processes=alone, progress=progress)
    return tuned.requires_grad_(False).eval()


def _task(
    tuned: CellClassifier,
    groups: list[tuple[TuningCells, float]],
    settings: SiteTuning,
    density: tuple[float, float, float] | None,
) -> Task:
    """What the loop works on: the last layer, then the last blocks too."""
    views = [
        frozen_views(tuned, cells, settings, density=density, views=settings.views if i == 0 else settings.views // 3)
        for i, (cells, _) in enumerate(groups)
    ]
    head = [*tuned.fc.parameters(), *tuned.diameter.parameters()]
    late = [p for part in (*tuned.features.blocks[CUT:], tuned.features.head) for p in part.parameters()]

    def enter(*parts: tuple[list[nn.Parameter], float]) -> torch.optim.Optimizer:
        for parameters, _ in parts:
            for p in parameters:
                p.requires_grad_(True)
        rates = [{"params": parameters, "lr": settings.learning_rate * times} for parameters, times in parts]
        return adamw(rates, weight_decay=settings.weight_decay)

    def batches(place: Place) -> Iterator[list[_Batch]]:
        """A run that goes on draws what it has seen once more, and looks at none of it."""
        rng = np.random.default_rng(settings.seed)
        for step in range((place.epoch + 1) * n_steps):
            drawn = _draw(groups, views, settings.batch_size, rng)
            if step >= place.epoch * n_steps + place.step:
                yield [_batch(groups, views, drawn)]

    def loss(batch: _Batch) -> tuple[torch.Tensor, torch.Tensor]:
        early, second, diameters, targets = batch
        logits = late_logits(tuned, early, second, diameters)
        total = mixed_cross_entropy(logits, targets, smoothing=settings.label_smoothing)
        return total, total.detach().reshape(1)

    n_steps = math.gcd(settings.head_steps, settings.steps)
    first, both = ((head, settings.head_rate),), ((head, settings.head_rate), (late, 1.0))
    stages = tuple(
        Stage(name, steps // n_steps, partial(enter, *parts), partial(one_cycle, steps=max(2, steps)), ready=tuned.eval)
        for name, steps, parts in (("head", settings.head_steps, first), ("all", settings.steps, both))
    )
    return Task(
        network=tuned, stages=stages, steps=n_steps, pieces=batches, loss=loss, names=("loss",), clip=CLIP, log_every=20
    )


def one_cycle(step: int, steps: int) -> float:
    """Share of the learning rate at a step: up by a cosine over three tenths of the steps, then down to nearly nothing
    (Smith and Topin 2019, as torch's OneCycleLR has it)."""
    low, turn = 1 / 25, 0.3 * steps - 1
    start, end, done = (low, 1.0, step / turn) if step <= turn else (1.0, low / 1e4, (step - turn) / (steps - 1 - turn))
    return end + (start - end) / 2.0 * (math.cos(math.pi * done) + 1)


def _digest(of: CellClassifier | TuningCells) -> str:
    """Of a network's weights, or of cells."""
    summed = hashlib.sha256()
    arrays = of.state_dict().items() if isinstance(of, nn.Module) else asdict(of).items()
    for name, array in arrays:
        summed.update(name.encode() + np.ascontiguousarray(array).tobytes())
    return summed.hexdigest()


def mixed_cross_entropy(logits: torch.Tensor, targets: torch.Tensor, *, smoothing: float) -> torch.Tensor:
    """Cross entropy of label sets (rows of ones) and of a teacher's probabilities (rows that sum to 1 otherwise)."""
    is_set = ((targets == 0) | (targets == 1)).all(1)
    losses = []
    if is_set.any():
        losses.append(set_cross_entropy(logits[is_set], targets[is_set] > 0.5, smoothing=smoothing) * is_set.sum())
    if (~is_set).any():
        soft = -(targets[~is_set] * torch.log_softmax(logits[~is_set], 1)).sum(1)
        losses.append(soft.sum())
    return sum(losses) / len(logits)


@dataclass(frozen=True, slots=True, eq=False)
class FrozenViews:
    """What the frozen parts make of V views of cells: the first trunk's maps (V, N, 112, s, s), and the means of the
    second trunk's (V, N, M), None where there is none."""

    early: torch.Tensor
    second: torch.Tensor | None


@torch.no_grad()
def frozen_views(
    model: CellClassifier,
    cells: TuningCells,
    settings: SiteTuning,
    *,
    density: tuple[float, float, float] | None,
    views: int,
) -> FrozenViews:
    """The frozen parts' output for turned, mirrored, zoomed and restained views."""
    rng = np.random.default_rng((settings.seed, 5))
    torch_rng = torch.Generator().manual_seed(settings.seed)
    early, second = [], []
    for view in range(max(1, views)):
        crops = np.rot90(cells.crops, view % 4, (1, 2))
        crops = np.ascontiguousarray(crops[:, :, ::-1] if view % 8 >= 4 else crops)
        for start in range(0, len(crops), 32):
            batch = torch.from_numpy(crops[start : start + 32]).permute(0, 3, 1, 2).float() / 255
            if view:
                batch = _zoom(batch, rng)
                batch = jitter_colour(batch, torch_rng, strength=settings.colour_strength)
            pixels = (batch * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
            matched = torch.from_numpy(match_nuclei(pixels, density))
            early.append(early_map(model, matched))
            second.append(second_means(model, matched))

    def stacked(parts: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat(parts).unflatten(0, (-1, len(cells.crops)))

    return FrozenViews(stacked(early), None if model.second is None else stacked(second))


def early_map(model: CellClassifier, pixels: torch.Tensor) -> torch.Tensor:
    """(N, 112, s, s) at stride 16 from pixels (N, S, S, 3)."""
    x = model.features.stem(normalise(pixels))
    for block in model.features.blocks[:CUT]:
        x = block(x)
    return x


def second_means(model: CellClassifier, pixels: torch.Tensor) -> torch.Tensor | None:
    """(N, M) means of the second trunk's maps, None without one."""
    return None if model.second is None else model.second.means(model.second.maps(fewer_pixels(pixels)))


def late_logits(
    model: CellClassifier, early: torch.Tensor, second: torch.Tensor | None, diameter_um: torch.Tensor
) -> torch.Tensor:
    """(N, C) logits from the maps of `early_map`, the means of `second_means` and diameters (N,): the rest of
    `CellClassifier.forward`."""
    x = early
    for block in model.features.blocks[CUT:]:
        x = block(x)
    features = model.pooled([None, None, early, None, model.features.head(x)], diameter_um)
    if second is not None:
        features = torch.cat([features, model.second.with_size(second, diameter_um)], 1)
    return model.fc(features)


def _zoom(batch: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Each picture (N, 3, S, S) zoomed by e^±0.1 and shifted by 3 % (one deviation)."""
    n, size = len(batch), batch.shape[-1]
    zoom, shift = np.exp(rng.normal(0, 0.1, n)), rng.normal(0, 0.03, (n, 2))
    zero = np.zeros(n)
    theta = np.stack([np.stack([zoom, zero, shift[:, 0]], 1), np.stack([zero, zoom, shift[:, 1]], 1)], 1)
    theta = torch.from_numpy(theta.astype(np.float32))
    grid = nn.functional.affine_grid(theta, (n, 3, size, size), align_corners=False)
    return nn.functional.grid_sample(batch, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _draw(
    groups: list[tuple[TuningCells, float]], views: list[FrozenViews], size: int, rng: np.random.Generator
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For each group its share of a batch: views, cells by the root of their class's size, whose diameter is known."""
    drawn = []
    for (cells, share), of_group in zip(groups, views, strict=True):
        n = round(size * share)
        rows = rng.choice(len(cells.crops), n, p=_sampling(cells.targets))
        drawn.append((rng.integers(len(of_group.early), size=n), rows, rng.random(n) < 0.5))
    return drawn


def _batch(groups: list[tuple[TuningCells, float]], views: list[FrozenViews], drawn: list[tuple]) -> _Batch:
    """Frozen parts' output, diameters and targets of what was drawn."""
    early, second, diameters, targets = [], [], [], []
    for (cells, _), of_group, (view, rows, known) in zip(groups, views, drawn, strict=True):
        place = torch.from_numpy(view), torch.from_numpy(rows)
        early.append(of_group.early[place])
        if of_group.second is not None:
            second.append(of_group.second[place])
        diameters.append(cells.diameters[rows] * known)
        targets.append(cells.targets[rows])
    return (
        torch.cat(early),
        torch.cat(second) if second else None,
        torch.from_numpy(np.concatenate(diameters).astype(np.float32)),
        torch.from_numpy(np.concatenate(targets).astype(np.float32)),
    )


def _sampling(targets: np.ndarray) -> np.ndarray:
    """(N,) probabilities: a class is drawn by the root of the number of its cells."""
    _, kind, counts = np.unique(targets.argmax(1), return_inverse=True, return_counts=True)
    weights = 1 / np.sqrt(counts[kind])
    return weights / weights.sum()
