"""What `analyze` does when the machine fails under it: one clear line, nothing damaged, and on with --resume?

    python -m benchmarks.hardships.faults [--step 4] [--seed 1]

Drawn photographs and models (tests/data), so that a run takes a moment; needs root for its small drives (tmpfs).

full disk      the output's drive holds 4, 8, 12, … KiB (`--step`) until the run fits: at every size one line that
               says so, every file that is there is whole, and with room --resume gives the bytes of a whole run
read-only      the output's drive is mounted read-only: one line, before any photograph is read
vanished in    the photographs' drive is gone in the middle (umount -l): those photographs are listed, the run ends
vanished out   the output's drive is gone in the middle: one line, and what is left of it is whole
changed        photographs are overwritten, cut and replaced in the middle: digest and cells are of the same bytes, or
               the photograph is listed
two runs       in one folder: one works, the other refuses
memory         less and less memory (RLIMIT_AS): one line of ours (ONNX Runtime may print one of its own before), or
               photographs listed as too large; never a traceback or a damaged record

Writes benchmarks/results/faults.csv.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from data.make_bundles import draw_field, make_model, scatter_cells
from PIL import Image

import leukoscope.models.runtime
import leukoscope.pipeline
import leukoscope.report  # noqa: F401
from benchmarks.harness import Args, Rows, benchmark, option
from leukoscope.cli import main as main_of_leukoscope

FULL = "the disk is full"
N_PHOTOGRAPHS = 6


def main(args: Args) -> Rows:
    with tempfile.TemporaryDirectory() as work:
        place = Place(Path(work), random.Random(args.seed), args.step)
        for name, fault in FAULTS.items():
            if args.only in (None, name):
                n, wrong = fault(place)
                row = {"set": name, "measure": f"wrong outcomes, of {n}", "value": len(wrong), "threshold": "<= 0"}
                yield row | {"which": "; ".join(wrong)[:300]}
    return {"step_kib": args.step, "seed": args.seed}


class Place:
    """Photographs, a model, and what a whole run of them writes."""

    def __init__(self, work: Path, chance: random.Random, step: int) -> None:
        self.work, self.chance, self.step = work, chance, step
        self.model = make_model(work / "model")
        self.photographs = work / "in"
        for number in range(N_PHOTOGRAPHS):
            draw(self.photographs / f"patient{number // 3}" / f"{number}.png", number)
        analyze(self, work / "whole")
        self.whole = files_of(work / "whole")

    def fresh(self) -> Path:
        """A folder that is not there."""
        out = self.work / "out"
        shutil.rmtree(out, ignore_errors=True)
        return out


def draw(path: Path, seed: int) -> None:
    cells = scatter_cells(np.random.default_rng(seed), 192, 256, 4, apart=70)
    noise = np.random.default_rng(seed).integers(-4, 5, (192, 256, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(draw_field(192, 256, cells).astype(int) + noise, 0, 255).astype(np.uint8)).save(path)


def analyze(place: Place, out: Path, *more: str, before: str = "", photographs: Path | None = None) -> list[str]:
    """The lines that the command says on its error stream; [] where it ended well. before: Python run ahead of it."""
    words = ["analyze", str(photographs or place.photographs), "--out", str(out), "--model", str(place.model), *more]
    said = place.work / "said.txt"
    child = os.fork()  # a process of its own that has imported everything already
    if not child:
        code = 1
        try:
            with open(said, "w") as err, open(os.devnull, "w") as out_:
                os.dup2(err.fileno(), 2)
                os.dup2(out_.fileno(), 1)
                exec(before, {})
                code = main_of_leukoscope(words)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    lines = [x for x in said.read_text().strip().splitlines() if not x.startswith("photographs:")]
    return [] if code == 0 else lines or [f"(nothing said, exit code {code})"]


def files_of(out: Path) -> dict[str, str]:
    """name -> digest of every output that a reader may take; not the state of the run."""
    return {
        p.relative_to(out).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(out.rglob("*")) if p.is_file() and ".work" not in p.parts
    }  # fmt: skip


def damaged(place: Place, out: Path) -> list[str]:
    """Outputs that are there and are not those of a whole run."""
    return [f"{name} is not whole" for name, digest in files_of(out).items() if place.whole.get(name) != digest]


@contextmanager
def drive(path: Path, options: str) -> Iterator[Path]:
    """A small drive of its own."""
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=False, capture_output=True)


def full_disk(place: Place) -> tuple[int, list[str]]:
    wrong, size, n = [], 4, 0
    while True:
        with drive(place.fresh(), f"size={size}k") as out:
            said = analyze(place, out / "run")
            if not said:
                return n, wrong
            n += 1
            if len(said) != 1 or FULL not in said[0] or "--resume" not in said[0]:
                wrong.append(f"{size} KiB: {said}")
            wrong += [f"{size} KiB: {w}" for w in damaged(place, out / "run")]
            subprocess.run(["mount", "-o", "remount,size=20m", str(out)], check=True)
            again = analyze(place, out / "run", "--resume")
            if again or files_of(out / "run") != place.whole:
                wrong.append(f"{size} KiB, resumed: {again or 'other bytes'}")
        size += place.step


def read_only(place: Place) -> tuple[int, list[str]]:
    with drive(place.fresh(), "size=1m,ro") as out:
        said = analyze(place, out / "run")
    return 1, [] if len(said) == 1 and "no permission" in said[0] else [str(said)]


_AT = """
import leukoscope.pipeline.fields as f, subprocess
ask, count = f.FieldAnalyzer.__call__, [0]
def call(self, source, ruler):
    count[0] += 1
    if count[0] == {at}:
        {do}
    return ask(self, source, ruler)
