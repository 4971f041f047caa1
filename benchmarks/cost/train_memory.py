"""What a training step on a processor costs where freed memory goes back to the system, and where it is kept.

    python -m benchmarks.cost.train_memory [--quick] [--rounds 3] [--threads 2]

The bundled classifier's network and loss on drawn cells, `--batch` crops of 160 px a step. Each way is a process of its
own, in turn: "given back" is the C library as it comes, "kept" what `leukoscope train` does (`leukoscope.allocation`).
The steps after the first are counted: seconds by the clock and of the processor, the median of the rounds. A digest of
the weights says whether they are the same. The peak is the kernel's, of the whole process. Linux with glibc.

Writes benchmarks/results/train_memory.csv.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.harness import QUICK, again, benchmark, hidden, option, peak_mib

WAYS = ("given back", "kept")


def measure(args):
    if args.way:
        print(json.dumps(one_run(args.way, args)))
        return None
    if args.quick:
        args.rounds, args.batch, args.steps = 1, 16, 3
    answers: dict[str, list[dict]] = {way: [] for way in WAYS}
    sizes = ("--batch", args.batch, "--steps", args.steps, "--threads", args.threads)
    for _ in range(args.rounds):
        for way in WAYS:
            done = subprocess.run(again("--way", way, *sizes), check=True, capture_output=True, text=True)
            answers[way].append(json.loads(done.stdout.splitlines()[-1]))
    middle = {way: {k: statistics.median(a[k] for a in of_way) for k in ("wall_s", "cpu_s", "peak_mib")}
              for way, of_way in answers.items()}  # fmt: skip
    for way in WAYS:
        yield {
            "set": "drawn cells",
            "system": way,
            "measure": "a step, by the clock, s",
            "value": round(middle[way]["wall_s"], 2),
        }
        yield {
            "set": "drawn cells",
            "system": way,
            "measure": "a step, of the processor, s",
            "value": round(middle[way]["cpu_s"], 2),
        }
        yield {
            "set": "drawn cells",
            "system": way,
            "measure": "peak memory, MiB",
            "value": round(middle[way]["peak_mib"]),
        }
    for key, words in (("wall_s", "by the clock"), ("cpu_s", "of the processor"), ("peak_mib", "peak memory")):
        ratio = middle["given back"][key] / middle["kept"][key]
        yield {"set": "drawn cells", "system": "given back over kept", "measure": words, "value": round(ratio, 2)}
    digests = {a["digest"] for of_way in answers.values() for a in of_way}
    yield {
        "set": "drawn cells",
        "system": "both",
        "measure": "different weights",
        "value": len(digests) - 1,
        "threshold": "<= 0",
    }
    return {"batch": args.batch, "steps": args.steps, "rounds": args.rounds, "threads": args.threads}


def one_run(way: str, args) -> dict:
    """A short training in this process; what a step of it took after the first."""
    import torch
    from data.make_painted_cells import paint
    from data.small_runs import digest

    from leukoscope.dataset.manifest import read_dataset
    from leukoscope.train import loop
    from leukoscope.train.classifier.config import ClassifierConfig
    from leukoscope.train.classifier.task import train_classifier

    torch.set_num_threads(args.threads)
    if way == "given back":
        loop.freed_memory_kept = contextlib.nullcontext
    ends: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        data = [read_dataset(paint(Path(folder), "smears", ["lymphocyte", "monocyte", "neutrophil"]))]
        config = ClassifierConfig(
            name="timed", taxonomy="blood-12", size=160, pad_fraction=0.25, steps=args.steps, batch_size=args.batch,
            learning_rate=1e-4, um_per_px={"smears": 0.1},
            class_sets={"neutrophil": ("band_neutrophil", "segmented_neutrophil")},
        )  # fmt: skip
        run = train_classifier(
            config, data, Path(folder) / "run",
            progress=lambda done, total: ends.append((time.perf_counter(), time.process_time())),
        )  # fmt: skip
        summed = digest(run)
    n = len(ends) - 1
    wall, cpu = ((ends[-1][k] - ends[0][k]) / n for k in (0, 1))
    return {"wall_s": wall, "cpu_s": cpu, "peak_mib": peak_mib(), "digest": summed}


if __name__ == "__main__":
    benchmark(
        measure,
        QUICK,
        option("--rounds", type=int, default=3, help="of both ways in turn"),
        option("--batch", type=int, default=128),
        option("--steps", type=int, default=6),
        option("--threads", type=int, default=2),
        hidden("--way", choices=WAYS),
    )
