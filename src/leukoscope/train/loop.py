"""The one loop that every task's training runs through: stages, epochs, steps, checkpoints, finite guard, log.

A task says what its network is, what a step works on, what the loss is and how fast each stage learns (`Task`);
`run_task` does the rest, the same for all: a checkpoint every two minutes and after every epoch, from which a killed
run goes on to the weights that it would have had; a stop with one line where a loss is no finite number any more, the
last finite checkpoint kept; a running average of the weights; several processes; half precision.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

from leukoscope.allocation import freed_memory_kept
from leukoscope.errors import TrainingError
from leukoscope.progress import Progress, no_progress
from leukoscope.train.checkpoint import (
    append_log,
    cut_log,
    load_checkpoint,
    note_divergence,
    save_checkpoint,
    update_average,
)
from leukoscope.train.processes import Processes, join_processes
from leukoscope.train.tasks import EpochEnd, Place, Stage, Task, place_of

CHECKPOINT_SECONDS = 120  # what a killed run loses at most; writing one takes about a second


FINAL_RATE = 0.02  # of the full rate at the last step: small enough that the average's last members hardly differ


def run_task(
    task: Task,
    run: Path,
    *,
    fingerprint: str,
    processes: Processes | None = None,
    progress: Progress = no_progress,
) -> dict:
    """Train from where the run folder's checkpoint stands to the end; returns the weights that `last.pt` holds.

    Leaves `checkpoint.pt`, `last.pt` (averaged weights, where there are any), `log.csv`, and `best.pt` where epochs are
    scored. TrainingError where a loss or a gradient is no finite number: what was saved before is kept.
    """
    loop = _Loop(task, Path(run), fingerprint, processes or join_processes(), progress)
    loop.restore()
    # On an accelerator most memory is not the processor's, and little is to be had.
    with freed_memory_kept() if loop.processes.device.type == "cpu" else contextlib.nullcontext():
        for stage, first in zip(task.stages, loop.first_epochs(), strict=True):
            if loop.place.epoch < first + stage.epochs:
                loop.run_stage(stage, first)
    loop.save()
    return loop.weights()


def warm_cosine(step: int, steps: int, *, warm: int, final: float) -> float:
    """Share of the learning rate at a step: rising over `warm` steps, then down a cosine to `final`."""
    if step < warm:
        return (step + 1) / warm
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def warm_steps(steps: int, part: int, *, most: int) -> int:
    """Steps over which the rate rises: one in `part` of all, at most `most` (a short run must not end in its rise)."""
    return min(most, max(1, steps // part))


def quick_average(most: float) -> Callable[[int], float]:
    """A running average's `keep`: quick to follow the weights at first, in the end keeping `most` a step."""
    return lambda updates: min(most, (updates + 1) / (updates + 10))


def half_precision(amp: str, device: torch.device) -> torch.dtype | None:
    """The dtype of forward passes that a setting asks for ("auto": half precision on an accelerator); None: float32."""
    if amp == "auto":
        if device.type != "cuda":
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}[amp]


