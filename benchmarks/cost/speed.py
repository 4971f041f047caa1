"""How fast `analyze` is: against a plain torch script, against the bare ONNX Runtime calls it makes, and cold.

    python -m benchmarks.cost.speed [--data ../shared/data] [--model blood] [--limit N] [--repeats 3]

All in one run on the photographs of bccd, each figure the median of the repeats, which alternate:

- plain script: torch with the same networks (random weights: they change no time) and torch's own number of threads;
  it decodes, white-balances and letterboxes one image at a time, then crops and classifies one cell at a time, the
  same cells as `analyze` found. Loading torch and the networks is not counted.
- analyze: the whole call, with model loading, quality checks, thumbnails, record, table and report.
- bare calls: the very inputs that `analyze` gives to ONNX Runtime, run again one after the other through sessions
  with the same settings, nothing else in the loop; only these calls are timed. Also two at a time, for comparison.
- decoding: the same JPEGs by Pillow alone, on two threads.
- outside the networks: processor time of the whole call less that of the bare calls, a field; with what happens once
  a run (loading models, the ruler, the report) and, from runs of all and of half of the photographs, without it.
  Times on a shared machine grow with its load, ratios less: the load while it ran is in every row.
- int8: the same with the bundled locator in eight bits (`--locator blood-int8`), against the same plain script.
- cold: a new process for one photograph, and for `--help`; wall time.

Writes benchmarks/results/speed.csv.
"""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.harness import DATA, MODEL, Args, Rows, benchmark, option
from leukoscope.crop import crop_cells, match_nuclei
from leukoscope.images import background_color, list_images, white_balance
from leukoscope.locate import letterbox
from leukoscope.models.bundle import Bundle, Card, find_model
from leukoscope.models.runtime import Session
from leukoscope.models.torch_classifier import CellClassifier
from leukoscope.models.torch_locator import ExportedLocator, LocatorNet
from leukoscope.pipeline import AnalyzeOptions, analyze
from leukoscope.pipeline.fields import FieldAnalyzer
from leukoscope.pipeline.ruler import first_of_each, measure_ruler, smear_of
from leukoscope.pipeline.sources import find_sources
from leukoscope.report import read_record

LOCATORS = {"fp32": None, "int8": "blood-int8"}  # None: the model's own
Calls = list[tuple[str, dict[str, np.ndarray]]]


def main(args: Args) -> Rows:
    files = list_images(args.data / "bccd" / "JPEGImages")[: args.limit]
    times: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as work:
        folders = (Path(work) / str(number) for number in itertools.count())
        first = analyze(files, next(folders), model=args.model)
        boxes = {f["file"]: boxes_of(f) for f in read_record(first).fields()}
        ready = {name: Ready.of(args.model, locator, files) for name, locator in LOCATORS.items()}
        for _ in range(args.repeats):
            times["plain"].append(time_plain(files, boxes, find_model(args.model)))
            times["decode"].append(time_decoding(files))
            for name, one in ready.items():
                one.measure(files, folders, times, name)
        cold = [timed(run_cold, files[0], next(folders), args.model) for _ in range(args.repeats)]
    usage = [timed(run_help) for _ in range(args.repeats)]
    middle = {name: statistics.median(values) for name, values in times.items()}
    rows = [row("bccd, plain torch script", "images/s", len(files) / middle["plain"])]
    for name in LOCATORS:
        rows += [r | ready[name].digests for r in table(middle, name, len(files))]
    rows += [row("one photograph, cold", "wall s", statistics.median(cold), most=2.5)]
    rows += [row("leukoscope --help", "wall s", statistics.median(usage), most=0.4)]
    n_cells = sum(map(len, boxes.values()))
    load = f"{statistics.median(times['load']):.1f}"
    about = {"n_images": len(files), "n_cells": n_cells, "repeats": args.repeats, "load": load}
    yield from rows
    return about


