"""A progress bar for people: it appears after two seconds, on a terminal only."""

from __future__ import annotations

import sys
import time


class ProgressBar:
    """Call it with (done, total); use it in a `with` block. Where stderr is no terminal it does nothing.

    A run that is over within `after_s` seconds shows nothing, and rich is then never imported.
    """

    def __init__(self, label: str, *, after_s: float = 2.0) -> None:
        self._label = label
        self._begin = time.monotonic() + after_s
        self._on_terminal = sys.stderr.isatty()
        self._bar = None
        self._task = None

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done: int, total: int) -> None:
        if not self._on_terminal or time.monotonic() < self._begin:
            return
        if self._bar is None:
            self._show(total)
        self._bar.update(self._task, completed=done, total=total)

    def _show(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task(self._label, total=total)
        self._bar.start()
