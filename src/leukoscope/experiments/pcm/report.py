"""The study's page and files: what was measured on what, the paper's tables and figures, and what the paper lacks."""

from collections.abc import Sequence

from leukoscope.experiments.checklists import checklists
from leukoscope.experiments.page import Section, facts, figure, gallery, paragraph, plots, study_page
from leukoscope.experiments.pcm import report_figures as drawn
from leukoscope.experiments.pcm.data import EXTERNAL, TARGET, StudyData, StudySet
from leukoscope.experiments.pcm.facts import known_facts
from leukoscope.experiments.pcm.result import StudyRun
from leukoscope.experiments.pcm.tables_compare import table_calibration, table_differences
from leukoscope.experiments.pcm.tables_results import (
    table_6,
    table_7,
    table_called_classes,
    table_detected_classes,
    table_detectors,
    table_two_stage,
)
from leukoscope.experiments.pcm.tables_sets import table_2, table_3, table_labels, table_rows, table_sets
from leukoscope.experiments.tables import Table, study_table, table_html, write_table
from leukoscope.files import write_text
from leukoscope.report.words import plural

RENDERED = "simulate"  # the source format of rendered sets


def _write_tables(run: StudyRun) -> dict[str, Table]:
    """Write OUT/tables/*.csv; returns the tables by name."""
    made = [
        table_2(run), table_3(run), table_sets(run), table_labels(run), table_detectors(run, "all", "table4"),
        table_detectors(run, "wbc", "table5"), table_6(run), table_7(run), table_two_stage(run),
        table_detected_classes(run), table_called_classes(run), table_differences(run), table_calibration(run),
        table_audit(run), table_rows(run),
    ]  # fmt: skip
    for table in made:
        write_table(table, run.out / "tables")
    return {t.name: t for t in made}


def write_study(run: StudyRun) -> None:
    """Write OUT/study.html, the checklists beside it, its tables under OUT/tables and its figures under OUT/figures."""
    tables = _write_tables(run)
    text = study_page(
        run.config.title,
        _notices(run),
        _sections(run, tables),
        meta=f"A study after PCM-Leukemia (Naing et al., under review for MIDL 2026) · {run.study.data.name}",
        first=_first_page(run),
    )
    for checklist in checklists():
        known = known_facts(run)
        write_text(run.out / f"{checklist.name}.md", checklist.markdown(known, title=run.config.title))
    write_text(run.page, text)


def table_audit(run: StudyRun) -> Table:
    """What each audit found."""
    rows = [
        (
            " against ".join(f.sets), f.n_fields, f.leaks, "none stated" if f.patients is None else f.patients,
            "none stated" if f.smears is None else f.smears, f.two_labels, f.inside, f.unreadable,
            "clean" if f.clean else "not clean",
        )
        for f in run.study.findings
    ]  # fmt: skip
    return study_table("pcm/tables.toml:audit", rows)


def _notices(run: StudyRun) -> list[str]:
    """What a reader must not miss."""
    study, notices = run.study, [run.registration] if run.not_as_registered else []
    if any(s.source.source_format == RENDERED for s in study.sets):
        names = ", ".join(s.name for s in study.sets if s.source.source_format == RENDERED)
        notices.append(f"Rendered cells, drawn by leukoscope simulate: {names}. No number here is one of patients.")
    if not run.config.audit:
        notices.append("No audit was made (audit = false): duplicates or patients may stand on both sides of it.")
    if study.leaks:
        notices.append(
            f"This study's sets leak: {'; '.join(study.leaks)}. Results on them are flattered. drop_leaks = true in "
            "study.toml leaves such photographs out of training."
        )
    if study.dropped:
        n = plural(len(study.dropped), "photograph")
        notices.append(f"{n} left training or validation because the same cell, field or patient stands in the test.")
    failed = [p.label for p in run.config.rows if run.rows[p.name].status == "failed"]
    if failed:
        notices.append(f"Failed rows: {', '.join(failed)}. Their reasons stand in the tables and under Rows.")
    stand_ins = [p.label for p in run.config.rows if "stand-in" in p.label]
    if stand_ins:
        notices.append(
            f"{plural(len(stand_ins), 'row')} run tiny stand-ins of their networks, trained for minutes: they show "
            "that the study works, and nothing about the systems."
        )
    return notices


def _first_page(run: StudyRun) -> str:
    study, data = run.study, run.study.data
    pairs = [("Data", _set_facts(data)), ("Split", study.split_by)]
    pairs += [("External set", _set_facts(s)) for s in study.of_role(EXTERNAL)]
    pairs += [("Target", _set_facts(s)) for s in study.of_role(TARGET)]
    if run.config.audit:
        pairs.append(("Audit", _audit_words(study)))
    units = "; ".join(f"{s.name}: by {s.groups.unit}" for s in study.sets)
    pairs += [
        ("Classes", f"{study.taxonomy.name}: {', '.join(study.taxonomy.names)}"),
        ("Intervals", f"95 %, whole groups left out in turn; {units}"),
        ("Rows", ", ".join(f"{n} {state}" for state, n in _states(run).items())),
        ("Machine", run.provenance["machine"]),
        ("Versions", run.provenance["versions"]),
        ("Commit", run.provenance["commit"]),
        ("Command", run.provenance["command"]),
        ("Pre-registration", run.registration),
        ("Use", "Research use only. Not a diagnosis. A morphologist must review."),
    ]
    return facts(pairs)


