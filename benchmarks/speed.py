"""How fast `analyze` is: against a plain torch script, against the bare ONNX Runtime calls it makes, and cold.

    python benchmarks/speed.py [--data ../shared/data] [--model blood] [--limit N] [--repeats 3]

All in one run on the photographs of bccd, each figure the median of the repeats, which alternate:

- plain script: torch with the same networks (random weights: they change no time) and torch's own number of threads;
  it decodes, white-balances and letterboxes one image at a time, then crops and classifies one cell at a time, the
  same cells as `analyze` found. Loading torch and the networks is not counted.
- analyze: the whole call, with model loading, quality checks, thumbnails, record, table and report.
- bare calls: the very inputs that `analyze` gives to ONNX Runtime, run again one after the other through sessions
  with the same settings, nothing else in the loop; only these calls are timed. Also two at a time, for comparison.
- cold: a new process for one photograph, and for `--help`; wall time.

Writes benchmarks/results/speed.csv.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from provenance import write_results
from public_sets import SHARED

from leukoscope.crop import crop_cells, match_nuclei
from leukoscope.images import background_color, list_images, white_balance
from leukoscope.locate import letterbox
from leukoscope.models.bundle import Bundle, Card, find_model
from leukoscope.models.runtime import Session
from leukoscope.models.torch_classifier import CellClassifier
from leukoscope.models.torch_locator import ExportedLocator, LocatorNet
from leukoscope.pipeline import analyze
from leukoscope.pipeline.fields import FieldAnalyzer
from leukoscope.pipeline.ruler import first_of_each, measure_ruler, smear_of
from leukoscope.pipeline.sources import find_sources
from leukoscope.report import read_record

Calls = list[tuple[str, dict[str, np.ndarray]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("LEUKOSCOPE_SHARED", SHARED), help="folder of the public sets")
    parser.add_argument("--model", default="blood", help="a bundled model's name, or a model folder")
    parser.add_argument("--limit", type=int, help="use the first N photographs only")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dry-run", action="store_true", help="print, write no result file")
    args = parser.parse_args()
    files = list_images(Path(args.data) / "bccd" / "JPEGImages")[: args.limit]
    models = find_model(args.model)
    seconds: dict[str, list[float]] = {"plain": [], "analyze": [], "bare": [], "bare_two": []}
    with tempfile.TemporaryDirectory() as work:
        boxes = {
            f["file"]: boxes_of(f) for f in read_record(analyze(files, Path(work) / "0", model=args.model)).fields()
        }
        sessions = {task: Session(bundle) for task, bundle in models.items()}
        calls = record_calls(files, sessions)
        for repeat in range(args.repeats):
            seconds["plain"].append(time_plain(files, boxes, models))
            seconds["analyze"].append(timed(analyze, files, Path(work) / str(repeat + 1), model=args.model))
            seconds["bare"].append(time_bare(calls, sessions, workers=1))
            seconds["bare_two"].append(time_bare(calls, sessions, workers=2))
        cold = [timed(run_cold, files[0], Path(work) / f"cold{i}", args.model) for i in range(args.repeats)]
    usage = [timed(run_help) for _ in range(args.repeats)]
    rows = table({k: statistics.median(v) for k, v in seconds.items()}, len(files))
    rows += [row("one photograph, cold", "wall s", statistics.median(cold), most=2.5)]
    rows += [row("leukoscope --help", "wall s", statistics.median(usage), most=0.4)]
    for entry in rows:
        print(*(entry[k] for k in ("set", "measure", "value", "threshold", "met")), sep="\t")
    if not args.dry_run:
        n_cells = sum(map(len, boxes.values()))
        write_results("speed", rows, n_images=len(files), n_cells=n_cells, repeats=args.repeats, **digests(models))


def table(seconds: dict[str, float], n_images: int) -> list[dict]:
    """The rows of the comparison from the medians in seconds."""
    return [
        row("bccd, analyze", "images/s", n_images / seconds["analyze"]),
        row("bccd, plain torch script", "images/s", n_images / seconds["plain"]),
        row("bccd", "analyze against the plain script, times", seconds["plain"] / seconds["analyze"], least=2.5),
        row("bccd", "bare ONNX Runtime calls, summed s", seconds["bare"]),
        row("bccd", "analyze over the summed bare calls", seconds["analyze"] / seconds["bare"], most=1.25),
        row("bccd", "analyze over the bare calls two at a time", seconds["analyze"] / seconds["bare_two"]),
    ]


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
        self.card, self.inputs = session.card, session.inputs
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


def digests(models: dict[str, Bundle]) -> dict[str, str]:
    return {f"{task}_onnx_sha256": bundle.card.onnx_sha256[:12] for task, bundle in models.items()}


if __name__ == "__main__":
    main()
