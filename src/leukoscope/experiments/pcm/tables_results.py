"""Tables of results: the paper's Tables 4 to 7, end to end, and class by class."""

from collections.abc import Iterator

from leukoscope.experiments.intervals import Estimate
from leukoscope.experiments.pcm.config import RowPlan
from leukoscope.experiments.pcm.report_words import counted_words, estimate_in, part_words, why
from leukoscope.experiments.pcm.result import StudyRun
from leukoscope.experiments.tables import Table, Value, study_table
from leukoscope.report.words import class_words

METHOD_WORDS = {
    "lp-ft": "LP+FT on source and labelled cells",
    "nearest-mean": "class means on frozen features",
    "logistic": "logistic head on frozen features",
}


def _done(
    run: StudyRun, kind: str, rows: list[tuple[Value, ...]], *, width: int, classes: str = ""
) -> Iterator[tuple[RowPlan, dict]]:
    """(plan, result) of the study's rows of a kind; one that is not done gets a line of `width` that says why."""
    for plan in (p for p in run.config.rows if p.kind == kind and classes in ("", p.classes)):
        row = run.rows[plan.name]
        if row.is_done:
            yield plan, row.result
        else:
            rows.append((plan.label, *[None] * (width - 2), why(row)))


def table_detectors(run: StudyRun, classes: str, name: str) -> Table:
    """Tables 4 and 5: mAP of each detector on each set."""
    rows: list[tuple[Value, ...]] = []
    for plan, result in _done(run, "detector", rows, width=9, classes=classes):
        for part in result["sets"].values():
            absent = ", ".join(class_words(n) for n in part["absent"])
            remark = f"not in the mean: {absent}" if absent else ""
            rows.append((
                plan.label, part_words(part), estimate_in(part["ap50_95"]), estimate_in(part["ap50"]), part["n_cells"],
                part["n_fields"], estimate_in(part["end_to_end"]["found"]), _found_words(part["end_to_end"]), remark,
            ))  # fmt: skip
        rows += [(plan.label, s, *[None] * 6, "single cells: nothing to locate") for s in result["skipped"]]
    what = "WBC and Other" if classes == "wbc" else f"{len(run.study.taxonomy.names)} classes"
    return study_table("pcm/tables.toml:detectors", rows, name=name, number=name.removeprefix("table"), what=what)


def table_6(run: StudyRun) -> Table:
    """Crop classifiers."""
    rows: list[tuple[Value, ...]] = []
    for plan, result in _done(run, "classifier", rows, width=7):
        for part in result["sets"].values():
            if not part["n_cells"]:
                rows.append((plan.label, part_words(part), None, None, 0, 0, "no class in common"))
                continue
            words = [f"not in the mean: {', '.join(map(class_words, part['absent']))}"] if part["absent"] else []
            words += [f"left out: {counted_words(part['unmapped'])}"] if part["unmapped"] else []
            rows.append((
                plan.label, part_words(part), estimate_in(part["macro_f1"]), estimate_in(part["accuracy"]),
                part["n_cells"], part["n_outside"], "; ".join(words),
            ))  # fmt: skip
    return study_table("pcm/tables.toml:table6", rows)


def table_7(run: StudyRun) -> Table:
    """Zero-shot and adaptation."""
    rows: list[tuple[Value, ...]] = []
    for plan, r in _done(run, "adaptation", rows, width=7):
        full = f"{r['set']} (full)"
        lacking = f"not in the mean: {', '.join(map(class_words, r['absent']))}" if r["absent"] else ""
        left = f"left out: {counted_words(r['unmapped'])}" if r["unmapped"] else ""
        remark = "; ".join(w for w in (lacking, left) if w)
        zero, restricted = r["zero_shot"], r["restricted"]
        for words, numbers, said in (
            ("zero-shot", zero, remark),
            ("zero-shot, told the set's classes", restricted, "among the set's classes only"),
        ):
            rows.append((
                f"{plan.label}: {words}", full, estimate_in(numbers["macro_f1"]), estimate_in(numbers["accuracy"]),
                r["n_cells"], 0, said,
            ))  # fmt: skip
        few, many, draws = min(r["n_labelled"]), max(r["n_labelled"]), len(r["n_labelled"])
        labelled = few if few == many else f"{few}–{many}"
        for method, m in r["methods"].items():
            gain = Estimate.from_dict(m["gain_accuracy"])
            rows.append((
                f"{plan.label}: {METHOD_WORDS.get(method, method)}", f"{r['set']} (the rest)",
                estimate_in(m["macro_f1"]), estimate_in(m["accuracy"]), Estimate.from_dict(m["accuracy"]).n, labelled,
                f"{draws} draws; accuracy {_signed(gain)} points over zero-shot on the same cells and classes",
            ))  # fmt: skip
    return study_table("pcm/tables.toml:table7", rows, share=100 * run.config.target_share)


def table_two_stage(run: StudyRun) -> Table:
    """End to end: two stages beside one, scored alike."""
    plans = [p for p in run.config.rows if p.kind == "two-stage" or (p.kind == "detector" and p.classes == "all")]
    rows: list[tuple[Value, ...]] = []
    for plan in plans:
        row, kind = run.rows[plan.name], "two stages" if plan.kind == "two-stage" else "one stage"
        if not row.is_done:
            rows.append((plan.label, kind, *[None] * 7, why(row)))
            continue
        for part in row.result["sets"].values():
            e = part["end_to_end"]
            rows.append((
                plan.label, kind, part_words(part), estimate_in(part["ap50"]), estimate_in(part["ap50_95"]),
                estimate_in(e["macro_f1"]), estimate_in(e["found"]), estimate_in(e["found_and_right"]), e["n_cells"],
                f"{e['n_false']} false detections",
            ))  # fmt: skip
    return study_table("pcm/tables.toml:two_stage", rows)


def table_detected_classes(run: StudyRun) -> Table:
    """AP by class of every detector and two-stage row."""
    rows: list[tuple[Value, ...]] = []
    for plan in (p for p in run.config.rows if p.kind in ("detector", "two-stage")):
        row = run.rows[plan.name]
        for part in row.result["sets"].values() if row.is_done else ():
            f1 = part["end_to_end"]["f1"]
            for name, c in part["classes"].items():
                numbers = (estimate_in(c["ap50_95"]), estimate_in(c["ap50"]), estimate_in(f1[name]), c["n_truth"])
                rows.append((plan.label, part_words(part), class_words(name), *numbers))
    return study_table("pcm/tables.toml:classes_detected", rows)


def table_called_classes(run: StudyRun) -> Table:
    """Precision, recall and F1 by class of every classifier."""
    rows: list[tuple[Value, ...]] = []
    for plan in (p for p in run.config.rows if p.kind == "classifier"):
        row = run.rows[plan.name]
        for part in row.result["sets"].values() if row.is_done else ():
            for name, c in part.get("classes", {}).items():
                numbers = [estimate_in(c[k]) for k in ("precision", "recall", "f1")]
                rows.append((plan.label, part_words(part), class_words(name), *numbers, c["recall"]["n"]))
    return study_table("pcm/tables.toml:classes_called", rows)


def _found_words(end_to_end: dict) -> str:
    return f"{end_to_end['n_found']:,} of {end_to_end['n_cells']:,}"


def _signed(gap: Estimate) -> str:
    return f"{100 * gap.value:+.1f} ({100 * gap.low:+.1f} to {100 * gap.high:+.1f})"
