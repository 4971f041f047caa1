"""Writes docs/sizing.md's table of numbers from benchmarks/results/sizing.csv; `python docs/make_sizing.py`."""

from __future__ import annotations

import csv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START, END = "<!-- numbers: made by docs/make_sizing.py -->", "<!-- end of numbers -->"
PRICE = 0.05  # dollars a core and hour: an assumption, said to be one


def numbers(root: Path = ROOT) -> str:
    """The block of Markdown between START and END."""
    with open(root / "benchmarks" / "results" / "sizing.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    value = {row["measure"]: float(row["value"]) for row in rows}
    stages = [r for r in rows if r["measure"].startswith("ms an image, ") and r["share"]]
    ms, out, state = (value[k] for k in ("ms an image, all", "outputs an image, kB", "state an image, kB"))
    lines = [
        "| stage | ms of processor time an image | share |", "|---|---|---|",
        *(f"| {r['measure'].removeprefix('ms an image, ')} | {float(r['value']):.2f} | {float(r['share']):.0%} |"
          for r in stages),
        f"| **all** | **{ms:.1f}** | 100 % |", "",
        f"**{value['images an hour and core']:,.0f} images an hour and core** ({rows[0]['set']}, "
        f"{rows[0]['machine'].split(', Linux')[0]},",
        f"commit {rows[0]['commit']}).",
        "On a graphics card: not measured.",
        f"Memory with one worker: {value['peak memory, one worker, MiB']:.0f} MiB.",
        f"What is written: {out:.0f} kB an image of outputs and {state:.0f} kB of state.", "",
        f"| images | core-hours | dollars at {PRICE:g} a core-hour | outputs | state |", "|---|---|---|---|---|",
        *(f"| {words} | {n * ms / 3.6e6:,.0f} | {n * ms / 3.6e6 * PRICE:,.2f} | {_size(n * out)} | {_size(n * state)} |"
          for words, n in (("10^6", 1e6), ("10^9", 1e9))),
    ]  # fmt: skip
    return "\n".join(lines)


def _size(kilobytes: float) -> str:
    return f"{kilobytes / 1e6:,.0f} GB" if kilobytes < 1e9 else f"{kilobytes / 1e9:,.0f} TB"


def page(text: str, root: Path = ROOT) -> str:
    """The page with its numbers as they are now."""
    before, _, rest = text.partition(START)
    return before + START + "\n" + numbers(root) + "\n" + END + rest.partition(END)[2]


if __name__ == "__main__":
    path = ROOT / "docs" / "sizing.md"
    path.write_text(page(path.read_text("utf-8")), "utf-8")
