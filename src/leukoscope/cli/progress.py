"""A progress bar on a terminal; silence where the output goes to a file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Gives `show(done, total)`: draws on stderr, loads rich at its first call, and leaves nothing behind."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    started: list = []

    def show(done: int, total: int) -> None:
        if not started:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            bar = Progress(*columns, console=Console(stderr=True), transient=True)
            bar.start()
            started.extend((bar, bar.add_task(what, total=total)))
        bar, task = started
        bar.update(task, completed=done, total=total)

    try:
        yield show
    finally:
        if started:
            started[0].stop()
