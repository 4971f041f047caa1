"""DinoBloom-S in the published layout, weights random: same features through ONNX, and a crop's cost in eight bits.

    python -m benchmarks.models.dinobloom [--crops N] [--dry-run]

A checkpoint as its authors lay it out (tests/data/make_vit_checkpoint.py) is read, exported as `leukoscope train
configs/dinobloom-s.toml` exports it, and written in eight bits. Time is processor time of one thread a crop, the least
of five rounds of batches of eight, so that a busy machine adds little; two cores take half of it. The share of the
features' length that eight bits change is of random weights: what the published ones lose, validation cells will say.
Writes benchmarks/results/dinobloom.csv.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from data.make_vit_checkpoint import as_dinobloom, make_dinov2_state

from benchmarks.harness import Args, Rows, benchmark, option
from leukoscope.models.quantise import write_int8
from leukoscope.models.torch_backbones import build_network
from leukoscope.train.crops.bundle import write_onnx
from leukoscope.train.crops.predict import predict_features

SIZE, BATCH, ROUNDS, N_CLASSES = 224, 8, 5, 12
MOST_SECONDS = 0.040  # a crop on two cores


def main(args: Args) -> Rows:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    crops = np.random.default_rng(0).integers(0, 256, (args.crops, SIZE, SIZE, 3), np.uint8)
    with tempfile.TemporaryDirectory() as work:
        weights, whole, less = (Path(work) / name for name in ("DinoBloom-S.pth", "float.onnx", "int8.onnx"))
        state = make_dinov2_state(width=384, depth=12, side=16)
        torch.save(as_dinobloom({k: calmed(v) for k, v in state.items()}), weights)
        network = build_network("dinobloom-s", N_CLASSES, weights=str(weights), size=SIZE).eval()
        expected = predict_features(network, crops)
        write_onnx(network, whole, checked=crops[:2])
        kind = write_int8(whole, less)
        found = {name: run(path, crops) for name, path in (("float", whole), ("int8", less))}
        sizes = {name: path.stat().st_size / 1e6 for name, path in (("float", whole), ("int8", less))}
    length = np.linalg.norm(expected, axis=1)
    rows = []
    for name, (features, seconds) in found.items():
        apart = float((np.linalg.norm(features - expected, axis=1) / length).max())
        asked = "<= 0.0001" if name == "float" else ""
        rows.append(row(f"features apart from torch's, share of their length, {name}", apart, asked))
        rows.append(row(f"processor seconds a crop, one thread, {name}", seconds))
        rows.append(row(f"file, MB, {name}", sizes[name]))
    seconds = {name: s for name, (_, s) in found.items()}
    asked = f"<= {MOST_SECONDS}"
    rows.append(row("seconds a crop on two cores, int8 (half of one thread's)", seconds["int8"] / 2, asked))
    rows.append(row("time in eight bits over time in float", seconds["int8"] / seconds["float"]))
    yield from rows
    return {"weights": "random, published layout", "quantised": kind, "n_crops": args.crops}


def calmed(weights: torch.Tensor) -> torch.Tensor:
    """Matrices at the scale of a trained network's: else twelve blocks of them blow every rounding up."""
    return weights / (0.2 * weights.shape[1] ** 0.5) if weights.ndim == 2 else weights


def row(measure: str, value: float, threshold: str = "") -> dict:
    return {"set": "random pixels", "measure": measure, "value": float(f"{value:.4g}"), "threshold": threshold}


def run(path: Path, crops: np.ndarray) -> tuple[np.ndarray, float]:
    """Features (N, D) of an ONNX file, and the least processor seconds a crop."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    parts = [session.run(["features"], {"pixels": crops[i : i + BATCH]})[0] for i in range(0, len(crops), BATCH)]
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        session.run(["features"], {"pixels": crops[:BATCH]})
        best = min(best, (time.process_time() - began) / BATCH)
    return np.concatenate(parts), best


if __name__ == "__main__":
    benchmark(main, option("--crops", type=int, default=16))