f.FieldAnalyzer.__call__ = call
"""


def vanished_in(place: Place) -> tuple[int, list[str]]:
    wrong = []
    for at in range(1, N_PHOTOGRAPHS + 1):
        out = place.fresh()
        with drive(place.work / "mounted", "size=5m") as mounted:
            shutil.copytree(place.photographs, mounted / "in")
            before = _AT.format(at=at, do=f"subprocess.run(['umount', '-l', {str(mounted)!r}], check=True)")
            said = analyze(place, out, "--workers", "1", before=before, photographs=mounted / "in")
        wrong += listed(out, said, at, at - 1)
    return N_PHOTOGRAPHS, wrong


def listed(out: Path, said: list[str], at: int, n_read: int) -> list[str]:
    """A whole record that lists every photograph, `n_read` of them read."""
    if said and not (len(said) == 1 and "could be read" in said[0]):
        return [f"at {at}: {said}"]
    fields = json.loads((out / "record.json").read_text("utf-8"))["fields"]
    read = sum(f["status"] != "failed" for f in fields)
    why = {f["reason"] for f in fields if f["status"] == "failed"}
    well = len(fields) == N_PHOTOGRAPHS and read == n_read and why <= {"missing", "read_error"}
    return [] if well else [f"at {at}: {len(fields)} fields, {read} read, {why}"]


def vanished_out(place: Place) -> tuple[int, list[str]]:
    wrong = []
    for at in range(1, N_PHOTOGRAPHS + 1):
        with drive(place.fresh(), "size=20m") as out:
            before = _AT.format(at=at, do=f"subprocess.run(['umount', '-l', {str(out)!r}], check=True)")
            said = analyze(place, out / "run", "--workers", "1", before=before)
            if len(said) > 1 or (said and not said[0].startswith("leukoscope: ")):
                wrong.append(f"at {at}: {said}")
            wrong += [f"at {at}: {w}" for w in damaged(place, out / "run") if (out / "run").exists()]
    return N_PHOTOGRAPHS, wrong


def changed(place: Place) -> tuple[int, list[str]]:
    """Every photograph becomes another, is cut, or is replaced by a folder, at every moment of the run."""
    wrong, n = [], 0
    acts = ("open(p, 'r+b').write(open(q, 'rb').read())", "os.truncate(p, 40)", "os.remove(p); os.mkdir(p)")
    for act in acts:
        for at in range(1, N_PHOTOGRAPHS + 1):
            n += 1
            copy, out = place.work / "changing", place.fresh()
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(place.photographs, copy)
            target, other = sorted(copy.rglob("*.png"))[-1], sorted(copy.rglob("*.png"))[0]
            do = f"import os; p, q = {str(target)!r}, {str(other)!r}; {act}"
            said = analyze(place, out, "--workers", "1", before=_AT.format(at=at, do=do), photographs=copy)
            if said:
                wrong.append(f"{act} at {at}: {said}")
                continue
            last = json.loads((out / "record.json").read_text("utf-8"))["fields"][-1]
            known = {hashlib.sha256(p.read_bytes()).hexdigest() for p in (*copy.rglob("*.png"),
                     *place.photographs.rglob("*.png")) if p.is_file()}  # fmt: skip
            if last["status"] != "failed" and last["sha256"] not in known:
                wrong.append(f"{act} at {at}: digest of no file that there was")
    return n, wrong


def two_runs(place: Place) -> tuple[int, list[str]]:
    wrong = []
    for trial in range(5):
        out = place.fresh()
        words = ["analyze", str(place.photographs), "--out", str(out), "--model", str(place.model), "--resume"]
        both = [subprocess.Popen([sys.executable, "-m", "leukoscope", *words], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.PIPE, text=True) for _ in range(2)]  # fmt: skip
        time.sleep(0)
        said = [p.communicate()[1] for p in both]
        refused = [s for p, s in zip(both, said, strict=True) if p.returncode]
        if len(refused) == 2 or any("in use by another run" not in s for s in refused) or damaged(place, out):
            wrong.append(f"trial {trial}: {said}")
    return 5, wrong


def memory(place: Place) -> tuple[int, list[str]]:
    """From far too little to enough: MiB of address space beyond what the imports take."""
    wrong, n = [], 0
    held = int(Path("/proc/self/statm").read_text().split()[0]) * 4 >> 10  # MiB that the imports take
    for more in (5, 20, 40, 60, 80, 100, 130, 160, 200, 250, 300, 400, 600):
        out, n, mib = place.fresh(), n + 1, held + more
        before = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({mib} << 20,) * 2)"
        said = analyze(place, out, "--workers", "1", before=before)
        ours = [line for line in said if line.startswith("leukoscope: ")]
        if (said and len(ours) != 1) or any("Traceback" in line for line in said):
            wrong.append(f"{mib} MiB: {said[0][:60]} … {said[-1][:120]}")
        if (out / "record.json").exists():
            fields = json.loads((out / "record.json").read_text("utf-8"))["fields"]
            if {f["reason"] for f in fields if f["status"] == "failed"} - {"too_large"}:
                wrong.append(f"{mib} MiB: listed for another reason")
    return n, wrong


FAULTS: dict[str, Callable[[Place], tuple[int, list[str]]]] = {
    "full disk": full_disk,
    "read-only": read_only,
    "vanished in": vanished_in,
    "vanished out": vanished_out,
    "changed": changed,
    "two runs": two_runs,
    "memory": memory,
}

if __name__ == "__main__":
    benchmark(
        main, option("--step", type=int, default=4, help="KiB that a disk grows by"),
        option("--seed", type=int, default=1), option("--only", help="one kind of fault"),
    )  # fmt: skip
