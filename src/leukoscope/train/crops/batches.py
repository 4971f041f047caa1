"""Batches for fine-tuning: which crops, in which order, turned and stained how. Every batch has its own seed."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F

from leukoscope.errors import DataError
from leukoscope.train.augment import jitter_colour
from leukoscope.train.crops.config import FinetuneConfig
from leukoscope.train.crops.data import CropSet


def epoch_batches(
    n: int, config: FinetuneConfig, epoch: int, sampler_weights: np.ndarray | None = None
) -> list[np.ndarray]:
    """The rows of each step of an epoch: every crop once, or as many drawn with replacement by sampler_weights (N,)."""
    rng = np.random.default_rng((config.seed, epoch))
    if sampler_weights is None:
        order = rng.permutation(n)
    else:
        weights = np.asarray(sampler_weights, np.float64)
        if weights.shape != (n,) or not (weights >= 0).all() or not weights.sum() > 0:
            raise DataError(f"sampler_weights must be {n} weights, not negative and not all 0, got {weights.shape}")
        order = rng.choice(n, n, p=weights / weights.sum())
    if config.max_steps is not None:
        order = order[: config.max_steps * config.batch_size]
    return np.array_split(order, -(-len(order) // config.batch_size))


def make_batch(
    crops: CropSet, rows: np.ndarray, config: FinetuneConfig, *, augment: str, seed: tuple[int, ...]
) -> dict:
    """{"pixels" (B, S, S, 3) uint8, "labels" (B,), "rows" (B,), "extras": {name: (B, …)}}, augmented by `seed`.

    Masks in the extras are turned with their crops; the other extras are as they stand in the set.
    """
    pixels = torch.from_numpy(crops.crops[rows])
    extras = {
        k: torch.from_numpy(np.ascontiguousarray(v[rows])) for k, v in crops.extras.items() if v.dtype.kind in "fiub"
    }
    if augment != "none" and len(rows):
        rng = np.random.default_rng(seed)
        theta = draw_turns(len(rows), rng, shift=0.04, zoom=0.1) if augment == "stain" else draw_turns(len(rows), rng)
        batch = turn(pixels.permute(0, 3, 1, 2).float() / 255, theta)  # (B, 3, S, S)
        if augment == "stain":
            torch_rng = torch.Generator().manual_seed(int(rng.integers(2**31)))
            batch = jitter_colour(batch, torch_rng, strength=config.colour_strength)
        pixels = (batch * 255).round().clamp_(0, 255).byte().permute(0, 2, 3, 1).contiguous()
        if "masks" in extras:
            turned = turn(extras["masks"][:, None].float(), theta, mode="nearest", padding="zeros")
            extras["masks"] = turned[:, 0].byte()
    labels = torch.from_numpy(crops.labels[rows])
    return {"pixels": pixels, "labels": labels, "rows": torch.from_numpy(np.asarray(rows, np.int64)), "extras": extras}


def draw_turns(n: int, rng: np.random.Generator, *, shift: float = 0.0, zoom: float = 0.0) -> torch.Tensor:
    """(n, 2, 3) affine maps: turned by any angle and mirrored; shifted (share of the side) and zoomed, both normal."""
    angle = rng.uniform(0, 2 * np.pi, n)
    flip = rng.choice([-1.0, 1.0], n)
    scale = np.exp(rng.normal(0, 1, n) * zoom)
    moved = rng.normal(0, 1, (n, 2)) * shift
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    theta = np.stack([np.stack([cos * flip, -sin, moved[:, 0]], 1), np.stack([sin * flip, cos, moved[:, 1]], 1)], 1)
    return torch.from_numpy(theta.astype(np.float32))


def turn(batch: torch.Tensor, theta: torch.Tensor, *, mode: str = "bilinear", padding: str = "reflection"):
    """Pictures (B, c, S, S) by their affine maps (B, 2, 3)."""
    grid = F.affine_grid(theta, list(batch.shape), align_corners=False)
    return F.grid_sample(batch, grid, mode=mode, padding_mode=padding, align_corners=False)


def prepared(jobs: Sequence[Callable[[], dict]], workers: int) -> Iterator[dict]:
    """What each job returns, in their order; with workers, the next ones are prepared meanwhile by as many threads."""
    if not workers:
        yield from (job() for job in jobs)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque = deque()
        for job in jobs:
            waiting.append(pool.submit(job))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
