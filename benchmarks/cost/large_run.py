"""Whether `analyze` stays the same from 1,000 photographs to 100,000: memory, seconds an image, the largest page.

    python -m benchmarks.cost.large_run [--data ../shared/data] [--sizes 1000 100000] [--side 320] [--workers 2]

The photographs of bccd, made smaller (`--side`: longer side in px; 0: as they are) and repeated, each copy a file with
a digest of its own, A_PATIENT in a folder. Every size is a new process of the whole of `analyze`: reading, checking,
cropping, journal, repeats, record, tables, report. What the two networks answer to a picture is remembered from the
first time (inputs are told by their digest), for 100,000 calls take hours on two cores. After four patients nothing
new is remembered; what it takes is said. Seconds an image are those outside the networks and their memory.

Seconds are processor seconds, of all threads: on a shared machine wall seconds say what else ran. Memory is the
kernel's peak for the process. Writes benchmarks/results/large_run.csv; sizes that are there already are kept (--add).
"""

from __future__ import annotations

import csv
import hashlib
import io
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from PIL import Image

from benchmarks.harness import DATA, Args, Rows, again, benchmark, hidden, option, peak_mib
from benchmarks.provenance import RESULTS
from leukoscope.images import list_images
from leukoscope.models.runtime import Session
from leukoscope.pipeline import AnalyzeOptions, analyze

A_PATIENT = 91  # a quarter of bccd's 364: four patients in turn, so that what is remembered is as much for every size
LARGEST_CHANGE = 0.10
LARGEST_PAGE_MB = 5.0


def main(args: Args) -> Rows:
    if args.one:
        analyze_remembering(*args.one, args.workers)
        return
    photographs = list_images(args.data / "bccd" / "JPEGImages")
    earlier = list(csv.DictReader(open(RESULTS / "large_run.csv", encoding="utf-8"))) if args.add else []
    measured = [{k: float(r[k]) for k in NUMBERS} for r in earlier if r.get("images") and not r.get("measure")]
    for size in args.sizes:
        measured = [m for m in measured if m["images"] != size] + [measure(photographs, size, args)]
        print(measured[-1], flush=True)
    rows = [m | {"set": "bccd, repeated"} for m in sorted(measured, key=lambda m: m["images"])]
    yield from [*rows, *verdicts(rows)]
    return {"side_px": args.side, "workers": args.workers, "a_patient": A_PATIENT}


NUMBERS = ("images", "peak_mib", "processor_ms_an_image", "wall_s", "largest_page_mb", "index_mb", "outputs_mb")


def verdicts(rows: list[dict]) -> list[dict]:
    """The largest size against the smallest."""
    least, most = rows[0], rows[-1]
    named = {"set": f"{most['images']:.0f} images against {least['images']:.0f}"}
    made = [
        named | {"measure": f"{what}, ratio", "value": round(most[key] / least[key], 3), "threshold": "<= 1.1"}
        for what, key in (("peak memory", "peak_mib"), ("processor time an image", "processor_ms_an_image"))
    ]
    page = {"measure": "largest page, MB", "value": most["largest_page_mb"], "threshold": f"<= {LARGEST_PAGE_MB:g}"}
    return [*made, named | page]


def measure(photographs: list[Path], size: int, args: Args) -> dict:
    """One size, in a process of its own."""
    with tempfile.TemporaryDirectory(dir=args.work) as work:
        spread(photographs, size, Path(work) / "in", args.side)
        command = again("--workers", args.workers, "--one", f"{work}/in", f"{work}/out")
        start = time.perf_counter()
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        seconds = time.perf_counter() - start
        pages = [p.stat().st_size / 1e6 for p in Path(work, "out").rglob("*.html")]
        outputs = sum(p.stat().st_size for p in Path(work, "out").rglob("*") if p.is_file()) / 1e6
        index = Path(work, "out", "report.html").stat().st_size / 1e6
    peak, spent = map(float, done.stdout.split()[-2:])
    values = (size, peak, 1000 * spent / size, seconds, max(pages), index, outputs)
    return dict(zip(NUMBERS, (round(v, 2) for v in values), strict=True))


def spread(photographs: list[Path], size: int, folder: Path, side: int) -> None:
    """`size` copies of the photographs in turn, A_PATIENT in a folder; what follows a JPEG's end makes each its own."""
    data = []
    for path in photographs:
        out = io.BytesIO()
        with Image.open(path) as image:
            if side:
                image.thumbnail((side, side))
            image.save(out, "JPEG", quality=92)
        data.append(out.getvalue() if side else path.read_bytes())
    for number in range(size):
        target = folder / f"patient{number // A_PATIENT:05}" / f"{number:07}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data[number % len(data)] + f"copy {number}".encode())


def analyze_remembering(photographs: str, out: str, workers: int) -> None:
    """`analyze` whose networks are asked once for each input; prints the peak memory and the processor time."""
    known: dict[bytes, list] = {}
    ask, lock, asking = Session._run, threading.Lock(), [0.0]

    def remembered(self: Session, names: tuple, inputs: dict) -> list:
        began = time.thread_time()
        try:
            return answered(self, names, inputs)
        finally:
            with lock:
                asking[0] += time.thread_time() - began

    def answered(self: Session, names: tuple, inputs: dict) -> list:
        digest = hashlib.blake2b(repr((self.card.name, names)).encode(), digest_size=16)
        for name in sorted(inputs):
            digest.update(memoryview(inputs[name]).cast("B"))
        key = digest.digest()
        if key not in known:
            known[key] = ask(self, names, inputs)
        return [v.copy() for v in known[key]]

    Session._run = remembered
    start = time.process_time()
    analyze([photographs], out, options=AnalyzeOptions(workers=workers), progress=_say(start))
    held = sum(v.nbytes for answer in known.values() for v in answer) / 2**20
    print(f"networks: {len(known)} different inputs, {held:.1f} MiB of answers, {asking[0]:.1f} s", file=sys.stderr)
    print(peak_mib(), time.process_time() - start - asking[0])


def _say(start: float):
    """A line now and then, with the memory so far."""
    said = [0.0]

    def show(done: int, total: int) -> None:
        if time.process_time() - said[0] > 30:
            said[0] = time.process_time()
            ms = 1000 * (said[0] - start) / done
            print(f"{done} of {total}: {ms:.1f} ms, {peak_mib():.0f} MiB", file=sys.stderr, flush=True)

    return show


if __name__ == "__main__":
    benchmark(
        main, DATA, option("--sizes", type=int, nargs="+", default=(1000, 100_000), metavar="N"),
        option("--side", type=int, default=320, help="longer side of the photographs in px; 0: as they are"),
        option("--workers", type=int, default=2),
        option("--work", help="folder for the photographs and the run (default: a temporary one)"),
        option("--add", action="store_true", help="keep the sizes that the result file has"),
        hidden("--one", nargs=2, metavar=("IN", "OUT")),
    )  # fmt: skip
