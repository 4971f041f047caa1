"""The whole marrow study in one command, on a rendered cohort of six centres: time, and what it says.

    python -m benchmarks.studies.cblc_small --work runs/cblc-small [--resume]

Draws 60 patients of six centres with different stain, blur and camera, three photographs each (leukoscope simulate),
and runs leukoscope study cblc with configs/cblc-small: three centres to develop on, three to validate. A run that is
there is not made again with --resume; the time is the sum of the study's steps over all resumed runs, drawing left
out. The ways to correct were chosen on the cohort of seed 1 (benchmarks/studies/marrow_ratios.py): this one is another.
Rendered cells are drawings: the numbers say that the study runs, that it is hard enough to be informative, and what the
correction changes; nothing about patients. Writes benchmarks/results/cblc_small.csv.
"""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

from benchmarks.harness import Args, Rows, benchmark, option
from leukoscope.cli import main as leukoscope
from leukoscope.experiments.cblc.verdicts import BY_MATRIX

ROOT = Path(__file__).resolve().parents[2]
DEVELOP, VALIDATE = ("center-1", "center-2", "center-3"), ("center-4", "center-5", "center-6")
MOST_MINUTES = 25
TABLES = (
    "patients", "splits", "folds", "segmentation", "cells", "classes", "confusion", "diagnosis", "agreement",
    "correction", "baselines", "ablation", "composites", "ratios", "smears", "seconds",
)  # fmt: skip
POOLED = "all validation centres"
ASKED_OF, HELD = ("development, left out", POOLED), 0.92  # share of patients whose expert's ratio the limits hold


def main(args: Args) -> Rows:
    work = Path(args.work)
    cohort, out = work / "cohort", work / "study"
    if not (cohort / "dataset.json").is_file():
        sizes = ["--patients", "60", "--centers", "6", "--fields", "3", "--seed", "3"]
        run(["simulate", "--out", str(cohort), "--specimen", "marrow", *sizes])
    command = ["study", "cblc", "--data", str(cohort), "--develop", *DEVELOP, "--validate", *VALIDATE]
    command += ["--config", str(ROOT / "configs" / "cblc-small"), "--out", str(out)]
    run(command + (["--resume"] if args.resume else []))
    rows = [*time_rows(out), *table_rows(out), *cell_rows(out), *patient_rows(out)]
    digest = json.loads((cohort / "dataset.json").read_text("utf-8"))["fields_sha256"][:12]
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    yield from rows
    return {"fields_sha256": digest, "threads": threads, "limits": "95 %"}


def run(words: list[str]) -> None:
    """One command of the command line; leaves with its exit code where it fails."""
    code = leukoscope(words)
    if code:
        raise SystemExit(code)


def time_rows(out: Path) -> list[dict]:
    """Minutes of the study's steps together."""
    minutes = sum(json.loads((out / "work" / "seconds.json").read_text("utf-8")).values()) / 60
    return [asked("minutes of the whole study", round(minutes, 1), most=MOST_MINUTES)]


def table_rows(out: Path) -> list[dict]:
    """How many tables have rows, and whether the page and the bundle are there."""
    filled = [name for name in TABLES if len(read(out, name))]
    there = all(
        (out / part).is_file()
        for part in (
            "study.html",
            "bundle/classifier/card.json",
            "tripod-ai.md",
            "stard-ai.md",
            "claim.md",
            "preregistration.json",
        )
    )
    return [
        asked("tables filled", len(filled), least=len(TABLES)),
        asked("page and bundle written", int(there), least=1),
    ]