def _audit_words(study: StudyData) -> str:
    leaks = "; ".join(study.leaks) or "nothing stands on two sides"
    if not any(f.key.patient_id for f in study.data.source.fields):
        leaks += "; no patient is stated, so nobody can say that none is on two sides"
    return leaks


def _states(run: StudyRun) -> dict[str, int]:
    states = [run.rows[p.name].status for p in run.config.rows]
    return {state: states.count(state) for state in dict.fromkeys(states)}


def _set_facts(study_set: StudySet) -> str:
    source = study_set.source
    n_cells = sum(len(f.cells) for f in source.fields)
    patients = {(f.key.center, f.key.patient_id) for f in source.fields if f.key.patient_id}
    centers = {f.key.center for f in source.fields if f.key.center}
    words = [source.name, plural(len(source.fields), "photograph"), plural(n_cells, "annotated cell")]
    words.append(plural(len(patients), "patient") if patients else "no patient stated")
    words += [plural(len(centers), "centre")] if centers else []
    words += [source.licence] if source.licence else []
    return ", ".join(words) + f"; annotations {source.sha256()[:12]}"


def _sections(run: StudyRun, tables: dict[str, Table]) -> list[Section]:
    def html(*names: str) -> str:
        return "".join(table_html(tables[n]) for n in names)

    label, errors = drawn.error_items(run)
    sections = [
        Section("data", "Data and split", html("table2", "table3") + _figures(_distribution(run)) + html("sets")),
        Section("audit", "Audit", html("audit")),
        Section("one-stage", "One-stage detectors", html("table4") + _row_figures(run, "detector", classes="all")),
        Section("wbc", "WBC detectors", html("table5") + _row_figures(run, "detector", classes="wbc")),
        Section("crops", "Crop classifiers", html("table6") + _row_figures(run, "classifier")),
        Section("two-stage", "End to end", html("two_stage") + _row_figures(run, "two-stage")),
        Section("adaptation", "Another laboratory", html("table7") + _adaptation(run)),
        Section("differences", "Differences between systems", html("differences")),
        Section("calibration", "Calibration and abstention", html("calibration") + _calibration(run)),
        Section("errors", "Errors", _errors(label, errors)),
        Section("classes", "Class by class", html("classes_detected", "classes_called")),
        Section("labels", "Label spaces", html("labels")),
        Section("rows", "Rows", html("rows")),
    ]
    return sections


def _figures(figures: Sequence[str]) -> str:
    return plots(list(figures))


def _distribution(run: StudyRun) -> list[str]:
    return [figure(drawn.distribution(run), f"Class distribution of {run.study.data.name} (the paper's Figure 6).")]


def _row_figures(run: StudyRun, kind: str, **wanted: str) -> str:
    """PR curves, confusion matrices and training curves of every row that is done."""
    made = []
    for plan, row in run.done(kind, **wanted):
        if kind != "classifier":
            made += [
                figure(image, f"{plan.label} on {name}: precision and recall at IoU 0.5.")
                for name, image in drawn.pr_figures(run, plan, row)
            ]
        what = "calls" if kind == "classifier" else "found and typed"
        made += [
            figure(image, f"{plan.label} on {name}: {what}, rows truth; colour is the share of the row.")
            for name, image in drawn.confusion_figures(run, plan, row)
        ]
        curves = drawn.training_figure(run, plan, row)
        if curves:
            made.append(figure(curves, f"{plan.label}: training, epoch by epoch."))
    return _figures(made)


def _adaptation(run: StudyRun) -> str:
    made = []
    for other in run.study.sets[1:]:
        sheet = drawn.contact_sheet(run, other)
        if sheet:
            words = f"Cells of {run.study.data.name} (left) and {other.name} (right), drawn at random (Figure 4)."
            made.append(figure(sheet, words, wide=True))
    for plan, row in run.done("adaptation"):
        image = drawn.call_matrix(row.result["zero_shot"])
        made.append(figure(image, f"{plan.label}: zero-shot on {row.result['set']}, rows truth."))
    return _figures(made)


def _calibration(run: StudyRun) -> str:
    return _figures([figure(image, words) for words, image in drawn.calibration_figures(run)])


def _errors(label: str, items: list) -> str:
    if not items:
        return paragraph("No classifier is done, or none was wrong.", kind="empty")
    words = f"{label}: wrong calls it was surest of, one of each pair of classes first. Some labels may be wrong too."
    return paragraph(words, kind="hint") + gallery(items)
