"""The tables of what is reached, made from benchmarks/results/*.csv so that no number can drift.

    python -m benchmarks.table            prints them
    python -m benchmarks.table --write    writes them into docs/results.md and README.md (`make table`)

docs/results.md: a row is what stands in a result file with something asked of it (column `threshold`), and whether it
is reached by the rule of verdicts.py; files with a row for each of many settings are summed up (SUMMARIES). Sets that
were looked at while the models were made are named as development sets: their numbers flatter.
README.md: the few of HEADLINES.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from benchmarks.verdicts import judged

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
BEGIN = "<!-- table: made by `make table` from benchmarks/results; a test compares -->\n"
END = "<!-- end of table -->\n"
# Looked at more than 24 times (docs/log.md); several looks selected.
DEVELOPMENT = ("bccd", "jtsc", "cellavision", "draaslan", "bionet")
OF_PIPELINE = ("memory", "near_duplicates", "resume", "speed")  # files whose numbers no model's choice could flatter
# What the README says: question, result file, set and measure (how it begins) of its row, and what others reached
# (docs/results.md).
HEADLINES = (
    ("White cells found and boxed, a camera never seen (AP50-95)", "locate_accuracy", "draaslan", "AP50-95",
     "0.82 (PCM-Leukemia, external)"),
    ("Ten kinds of normal cells (macro-F1)", "classify_accuracy", "pbc", "macro-F1, ten subtypes",
     "0.78 (WBCBench 2026, 13 kinds)"),
    ("Five kinds, a camera never seen (accuracy)", "classify_accuracy", "cellavision", "accuracy, five types, strict",
     "0.82 (a commercial analyser on its own slides)"),
    ("Five kinds after thirty cells were labelled (accuracy)", "new_laboratories", "jtsc",
     "accuracy on the rest, 30 cells labelled", "0.82 (PCM-Leukemia, Munich, a tenth labelled)"),
    ("AML blasts kept out of training against normal cells of six sets (AUROC)", "new_laboratories", "lmu",
     "blasts left out against all normal cells, AUROC", "no figure on left-out cells was found"),
)  # fmt: skip
HEAD = "| on | measure | reached (95 % limits) | asked | met | from |\n|---|---|---|---|---|---|\n"


def results_table(results: Path = RESULTS) -> str:
    """The table in Markdown: every row of every result file that something was asked of."""
    lines = []
    for file in sorted(results.glob("*.csv")):
        for row in _rows(file):
            words = (_on(row["set"], file.stem), row["measure"], _reached(row), row["threshold"], row["met"], file.stem)
            lines.append(f"| {' | '.join(words)} |\n")
    return HEAD + "".join(lines) if lines else "No results are committed yet.\n"


def headlines(results: Path = RESULTS) -> str:
    """The README's few rows in Markdown; LookupError names one whose result is not there any more."""
    lines = ["| question | here (95 % limits) | elsewhere |\n|---|---|---|\n"]
    for question, stem, on, measure, elsewhere in HEADLINES:
        rows = _rows(results / f"{stem}.csv")
        row = next((r for r in rows if r["set"] == on and r["measure"].startswith(measure)), None)
        if row is None:
            raise LookupError(f"{stem}.csv has no row {on!r}, {measure!r} any more: name another in HEADLINES")
        where = _on(on, stem)
        lines.append(f"| {question}: {where} | {_reached(row)} | {elsewhere} |\n")
    return "".join(lines)


def _rows(file: Path) -> list[dict[str, str]]:
    """The rows of a result file that something was asked of, in words."""
    with open(file, encoding="utf-8", newline="") as text:
        return SUMMARIES.get(file.stem, _as_they_are)(list(csv.DictReader(text)))


def written_into(text: str, table: str) -> str:
    """A page's text with the table between its marks."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}{table}{END}{after}"


def _as_they_are(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [judged(row) for row in rows if row.get("threshold") and "met" in row]


def _on(name: str, stem: str) -> str:
    """The set's name; said to be a development set where it is one and a model was measured."""
    is_development = name.split(",")[0].strip() in DEVELOPMENT and stem not in OF_PIPELINE
    return f"{name} (development set)" if is_development else name


def _row(on: str, measure: str, value: str, *, asked: str, met: bool) -> dict[str, str]:
    return {"set": on, "measure": measure, "value": value, "threshold": asked, "met": "yes" if met else "no"}


