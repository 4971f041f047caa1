"""Memory of `analyze` on photographs of 169 megapixels, eight in a folder, eight workers.

    python -m benchmarks.cost.large_pictures [--count 8] [--side 13000] [--workers 8] [--tile-px 3250]

One picture is put together of real ones (bccd, moved against each other), saved as a JPEG of quality 90, and copied
with another comment, so that no two files are the same. Tiles are as large as asked here, to save time: what a tile
takes is small beside the picture. The run is a process of its own; memory is its peak resident set.
Writes benchmarks/results/large_pictures.csv.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.harness import DATA, Args, Rows, benchmark, option, spent
from leukoscope.images import list_images, read_image

MOST_GB = 3.0


def main(args: Args) -> Rows:
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        make_pictures(work / "in", args.count, args.side, list_images(args.data / "bccd" / "JPEGImages"))
        how = ("--workers", args.workers, "--tile-px", args.tile_px)
        child = spent("leukoscope", "analyze", work / "in", "--out", work / "out", *how)
        fields = json.loads((work / "out" / "record.json").read_text())["fields"]
    peak = child.peak_mib * 2**20 / 1e9
    name = f"{args.count} of {args.side**2 / 1e6:.0f} megapixels, {args.workers} workers"
    statuses = Counter(f["status"] for f in fields)
    yield from [
        {"set": name, "measure": "peak memory, GB", "value": round(peak, 3), "threshold": f"<= {MOST_GB:g}",
         "met": "yes" if peak <= MOST_GB else "no"},
        {"set": name, "measure": "fields analysed", "value": statuses["ok"] + statuses["poor"]},
        {"set": name, "measure": "cells found", "value": sum(len(f["cells"]) for f in fields)},
        {"set": name, "measure": "wall minutes", "value": round(child.wall_s / 60, 2),
         "cpu_minutes": round(child.cpu_s / 60, 2)},
    ]  # fmt: skip


def make_pictures(folder: Path, count: int, side: int, files: list[Path]) -> None:
    """`count` JPEGs of side x side px that differ in their comment alone."""
    folder.mkdir()
    rng, whole = np.random.default_rng(0), np.empty((side, side, 3), np.uint8)
    tiles = [read_image(file) for file in files[:24]]
    height, width = tiles[0].shape[:2]
    for top in range(0, side, height):
        for left in range(0, side, width):
            part = np.roll(tiles[int(rng.integers(len(tiles)))], int(rng.integers(width)), axis=1)
            room = whole[top : top + height, left : left + width]
            room[:] = part[: room.shape[0], : room.shape[1]]
    Image.fromarray(whole).save(folder / "0.jpg", quality=90)
    data = (folder / "0.jpg").read_bytes()
    for number in range(1, count):
        comment = f"picture {number}".encode()
        segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
        (folder / f"{number}.jpg").write_bytes(data[:2] + segment + data[2:])


if __name__ == "__main__":
    benchmark(
        main, DATA, option("--count", type=int, default=8), option("--side", type=int, default=13_000, help="px"),
        option("--workers", type=int, default=8), option("--tile-px", type=int, default=3_250),
    )  # fmt: skip
