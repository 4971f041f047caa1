"""Tables that compare: paired differences between systems, and what probabilities are worth."""

from itertools import combinations

import numpy as np

from leukoscope.experiments.intervals import (
    Estimate,
    accuracy_of,
    macro_f1_of,
    mean_ap_of,
    paired_difference,
    rank_matches,
)
from leukoscope.experiments.pcm.boxes import count_end_to_end, matches_of
from leukoscope.experiments.pcm.classifiers import parts_scored, read_calls
from leukoscope.experiments.pcm.config import RowPlan
from leukoscope.experiments.pcm.detectors import read_detections
from leukoscope.experiments.pcm.report_words import estimate_in, part_words, set_words
from leukoscope.experiments.pcm.result import StudyRun
from leukoscope.experiments.rows import Row
from leukoscope.experiments.tables import Table, Value, study_table

MOST_PAIRS = 6  # of systems that are compared one by one; more are compared with the first


def table_differences(run: StudyRun) -> Table:
    """Paired differences between systems on the same cells or photographs."""
    rows: list[tuple[Value, ...]] = []
    for classes, measure in (("all", "mAP50-95"), ("wbc", "mAP50-95 (WBC, Other)")):
        rows += _detector_differences(run, classes, measure)
    rows += _end_to_end_differences(run)
    rows += _classifier_differences(run)
    return study_table("pcm/tables.toml:differences", rows, most=MOST_PAIRS // 2 + 1)


def _pairs(done: list[tuple[RowPlan, Row]]) -> list[tuple[tuple[RowPlan, Row], tuple[RowPlan, Row]]]:
    pairs = [(b, a) for a, b in combinations(done, 2)]
    return pairs if len(pairs) <= MOST_PAIRS else [(other, done[0]) for other in done[1:]]


def _detector_differences(run: StudyRun, classes: str, measure: str) -> list[tuple[Value, ...]]:
    done = run.done("detector", classes=classes)
    seen = {p.name: read_detections(run.config, run.out, p, run.study) for p, _ in done} if len(done) > 1 else {}
    ranked = {
        (name, part): [rank_matches(m) for m in matches_of(boxes)]
        for name, parts in seen.items()
        for part, boxes in parts.items()
        if part != "val"
    }
    rows = []
    for (a, row), (b, _) in _pairs(done):
        for part, scored in row.result["sets"].items():
            if (b.name, part) in ranked and (a.name, part) in ranked:
                boxes = seen[a.name][part]
                gap = paired_difference(
                    mean_ap_of(ranked[a.name, part]), mean_ap_of(ranked[b.name, part]), boxes.groups, unit=boxes.unit,
                )  # fmt: skip
                rows.append((a.label, b.label, part_words(scored), measure, gap, _clear(gap)))
    return rows


def _end_to_end_differences(run: StudyRun) -> list[tuple[Value, ...]]:
    """Two stages against the one-stage detectors: macro-F1 end to end."""
    from leukoscope.evaluate.two_stage import end_to_end_f1

    rows = []
    for two, row in run.done("two-stage"):
        ours = read_detections(run.config, run.out, two, run.study)
        for one, other in run.done("detector", classes="all"):
            theirs = read_detections(run.config, run.out, one, run.study)
            for part, scored in row.result["sets"].items():
                if part not in theirs:
                    continue
                matrices = [
                    count_end_to_end(ours[part], row.result["threshold"]),
                    count_end_to_end(theirs[part], other.result["threshold"]),
                ]
                present = matrices[0].sum((0, 2))[:-1] > 0
                gap = paired_difference(
                    *(lambda r, m=m, has=present: end_to_end_f1(m[r].sum(0), has) for m in matrices),
                    ours[part].groups,
                    unit=ours[part].unit,
                )  # fmt: skip
                rows.append((two.label, one.label, part_words(scored), "macro-F1 end to end", gap, _clear(gap)))
    return rows


def _classifier_differences(run: StudyRun) -> list[tuple[Value, ...]]:
    done = run.done("classifier")
    rows = []
    for name, study_set in parts_scored(run.study.sets).items():
        have = [(p, r) for p, r in done if r.result["sets"].get(name, {}).get("n_cells")]
        calls = {p.name: read_calls(run.config, r.folder, name, study_set) for p, r in have}
        for (a, _), (b, _) in _pairs(have):
            ours, theirs, n = calls[a.name], calls[b.name], len(calls[a.name].labels) + 1
            if not np.array_equal(ours.truth, theirs.truth):
                continue
            made = {"F1-Score (Macro)": macro_f1_of, "Accuracy": accuracy_of}
            for measure, make in made.items():
                more = (n,) if make is macro_f1_of else ()
                gap = paired_difference(
                    make(ours.truth, ours.calls, *more), make(theirs.truth, theirs.calls, *more), ours.groups,
                    unit=ours.unit,
                )  # fmt: skip
                rows.append((a.label, b.label, set_words(study_set), measure, gap, _clear(gap)))
    return rows


def table_calibration(run: StudyRun) -> Table:
    """Temperature, ECE, conformal sets and cells handed to a human, of every classifier on every set."""
    rows: list[tuple[Value, ...]] = []
    for plan, row in run.done("classifier"):
        for part in row.result["sets"].values():
            if part["n_cells"]:
                rows.append(_calibration_row(plan.label, part_words(part), row.result["temperature"], part))
    for plan, row in run.done("adaptation"):
        zero = row.result["zero_shot"]
        rows.append(_calibration_row(f"{plan.label}: zero-shot", f"{row.result['set']} (target)", None, zero))
        after = row.result["conformal_after"]
        handed: list[Value] = [None] * len(run.config.handed)
        coverage = estimate_in(after["coverage"])
        rows.append((
            f"{plan.label}: thresholds from the labelled cells", f"{row.result['set']} (the rest)", None, None,
            coverage, estimate_in(after["size"]), *handed, coverage.n,
        ))  # fmt: skip
    handed_over = tuple(f"Accuracy, {100 * s:.0f} % handed over" for s in run.config.handed)
    return study_table("pcm/tables.toml:calibration", rows, handed=handed_over, level=100 * run.config.level)


def _calibration_row(label: str, where: str, temperature: float | None, part: dict) -> tuple[Value, ...]:
    conformal = part["conformal"]
    return (
        label, where, temperature, estimate_in(part["ece"]), estimate_in(conformal["coverage"]),
        estimate_in(conformal["size"]), *(estimate_in(h["accuracy"]) for h in part["handed"]), part["n_cells"],
    )  # fmt: skip


def _clear(gap: Estimate) -> str:
    if not (np.isfinite(gap.low) and np.isfinite(gap.high)):
        return "one group"
    return "yes" if gap.low > 0 or gap.high < 0 else "no"