class _Loop:
    """One run while it trains."""

    def __init__(self, task: Task, run: Path, fingerprint: str, processes: Processes, progress: Progress) -> None:
        self.task, self.run, self.fingerprint, self.processes, self.progress = (
            task,
            run,
            fingerprint,
            processes,
            progress,
        )
        self.place = Place(sums=[0.0] * len(task.names))
        self.average = task.average
        if task.keep and self.average is None:
            self.average = {k: v.detach().clone() for k, v in task.network.state_dict().items()}
        device = processes.device.type
        self.autocast = partial(torch.autocast, device, dtype=task.dtype) if task.dtype else contextlib.nullcontext
        self.scaler = torch.amp.GradScaler(device, enabled=task.dtype is torch.float16)
        self.optimizer: torch.optim.Optimizer | None = None
        self.optimizer_state: dict | None = None  # of the checkpoint, until its stage is entered
        self.rates: list[float] = []
        self.unread: tuple | None = None  # a step's losses and gradient, not yet looked at
        self.started = self.saved = time.monotonic()

    def first_epochs(self) -> list[int]:
        """The first epoch of each stage."""
        return [sum(s.epochs for s in self.task.stages[:i]) for i in range(len(self.task.stages))]

    def restore(self) -> None:
        """Go on from the run folder's checkpoint, if it has one."""
        path = self.run / "checkpoint.pt"
        if not path.exists():
            return
        state = load_checkpoint(path, fingerprint=self.fingerprint)
        self.place = place_of(state, len(self.task.names))
        self.task.network.load_state_dict(state["model"])
        for key, value in (state["average"] or {}).items():
            self.average[key].copy_(value)
        self.scaler.load_state_dict(state.get("scaler", {}))
        self.optimizer_state = state["optimizer"]
        if self.processes.is_first:
            self.place.log_rows = cut_log(self.run, self.place.log_rows)

    def run_stage(self, stage: Stage, first: int) -> None:
        """The rest of a stage."""
        place = self.place
        self.optimizer = stage.enter()
        self.rates = [g["lr"] for g in self.optimizer.param_groups]
        if self.optimizer_state is not None and place.stage in (stage.name, ""):
            self.optimizer.load_state_dict(self.optimizer_state)
        elif place.stage != stage.name:
            place.best, place.since, place.stopped = (), 0, False
        place.stage, self.optimizer_state = stage.name, None
        while place.epoch < first + stage.epochs and not place.stopped:
            (stage.ready or self.task.network.train)()
            for pieces in self.task.pieces(place):
                share = stage.share((place.epoch - first) * self.task.steps + place.step)
                for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
                    group["lr"] = rate * share
                self.take_step(pieces)
            self.end_epoch()
        place.epoch = first + stage.epochs

    def take_step(self, pieces: Iterable) -> None:
        """One step: gradients of all pieces and processes, the optimiser, the average."""
        task, place = self.task, self.place
        self.optimizer.zero_grad(set_to_none=True)
        total = None
        for piece in pieces:
            self.read_losses()  # of the step before, when this one's data are ready: an accelerator was not waited for
            with self.autocast():
                loss, parts = task.loss(piece)
            self.scaler.scale(loss).backward()
            losses = torch.cat([loss.detach().reshape(1).float(), parts.detach().float()])
            total = losses if total is None else total + losses
        if total is None:  # a process without a share of this batch
            self.read_losses()
            total = torch.zeros(1 + len(task.names), device=self.processes.device)
        trained = task.clip_over or [p for g in self.optimizer.param_groups for p in g["params"]]
        self.processes.sum_gradients(trained)
        self.scaler.unscale_(self.optimizer)
        length = torch.nn.utils.clip_grad_norm_(trained, task.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            update_average(self.average, task.network, task.keep(place.updates))
        place.step, place.updates = place.step + 1, place.updates + 1
        self.unread = (self.processes.sum(total), length)
        self.after_step()

    def after_step(self) -> None:
        """The log, the checkpoint and the progress, when they are due."""
        task, place = self.task, self.place
        last = place.step == task.steps
        if task.log_every and (place.step % task.log_every == 0 or last):
            self.write_row({"step": place.step, **_shown(self.means()), "seconds": f"{self.seconds():.0f}"})
            self.forget_losses()
        if not last and time.monotonic() - self.saved > CHECKPOINT_SECONDS:
            self.save()
        if self.processes.is_first:
            epochs = sum(s.epochs for s in task.stages)
            self.progress(place.epoch * task.steps + place.step, epochs * task.steps)

    def end_epoch(self) -> None:
        """What the task does between epochs; the best weights, patience, a checkpoint."""
        task, place = self.task, self.place
        self.read_losses()
        self.processes.agree(task.network)
        end = EpochEnd({})
        if task.end_epoch:
            end = task.end_epoch(place, self.average, self.means())
        place.epoch, place.step = place.epoch + 1, 0
        if end.row:
            self.write_row(end.row)
            self.forget_losses()
        if end.score is not None:
            better = not place.best or end.score > place.best
            place.since = 0 if better else place.since + 1
            if better:
                place.best = end.score
                if self.processes.is_first:
                    save_checkpoint(self.run / "best.pt", {"model": self.weights(), "epoch": place.epoch})
            place.stopped = task.patience is not None and place.since >= task.patience
        self.save()

    def read_losses(self) -> None:
        """Add the last step's losses to the sums; TrainingError where they are no finite numbers."""
        if self.unread is None:
            return
        (loss, *parts), length = self.unread[0].tolist(), float(self.unread[1])
        self.unread = None
        # Half precision makes gradients infinite now and then: the scaler leaves such a step out.
        if not math.isfinite(loss) or not (self.scaler.is_enabled() or math.isfinite(length)):
            self._stop("gradient" if math.isfinite(loss) else "loss")
        self.place.sums = [a + b for a, b in zip(self.place.sums, parts, strict=True)]
        self.place.summed += 1

    def means(self) -> dict[str, float]:
        """Means of the parts over the steps since the last row of the log."""
        self.read_losses()
        n = self.place.summed
        return {k: v / n if n else math.nan for k, v in zip(self.task.names, self.place.sums, strict=True)}

    def forget_losses(self) -> None:
        self.place.sums, self.place.summed = [0.0] * len(self.task.names), 0

    def seconds(self) -> float:
        return time.monotonic() - self.started

    def write_row(self, row: dict) -> None:
        if self.processes.is_first:
            append_log(self.run, row)
        self.place.log_rows += 1

    def weights(self) -> dict:
        """What ships: the average, or the network itself where none is made."""
        state = self.average if self.average is not None else self.task.network.state_dict()
        state = self.task.ships(state) if self.task.ships else state
        return {k: v.detach().cpu().contiguous() for k, v in state.items()}

    def save(self) -> None:
        """Put the run's state in the place of the last one, once it is known to be finite."""
        self.read_losses()
        self.saved = time.monotonic()
        if not self.processes.is_first:
            return
        state = {
            "fingerprint": self.fingerprint,
            "place": asdict(self.place) | {"best": list(self.place.best)},
            "model": self.task.network.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict() if self.optimizer else self.optimizer_state,
            "scaler": self.scaler.state_dict(),
        }
        save_checkpoint(self.run / "checkpoint.pt", state)
        save_checkpoint(self.run / "last.pt", {"model": self.weights(), "epoch": self.place.epoch})

    def _stop(self, what: str) -> None:
        """Say that the run has diverged; the files stay as they were saved last."""
        place, kept = self.place, self.run / "checkpoint.pt"
        # The losses that are looked at are the last step's: a checkpoint, if there is one, is older.
        where = f"step {place.step}" + (f" of epoch {place.epoch + 1}" if self.task.end_epoch else "")
        if self.processes.is_first:
            note_divergence(
                self.run, {"epoch": place.epoch, "step": place.step, "updates": place.updates, "what": what}
            )
        if kept.exists():
            advice = f"{kept} holds the last finite weights: lower the learning rate and give --resume to go on from it"
        else:
            advice = "nothing had been saved yet: lower the learning rate and start anew"
        raise TrainingError(f"training stopped at {where}: the {what} is not a finite number any more; {advice}")


def _shown(means: dict[str, float]) -> dict[str, str]:
    return {k: f"{v:.4f}" for k, v in means.items()}