def _damage(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """damaged_images.csv counts outcomes by kind of damage; its last row, "all", is what is asked."""
    (row,) = (row for row in rows if row["damage"] == "all")
    bad = sum(int(row[key] or 0) for key in ("crash", "hang", "unlisted", "missing_from_record"))
    measure = "crashes, hangs, missing from the report"
    return [_row(f"{row['n']} damaged images", measure, str(bad), asked="0", met=bad == 0)]


def _mutations(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """mutated_annotations.csv counts outcomes by format."""
    every = [row for row in rows if row["annotation"] != "all"]
    n, bad = (
        sum(int(row[key]) for row in every for key in keys) for keys in (("n",), ("crash", "hang", "silent loss"))
    )
    return [_row(f"{n} mutated annotation files", "crashes, hangs, silent losses", str(bad), asked="0", met=bad == 0)]


def _memory(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """memory.csv: a row a size, and one with the growth of the peak from the smallest to the largest."""
    (row,) = (row for row in rows if row["growth"])
    return [_row("bccd", f"peak memory, {row['images']} photographs", row["growth"], asked=row["threshold"],
                 met=row["met"] == "yes")]  # fmt: skip


def _imports(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    sets = {True: "{n_cells:,} cells, {format}", False: "{n_cells:,} cells, {format}, {n_absent:,} absent pictures"}
    rows = [row | {k: int(row.get(k) or 0) for k in ("n_cells", "n_absent")} for row in _as_they_are(rows)]
    return [row | {"set": sets[not row["n_absent"]].format(**row)} for row in rows]


def _adapted(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    words = "accuracy with a tenth labelled, method chosen on the other sites, {draw} draws"
    return [row | {"measure": words.format(**row)} for row in _as_they_are(rows)]


def _attributes(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """attributes.csv: how many attributes are above the baselines' values, and how many clearly so."""
    (asked,) = _as_they_are(rows)
    each = [row for row in rows if row["baseline majority"] and row["to"]]
    best = ("baseline majority", "baseline ImageNet", "baseline trunk")
    above = sum(float(row["value"]) > max(float(row[b]) for b in best) for row in each)
    clear = sum(float(row["difference low"]) > 0 for row in each)
    words = f"{asked['measure']} (above a head on the trunk, too: {above}; its lower limit above all three: {clear})"
    return [asked | {"measure": words}]


def _few(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """few_patients.csv: a row a number of patients and a kind of cohort."""
    summed = []
    for measure in dict.fromkeys(row["measure"] for row in rows):
        own = [row for row in _as_they_are(rows) if row["measure"] == measure]
        reached = sum(row["met"] != "no" for row in own)
        worst = min(float(row["value"]) for row in own)
        words = f"settings of 4 to 40 patients, {measure} not below {own[0]['threshold'][3:]} (least: {worst:.3f})"
        summed.append(_row("simulation", words, f"{reached} of {len(own)}", asked="all", met=reached == len(own)))
    return summed


def _systems(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [row | {"measure": f"{row['measure']}, {row['system']}"} for row in _as_they_are(rows)]


def _parity(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """detector_parity.csv: a row a system, the larger of two differences."""
    words = "mAP less pycocotools', {system}"
    return [row | {"measure": words.format(**row), "value": row["difference"]} for row in _as_they_are(rows)]


def _new_patients(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """ratio_patients.csv: a row a classifier, scatter and true ratio; those whose coverage is as asked are counted."""
    asked = _as_they_are(rows)
    inside = sum(row["met"] == "True" for row in asked)
    measure = "settings whose 95 % intervals cover a new patient's ratio as asked"
    return [_row("simulation", measure, f"{inside} of {len(asked)}", asked="all", met=inside == len(asked))]


def _coverage(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """ratio_intervals.csv: a row a classifier, true ratio and number of cells; those within 93 to 97 % are counted."""
    asked = _as_they_are(rows)
    inside = sum(row["met"] == "True" for row in asked)
    binomial = sum(0.93 <= float(row["coverage_binomial"]) <= 0.97 for row in asked)
    measure = f"settings whose corrected 95 % intervals cover 93 to 97 % (plain binomial: {binomial})"
    return [_row("simulation", measure, f"{inside} of {len(asked)}", asked="all", met=inside == len(asked))]


def _quapy(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    worst = max(_as_they_are(rows), key=lambda row: float(row["value"]))
    return [worst | {"set": "simulation"}]


def _slides(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    told = [
        row
        | {"set": f"drawn slide of {row['slide']} px, {row['file']}"}
        | {"measure": row["measure"].replace("of these", "cells at borders between regions")}
        for row in rows
    ]
    return _as_they_are(told)


def _damaged_slides(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [row | {"set": f"{rows[0]['value']} damaged slides"} for row in _as_they_are(rows)]


SUMMARIES = {
    "adaptation": _adapted,
    "attributes": _attributes,
    "damaged_images": _damage,
    "damaged_slides": _damaged_slides,
    "detector_parity": _parity,
    "few_patients": _few,
    "import_speed": _imports,
    "memory": _memory,
    "mutated_annotations": _mutations,
    "ratio_intervals": _coverage,
    "ratio_patients": _new_patients,
    "ratio_quapy": _quapy,
    "slides": _slides,
    "wbc_detection_deim": _systems,
    "wbc_detection_locator": _systems,
    "wbc_detection_locator_closely": _systems,
    "wbc_detection_yolo": _systems,
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
    return text if value == int(value) or abs(value) >= 1000 or abs(value) < 1e-6 else f"{value:.3f}"


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        for page, made in (("docs/results.md", results_table()), ("README.md", headlines())):
            (ROOT / page).write_text(written_into((ROOT / page).read_text("utf-8"), made), "utf-8")
    else:
        print(results_table(), headlines(), sep="\n", end="")
