"""What the one loop works on: a task, its stages, and the place where its run stands."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Stage:
    """Epochs with one optimiser.

    enter  sets which weights learn and returns their optimiser, each group at its full rate
    share  of those rates at a step, counted from the stage's first
    ready  puts the network into training mode, before each epoch; None: `network.train()`
    """

    name: str
    epochs: int
    enter: Callable[[], torch.optim.Optimizer]
    share: Callable[[int], float]
    ready: Callable[[], object] | None = None


@dataclass(frozen=True, slots=True)
class EpochEnd:
    """What a task says of an epoch: a row for the log, and how good it was (None: not scored; a later one is better
    where its score is higher)."""

    row: dict
    score: tuple | None = None


@dataclass
class Place:
    """Where a run stands; all of it is in the checkpoint."""

    epoch: int = 0  # epochs done
    step: int = 0  # steps done in this epoch
    updates: int = 0  # steps done since the start
    stage: str = ""
    best: tuple = ()  # score of the stage's best epoch
    since: int = 0  # scored epochs after it
    stopped: bool = False  # by patience, in this stage
    sums: list = field(default_factory=list)  # of each loss since the last row of the log
    summed: int = 0  # steps in those sums
    log_rows: int = 0  # below 0: not known


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """What is trained, and how.

    steps      of an epoch
    pieces     (place) → for each step from there to the end of the epoch, the pieces of a batch that it works through
    loss       piece → (what is minimised, parts for the log). Both are shares of the step's: they are added up over its
               pieces and over the processes
    names      of the parts, in the log
    clip       longest gradient of a step, over all that learns
    keep       steps done before → share of the running average that a step keeps; None: no average is made
    end_epoch  (place, averaged weights, means of the parts) → EpochEnd; None: nothing happens between epochs
    log_every  steps a row of the log; 0: the log has the rows of `end_epoch`
    patience   scored epochs without a better one that end a stage
    dtype      of the forward pass; None: float32
    average    where the averaged weights live, if they are a network's own; None: in a copy
    ships      averaged weights → those that `last.pt` holds, where they are others
    clip_over  what is clipped together, where the order of the optimiser's groups is not the order that runs made
               before this loop were clipped in (the sum of squares rounds otherwise)
    """

    network: nn.Module
    stages: tuple[Stage, ...]
    steps: int
    pieces: Callable[[Place], Iterator[Iterable]]
    loss: Callable[[object], tuple[Tensor, Tensor]]
    names: tuple[str, ...]
    clip: float
    keep: Callable[[int], float] | None = None
    end_epoch: Callable[[Place, dict, dict], EpochEnd] | None = None
    log_every: int = 0
    patience: int | None = None
    dtype: torch.dtype | None = None
    average: dict | None = None
    ships: Callable[[dict], dict] | None = None
    clip_over: list | None = None


def place_of(state: dict, n_parts: int) -> Place:
    """Where a checkpoint stands; those written before there was one loop say it in their own words."""
    if "place" in state:
        place = state["place"]
        return Place(**place | {"best": tuple(place["best"])})
    empty = {"sums": [0.0] * n_parts, "log_rows": -1}
    if "progress" in state:  # finetune
        old = state["progress"]
        place = {"epoch": old["epoch"], "step": old["step"], "updates": old["n_steps"], "stage": old["stage_name"]}
        since = max(0, old["epoch"] - 1 - old["best_epoch"])
        return Place(**place, best=tuple(old["best"]), since=since, stopped=old["stopped"], **empty)
    if "updates" in state:  # detect
        best = (state["best"],) if state["best"] >= 0 else ()
        place = {k: state[k] for k in ("epoch", "step", "updates", "since")}
        return Place(**place, best=best, **empty)
    return Place(step=state["step"], updates=state["step"], **empty)
