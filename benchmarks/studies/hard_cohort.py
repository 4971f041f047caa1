"""Patients who are hard to tell apart: 60 rendered ones, blast ratios around the line, in three new laboratories.

    python -m benchmarks.studies.hard_cohort --study runs/cblc-small/study --work runs/hard [--patients 60]

The marrow study's bundle (benchmarks/studies/cblc_small.py) meets a cohort that it was not made with: `leukoscope
simulate --near-line` draws blast ratios of 8 to 36 %, half below and half above 20 %, in other laboratories.
`leukoscope analyze` counts, and what it gives is compared with the truth: AUROC of AML or not by the blast ratio,
sensitivity and specificity at 20 %, error and coverage of the corrected limits, and `evaluate --against` with the truth
as the reader. Thirty patients of ratios from 0 to 90 % are all told apart, which says nothing; these are not. Rendered
cells are drawings: nothing here is about patients. Writes benchmarks/results/hard_cohort.csv.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from benchmarks.harness import Args, Rows, benchmark, option
from leukoscope.cli import main as leukoscope
from leukoscope.evaluate.patients import ANY, clustered_limits
from leukoscope.evaluate.roc import at_threshold, auroc_delong
from leukoscope.intervals import Limits, clopper_pearson
from leukoscope.report import read_record

LINE, HELD = 0.20, 0.92
NAME = "rendered marrow, ratios of 8 to 36 %"


def main(args: Args) -> Rows:
    cohort, report = args.work / "cohort", args.work / "report"
    if not (cohort / "dataset.json").is_file():
        run("simulate", "--out", cohort, "--specimen", "marrow", "--patients", args.patients, "--centers", 3,
            "--fields", 3, "--seed", 22, "--near-line")  # fmt: skip
    run("analyze", cohort / "images", "--out", report, "--model", args.study / "bundle", "--specimen", "marrow",
        "--patients", cohort / "patients.csv", *(["--resume"] if report.is_dir() else []))  # fmt: skip
    truth = write_reference(cohort, args.work / "reference.csv")
    run("evaluate", report, "--against", args.work / "reference.csv", "--out", args.work / "against")
    rows = [*rows_of(report, truth), *against_rows(args.work / "against")]
    digest = json.loads((cohort / "dataset.json").read_text("utf-8"))["fields_sha256"][:12]
    yield from rows
    return {"n": args.patients, "fields_sha256": digest, "limits": "95 %"}


def run(*words: object) -> None:
    """One command of the command line; leaves with its exit code where it fails."""
    code = leukoscope([str(w) for w in words])
    if code:
        raise SystemExit(code)


def write_reference(cohort: Path, path: Path) -> dict[str, dict]:
    """The truth as a reader's table of counts; returns {patient: its entry in truth.json}."""
    truth = {p["patient_id"]: p for p in json.loads((cohort / "truth.json").read_text("utf-8"))["patients"]}
    classes = sorted({c for p in truth.values() for c in p["counts"]})
    with open(path, "w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["patient_id", *classes])
        out.writerows([[key, *(p["counts"].get(c, 0) for c in classes)] for key, p in truth.items()])
    return truth


def rows_of(report: Path, truth: dict[str, dict]) -> list[dict]:
    """AUROC, what the line does, error and coverage, of the raw and the corrected blast ratio."""
    found = {p["patient_id"]: p for p in read_record(report / "record.json").patients}
    keys = [k for k in truth if k in found]
    ratios = {k: next(r for r in found[k]["ratios"] if r["name"] == "blasts") for k in keys}
    positive = np.array([truth[k]["diagnosis"] == "AML" for k in keys])
    true = np.array([truth[k]["blast_ratio"] for k in keys])
    raw = np.array([ratios[k]["value"] for k in keys], float)
    fixed = [ratios[k]["corrected"] or {} for k in keys]
    corrected = np.array([np.nan if f.get("value") is None else f["value"] for f in fixed], float)
    rows = [asked("patients counted, of those drawn", Limits(len(keys) / len(truth), np.nan, np.nan))]
    for name, values in (("raw count", raw), ("corrected", corrected)):
        known = np.isfinite(values)
        rows.append(asked(f"AUROC of AML or not, {name}", auroc_delong(positive[known], values[known])))
        point = at_threshold(positive[known], values[known], LINE)
        rows += [asked(f"{k} at 20 %, {name}", getattr(point, k)) for k in ("sensitivity", "specificity")]
        rows.append(asked(f"mean absolute error, {name}", mean(np.abs(values - true)[known])))
        rows.append(asked(f"patients without a value, {name}", Limits(float((~known).sum()), np.nan, np.nan)))
    both = np.isfinite(raw) & np.isfinite(corrected)
    change = mean((np.abs(corrected - true) - np.abs(raw - true))[both])
    rows.append(asked("mean absolute error, corrected minus raw", change, "<= 0"))
    held = [f["low"] <= t <= f["high"] for f, t in zip(fixed, true, strict=True) if f.get("low") is not None]
    share = Limits(float(np.mean(held)), *clopper_pearson(sum(held), len(held)))
    rows.append(asked("true ratio within the corrected limits", share, f">= {HELD}"))
    return rows


def against_rows(folder: Path) -> list[dict]:
    """What `evaluate --against` says of the abnormal, with the ceiling of chance."""
    with open(folder / "tables" / "abnormal.csv", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    rows = []
    for line in lines:
        for head, chance in (("Overall", "by chance alone  "),):
            values = [float(line[f"{h} (%){end}"]) / 100 for h in (head, chance) for end in ("", " low", " high")]
            rows.append(asked(f"abnormal by {line['By']}, overall agreement", Limits(*values[:3])))
            rows.append(asked(f"abnormal by {line['By']}, overall agreement by chance alone", Limits(*values[3:])))
    return rows


def mean(values: np.ndarray) -> Limits:
    """A mean over patients with its limits."""
    return Limits(float(values.mean()), *clustered_limits(lambda r: float(values[r].mean()), np.arange(len(values)),
                                                          within=ANY))  # fmt: skip


def asked(measure: str, number: Limits, threshold: str = "") -> dict:
    """A row of the result file."""
    shown = {k: round(v, 4) if np.isfinite(v := getattr(number, k)) else "" for k in ("value", "low", "high")}
    return {"set": NAME, "measure": measure, **shown, "threshold": threshold}


if __name__ == "__main__":
    benchmark(
        main, option("--study", required=True, type=Path, help="folder of a finished cblc_small study"),
        option("--work", required=True, type=Path, help="folder for the cohort, the run and the comparison"),
        option("--patients", type=int, default=60),
    )  # fmt: skip
