"""What every measurement shares: its arguments, its rows as they come, its result file, a child's memory and time.

    def measure(args):
        yield {"set": …, "measure": …, "value": …, "threshold": "<= 0"}
        return {"seed": args.seed}      # optional: stands beside every row

    if __name__ == "__main__":
        benchmark(measure, DATA, option("--seed", type=int, default=1))

`benchmark` reads the command line, prints each row when it is measured and writes benchmarks/results/NAME.csv, NAME
being the script's. A row for another file is the pair (its name, the row). Where no row comes (a part that is kept for
later) nothing is written.
"""

from __future__ import annotations

import argparse
import inspect
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.provenance import RESULTS, ROOT, write_results
from benchmarks.public_sets import SHARED
from benchmarks.verdicts import NO, judged

Option = tuple[tuple[str, ...], dict]
Measure = Callable[[argparse.Namespace], Iterable[dict | tuple[str, dict]]]
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
QUICK = option("--quick", action="store_true", help="a smaller size, to try it; write with --out")
ONLY = option("--only", action="append", default=[], help="this part alone; may be given again")


def benchmark(measure: Measure, *options: Option, words: list[str] | None = None) -> None:
    """Parse `words` (default: the command line), measure, print, write; ends with 1 where "<= 0" is missed.

    The result files go into --out; with --dry-run, or with --quick and no --out, nothing is written.
    """
    args = parse(inspect.getmodule(measure).__doc__, *options, words=words)
    files: dict[str, list[dict]] = {}
    context = _run(measure, args, files)
    if not args.dry_run and (args.out or not getattr(args, "quick", False)):
        for name, rows in files.items():
            print(write_results(name, rows, folder=args.out or RESULTS, **context))
    if any(row.get("threshold") == "<= 0" and judged(row).get("met") == NO for rows in files.values() for row in rows):
        raise SystemExit(1)


def parse(doc: str, *options: Option, words: list[str] | None = None) -> argparse.Namespace:
    """The arguments of a measurement, those that all share among them."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for names, facts in options:
        parser.add_argument(*names, **facts)
    parser.add_argument("--out", type=Path, help="folder for the result file (default: benchmarks/results)")
    parser.add_argument("--dry-run", action="store_true", help="print, write no result file")
    return parser.parse_args(words)


def _run(measure: Measure, args: argparse.Namespace, files: dict[str, list[dict]]) -> dict:
    """Measure, each row into `files` as it comes; the context that the measurement returned."""
    stem = Path(inspect.getfile(measure)).stem

    def told(rows):
        context.update((yield from rows) or {})

    context: dict = {}
    for item in told(measure(args) or ()):
        name, row = item if isinstance(item, tuple) else (stem, item)
        files.setdefault(name, []).append(row)
        row = judged(row)
        if name == stem:
            print({k: row[k] for k in (*SHOWN, *row) if k in row and row[k] != ""}, flush=True)
    return context


@dataclass(frozen=True)
class Spent:
    """What a child used and said: seconds by the clock and of the processor, the peak of its memory in MiB."""

    wall_s: float
    cpu_s: float
    peak_mib: float
    stdout: str
    code: int


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


def spent(command: list[str], *, told: Path, check: bool = True, **how: object) -> Spent:
    """Run `python -m MODULE …` in a process of its own and measure it; `told` is a file that it may write.

    CalledProcessError where it fails, unless `check` is off.
    """
    python, dash_m, module, *words = command
    if dash_m != "-m":
        raise ValueError(f"expected [python, '-m', module, …], got {command[:3]}")
    code = _CHILD.format(told=str(told), words=[module, *words], module=module)
    start = time.perf_counter()
    done = subprocess.run([python, "-c", code], check=check, stdout=subprocess.PIPE, text=True, cwd=ROOT, **how)
    wall = time.perf_counter() - start
    peak, cpu = told.read_text("ascii").split()
    return Spent(wall, float(cpu), int(peak) / 1024, done.stdout, done.returncode)
