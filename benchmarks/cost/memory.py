"""Whether `analyze` needs more memory for more photographs: peak resident memory at two sizes of the same set.

    python -m benchmarks.cost.memory [--data ../shared/data] [--model blood] [--sizes 200 5000]

The photographs of bccd, repeated under other names until there are enough, in folders of 50 (a patient each). Every
size is a new process; what it reports is the kernel's peak for it. `analyze` runs as a user runs it: reading, both
models, thumbnails, record, table, report.

Writes benchmarks/results/memory.csv.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.harness import again
from benchmarks.provenance import write_results
from benchmarks.public_sets import SHARED
from leukoscope.images import list_images
from leukoscope.pipeline import analyze

A_PATIENT = 50  # photographs
LARGEST_GROWTH = 1.15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("LEUKOSCOPE_SHARED", SHARED), help="folder of the public sets")
    parser.add_argument("--model", default="blood", help="a bundled model's name, or a model folder")
    parser.add_argument("--sizes", type=int, nargs=2, default=(200, 5000), metavar="N")
    parser.add_argument("--dry-run", action="store_true", help="print, write no result file")
    parser.add_argument("--one", nargs=2, metavar=("IN", "OUT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        analyze([args.one[0]], args.one[1], model=args.model)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return
    photographs = list_images(Path(args.data) / "bccd" / "JPEGImages")
    rows = [measure(photographs, size, args.model) for size in args.sizes]
    growth = rows[1]["peak_mib"] / rows[0]["peak_mib"]
    met = "yes" if growth <= LARGEST_GROWTH else "no"
    rows.append({"images": " against ".join(map(str, args.sizes)), "growth": round(growth, 3), "met": met})
    for row in rows:
        print(row)
    if not args.dry_run:
        write_results("memory", rows, threshold=f"<= {LARGEST_GROWTH}")


def measure(photographs: list[Path], size: int, model: str) -> dict:
    """Peak memory in MiB (the kernel counts KiB on Linux) and wall seconds for `size` photographs."""
    with tempfile.TemporaryDirectory() as work:
        spread(photographs, size, Path(work) / "in")
        command = again("--model", model, "--one", f"{work}/in", f"{work}/out")
        start = time.perf_counter()
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        seconds = time.perf_counter() - start
        report = (Path(work) / "out" / "report.html").stat().st_size
    peak = int(done.stdout.split()[-1]) / 1024
    return {
        "images": size,
        "peak_mib": round(peak, 1),
        "wall_s": round(seconds, 1),
        "report_mb": round(report / 1e6, 1),
    }


def spread(photographs: list[Path], size: int, folder: Path) -> None:
    """`size` copies of the photographs in turn, A_PATIENT in a folder."""
    for number in range(size):
        source = photographs[number % len(photographs)]
        target = folder / f"patient{number // A_PATIENT:03}" / f"{number:05}{source.suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:  # another file system
            shutil.copyfile(source, target)


if __name__ == "__main__":
    main()
