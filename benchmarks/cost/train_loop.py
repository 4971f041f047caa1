"""Each task of `train`: weights after six steps, before and after the one loop; killed and resumed; made infinite.

    python -m benchmarks.cost.train_loop [--before a0e6751]

Small runs on painted cells (tests/data/small_runs.py). "before" is the code of a commit before run folders, cards and
settings became one each: it is checked out beside, and the same runs are made with it in another process. A digest is
of all weights and of their running average; those of locator, outliner, detectors and finetune are also the ones that
a0e6751 gave, when each task had a loop of its own. A task that "before" can't run as it is called today has no such
row. Then, with today's code: the run is killed at its second step and resumed; and its loss is made infinite from there
on, after which the checkpoint must be finite and the run must go on from it to the same weights. Torch on one thread.

Writes benchmarks/results/train_loop.csv.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

import torch
from data.small_runs import LOSSES, TASKS, digest, infinite, small_run

from benchmarks.harness import Args, Rows, benchmark, option
from benchmarks.provenance import ROOT


class Killed(Exception):
    """As if by a signal."""


def main(args: Args) -> Rows:
    torch.set_num_threads(1)
    if args.digests:
        for task in TASKS:
            with tempfile.TemporaryDirectory() as folder, contextlib.suppress(ImportError, TypeError):
                print(task, digest(small_run(task, Path(folder))(Path(folder) / "run")), flush=True)
        return
    before = digests_of(args.before)
    for task in TASKS:
        with tempfile.TemporaryDirectory() as folder:
            yield from check(task, Path(folder), before.get(task, ""))
    return {"before": args.before, "steps": 6}


def digests_of(commit: str) -> dict[str, str]:
    """Each task's digest with the code of a commit."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "before"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", str(tree), commit], check=True, capture_output=True)
        try:
            told = subprocess.run(
                [sys.executable, "-W", "ignore", "-m", __spec__.name, "--digests"],
                env={**os.environ, "PYTHONPATH": str(tree / "src")}, check=True, capture_output=True, text=True,
            )  # fmt: skip
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True, capture_output=True)
    return dict(line.split() for line in told.stdout.splitlines())


def check(task: str, folder: Path, before: str) -> list[dict]:
    """The task's rows; before: its digest with the code of that commit, "" where that can't run it."""
    from leukoscope.errors import TrainingError
    from leukoscope.train import loop

    train = small_run(task, folder)
    whole = digest(train(folder / "whole"))

    def kill(done: int, total: int) -> None:
        if done == 2:
            raise Killed

    with mock.patch.object(loop, "CHECKPOINT_SECONDS", -1.0):
        try:
            train(folder / "run", progress=kill)
        except Killed:
            pass
        said = ""
        with mock.patch(LOSSES[task], infinite(LOSSES[task])):
            try:
                train(folder / "run", resume=True)
            except TrainingError as error:
                said = str(error)
        kept = torch.load(folder / "run" / "checkpoint.pt", weights_only=True)
        finite = all(torch.isfinite(v).all() for v in kept["model"].values() if v.is_floating_point())
        resumed = digest(train(folder / "run", resume=True))
    one_line = bool(said) and "\n" not in said
    found = {
        **({"weights after six steps against before": whole == before} if before else {}),
        "killed, and resumed": resumed == whole,
        "loss made infinite: one line": one_line,
        "loss made infinite: last checkpoint finite, and gone on from": finite and resumed == whole,
    }
    return [
        {"set": task, "measure": name, "value": "yes" if is_so else "no", "threshold": "yes",
         "met": "yes" if is_so else "no", "digest": whole[:16]}
        for name, is_so in found.items()
    ]  # fmt: skip


if __name__ == "__main__":
    benchmark(
        main, option("--before", default="a0e6751", help="commit whose code the weights are compared with"),
        option("--digests", action="store_true", help="print the tasks' digests with the code on the path"),
    )  # fmt: skip
