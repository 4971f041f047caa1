"""Kill `analyze` at random moments, run it again with --resume until it ends, and compare with an undisturbed run.

    python benchmarks/resume.py [--data ../shared/data] [--model blood] [--images 60] [--trials 10] [--seed 1]

Each trial starts the command in a new process and kills it (SIGKILL) after a random share of the undisturbed time;
again and again, at most five times, then once to the end. Moments run from before the first photograph to the
writing of the report. Every file of the output must be the same, byte for byte.

Writes benchmarks/results/resume.csv.
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

from provenance import write_results
from public_sets import SHARED

from leukoscope.images import list_images

MOST_KILLS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("LEUKOSCOPE_SHARED", SHARED), help="folder of the public sets")
    parser.add_argument("--model", default="blood", help="a bundled model's name, or a model folder")
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--trials", type=int, default=10)
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
        rows = []
        for trial in range(args.trials):
            out = Path(work) / f"trial{trial}"
            moments = [round(chance.uniform(0, seconds), 2) for _ in range(chance.randint(1, MOST_KILLS))]
            kills = [m for m in moments if run(command, out, kill_after=m)]
            run(command, out)
            differ = sorted(k for k in wanted.keys() | digests(out).keys() if wanted.get(k) != digests(out).get(k))
            rows.append({"trial": trial, "killed_after_s": " ".join(map(str, kills)), "differ": " ".join(differ)})
            rows[-1]["met"] = "no" if differ else "yes"
            print(rows[-1], flush=True)
            shutil.rmtree(out)
    if not args.dry_run:
        write_results("resume", rows, images=args.images, undisturbed_s=round(seconds, 1), seed=args.seed)
    sys.exit(any(row["differ"] for row in rows))


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
