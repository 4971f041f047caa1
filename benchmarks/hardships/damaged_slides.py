"""Damaged slides: does reading them crash, hang, or end without a reason?

    python -m benchmarks.hardships.damaged_slides [--n 600] [--seed 1] [--dry-run]

Small slides of five makes (pyramidal TIFF as .svs and .ndpi, OME-TIFF with two planes, stitched TIFF in strips, a DICOM
series, a .mrxs with its folder) are damaged in eight ways: cut off, bytes flipped, a run of zeros, a run of another
file, numbers in a TIFF header replaced by huge or zero ones, a file of the series gone, a file twice, emptied. Each is
opened, looked over, and read whole in a process that others share until it dies; libraries in C may take it with them.

Writes benchmarks/results/damaged_slides.csv.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from data.make_slide import make_ome, make_slide, make_stitched

from benchmarks.harness import Args, Rows, again, benchmark, hidden, option
from leukoscope.errors import ImageError
from leukoscope.images.slides import one_a_slide, open_slide
from leukoscope.images.slides.survey import survey
from leukoscope.simulate.slide import SlideOptions
from leukoscope.simulate.slide_files import simulate_slide

REASONS = "missing no_permission read_error changed empty not_an_image unsupported slide truncated damaged too_large"
HANG_SECONDS = 120
WAYS = ("cut", "flip", "zeros", "other bytes", "huge numbers", "file gone", "file twice", "emptied")


def main(args: Args) -> Rows:
    if args.child:
        child(Path(args.child[0]), int(args.child[1]), args.n, args.seed)
        return
    with tempfile.TemporaryDirectory() as work:
        make_originals(Path(work) / "originals")
        found = Counter()
        slowest, first = 0.0, 0
        while first < args.n:
            lines, how = run_child(Path(work), first, args)
            for line in lines:
                found[line["end"]] += 1
                slowest = max(slowest, line["seconds"])
            first += len(lines)
            if how != "done":
                found[how] += 1
                print(f"number {first}: {how}")
                first += 1
    yield from [
        {"measure": "damaged slides", "value": args.n},
        *({"measure": what, "value": found[what], "threshold": "<= 0"} for what in ("crash", "hang", "no reason")),
        *({"measure": f"ended as {end}", "value": n} for end, n in sorted(found.items()) if end[:3] in ("rea", "rai")),
        {"measure": "the slowest, s", "value": round(slowest, 1)},
    ]
    return {"seed": args.seed}


def run_child(work: Path, first: int, args: Args) -> tuple[list[dict], str]:
    """What a child says of the slides from `first` on, and how it ended: "done", "crash" or "hang"."""
    command = again("--n", args.n, "--seed", args.seed, "--child", work, first)
    out = work / "lines.txt"
    with open(out, "w") as file, subprocess.Popen(command, stdout=file, stderr=subprocess.DEVNULL) as process:
        size, since = -1, time.monotonic()
        while process.poll() is None:
            time.sleep(0.2)
            if out.stat().st_size != size:
                size, since = out.stat().st_size, time.monotonic()
            elif time.monotonic() - since > HANG_SECONDS:
                process.kill()
                process.wait()
                return [json.loads(line) for line in out.read_text().splitlines()], "hang"
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    return lines, "done" if process.returncode == 0 and first + len(lines) == args.n else "crash"


def make_originals(folder: Path) -> None:
    """The slides that are damaged, a folder each."""
    rng = np.random.default_rng(0)
    pixels = np.kron(rng.integers(60, 250, (70, 90, 3)), np.ones((12, 12, 1))).astype(np.uint8)
    make_slide(folder / "svs" / "a.svs", pixels)
    make_slide(folder / "ndpi" / "a.ndpi", pixels, steps=(2, 8))
    (folder / "ome").mkdir()
    make_ome(folder / "ome" / "a.ome.tif", np.stack([pixels, pixels[::-1]]))
    (folder / "strips").mkdir()
    make_stitched(folder / "strips" / "a.btf", pixels)
    simulate_slide(folder / "work", SlideOptions(1500, 1000, 5))
    shutil.move(folder / "work" / "dicom", folder / "dicom")
    shutil.rmtree(folder / "work")
    (folder / "mrxs" / "a").mkdir(parents=True)
    (folder / "mrxs" / "a.mrxs").write_bytes((folder / "svs" / "a.svs").read_bytes()[:900])
    (folder / "mrxs" / "a" / "Slidedat.ini").write_text("[GENERAL]\nSLIDE_ID=1\nIMAGENUMBER_X=10\nIMAGENUMBER_Y=-3\n")
    (folder / "mrxs" / "a" / "Data0000.dat").write_bytes(bytes(range(256)) * 8)


def child(work: Path, first: int, n: int, seed: int) -> None:
    """Damage and read the slides from `first` on; a line each."""
    for number in range(first, n):
        rng = np.random.default_rng([seed, number])
        originals = sorted((work / "originals").iterdir())
        here = work / "one"
        shutil.rmtree(here, ignore_errors=True)
        shutil.copytree(originals[number % len(originals)], here)
        damage(rng, here, WAYS[int(rng.integers(len(WAYS)))])
        start = time.monotonic()
        end = ended(here)
        print(json.dumps({"end": end, "seconds": time.monotonic() - start}), flush=True)


def damage(rng: np.random.Generator, folder: Path, how: str) -> None:
    files = sorted(f for f in folder.rglob("*") if f.is_file())
    file = files[int(rng.integers(len(files)))]
    data = bytearray(file.read_bytes())
    at, length = int(rng.integers(len(data))), int(rng.integers(1, max(2, len(data) // 10)))
    if how == "cut":
        data = data[:at]
    elif how == "flip":
        for place in rng.integers(0, len(data), int(rng.integers(1, 60))):
            data[place] ^= 1 << int(rng.integers(8))
    elif how == "zeros":
        data[at : at + length] = bytes(len(data[at : at + length]))
    elif how == "other bytes":
        data[at : at + length] = rng.integers(0, 256, length, dtype=np.uint8).tobytes()
    elif how == "huge numbers":
        first = int.from_bytes(data[4:8], "little")
        at = min(first if 8 <= first < len(data) - 40 else at, max(len(data) - 40, 0)) + 12 * int(rng.integers(16)) + 10
        data[at : at + 4] = int(rng.choice([0, 1, 2**31 - 1, 2**32 - 1, 100_000])).to_bytes(4, "little")
    elif how == "emptied":
        data = bytearray()
    file.write_bytes(data)
    if how == "file gone":
        file.unlink()
    if how == "file twice":
        shutil.copy(file, file.with_name(f"copy-{file.name}"))


def ended(folder: Path) -> str:
    """ "read", "raised REASON", or "no reason" for anything else."""
    files = one_a_slide(sorted(f for f in folder.iterdir() if f.is_file()))
    if not files:
        return "raised missing"
    try:
        slide = open_slide(files[0])
        try:
            survey(slide, slide.facts.um_per_px)
            for level, of in enumerate(slide.facts.levels):
                for plane in range(slide.facts.n_planes):
                    slide.read((0, 0, min(of.width, 1100), min(of.height, 1100)), level=level, plane=plane)
        finally:
            slide.close()
    except ImageError as error:
        return f"raised {error.reason}" if error.reason in REASONS.split() else "no reason"
    except Exception as error:  # what must not happen
        print(f"{folder}: {error!r}", file=sys.stderr)
        return "no reason"
    return "read"


if __name__ == "__main__":
    benchmark(
        main, option("--n", type=int, default=600, help="damaged slides"), option("--seed", type=int, default=1),
        hidden("--child", nargs=2, metavar=("FOLDER", "FIRST")),
    )  # fmt: skip
