"""Copy the measured results into the bundled models' cards, so that a card says what its model reaches.

    python -m benchmarks.card_results

Reads locate_accuracy, classify_accuracy and new_laboratories of benchmarks/results; run it after them and commit
the cards.
"""

from __future__ import annotations

import csv
from dataclasses import replace

from benchmarks.provenance import RESULTS
from leukoscope.models.bundle import BUNDLED, read_bundle, write_card

SOURCES = {"locator": ("locate_accuracy",), "classifier": ("classify_accuracy", "new_laboratories")}
COLUMNS = ("set", "measure", "value", "low", "high", "commit")


def main() -> None:
    for part, names in SOURCES.items():
        bundle = read_bundle(BUNDLED / "blood" / part)
        rows = [row for name in names if (RESULTS / f"{name}.csv").is_file() for row in read_rows(name)]
        write_card(replace(bundle.card, results=tuple(rows)), bundle.path / "card.json")
        print(f"{part}: {len(rows)} results")


def read_rows(name: str) -> list[dict]:
    """The rows of one result file, numbers as numbers, empty limits left out."""
    with open(RESULTS / f"{name}.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    kept = [{k: row[k] for k in COLUMNS if row.get(k)} for row in rows]
    return [{k: float(v) if k in ("value", "low", "high") else v for k, v in row.items()} for row in kept]


if __name__ == "__main__":
    main()