@dataclass(frozen=True)
class Ready:
    """A model with the calls that `analyze` makes of it, recorded."""

    analyze: Callable
    sessions: dict[str, Session]
    digests: dict[str, str]
    calls: Calls

    @classmethod
    def of(cls, model: str, locator: str | None, files: list[Path]) -> Ready:
        bundles = find_model(model) | ({} if locator is None else find_model(locator))
        sessions = {task: Session(bundle) for task, bundle in bundles.items()}
        run = partial(analyze, model=model, options=AnalyzeOptions(locator=locator))
        digests = {f"{task}_onnx_sha256": bundle.card.onnx_sha256[:12] for task, bundle in bundles.items()}
        return cls(run, sessions, digests, record_calls(files, sessions))

    def measure(self, files: list[Path], folders: Iterator[Path], times: dict[str, list[float]], name: str) -> None:
        """One repeat: whole and half runs, and the bare calls, wall and processor time."""
        for part, some in (("", files), (" half", files[: len(files) // 2])):
            spent = time.process_time()
            times[f"{name} analyze{part}"].append(timed(self.analyze, some, next(folders)))
            times[f"{name} analyze{part}, processor"].append(time.process_time() - spent)
        spent = time.process_time()
        times[f"{name} bare"].append(time_bare(self.calls, self.sessions, workers=1))
        times[f"{name} bare, processor"].append(time.process_time() - spent)
        times[f"{name} bare two"].append(time_bare(self.calls, self.sessions, workers=2))
        times["load"].append(os.getloadavg()[0])


def table(middle: dict[str, float], name: str, n_images: int) -> list[dict]:
    """The rows of one model from the medians in seconds."""
    whole, bare = middle[f"{name} analyze"], middle[f"{name} bare"]
    spent, half = middle[f"{name} analyze, processor"], middle[f"{name} analyze half, processor"]
    network = middle[f"{name} bare, processor"] / n_images
    each = (spent - half) / (n_images - n_images // 2)
    asked = {"fp32": (3.2, None), "int8": (4.5, 4.0)}[name]
    called = f"bccd, {name}"
    over_two = whole / middle[f"{name} bare two"]
    return [
        row(called, "images/s", n_images / whole),
        row(called, "analyze against the plain script, times", middle["plain"] / whole, least=asked[0]),
        row(called, "bare ONNX Runtime calls, summed s", bare),
        row(called, "analyze over the summed bare calls", whole / bare, most=1.25),
        row(called, "analyze over the bare calls two at a time", over_two, most=1.3 if name == "fp32" else None),
        row(called, "analyze over decoding alone on two threads, times", whole / middle["decode"]),
        row(called, "processor ms outside the networks a field, all told", 1e3 * (spent / n_images - network)),
        row(called, "processor ms outside the networks a further field", 1e3 * (each - network), most=asked[1]),
    ]


def time_decoding(files: list[Path]) -> float:
    """Wall seconds of reading and decoding alone, two at a time."""

    def decode(file: Path) -> None:
        with Image.open(file) as image:
            image.load()

    with ThreadPoolExecutor(2) as pool:
        start = time.perf_counter()
        list(pool.map(decode, files))
        return time.perf_counter() - start


def row(name: str, measure: str, value: float, *, least: float | None = None, most: float | None = None) -> dict:
    threshold = f">= {least}" if least is not None else f"<= {most}" if most is not None else ""
    met = (least is None or value >= least) and (most is None or value <= most)
    return {
        "set": name,
        "measure": measure,
        "value": round(value, 3),
        "threshold": threshold,
        "met": ("yes" if met else "no") if threshold else "",
    }


def time_plain(files: list[Path], boxes: dict[str, np.ndarray], models: dict[str, Bundle]) -> float:
    """Seconds of the plain script for all files."""
    locator, classifier = torch_networks(models)
    with torch.inference_mode():
        plain_image(files[0], boxes[files[0].as_posix()], models, (locator, classifier))  # warm
        start = time.perf_counter()
        for file in files:
            plain_image(file, boxes[file.as_posix()], models, (locator, classifier))
        return time.perf_counter() - start


def plain_image(file: Path, boxes: np.ndarray, models: dict[str, Bundle], networks: tuple) -> list[np.ndarray]:
    """What a plain script does with one photograph: each cell's probabilities."""
    locate_card, classify_card = models["locate"].card, models["classify"].card
    pixels = np.array(Image.open(file).convert("RGB"))
    if locate_card.white_balance:
        pixels = white_balance(pixels, background_color(pixels))
    canvas, _ = letterbox(pixels, locate_card.input_size)
    found, scores = networks[0](torch.from_numpy(canvas[None]))
    _ = found[scores >= locate_card.thresholds["score"]].numpy()
    probs = []
    for box in boxes:
        crop = match_nuclei(crop_cells(pixels, box[None], classify_card.crop), classify_card.crop.nucleus_density)
        logits = networks[1](torch.from_numpy(crop), torch.zeros(1)) / classify_card.temperature
        probs.append(logits.softmax(1).numpy())
    return probs


def torch_networks(models: dict[str, Bundle]) -> tuple[torch.nn.Module, torch.nn.Module]:
    """The networks of the bundles in torch, untrained."""
    shape = network_shape(models["locate"].card)
    locator = ExportedLocator(LocatorNet(**shape, pretrained=False)).eval()
    card = models["classify"].card
    joined = "joined" in card.training
    classifier = CellClassifier(len(card.taxonomy.names), pretrained=False, joined=joined).eval()
    return locator, classifier


def network_shape(card: Card) -> dict:
    """What the card says of its network; the network's own defaults where it says nothing."""
    config = card.training.get("config", {})
    return {k: v for k, v in (("levels", config.get("levels")), ("width", config.get("width"))) if v}


def record_calls(files: list[Path], sessions: dict[str, Session]) -> Calls:
    """The inputs of every ONNX Runtime call that `analyze` makes for these files."""
    calls: Calls = []
    analyzer = FieldAnalyzer(*(Listening(sessions[t], calls) for t in ("locate", "classify")), None, None)
    sources = find_sources(files, specimen="blood")
    rulers = {smear: measure_ruler(first, analyzer.rooms) for smear, first in first_of_each(sources).items()}
    for source in sources:
        analyzer(source, partial(rulers.__getitem__, smear_of(source)))
    return calls


class Listening:
    """A session that writes down what it is asked."""

    def __init__(self, session: Session, calls: Calls) -> None:
        self.card, self.inputs, self.side_step = session.card, session.inputs, session.side_step
        self._session, self._calls = session, calls

    def run(self, **inputs: np.ndarray) -> list[np.ndarray]:
        self._calls.append((self.card.task, {name: value.copy() for name, value in inputs.items()}))
        return self._session.run(**inputs)

    def run_named(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        self._calls.append((self.card.task, {name: value.copy() for name, value in inputs.items()}))
        return self._session.run_named(**inputs)


def time_bare(calls: Calls, sessions: dict[str, Session], *, workers: int) -> float:
    """Wall seconds of the calls alone, `workers` at a time."""
    bare = {task: session._session for task, session in sessions.items()}
    bare[calls[0][0]].run(None, calls[0][1])  # warm
    if workers == 1:
        start = time.perf_counter()
        for task, inputs in calls:
            bare[task].run(None, inputs)
        return time.perf_counter() - start
    with ThreadPoolExecutor(workers) as pool:
        start = time.perf_counter()
        list(pool.map(lambda call: bare[call[0]].run(None, call[1]), calls))
        return time.perf_counter() - start


def run_cold(file: Path, out: Path, model: str) -> None:
    command = [sys.executable, "-m", "leukoscope", "analyze", str(file), "--out", str(out), "--model", model]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def run_help() -> None:
    subprocess.run([sys.executable, "-m", "leukoscope", "--help"], check=True, stdout=subprocess.DEVNULL)


def timed(action: Callable, *args: object, **kwargs: object) -> float:
    """Wall seconds of one call."""
    start = time.perf_counter()
    action(*args, **kwargs)
    return time.perf_counter() - start


def boxes_of(field: dict) -> np.ndarray:
    return np.array([c["box"] for c in field["cells"]], np.float32).reshape(-1, 4)


if __name__ == "__main__":
    benchmark(
        main, DATA, MODEL, option("--limit", type=int, help="use the first N photographs only"),
        option("--repeats", type=int, default=3),
    )  # fmt: skip
