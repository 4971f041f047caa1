"""What stands beside every measured number: the commit, the machine, the command."""

from __future__ import annotations

import csv
import os
import platform
import subprocess
import sys
from pathlib import Path

from benchmarks.verdicts import judged
from leukoscope.cores import processor_name, usable_cores

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
FIRST = ("set", "measure", "value", "low", "high", "threshold", "met")


def write_results(name: str, rows: list[dict], *, folder: Path = RESULTS, **context: object) -> Path:
    """Write `folder`/`name`.csv: the rows, with `context` (seed, digests) and where they come from in each.

    `met` is stated by `verdicts.judged`, whatever the script said of a row that has a value and a threshold.

    The columns of FIRST that any row has come first, then the others as they first occur.
    """
    context |= {"commit": context.get("commit") or commit(), "machine": machine(), "command": command()}
    rows = [judged(row) | context for row in rows]
    seen = dict.fromkeys(key for row in rows for key in row)
    columns = [c for c in FIRST if c in seen] + [c for c in seen if c not in FIRST]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.csv"
    partial = path.with_suffix(".part")
    with open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    partial.replace(path)
    return path


def commit() -> str:
    """The short commit, with "+" when tracked sources or models differ from it."""
    try:
        short = _git("rev-parse", "--short", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", "src", "benchmarks/**.py", "configs")
    except (OSError, subprocess.CalledProcessError):
        return "no repository"
    return short + ("+" if changed else "")


def machine() -> str:
    """Cores, processor and the versions that numbers depend on."""
    parts = [f"{usable_cores()} cores", processor_name(), platform.system(), f"Python {platform.python_version()}"]
    for package in ("numpy", "onnxruntime", "torch"):
        if package in sys.modules:
            parts.append(f"{package} {sys.modules[package].__version__}")
    return ", ".join(parts)


def command() -> str:
    """The command as typed from the repository's root; folders of this machine are named without their path."""
    script = getattr(sys.modules["__main__"], "__spec__", None)
    module = script.name if script else Path(sys.argv[0]).stem
    return " ".join(["python -m", module, *map(_without_folder, sys.argv[1:])])


def _without_folder(word: str) -> str:
    """A word of the command, PATH or NAME=PATH, without the folders of this machine."""
    name, equals, path = word.rpartition("=")
    return name + equals + (os.path.join("…", os.path.basename(path.rstrip("/"))) if os.path.isabs(path) else path)


def _git(*words: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True).stdout.strip()
