"""Kill Ray's workers every few seconds and the driver again and again: is the record that of one process?

    python -m benchmarks.hardships.ray_storm [--data ../shared/data] [--images 240] [--every 10] [--drivers 10] [--seed
        1]

One run in one process gives the outputs that are wanted. Then `analyze --engine ray --resume` runs in a process of its
own, on a cluster of its own, while every `--every` seconds one of its workers (a process that runs a part) is killed
(SIGKILL), and at random moments the driver itself, `--drivers` times; then it is started again. Every output file must
be the same, byte for byte. Photographs are bccd's, in folders of 24.

Writes benchmarks/results/ray_storm.csv.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.hardships.resume import differing, digests
from benchmarks.harness import DATA, Args, Rows, benchmark, option
from benchmarks.public_sets import spread
from leukoscope.images import list_images

A_PATIENT = 24
PROGRESS_BYTES = 4_000  # of journals, a photograph or less, before the next driver is killed


def main(args: Args) -> Rows:
    chance = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as work:
        photographs = list_images(args.data / "bccd" / "JPEGImages")[: args.images]
        folder = spread(photographs, Path(work) / "in", a_patient=A_PATIENT)
        command = [sys.executable, "-m", "leukoscope", "analyze", str(folder), "--workers", str(args.workers)]
        start = time.perf_counter()
        subprocess.run([*command, "--out", f"{work}/whole"], check=True, stdout=subprocess.DEVNULL)
        alone = time.perf_counter() - start
        wanted = digests(Path(work) / "whole")
        start = time.perf_counter()
        storm = Storm([*command, "--out", f"{work}/out", "--engine", "ray", "--resume"], args, chance)
        storm.rage(Path(work) / "out")
        seconds = time.perf_counter() - start
        differ = differing(Path(work) / "out", wanted)
    named = {"set": f"bccd, {args.images} photographs"}
    yield from [
        named | {"measure": "output files that differ from one process", "value": len(differ), "threshold": "<= 0",
                 "note": " ".join(differ)[:200]},
        named | {"measure": "workers killed", "value": storm.n_workers},
        named | {"measure": "drivers killed", "value": storm.n_drivers},
        named | {"measure": "seconds, one process undisturbed", "value": round(alone, 1)},
        named | {"measure": "seconds in the storm", "value": round(seconds, 1)},
    ]  # fmt: skip
    return {"every_s": args.every, "workers": args.workers, "seed": args.seed}


class Storm:
    """A driver that is killed and started again, and its workers, until it ends well."""

    def __init__(self, command: list[str], args: Args, chance: random.Random) -> None:
        self._command, self._args, self._chance = command, args, chance
        self.n_workers = self.n_drivers = 0

    def rage(self, out: Path) -> None:
        """Until the run is whole. A driver is killed once it has taken in some photographs more than the last."""
        while True:
            driver = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            begun, last, seen = done_bytes(out), time.monotonic(), set()
            while driver.poll() is None:
                time.sleep(0.2)
                if time.monotonic() - last > self._args.every and self._kill_worker(driver.pid):
                    last = time.monotonic()
                if self.n_drivers < self._args.drivers and done_bytes(out) > begun + PROGRESS_BYTES:
                    time.sleep(self._chance.uniform(0, 1))
                    seen = descendants(driver.pid)
                    driver.kill()
                    self.n_drivers += 1
                    print(f"driver {self.n_drivers} killed; {self.n_workers} workers so far", flush=True)
                    break
            said = driver.communicate()[1]
            for pid in seen:  # its cluster dies with it, in a while
                wait_for_end(pid)
            if driver.returncode == 0:
                return
            if driver.returncode > 0:
                raise SystemExit(f"the driver ended by itself: {said}")

    def _kill_worker(self, pid: int) -> bool:
        """Whether a worker was at work, which then is no more."""
        workers = [p for p in descendants(pid) if "run_part" in title(p)]
        if workers:
            os.kill(self._chance.choice(workers), signal.SIGKILL)
            self.n_workers += 1
        return bool(workers)


def done_bytes(out: Path) -> int:
    """Of the run's journal and of its parts'."""
    total = 0
    for path in (out / ".work" / "journal.jsonl", *(out / ".work" / "patients").glob("*/journal.jsonl")):
        try:
            total += path.stat().st_size
        except OSError:
            continue
    return total


def descendants(pid: int) -> set[int]:
    """Processes below one, by /proc."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(words[1]), []).append(int(status.parent.name))
    found, todo = set(), [pid]
    while todo:
        for child in children.get(todo.pop(), ()):
            found.add(child)
            todo.append(child)
    return found


def title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def wait_for_end(pid: int, most_s: float = 30.0) -> None:
    """Until a process is gone, or killed after a while."""
    until = time.monotonic() + most_s
    while Path(f"/proc/{pid}").exists() and "Z" not in state(pid):
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
            return
        time.sleep(0.2)


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


if __name__ == "__main__":
    benchmark(
        main, DATA, option("--images", type=int, default=240),
        option("--every", type=float, default=10.0, help="seconds between two killed workers"),
        option("--drivers", type=int, default=10, help="times that the driver is killed"),
        option("--workers", type=int, default=2), option("--seed", type=int, default=1),
    )  # fmt: skip
