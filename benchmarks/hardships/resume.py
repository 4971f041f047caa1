"""Kill `analyze` at random moments, one run and two at once, and fill the disk: is the record the undisturbed one?

    python -m benchmarks.hardships.resume [--data ../shared/data] [--model blood] [--images 12] [--trials 10] [--pairs
        5] [--full-disks 10] [--seed 1]

Each trial starts the command with --resume in a new process and kills it (SIGKILL) after a random share of the
undisturbed time; again and again, at most five times, then once to the end. A pair starts two at once into one folder
and kills both at random moments; of two that are left to run, one must do the work and the other refuse. Moments run
from before the first photograph to the writing of the report. A full disk is a small tmpfs (needs root) that holds a
random part of what the run writes: the command must say so in one line, and go on once there is room.
Every file of the output must be the same, byte for byte.

The default is small; 200 kills are --trials 40 --pairs 30. Writes benchmarks/results/resume.csv.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.harness import DATA, MODEL, Args, Rows, benchmark, option
from benchmarks.public_sets import spread
from leukoscope.images import list_images

MOST_KILLS = 5
REFUSED = "in use by another run"


def main(args: Args) -> Rows:
    chance = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as work:
        some = list_images(args.data / "bccd" / "JPEGImages")[: args.images]
        photographs = spread(some, Path(work) / "in", a_patient=(len(some) + 1) // 2)
        (photographs / "patient000" / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing more")
        command = [sys.executable, "-m", "leukoscope", "analyze", str(photographs), "--model", args.model, "--resume"]
        start = time.perf_counter()
        run(command, Path(work) / "whole")
        seconds = time.perf_counter() - start
        wanted = digests(Path(work) / "whole")
        kinds = [("one", kill_one, args.trials), ("two", kill_two, args.pairs)]
        kinds += [("full disk", fill_disk, args.full_disks)] if can_mount(Path(work)) else []
        for kind, trial, n_trials in kinds:
            n_differ = n_kills = 0
            for number in range(n_trials):
                out = Path(work) / "trial"
                kills = trial(command, out, chance, seconds)
                differ = differing(out, wanted)
                n_differ, n_kills = n_differ + bool(differ), n_kills + len(kills)
                yield {"set": kind, "trial": number, "at": " ".join(map(str, kills)), "differ": " ".join(differ)}
                if out.is_mount():
                    subprocess.run(["umount", str(out)], check=True)
                shutil.rmtree(out)
            yield {"set": kind, "measure": f"trials that differ, of {n_trials}", "value": n_differ,
                   "threshold": "<= 0", "at": n_kills}  # fmt: skip
    return {"images": args.images, "undisturbed_s": round(seconds, 1), "seed": args.seed}


def kill_one(command: list[str], out: Path, chance: random.Random, seconds: float) -> list[float]:
    """Kill one run after another, then let one end; the moments of the kills."""
    moments = [round(chance.uniform(0, seconds), 2) for _ in range(chance.randint(1, MOST_KILLS))]
    kills = [m for m in moments if run(command, out, kill_after=m)]
    run(command, out)
    return kills


def kill_two(command: list[str], out: Path, chance: random.Random, seconds: float) -> list[float]:
    """Kill two runs in one folder, each at a moment of its own, again and again; then two that are left to run."""
    kills = []
    for _ in range(chance.randint(1, MOST_KILLS)):
        moments = sorted(round(chance.uniform(0, seconds), 2) for _ in range(2))
        both = [subprocess.Popen([*command, "--out", str(out)], **_QUIET) for _ in range(2)]
        start = time.perf_counter()
        for process, moment in zip(both, moments, strict=True):
            try:
                process.wait(timeout=max(0.0, moment - (time.perf_counter() - start)))
            except subprocess.TimeoutExpired:
                process.kill()
                kills.append(moment)
            process.wait()
    both = [subprocess.Popen([*command, "--out", str(out)], **_QUIET) for _ in range(2)]
    said = [process.communicate()[1] for process in both]
    wrong = [s for p, s in zip(both, said, strict=True) if p.returncode and REFUSED not in s]
    if wrong or all(p.returncode for p in both):
        raise SystemExit(f"two runs at once: {[p.returncode for p in both]} {wrong or said}")
    return kills


def fill_disk(command: list[str], out: Path, chance: random.Random, seconds: float) -> list[float]:
    """Run on a disk that is too small, grow it as the message asks for room, until the run ends; the sizes in KiB."""
    out.mkdir()
    size, sizes = chance.randint(4, 200), []
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(out)], check=True)
    while True:
        process = subprocess.run([*command, "--out", str(out)], **_QUIET)
        if process.returncode == 0:
            return sizes
        lines = process.stderr.strip().splitlines()
        if len(lines) != 1 or "the disk is full" not in lines[0] or "--resume" not in lines[0]:
            raise SystemExit(f"a full disk of {size} KiB: {process.stderr}")
        sizes.append(size)
        size += chance.randint(4, 120)
        subprocess.run(["mount", "-o", f"remount,size={size}k", str(out)], check=True)


_QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}


def can_mount(work: Path) -> bool:
    """Whether a small tmpfs can be had here."""
    probe = work / "probe"
    probe.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(probe)], capture_output=True, check=False
    )
    if done.returncode == 0:
        subprocess.run(["umount", str(probe)], check=True)
    return done.returncode == 0


def run(command: list[str], out: Path, *, kill_after: float | None = None) -> bool:
    """Run the command; whether it was killed (it may end before)."""
    process = subprocess.Popen([*command, "--out", str(out)], stdout=subprocess.DEVNULL)
    try:
        code = process.wait(timeout=kill_after)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    if code:
        raise SystemExit(f"{' '.join(command)} left with exit code {code}")
    return False


def differing(folder: Path, wanted: dict[str, str]) -> list[str]:
    """The files whose digest is not the wanted one, those of one side alone among them."""
    got = digests(folder)
    return sorted(k for k in wanted.keys() | got.keys() if wanted.get(k) != got.get(k))


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below the folder."""
    files = [f for f in folder.rglob("*") if f.is_file()]
    return {f.relative_to(folder).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


if __name__ == "__main__":
    benchmark(
        main, DATA, MODEL, option("--images", type=int, default=12),
        option("--trials", type=int, default=10, help="of one run"),
        option("--pairs", type=int, default=5, help="of two runs at once"),
        option("--full-disks", type=int, default=10), option("--seed", type=int, default=1),
    )  # fmt: skip
