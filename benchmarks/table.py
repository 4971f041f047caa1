"""The README's table of what is reached, made from benchmarks/results/*.csv so that no number can drift.

    python benchmarks/table.py            prints it
    python benchmarks/table.py --write    writes it into README.md (`make table`)

A row is what stands in a result file with something asked of it (column `threshold`), met or not.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
BEGIN = "<!-- table: made by `make table` from benchmarks/results; a test compares -->\n"
END = "<!-- end of table -->\n"
HEAD = "| on | measure | reached (95 % limits) | asked | met | from |\n|---|---|---|---|---|---|\n"


def results_table(results: Path = RESULTS) -> str:
    """The table in Markdown: every row of every result file that something was asked of."""
    lines = []
    for file in sorted(results.glob("*.csv")):
        with open(file, encoding="utf-8", newline="") as text:
            for row in csv.DictReader(text):
                row = row if "threshold" in row else _damage_row(row)
                if row is not None and row["threshold"]:
                    words = (row["set"], row["measure"], _reached(row), row["threshold"], row["met"], file.stem)
                    lines.append(f"| {' | '.join(words)} |\n")
    return HEAD + "".join(lines) if lines else "No results are committed yet.\n"


def written_into(readme: str, table: str) -> str:
    """The README's text with the table between its marks."""
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}{table}{END}{after}"


def _damage_row(row: dict[str, str]) -> dict[str, str] | None:
    """damaged_images.csv counts outcomes by kind of damage; its last row, "all", is what is asked."""
    if row.get("damage") != "all":
        return None
    bad = sum(int(row[key] or 0) for key in ("crash", "hang", "unlisted", "missing_from_record"))
    return {
        "set": f"{row['n']} damaged images",
        "measure": "crashes, hangs, missing from the report",
        "value": str(bad),
        "threshold": "0",
        "met": "yes" if bad == 0 else "no",
    }


def _reached(row: dict[str, str]) -> str:
    limits = f" ({_number(row['low'])} to {_number(row['high'])})" if row.get("low") and row.get("high") else ""
    return _number(row["value"]) + limits


def _number(text: str) -> str:
    """A share or a time to three places, counts and words as they are."""
    try:
        value = float(text)
    except ValueError:
        return text
    return text if value == int(value) or abs(value) >= 1000 else f"{value:.3f}"


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        readme = ROOT / "README.md"
        readme.write_text(written_into(readme.read_text("utf-8"), results_table()), "utf-8")
    else:
        print(results_table(), end="")