def cell_rows(out: Path) -> list[dict]:
    """Weighted F1 of every centre (development: left out); how far the validation centres are apart."""
    rows, values = [], []
    for line in read(out, "cells"):
        wanted = "ensemble" if line["Role"] == "validation" else "YOLO to YOLO (stage 2), one member"
        if line["System"] != wanted:
            continue
        for head, name in (
            ("Weighted F1 (%)", "weighted F1"),
            ("Weighted F1, cblc or not (%)", "weighted F1, CBLC or not"),
        ):
            value, low, high = (round(float(line[f"{head}{end}"]) / 100, 4) for end in ("", " low", " high"))
            rows.append({"set": line["Centre"], "measure": name, "value": value, "low": low, "high": high})
        if line["Centre"] in VALIDATE:
            values.append(float(line["Weighted F1 (%)"]) / 100)
    spread = round(max(values) - min(values), 4)
    rows.append(asked("validation centres apart in weighted F1", spread, least=0.005))
    rows.append(asked("best centre's weighted F1: not all right", round(max(values), 4), most=0.995))
    return rows


def patient_rows(out: Path) -> list[dict]:
    """AUROC of the corrected ratio and of the raw count, their difference; errors; threshold's rates."""
    rows = []
    for line in read(out, "correction"):
        way = "" if line["Corrected by"] == BY_MATRIX else ", on the line of the development patients"
        for head in ("AUROC corrected", "AUROC raw", "Difference"):
            rows.append({"set": line["Patients of"], "measure": f"{head}{way}", **limits(line, head, 1)})
        head = "Change of mean absolute error (%)"
        asked_of = line["Patients of"] in ASKED_OF
        change = {"set": line["Patients of"], "measure": f"mean absolute error, corrected minus raw{way}"}
        rows.append(change | limits(line, head, 100) | ({"threshold": "<= 0"} if asked_of else {}))
        for kind in ("corrected", "raw"):
            held = {"set": line["Patients of"], "measure": f"expert's ratio within the {kind} limits{way}"}
            held |= limits(line, f"Expert within {kind} limits (%)", 100)
            rows.append(held | ({"threshold": f">= {HELD}"} if asked_of and kind == "corrected" else {}))
    for line in read(out, "diagnosis"):
        if line["Patients of"] == POOLED:
            for head in ("Sensitivity", "Specificity", "Accuracy"):
                name = f"{head.lower()} at the development threshold, {line['Ratio']}"
                rows.append({"set": POOLED, "measure": name, **limits(line, f"{head} (%)", 100)})
    for line in read(out, "agreement"):
        if line["Patients of"] == POOLED:
            found = limits(line, "Mean absolute error (%)", 100)
            rows.append({"set": POOLED, "measure": f"mean absolute error, {line['Ratio']}", **found})
            found = limits(line, "Lin's concordance", 1)
            rows.append({"set": POOLED, "measure": f"Lin's concordance, {line['Ratio']}", **found})
    for line in read(out, "baselines"):
        if line["AUROC"]:
            rows.append({"set": POOLED, "measure": f"AUROC, {line['System']}", **limits(line, "AUROC", 1)})
    return rows


def limits(line: dict[str, str], head: str, divisor: int) -> dict:
    """value, low and high of a column of estimates; blank where they are."""
    cells = {"value": line[head], "low": line.get(f"{head} low", ""), "high": line.get(f"{head} high", "")}
    return {k: round(float(v) / divisor, 4) if v else "" for k, v in cells.items()}


def asked(measure: str, value: float, *, least: float | None = None, most: float | None = None) -> dict:
    """A row with the value asked for and whether it is met."""
    met = (least is None or value >= least) and (most is None or value <= most)
    threshold = f">= {least}" if least is not None else f"<= {most}"
    return {
        "set": "rendered marrow",
        "measure": measure,
        "value": value,
        "threshold": threshold,
        "met": "yes" if met else "no",
    }


def read(out: Path, name: str) -> list[dict[str, str]]:
    """A table's rows."""
    with open(out / "tables" / f"{name}.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    benchmark(
        main, option("--work", required=True, help="folder for the cohort and the study"),
        option("--resume", action="store_true", help="go on with what is in --work"),
    )  # fmt: skip
