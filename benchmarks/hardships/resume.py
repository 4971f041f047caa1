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

import argparse
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.provenance import write_results
from benchmarks.public_sets import SHARED
from leukoscope.images import list_images

MOST_KILLS = 5
REFUSED = "in use by another run"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("LEUKOSCOPE_SHARED", SHARED), help="folder of the public sets")
    parser.add_argument("--model", default="blood", help="a bundled model's name, or a model folder")
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--trials", type=int, default=10, help="of one run")
    parser.add_argument("--pairs", type=int, default=5, help="of two runs at once")
    parser.add_argument("--full-disks", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dry-run", action="store_true", help="print, write no result file")
    args = parser.parse_args()
    chance = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as work:
        photographs = copy_photographs(Path(args.data) / "bccd" / "JPEGImages", args.images, Path(work) / "in")
        command = [sys.executable, "-m", "leukoscope", "analyze", str(photographs), "--model", args.model, "--resume"]
        start = time.perf_counter()
        run(command, Path(work) / "whole")
        seconds = time.perf_counter() - start
        wanted = digests(Path(work) / "whole")
        trials = [("one", kill_one)] * args.trials + [("two", kill_two)] * args.pairs
        trials += [("full disk", fill_disk)] * (args.full_disks if can_mount(Path(work)) else 0)
        rows, n_kills = [], 0
        for number, (kind, trial) in enumerate(trials):
            out = Path(work) / f"trial{number}"
            kills = trial(command, out, chance, seconds)
            differ = sorted(k for k in wanted.keys() | digests(out).keys() if wanted.get(k) != digests(out).get(k))
            n_kills += len(kills)
            rows.append({"set": kind, "trial": number, "at": " ".join(map(str, kills)), "differ": " ".join(differ)})
            print(rows[-1], flush=True)
            if out.is_mount():
                subprocess.run(["umount", str(out)], check=True)
            shutil.rmtree(out)
    for kind in dict.fromkeys(r["set"] for r in rows):
        of_kind = [r for r in rows if r["set"] == kind]
        n_differ = sum(bool(r["differ"]) for r in of_kind)
        n = sum(len(r["at"].split()) for r in of_kind)
        rows.append({"set": kind, "measure": f"trials that differ, of {len(of_kind)}", "value": n_differ,
                     "threshold": "<= 0", "at": n})  # fmt: skip
        print(rows[-1])
    if not args.dry_run:
        write_results("resume", rows, images=args.images, undisturbed_s=round(seconds, 1), seed=args.seed)
    sys.exit(any(row.get("differ") for row in rows))


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


def copy_photographs(source: Path, number: int, folder: Path) -> Path:
    """The first photographs, two patients, and one file that is none."""
    for index, photograph in enumerate(list_images(source)[:number]):
        target = folder / f"patient{index % 2}" / photograph.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(photograph, target)
    (folder / "patient0" / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing more")
    return folder


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


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below the folder."""
    files = [f for f in folder.rglob("*") if f.is_file()]
    return {f.relative_to(folder).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


if __name__ == "__main__":
    main()
