"""What a run may use of the machine, processor cores and memory at a time, and what the processor is called."""

import os
import platform
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Room:
    """Room for so much: `with room.hold(n):` waits, first come first served, until n more fit.

    Memory goes by pixels: eight workers hold eight ordinary photographs, or one of 169 megapixels.
    """

    def __init__(self, most: float) -> None:
        self._most, self._held = most, 0.0
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, amount: float) -> Iterator[None]:
        """More than there is room for in all counts as all of it."""
        wanted, turn = min(amount, self._most), object()
        with self._changed:
            self._waiting.append(turn)
            try:
                self._changed.wait_for(lambda: self._waiting[0] is turn and self._held + wanted <= self._most)
                self._held += wanted
            finally:
                self._waiting.remove(turn)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._held -= wanted
                self._changed.notify_all()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Matrix products on the thread that asks for them, for the whole process.

    Where several photographs are worked on at a time the cores are taken, and the threads that share a small product
    wait for one another: at two busy cores 7 ms for one that takes 0.1 ms alone (docs/decisions/0056).
    """
    from threadpoolctl import threadpool_limits  # only those who compute pay for it

    with threadpool_limits(1, user_api="blas"):
        yield


def usable_cores() -> int:
    """Cores that the system lets this process run on (a container may have fewer than the machine); at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor_name() -> str:
    """The processor as the system names it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
