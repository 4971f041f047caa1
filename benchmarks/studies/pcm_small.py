"""The whole PCM study on rendered blood, in minutes on two cores: every row, its time and its numbers.

python -m benchmarks.studies.pcm_small WORK [--only ROW]… draws the sets into WORK (24 patients of 3 laboratories; an
external set and a target of others), runs `leukoscope study pcm` with configs/pcm-small, and writes
results/pcm_small.csv. A second call goes on where the first stopped. Rendered cells are drawings: the numbers show that
the study works, and nothing about patients. The yolo rows need ultralytics (AGPL-3.0) beside torch; without it they say
so.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.harness import ONLY, Args, Rows, benchmark, option
from benchmarks.provenance import ROOT
from leukoscope.dataset.manifest import read_dataset, write_dataset
from leukoscope.experiments.pcm.data import Folders
from leukoscope.experiments.pcm.result import StudyRun
from leukoscope.experiments.pcm.study import run_study
from leukoscope.simulate import CohortOptions, simulate_cohort

# name: (patients, laboratories, fields a patient, seed, what its laboratories are called)
SETS = {
    "data": (24, 3, 2, 11, "home"),
    "external": (6, 2, 3, 12, "outside"),
    "target": (8, 1, 3, 13, "site"),
}


def main(args: Args) -> Rows:
    """Draw, run, write."""
    folders = {name: draw(args.work, name) for name in SETS}
    if args.sets_only:
        return
    run = run_study(
        ROOT / "configs" / "pcm-small", Folders(folders["data"], (folders["external"],), folders["target"]),
        args.work / "study", only=args.only, resume=True, say=lambda line: print(line, flush=True),
    )  # fmt: skip
    digests = {name: read_dataset(folder).sha256()[:12] for name, folder in folders.items()}
    yield from (r for plan in run.config.rows for r in result_rows(run, plan.name))
    return digests


def draw(work: Path, name: str) -> Path:
    """One rendered set, its laboratories under names of their own: every seed calls them center-1, center-2, …"""
    folder = work / name
    if (folder / "dataset.json").is_file():
        return folder
    patients, centers, fields, seed, called = SETS[name]
    options = CohortOptions("blood", patients=patients, centers=centers, seed=seed, fields_per_patient=fields)
    simulate_cohort(folder, options)
    dataset = read_dataset(folder)
    renamed = tuple(
        replace(f, key=replace(f.key, center=f.key.center.replace("center", called))) for f in dataset.fields
    )
    write_dataset(replace(dataset, fields=renamed), folder)
    return folder


def result_rows(run: StudyRun, name: str) -> list[dict]:
    """One line a set and measure of a row; one line with the reason where it is not done."""
    row, plan = run.rows[name], run.config.row(name)
    head = {"row": name, "kind": plan.kind, "status": row.status, "seconds": round(row.seconds, 1)}
    head["row_commit"] = row.commit
    if not row.is_done:
        return [head | {"set": "", "measure": "", "reason": row.reason}]
    result = row.result
    if plan.kind == "adaptation":
        parts = {"zero-shot": result["zero_shot"], "zero-shot, told the classes": result["restricted"]}
        parts |= result["methods"]
        return [line(head, result["set"], f"{m} {k}", p[k]) for m, p in parts.items() for k in ("accuracy", "macro_f1")]
    lines = []
    for part in result["sets"].values():
        measures = part if plan.kind == "classifier" else part | part["end_to_end"]
        keys = ("accuracy", "macro_f1", "ece") if plan.kind == "classifier" else (
            "ap50_95", "ap50", "macro_f1", "found", "found_and_right")  # fmt: skip
        lines += [line(head, part["set"], k, measures[k]) for k in keys]
        if plan.kind == "classifier":
            lines.append(line(head, part["set"], "conformal coverage", part["conformal"]["coverage"]))
    return lines


def line(head: dict, set_name: str, measure: str, values: dict) -> dict:
    """A row of the results: value, limits, denominators."""
    rounded = {k: round(v, 5) if isinstance(v, float) else v for k, v in values.items()}
    return head | {"set": set_name, "measure": measure, **rounded}


if __name__ == "__main__":
    benchmark(
        main, option("work", type=Path), ONLY,
        option("--sets-only", action="store_true", help="draw the sets and stop"),
    )  # fmt: skip
