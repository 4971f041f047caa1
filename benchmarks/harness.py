"""What every measurement shares: its arguments, its rows as they come, its result file, a child's memory and time.

    def main(args: Args) -> Rows:
        yield {"set": …, "measure": …, "value": …, "threshold": "<= 0"}
        return {"seed": args.seed}      # optional: stands beside every row

    if __name__ == "__main__":
        benchmark(main, DATA, option("--seed", type=int, default=1))

`benchmark` reads the command line, prints each row when it is measured and writes benchmarks/results/NAME.csv, NAME
being the script's. A row for another file is the pair (its name, the row). Where no row comes (a part that is kept for
later) nothing is written. Until the end the rows lie in benchmarks/results/unfinished/, so that a measurement which is
stopped leaves what it has, and never half a result file.
"""

from __future__ import annotations

import argparse
import inspect
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.provenance import RESULTS, write_results
from benchmarks.public_sets import SHARED
from benchmarks.verdicts import NO, judged

Option = tuple[tuple[str, ...], dict]
Args = argparse.Namespace
# Yields rows, or pairs of another file's name and its row; returns what stands beside all of them.
Rows = Generator[dict | tuple[str, dict], None, dict | None]
UNFINISHED = "unfinished"
# What of a row is printed; the file holds all of it.
SHOWN = ("system", "set", "measure", "value", "low", "high", "threshold", "met")


def option(*names: str, **facts: object) -> Option:
    """An argument of a measurement, in argparse's words."""
    return names, facts


def hidden(*names: str, **facts: object) -> Option:
    """An argument that only the measurement itself gives, to a child."""
    return option(*names, help=argparse.SUPPRESS, **facts)


DATA = option(
    "--data", type=Path, default=Path(os.environ.get("LEUKOSCOPE_SHARED", SHARED)), help="folder of the public sets"
)
MODEL = option("--model", default="blood", help="a bundled model's name, or a model folder")
DETAILS = option("--details", help="keep metrics.json, confusion.csv and predictions.csv of each set below here")
QUICK = option("--quick", action="store_true", help="a smaller size, to try it; write with --out")
_COMMON = (
    option("--out", type=Path, help="folder for the result file (default: benchmarks/results)"),
    option("--dry-run", action="store_true", help="print, write no result file"),
)
ONLY = option("--only", action="append", default=[], help="this part alone; may be given again")


def benchmark(measure: Callable[[Args], Rows], *options: Option, words: list[str] | None = None) -> None:
    """Parse `words` (default: the command line), measure, print, write; ends with 1 where "<= 0" is missed.

    The result files go into --out; with --dry-run, or with --quick and no --out, nothing is written.
    """
    args = parse(inspect.getmodule(measure).__doc__, *options, *_COMMON, words=words)
    files: dict[str, list[dict]] = {}
    folder = None if args.dry_run or (getattr(args, "quick", False) and not args.out) else args.out or RESULTS
    context = _run(measure, args, files, folder=folder)
    if folder is not None:
        for name, rows in files.items():
            print(write_results(name, rows, folder=folder, **context))
            (folder / UNFINISHED / f"{name}.csv").unlink(missing_ok=True)
        with suppress(OSError):  # not there, or other measurements' rows are in it
            (folder / UNFINISHED).rmdir()
    if any(row.get("threshold") == "<= 0" and judged(row).get("met") == NO for rows in files.values() for row in rows):
        raise SystemExit(1)


def parse(doc: str, *options: Option, words: list[str] | None = None) -> Args:
    """The arguments of a script, its docstring as the help."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for names, facts in options:
        parser.add_argument(*names, **facts)
    return parser.parse_args(words)


def _run(measure: Callable[[Args], Rows], args: Args, files: dict[str, list[dict]], *, folder: Path | None) -> dict:
    """Measure, each row into `files` and below `folder` as it comes; the context that the measurement returned."""
    stem = Path(inspect.getfile(measure)).stem
    context: dict = {}
    written: dict[str, tuple[int, float]] = {}

    def keep(least_s: float) -> None:
        for name, rows in files.items() if folder else ():
            n, when = written.get(name, (0, 0.0))
            if len(rows) > n and time.monotonic() - when >= least_s:
                write_results(name, rows, folder=folder / UNFINISHED, **context)
                written[name] = len(rows), time.monotonic()

    def with_context() -> Rows:
        context.update((yield from measure(args)) or {})

    try:
        for item in with_context():
            name, row = item if isinstance(item, tuple) else (stem, item)
            files.setdefault(name, []).append(row)
            row = judged(row)
            if name == stem:
                print({k: row[k] for k in (*SHOWN, *row) if k in row and row[k] != ""}, flush=True)
            keep(least_s=1 if len(files[name]) > 100 else 0)  # each costs a twentieth of a second
    finally:
        keep(least_s=0)
    return context


@dataclass(frozen=True)
class Spent:
    """What a child used and said: seconds by the clock and of the processor, the peak of its memory in MiB."""

    wall_s: float
    cpu_s: float
    peak_mib: float
    stdout: str


def again(*words: object) -> list[str]:
    """The command that runs this script once more, with other words."""
    return [sys.executable, "-m", sys.modules["__main__"].__spec__.name, *map(str, words)]


def peak_mib() -> float:
    """The most memory this process has held, in MiB (Linux).

    VmHWM and not getrusage's ru_maxrss: that one is inherited from the process which started this one.
    """
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status states no VmHWM: memory is measured on Linux only")


# Runs a module as `python -m` does and says, whatever becomes of it, its peak and its processor seconds.
_CHILD = """
import atexit, sys
def say():
    import time
    peak = next(x for x in open("/proc/self/status") if x.startswith("VmHWM")).split()[1]
    print(peak, time.process_time(), file=open({told!r}, "w"))
atexit.register(say)
import runpy
sys.argv = {words!r}
runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
"""


def spent(module: str, *words: object, codes: tuple[int, ...] = (0,)) -> Spent:
    """Run `python -m MODULE WORDS` in a process of its own and measure it; its errors are printed as it writes them.

    SystemExit where it ends with a code that is not one of `codes`.
    """
    with tempfile.TemporaryDirectory() as work:
        told = Path(work) / "spent"
        code = _CHILD.format(told=str(told), words=[module, *map(str, words)], module=module)
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], check=False, stdout=subprocess.PIPE, text=True)
        wall = time.perf_counter() - start
        if done.returncode not in codes:
            raise SystemExit(f"{module} {' '.join(map(str, words))} ended with exit code {done.returncode}")
        peak, cpu = told.read_text("ascii").split()
    return Spent(wall, float(cpu), int(peak) / 1024, done.stdout)
