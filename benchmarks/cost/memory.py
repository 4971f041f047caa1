"""Whether `analyze` needs more memory for more photographs: peak resident memory at two sizes of the same set.

    python -m benchmarks.cost.memory [--data ../shared/data] [--model blood] [--sizes 200 5000]

The photographs of bccd, repeated under other names until there are enough, in folders of 50 (a patient each). Every
size is a new process; what it reports is the kernel's peak for it. `analyze` runs as a user runs it: reading, both
models, thumbnails, record, table, report.

Writes benchmarks/results/memory.csv.
"""

from __future__ import annotations

import tempfile
from itertools import cycle, islice
from pathlib import Path

from benchmarks.harness import DATA, MODEL, Args, Rows, benchmark, option, spent
from benchmarks.public_sets import spread
from leukoscope.images import list_images

A_PATIENT = 50  # photographs
LARGEST_GROWTH = 1.15


def main(args: Args) -> Rows:
    photographs = list_images(args.data / "bccd" / "JPEGImages")
    rows = [measure(photographs, size, args.model) for size in args.sizes]
    yield from rows
    growth = rows[1]["peak_mib"] / rows[0]["peak_mib"]
    met = "yes" if growth <= LARGEST_GROWTH else "no"
    yield {"images": " against ".join(map(str, args.sizes)), "growth": round(growth, 3), "met": met}
    return {"threshold": f"<= {LARGEST_GROWTH}"}


def measure(photographs: list[Path], size: int, model: str) -> dict:
    """Peak memory in MiB and wall seconds for `size` photographs."""
    with tempfile.TemporaryDirectory() as work:
        spread(islice(cycle(photographs), size), Path(work) / "in", a_patient=A_PATIENT)
        words = ["analyze", f"{work}/in", "--out", f"{work}/out", "--model", model]
        child = spent("leukoscope", *words)
        report = (Path(work) / "out" / "report.html").stat().st_size
    return {
        "images": size,
        "peak_mib": round(child.peak_mib, 1),
        "wall_s": round(child.wall_s, 1),
        "report_mb": round(report / 1e6, 1),
    }


if __name__ == "__main__":
    benchmark(main, DATA, MODEL, option("--sizes", type=int, nargs=2, default=(200, 5000), metavar="N"))
