"""Tables of the sets and of the rows: the paper's Tables 2 and 3, label spaces, how each row ended."""

from collections import Counter

from leukoscope.experiments.pcm.report_words import ROLE_WORDS, counted_words
from leukoscope.experiments.pcm.result import StudyRun
from leukoscope.experiments.tables import Table, Value, study_table
from leukoscope.report.words import class_words


def table_2(run: StudyRun) -> Table:
    """Photographs by split."""
    n = Counter(f.split or "none" for f in run.study.data.source.fields)
    rows = [("Train/Val", n["train"] + n["val"], n["train"], n["val"]), ("Test", n["test"], None, None)]
    if n["none"]:
        rows.append(("No split (not used)", n["none"], None, None))
    rows.append(("Total", sum(n.values()), None, None))
    n_left = len(run.study.dropped)
    more = f"{n_left} photographs that stood on two sides are left out (drop_leaks)." if n_left else ""
    return study_table("pcm/tables.toml:table2", rows, split_by=run.study.split_by, more=more)


def table_3(run: StudyRun) -> Table:
    """Annotated cells by class and split, in the study's classes."""
    counts: dict[str, Counter] = {name: Counter() for name in run.study.taxonomy.names}
    for field in run.study.data.all.dataset.fields:
        for cell in field.cells:
            counts[str(cell.class_name)][field.split or "none"] += 1
    rows = [_split_counts(class_words(name), counts[name]) for name in counts]
    total = sum(counts.values(), Counter())
    rows.append(_split_counts("Total", total))
    mapped = run.study.data.all
    notes = []
    empty = [class_words(n) for n in counts if not counts[n]]
    if empty:
        notes.append(f"No cell of: {', '.join(empty)}; these classes are part of no mean.")
    if mapped.unmapped:
        left_out = counted_words(mapped.unmapped)
        notes.append(f"No class of the study, and neither trained on nor scored: {left_out}.")
    if mapped.background:
        notes.append("Annotated but not asked for: " + counted_words(mapped.background) + ".")
    return study_table("pcm/tables.toml:table3", rows, more=" ".join(notes))


def _split_counts(name: str, n: Counter) -> tuple[Value, ...]:
    return name, n["train"] + n["val"], n["test"], n["train"] + n["val"] + n["test"], n["train"], n["val"]


def table_sets(run: StudyRun) -> Table:
    """Every set: how large, what varies, what it lacks."""
    rows = []
    for s in run.study.sets:
        fields = s.source.fields
        absent = ", ".join(class_words(n) for n in s.mapping.absent)
        unmapped = counted_words(s.mapping.unmapped)
        n_cells = sum(len(f.cells) for f in s.all.dataset.fields)
        groups = len(set(s.groups.of_file.values()))
        rows.append((s.name, ROLE_WORDS[s.role], len(fields), n_cells, groups, s.groups.unit, absent, unmapped))
    return study_table("pcm/tables.toml:sets", rows)


def table_labels(run: StudyRun) -> Table:
    """Which label of each set is which class of the study, where the names differ or there is none."""
    rows: list[tuple[Value, ...]] = []
    for s in run.study.sets:
        stated = Counter(c.class_name or "(no type stated)" for f in s.source.fields for c in f.cells)
        for name, n in sorted(stated.items()):
            label = s.mapping.of_class.get(name)
            called = class_words(s.mapping.labels[label]) if label is not None else "–"
            boxed = s.all.read_as.get(name, name if name in run.study.taxonomy.names else "")
            rows.append((s.name, name, n, class_words(boxed) if boxed else "left out", called))
    return study_table("pcm/tables.toml:labels", rows)


def table_rows(run: StudyRun) -> Table:
    """Every row: how it ended, how long it took, on what."""
    rows = []
    for plan in run.config.rows:
        row = run.rows[plan.name]
        arch = (row.result or {}).get("arch", "")
        seconds = round(row.seconds) if row.seconds else None
        rows.append((plan.name, plan.label, row.status, seconds, arch, row.reason, row.commit, row.machine))
    return study_table("pcm/tables.toml:rows", rows)
