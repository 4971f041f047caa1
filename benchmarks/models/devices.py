"""Other devices against the processor: the same calls, how exactly, and at what cost?

    python -m benchmarks.models.devices --device openvino [--data ../shared/data] [--limit 60]

Photographs of bccd and of pbc are analysed twice in one process, on the processor and on the device, with the bundled
models. Cells are compared in their order. A call may differ where two classes are within the tolerance of each other;
asked is the same number of cells in every photograph, the same class for every cell, and probabilities within 1e-4.
Seconds are of the processor's and by the clock, without the time to load the models.

Needs the build of ONNX Runtime that has the device (docs/how-to/faster.md). Writes benchmarks/results/devices.csv.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import DATA, benchmark, option
from leukoscope.images import list_images
from leukoscope.models.devices import DEVICES, Device, build, choose_device
from leukoscope.pipeline import AnalyzeOptions, analyze
from leukoscope.report import read_record

TOLERANCE = 1e-4
SETS = ("bccd/JPEGImages", "pbc/test/images")


def measure(args) -> Iterator[dict]:
    """The rows of one device."""
    device = choose_device(args.device)
    if device.note is not None:
        raise SystemExit(device.note)
    for folder in SETS:
        if not (args.data / folder).is_dir():
            continue
        photographs = list_images(args.data / folder)
        photographs = photographs[:: max(1, len(photographs) // args.limit)][: args.limit]
        with tempfile.TemporaryDirectory() as work:
            runs = [_run(photographs, Path(work) / d.name, d) for d in (Device(), device)]
            yield from rows(folder.partition("/")[0], *runs)
    return {"device": device.name, "runtime": build(), "limit": args.limit}


def _run(photographs: list[Path], out: Path, device: Device) -> dict:
    began: list[tuple[float, float]] = []

    def first(done: int, total: int) -> None:
        if not began:  # the models are loaded by then
            began.append((time.perf_counter(), time.process_time()))

    record = read_record(analyze(photographs, out, options=AnalyzeOptions(device=device.name), progress=first))
    spent = time.perf_counter() - began[0][0], time.process_time() - began[0][1]
    return {
        "fields": list(record.fields()),
        "wall_s": spent[0],
        "cpu_s": spent[1],
        "said": record.provenance["runs_on"],
    }


def rows(name: str, cpu: dict, other: dict) -> Iterator[dict]:
    """What differs between two runs of the same photographs."""
    pairs = list(zip(cpu["fields"], other["fields"], strict=True))
    same = [(a, b) for a, b in pairs if len(a["cells"]) == len(b["cells"])]
    cells = [pair for a, b in same for pair in zip(a["cells"], b["cells"], strict=True)]
    probs = [abs(p - b["probs"][k]) for a, b in cells for k, p in a["probs"].items()]
    boxes = [abs(p - q) for a, b in cells for p, q in zip(a["box"], b["box"], strict=True)]
    n = {"set": name, "n_fields": len(pairs), "n_cells": len(cells), "precision": other["said"]["precision"]}
    yield n | {
        "measure": "photographs with another number of cells",
        "value": len(pairs) - len(same),
        "threshold": "<= 0",
    }
    differ = sum(a["class"] != b["class"] for a, b in cells)
    yield n | {"measure": "cells of another class", "value": differ, "threshold": "<= 0"}
    largest = {"value": round(max(probs, default=0.0), 7), "threshold": f"<= {TOLERANCE}"}
    yield n | {"measure": "largest difference of a probability"} | largest
    yield n | {"measure": "largest difference of a box, px", "value": round(max(boxes, default=0.0), 3)}
    for what in ("wall_s", "cpu_s"):
        yield n | {"measure": f"{what} of the device over the processor's", "value": round(other[what] / cpu[what], 2)}


if __name__ == "__main__":
    benchmark(
        measure,
        DATA,
        option("--device", choices=DEVICES[2:], required=True),
        option("--limit", type=int, default=60, help="photographs of a set"),
    )
