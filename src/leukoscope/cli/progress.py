"""A progress bar on a terminal; where the output goes to a file, a line now and then."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LINE_SECONDS = 30  # between two lines where there is no terminal


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Gives `show(done, total)`: draws on stderr, loads rich at its first call, and leaves nothing behind.

    Without a terminal it prints a line every LINE_SECONDS, so that a log shows that the work goes on.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield _lines(what)
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


def _lines(what: str) -> Callable[[int, int], None]:
    """`show` for a log: how far the work is and about how long it still takes."""
    said = time.monotonic()
    began: tuple[float, int, int] | None = None  # when and where: a resumed run begins in the middle

    def show(done: int, total: int) -> None:
        nonlocal said, began
        now = time.monotonic()
        if began is None or done < began[1] or total != began[2]:  # of a slide: first its tiles, then its regions
            began = (now, done, total)
        if now - said < LINE_SECONDS or not total or done == began[1]:
            return
        said = now
        left = (now - began[0]) / (done - began[1]) * (total - done)
        print(f"{what}: {done:,} of {total:,} ({100 * done / total:.0f} %), about {_words(left)} left", file=sys.stderr)

    return show


def _words(seconds: float) -> str:
    """ "40 seconds", "12 minutes", "3.5 hours"."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
