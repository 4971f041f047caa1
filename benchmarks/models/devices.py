"""Other devices against the processor: the same calls, how exactly, and at what cost?

    python -m benchmarks.models.devices --device openvino [--data ../shared/data] [--limit 60]

Photographs of bccd and of pbc are analysed twice in one process, on the processor and on the device, with the bundled
models. What the networks were asked on the processor is asked on the device too: of the same pixels their answers must
lie within 1e-4 px and in probability. Of the locator those boxes are compared that either device gives a score above
the threshold: far below it, of two neighbours with the same score to the last bit one is left out, and which is
chance. Cells of the two runs are compared in their order: asked is the same number of cells in every photograph, the
same class for every cell, and probabilities within 1e-4. Seconds are of the processor's and by the clock, without the
time to load the models.

Needs the build of ONNX Runtime that has the device (docs/how-to/faster.md). Writes benchmarks/results/devices.csv.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np

from benchmarks.harness import DATA, benchmark, option
from leukoscope.images import list_images
from leukoscope.models.bundle import Card, find_model
from leukoscope.models.devices import DEVICES, Device, build, choose_device
from leukoscope.models.probabilities import softmax
from leukoscope.models.runtime import Session
from leukoscope.pipeline import AnalyzeOptions, analyze
from leukoscope.report import read_record

WITHIN = 1e-4  # of the same pixels, and the whole way from a photograph
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
            name, asked = folder.partition("/")[0], []
            with listening(asked):
                first = _run(photographs, Path(work) / "cpu", Device())
            yield from network_rows(name, asked, device)
            asked.clear()
            yield from rows(name, first, _run(photographs, Path(work) / device.name, device))
    return {"device": device.name, "runtime": build(), "limit": args.limit}


@contextmanager
def listening(asked: list[tuple[Card, dict, dict]]) -> Iterator[None]:
    """Put (card, inputs, outputs by name) of every call of a network into `asked`."""
    run = Session._run

    def heard(self, names, inputs):
        outputs = run(self, names, inputs)
        asked.append((self.card, inputs, dict(zip(names, outputs, strict=True))))
        return outputs

    with patch.object(Session, "_run", heard):
        yield


def network_rows(name: str, asked: list[tuple[Card, dict, dict]], device: Device) -> Iterator[dict]:
    """By how much the device's answers differ, of the very pixels that the processor was asked about."""
    sessions = {b.card.onnx_sha256: Session(b, device=device) for b in find_model("blood").values()}
    largest = {"probability of a class": 0.0, "score of a box": 0.0, "box, px": 0.0}
    for card, inputs, known in asked:
        there = sessions[card.onnx_sha256].run_named(**inputs)
        if card.task == "classify":
            a, b = (softmax(outputs["logits"] / card.temperature) for outputs in (known, there))
            pairs = {"probability of a class": (a, b)}
        else:
            likely = np.maximum(known["scores"], there["scores"]).ravel() >= card.thresholds["score"]
            pairs = {
                "score of a box": tuple(o["scores"].ravel()[likely] for o in (known, there)),
                "box, px": tuple(o["boxes"].reshape(-1, 4)[likely] for o in (known, there)),
            }
        for what, (a, b) in pairs.items():
            largest[what] = max(largest[what], float(np.abs(a - b).max(initial=0.0)))
    for what, value in largest.items():
        yield {
            "set": f"{name}, the same pixels",
            "measure": f"largest difference of a {what}",
            "value": f"{value:.2g}",
            "threshold": f"<= {WITHIN}",
            "n_fields": sum(card.task != "classify" for card, _, _ in asked),
        }


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
    largest = {"value": round(max(probs, default=0.0), 7), "threshold": f"<= {WITHIN}"}
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
