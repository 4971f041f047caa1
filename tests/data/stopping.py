"""A progress callback that stops the run, as Ctrl-C does."""

from __future__ import annotations

from collections.abc import Callable


def stop_after(n_done: int) -> Callable[[int, int], None]:
    """Raises KeyboardInterrupt once `n_done` are done."""

    def stop(done: int, total: int) -> None:
        if done == n_done:
            raise KeyboardInterrupt

    return stop
