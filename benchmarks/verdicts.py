"""Whether a measured number reaches what is asked: one rule for every result file, the same in both directions.

    python -m benchmarks.verdicts     states `met` of every committed result file anew by this rule

A number with limits has reached a threshold when the limit on that side has ("yes"), has missed it when the other limit
has missed it too ("no"), and otherwise the data can't tell ("not told apart"). A number without limits (a count, a
time, a digest) is compared itself. `threshold` is ">= x", "<= x", "x to y" or a bare number.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"
YES, NO, OPEN = "yes", "no", "not told apart"
NUMBER = r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?"


def verdict(value: float, threshold: str, *, low: float | None = None, high: float | None = None) -> str:
    """YES, NO or OPEN; ValueError for a threshold that is none of the four forms."""
    least, most = bounds(threshold)
    low, high = value if low is None else low, value if high is None else high
    if least <= low and high <= most:
        return YES
    return NO if high < least or low > most else OPEN


def bounds(threshold: str) -> tuple[float, float]:
    """(least, most) that a threshold asks for."""
    text = threshold.strip()
    if found := re.fullmatch(rf"(>=|<=)?\s*({NUMBER})", text):
        sign, number = found[1], float(found[2])
        return (-float("inf") if sign == "<=" else number), (float("inf") if sign == ">=" else number)
    if found := re.fullmatch(rf"({NUMBER}) to ({NUMBER})", text):
        return float(found[1]), float(found[2])
    raise ValueError(f"a threshold is '>= x', '<= x', 'x to y' or a number, got {threshold!r}")


def judged(row: dict) -> dict:
    """The row with `met` by the rule; as it is where it asks nothing or its number stands elsewhere."""
    if not row.get("threshold") or row.get("value") in ("", None):
        return row
    try:
        limits = {k: None if row.get(k) in ("", None) else float(row[k]) for k in ("low", "high")}
        return row | {"met": verdict(float(row["value"]), str(row["threshold"]), **limits)}
    except ValueError:
        return row  # words ("all"), whose own script judged them


def restate(file: Path) -> int:
    """Write `met` of one result file anew; how many rows changed."""
    with open(file, encoding="utf-8", newline="") as text:
        reader = csv.DictReader(text)
        columns, rows = list(reader.fieldnames or ()), list(reader)
    if "met" not in columns:
        return 0
    after = [judged(row) for row in rows]
    with open(file, "w", newline="", encoding="utf-8") as text:
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(after)
    return sum(a["met"] != b["met"] for a, b in zip(rows, after, strict=True))


if __name__ == "__main__":
    for path in sorted(RESULTS.glob("*.csv")):
        print(f"{path.name}: {restate(path)} rows changed")
