"""`leukoscope adapt --locator` on cameras that were left out: 60 corrected fields each, measured on the others.

    python -m benchmarks.sites.adapt_locator WORK [--data FOLDER] [--without-bccd MODEL] [--only CASE]… [--dry-run]

bionet and draaslan trained no locator of ours, so the bundled one has never seen their cameras. bccd did: its row
starts from a locator without it, `leukoscope train configs/locator-without-bccd.toml` on pbc alone (--without-bccd),
and "left out" means that: no picture of bccd, and no box that a network drew which had seen one.
A user's 60 fields are drawn at random (bccd: of its train split); `adapt` holds a third of them out for its own
verdict. What stands here was measured on fields that it never had: the rest of the set (bccd: its test split without
the four photographs that lack a box). Home is pbc's test split (100 fields of it) and, for the bundled locator, bccd's.
All of these are development sets. A case that was adapted in WORK is measured again, not adapted again.
Writes benchmarks/results/adapt_locator.csv.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.harness import DATA, Args, Rows, benchmark, option
from benchmarks.models.locate_accuracy import UNANNOTATED
from benchmarks.sites.laboratories import build
from leukoscope.dataset.manifest import Dataset, write_dataset
from leukoscope.errors import InputError
from leukoscope.files import write_json
from leukoscope.models.bundle import Bundle, find_model
from leukoscope.train.adapt.locator_fields import match_fields_of, measure_rulers, score_fields
from leukoscope.train.adapt.locator_site import adapt_locator, thinned
from leukoscope.train.locator.data import is_white

GIVEN, AT_HOME = 60, 100  # fields
LEAST_AP50, MOST_LOST = 0.95, 0.01
SWAPPED = 50  # white cells: a photograph of bionet has 90 red cells called white


@dataclass(frozen=True, slots=True)
class Case:
    """A camera, the locator that has not seen it, the sets that are its home, and whether these are replayed."""

    camera: str
    start: str
    home: tuple[str, ...]
    replay: bool = False


CASES = {
    "bionet": Case("bionet", "blood", ("pbc", "bccd")),
    "draaslan": Case("draaslan", "blood", ("pbc", "bccd")),
    "bccd": Case("bccd", "without bccd", ("pbc",)),
    "bccd-replay": Case("bccd", "without bccd", ("pbc",), replay=True),
    "draaslan-replay": Case("draaslan", "blood", ("pbc", "bccd"), replay=True),
}


def main(args: Args) -> Rows:
    rows = []
    for name in args.only or CASES:
        case = CASES[name]
        start = args.without_bccd if case.start == "without bccd" else case.start
        if start is not None:
            rows += run_case(name, case, start, args)
    yield from rows
    return {"limits": "95 %, photographs"}


def run_case(name: str, case: Case, start: str, args: Args) -> list[dict]:
    """Adapt, then measure both locators on the rest of the camera's fields and at home."""
    given, rest = divided(build(case.camera, args.data, args.work / "data"))
    homes = [at_home(build(h, args.data, args.work / "data")) for h in case.home]
    replay = [str(args.work / "data" / h) for h in case.home] if case.replay else []
    done = args.work / name / "adapted.json"
    if not done.is_file():
        shutil.rmtree(args.work / name, ignore_errors=True)
        write_dataset(given, args.work / name / "given")
        write_json(done, adapted(start, args.work / name, replay))
    result = json.loads(done.read_text("utf-8"))
    models = [find_model(m)["locate"] for m in (start, done.parent / "model" if result["verdict"] == "kept" else start)]
    head = {"case": name, "start": case.start, "replayed": " ".join(case.home) if replay else "rendered fields"}
    head |= result
    lines = [r | head for r in compared(case.camera, rest, models)]
    for home in homes:
        lines += [r | head for r in compared(f"home: {home.name}", home, models)]
    for line in lines:
        print({k: line[k] for k in ("case", "set", "measure", "value", "threshold")}, flush=True)
    print(head, flush=True)
    return lines


def adapted(start: str, folder: Path, replay: list[str]) -> dict:
    """Adapt to the fields in `folder`/given: the verdict, minutes by the clock and of the processor."""
    began, spent = time.monotonic(), time.process_time()
    try:
        adapt_locator(start, folder / "given", folder / "model", replay=replay)
        verdict = "kept"
    except InputError as error:
        verdict = f"refused: {error}"
    minutes, cpu = (time.monotonic() - began) / 60, (time.process_time() - spent) / 60
    return {"verdict": verdict, "minutes": round(minutes, 1), "processor_minutes": round(cpu, 1)}


def divided(dataset: Dataset) -> tuple[Dataset, Dataset]:
    """GIVEN fields at random, without a split, and the rest; bccd's come from its splits."""
    fields = [f for f in dataset.fields if sum(is_white(c) for c in f.cells) < SWAPPED]
    fields = [f for f in fields if Path(f.file).stem not in UNANNOTATED]
    order = np.random.default_rng(0).permutation(len(fields))
    if dataset.name == "bccd":
        first = [i for i in order if fields[i].split == "train"][:GIVEN]
        others = [i for i in range(len(fields)) if fields[i].split == "test"]
    else:
        first, others = order[:GIVEN], np.sort(order[GIVEN:])
    given = tuple(replace(fields[i], split=None) for i in np.sort(first))
    return replace(dataset, fields=given), replace(dataset, fields=tuple(fields[i] for i in others))


def at_home(dataset: Dataset) -> Dataset:
    """AT_HOME fields of the test split, at random."""
    fields = [f for f in dataset.fields if f.split == "test" and Path(f.file).stem not in UNANNOTATED]
    return thinned(replace(dataset, fields=tuple(fields)), AT_HOME, 0)


def compared(name: str, dataset: Dataset, models: list[Bundle]) -> list[dict]:
    """Rows of one set, before and after."""
    rulers, groups = measure_rulers(dataset, models[0].card), np.array([f.key.field_id for f in dataset.fields])
    found = [score_fields(match_fields_of(b, dataset, rulers), groups, b.card.thresholds["score"]) for b in models]
    home, rows = name.startswith("home"), []
    for measure, key in (
        ("AP50", "ap50"), ("AP50-95", "ap50_95"), ("recall at the threshold", "recall"),
        ("false boxes a field at the threshold", "false_per_field"),
    ):  # fmt: skip
        before, after = (getattr(f, key) for f in found)
        for when, values in (("before", before), ("after", after)):
            asked = ""
            if key == "ap50" and when == "after":
                asked = f">= {round(before['value'] - MOST_LOST, 4)}" if home else f">= {LEAST_AP50}"
            shown = {k: round(v, 4) for k, v in values.items()}
            rows.append({"set": name, "measure": f"{measure}, {when}", **shown, "threshold": asked})
    sizes = {"n_fields": len(dataset.fields), "n_cells": sum(is_white(c) for f in dataset.fields for c in f.cells)}
    return [r | sizes for r in rows]


if __name__ == "__main__":
    benchmark(
        main, option("work", type=Path), DATA,
        option("--without-bccd", metavar="MODEL", help="without it the rows of bccd are left out"),
        option("--only", action="append", choices=list(CASES)),
    )  # fmt: skip
