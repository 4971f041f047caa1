"""How long work says how far it is: one kind of callback, called `progress` wherever it is taken.

It is called now and then with what is done and what there is in all, in the same unit; the last call may be missing.
"""

from collections.abc import Callable

Progress = Callable[[int, int], None]  # (done, total)
StageProgress = Callable[[str, int, int], None]  # (what is being done, done, total): where one call does several things


def no_progress(done: int, total: int) -> None:
    """Tell nobody."""


def no_stages(what: str, done: int, total: int) -> None:
    """Tell nobody, of several things."""


def for_stages(progress: Progress) -> StageProgress:
    """What tells the numbers alone, whichever of the several things they are of."""
    return lambda what, done, total: progress(done, total)


def of_stage(progress: StageProgress, what: str) -> Progress:
    """What one of the several things is told to call."""
    return lambda done, total: progress(what, done, total)
