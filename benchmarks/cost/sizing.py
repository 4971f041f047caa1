"""Where `analyze`'s processor time goes, stage by stage, and so how many photographs an hour a core does.

    python -m benchmarks.cost.sizing [--data ../shared/data] [--photographs 100] [--bytes 3]

The first photographs of bccd in one folder of 100 a patient, one worker; processor seconds (not wall: what else the
machine does is left out, but for what a shared cache costs). Stages are the functions below; "networks" are the calls
of ONNX Runtime within locate and classify. A stage's time is without that of the stages it calls.

Writes benchmarks/results/sizing.csv, from which docs/sizing.md has its numbers (a test compares).
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from benchmarks.harness import DATA, Args, Rows, benchmark, option, peak_mib
from benchmarks.public_sets import spread
from leukoscope.images import list_images
from leukoscope.pipeline import AnalyzeOptions, analyze

A_PATIENT = 100
# Stage -> functions, each as the module that calls it names it.
STAGES = {
    "decode": ("leukoscope.pipeline.photographs:read_pictures",),
    "ruler": ("leukoscope.pipeline.threads:measure_ruler",),
    "quality": ("leukoscope.pipeline.fields:check_quality",),
    "prepare": ("leukoscope.pipeline.fields:prepare",),
    "locate": ("leukoscope.pipeline.fields:locate_balanced", "leukoscope.pipeline.fields:fitting_tile_px"),
    "crop and classify": ("leukoscope.pipeline.fields:FieldAnalyzer._classified",),
    "networks": ("leukoscope.models.runtime:Session._run",),
    "pictures": ("leukoscope.pipeline.fields:cell_pictures", "leukoscope.pipeline.photographs:look_of"),
    "journal": ("leukoscope.pipeline.journal:Journal.write",),
    "repeats": ("leukoscope.pipeline.analyze:find_repeats",),
    "record and tables": ("leukoscope.pipeline.analyze:write_record", "leukoscope.pipeline.analyze:write_cells_csv",
                          "leukoscope.pipeline.analyze:write_patients_csv"),
    "report": ("leukoscope.pipeline.analyze:write_report",),
}  # fmt: skip


class Clock:
    """Processor seconds of each stage, without those of stages within it; of all threads."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._stack = threading.local()
        self._lock = threading.Lock()

    def timed(self, stage: str, call: Callable) -> Callable:
        def run(*args, **more):
            within = self._enter()
            start = time.thread_time()
            try:
                result = call(*args, **more)
                return self._each(stage, result) if hasattr(result, "__next__") else result
            finally:
                self._leave(stage, time.thread_time() - start, within)

        return run

    def _each(self, stage: str, items):
        """A generator's time is that of its steps."""
        while True:
            within, start = self._enter(), time.thread_time()
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                self._leave(stage, time.thread_time() - start, within)
            yield item

    def _enter(self) -> list[float]:
        if not hasattr(self._stack, "spent"):
            self._stack.spent = []
        within = [0.0]
        self._stack.spent.append(within)
        return within

    def _leave(self, stage: str, spent: float, within: list[float]) -> None:
        stack = self._stack.spent
        stack.pop()
        if stack:
            stack[-1][0] += spent
        with self._lock:
            self.seconds[stage] += spent - within[0]


def main(args: Args) -> Rows:
    clock = Clock()
    for stage, places in STAGES.items():
        for place in places:
            module, _, name = place.partition(":")
            owner = import_module(module)
            *above, last = name.split(".")
            for part in above:
                owner = getattr(owner, part)
            setattr(owner, last, clock.timed(stage, getattr(owner, last)))
    with tempfile.TemporaryDirectory() as work:
        paths = list_images(args.data / "bccd" / "JPEGImages")[: args.photographs]
        spread(paths, Path(work) / "in", a_patient=A_PATIENT)
        start = time.process_time()
        analyze([f"{work}/in"], f"{work}/out", options=AnalyzeOptions(workers=1))
        total = time.process_time() - start
        n_bytes = sum(p.stat().st_size for p in Path(work, "out").rglob("*") if p.is_file())
        kept = sum(p.stat().st_size for p in Path(work, "out", ".work").rglob("*") if p.is_file())
    n, named = len(paths), {"set": f"bccd, {len(paths)} photographs of 640 x 480 px"}
    clock.seconds["the rest: loading models, reading files, start"] = total - sum(clock.seconds.values())
    rows = [
        named | {"measure": f"ms an image, {stage}", "value": round(1000 * clock.seconds[stage] / n, 2),
                 "share": round(clock.seconds[stage] / total, 3)}
        for stage in (*STAGES, "the rest: loading models, reading files, start")
    ]  # fmt: skip
    rows += [
        named | {"measure": "ms an image, all", "value": round(1000 * total / n, 2)},
        named | {"measure": "images an hour and core", "value": round(3600 * n / total)},
        named | {"measure": "peak memory, one worker, MiB", "value": round(peak_mib())},
        named | {"measure": "outputs an image, kB", "value": round((n_bytes - kept) / 1000 / n, 1)},
        named | {"measure": "state an image, kB", "value": round(kept / 1000 / n, 1)},
    ]
    yield from rows


if __name__ == "__main__":
    benchmark(main, DATA, option("--photographs", type=int, default=100))
