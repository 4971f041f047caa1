"""Time and memory of an audit of 50,000 pictures, decoding included, and what it finds of copies planted among them.

    python -m benchmarks.sets.audit_scale [--size 50000] [--work FOLDER] [--pictures FOLDER]

The pictures are made from real ones: the left part of one and the right part of another, each turned and cut out
anywhere, 360 x 363 px, so that no two show the same. One in a hundred is a copy of another (the five kinds of
near_duplicates.py in turn). With --work the pictures are kept there, and a second run makes only what is missing.
The audit runs as the command does, in a process of its own; time is wall time, memory its peak resident set.
Writes benchmarks/results/audit_scale.csv.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.harness import DATA, Args, Rows, benchmark, option, spent
from benchmarks.sets.near_duplicates import ASKED
from benchmarks.sets.planted import plant
from leukoscope.dataset.manifest import Dataset, TruthCell, TruthField, write_dataset
from leukoscope.types import FieldKey

SIZE = (360, 363)
SOURCES = 400  # real pictures held in memory to make the others from
COPY_EVERY = 100
MOST_MINUTES = {50_000: 10, 200_000: 20}  # asked of so many pictures, or fewer
MOST_GB = 2


def main(args: Args) -> Rows:
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(args.work or temporary)
        copies = make_set(work, args.size, Path(args.pictures or args.data / "pbc" / "train" / "images"))
        rows = measure(work, args.size, copies)
    yield from rows
    return {"n_pictures": args.size}


def make_set(work: Path, size: int, pictures: Path) -> dict[str, tuple[str, str]]:
    """Write the pictures and the manifest; {copy's file: (original's file, kind)}."""
    sources = sorted(pictures.glob("*.jpg"))[:: max(1, len(list(pictures.glob("*.jpg"))) // SOURCES)][:SOURCES]
    if len(sources) < 2:
        raise SystemExit(f"no .jpg pictures in {pictures}: name a folder of real ones with --pictures")
    loaded = [Image.open(p).convert("RGB") for p in sources]
    (work / "images").mkdir(parents=True, exist_ok=True)
    fields, copies = [], {}
    for number in range(size):
        file = f"images/{number:06d}.jpg"
        rng = np.random.default_rng(number)
        if number % COPY_EVERY == COPY_EVERY - 1:
            kind = list(ASKED)[number // COPY_EVERY % len(ASKED)]
            copies[file] = (f"images/{number - COPY_EVERY // 2:06d}.jpg", kind)
        path = work / file
        if not path.exists():
            partial = path.with_suffix(".part")
            if file in copies:
                plant(work / copies[file][0], copies[file][1], partial, rng)
            else:
                _composed(loaded, rng).save(partial, "JPEG", quality=90)
            partial.replace(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        key = FieldKey(f"{number:06d}", "", f"P{number % 500}", "made", "blood")
        cell = TruthCell((0, 0, *SIZE), "neutrophil", "made")
        fields.append(TruthField(key, file, digest, *SIZE, (cell,)))
    write_dataset(Dataset("made", work, tuple(fields), "none", "none", "made"), work)
    return copies


def _composed(loaded: list[Image.Image], rng: np.random.Generator) -> Image.Image:
    """The left part of one picture beside the right part of another, both turned and cut out anywhere."""
    out = Image.new("RGB", SIZE)
    border = int(rng.integers(SIZE[0] * 2 // 5, SIZE[0] * 3 // 5))
    for left, right in ((0, border), (border, SIZE[0])):
        image = loaded[rng.integers(len(loaded))].transpose(Image.Transpose(int(rng.integers(7))))
        share = rng.uniform(0.6, 0.9)
        width, height = image.width * share, image.height * share
        x, y = rng.uniform(0, image.width - width), rng.uniform(0, image.height - height)
        whole = image.resize(SIZE, Image.Resampling.BILINEAR, (x, y, x + width, y + height))
        out.paste(whole.crop((left, 0, right, SIZE[1])), (left, 0))
    return out


def measure(work: Path, size: int, copies: dict[str, tuple[str, str]]) -> list[dict]:
    """Run the command, then the rows: time, memory, copies found, other pairs."""
    child = spent("leukoscope", "dataset", "audit", work, "--json", codes=(0, 1))  # 1: it found something
    found = json.loads(child.stdout)["pairs"]
    pairs = {frozenset((p["first"]["file"], p["second"]["file"])) for p in found}
    planted = {frozenset((copy, original)): kind for copy, (original, kind) in copies.items()}
    kinds, hits = Counter(planted.values()), Counter(kind for pair, kind in planted.items() if pair in pairs)
    most = next((minutes for limit, minutes in MOST_MINUTES.items() if size <= limit), None)
    rows = [
        _row("minutes, two cores", child.wall_s / 60, most=most) | {"cpu_minutes": round(child.cpu_s / 60, 2)},
        _row("peak memory, GB", child.peak_mib * 2**20 / 1e9, most=MOST_GB),
        _row("pairs that were not planted, a 1,000 pictures", 1000 * len(pairs - set(planted)) / size),
    ]
    return rows + [_row(f"recall, {kind}", hits[kind] / n) | {"n": n} for kind, n in kinds.items()]


def _row(measure_name: str, value: float, *, most: float | None = None) -> dict:
    met = "" if most is None else "yes" if value <= most else "no"
    threshold = "" if most is None else f"<= {most}"
    return {"set": "made", "measure": measure_name, "value": round(value, 3), "threshold": threshold, "met": met}


if __name__ == "__main__":
    benchmark(
        main, option("--size", type=int, default=50_000, help="pictures (default: 50000)"),
        option("--work", help="keep the pictures here (default: a temporary folder)"), DATA,
        option("--pictures", help="folder of real .jpg pictures to make from (default: pbc's training pictures)"),
    )  # fmt: skip
