"""A laboratory's evaluation: a run, or a reader, against people's counts of the same patients. One page and CSV files.

The measures are in `evaluate` (agreement, two_counts, abnormal, imprecision); here they become tables. Needs nothing
beyond the default install.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

from leukoscope import __version__
from leukoscope.errors import InputError
from leukoscope.evaluate.abnormal import read_limits
from leukoscope.evaluate.counts import Aligned, CountTable, align, pooled
from leukoscope.evaluate.counts_file import read_counts
from leukoscope.evaluate.imprecision import imprecision
from leukoscope.experiments import laboratory_tables as made
from leukoscope.experiments.intervals import Estimate
from leukoscope.experiments.tables import Table, write_table
from leukoscope.files import write_json
from leukoscope.report.record import read_record

VERSION = 1
LEAST_PATIENTS = 3


@dataclass(frozen=True, slots=True)
class Question:
    """What the command line asks: `test` against each of `references` (and all together), and those with each other."""

    test: Path
    references: tuple[Path, ...]
    specimen: str | None = None
    limits: Path | None = None
    repeats: Path | None = None
    shared_only: bool = False
    seed: int = 0


def evaluate_against(question: Question, out: str | Path) -> dict[str, Table]:
    """Compare, and write against.html, against.json and tables/*.csv into folder `out`; returns the tables by name.

    InputError for counts that can't be compared, with the file, the line and what to do.
    """
    from leukoscope.experiments.laboratory_page import write_page

    test, references = read_counts(question.test), [read_counts(p) for p in question.references]
    specimen = _specimen(question)
    limits = read_limits(question.limits)
    pairs = make_pairs(test, references, specimen, shared_only=question.shared_only)
    repeated = imprecision(read_counts(question.repeats, repeats=True), specimen) if question.repeats else []
    every = [
        made.classes_table(pairs, seed=question.seed), made.abnormal_table(pairs, limits, seed=question.seed),
        made.imprecision_table(repeated), made.assertable_table(pairs, repeated), made.patients_table(pairs),
        made.limits_table(pairs, limits),
    ]  # fmt: skip
    tables = {t.name: t for t in every}
    out = Path(out)
    for table in tables.values():
        if table.rows:
            write_table(table, out / "tables")
    record = {
        "against_version": VERSION,
        "leukoscope": __version__,
        "specimen": specimen,
        "pairs": {name: _about(p) for name, p in pairs.items()},
        "limits": [asdict(x) for x in limits if x.specimen == specimen],
        "tables": {t.name: _plain(t) for t in tables.values()},
    }
    write_json(out / "against.json", record)
    write_page(out / "against.html", pairs, tables, specimen)
    return tables


def make_pairs(
    test: CountTable, references: Sequence[CountTable], specimen: str, *, shared_only: bool
) -> dict[str, Aligned]:
    """The comparisons by name: with all readers together, with each, and of each two readers (what people reach)."""
    pairs = {}
    if len(references) > 1:
        pairs[f"{_short(test)} against all readers together"] = align(
            pooled(references), test, specimen, shared_only=shared_only
        )
    for reference in references:
        pairs[f"{_short(test)} against {_short(reference)}"] = align(reference, test, specimen, shared_only=shared_only)
    for first, second in combinations(references, 2):
        pairs[f"{_short(second)} against {_short(first)}"] = align(first, second, specimen, shared_only=shared_only)
    if len(pairs) < len(references) + math.comb(len(references), 2):
        raise InputError("the files compared need names of their own: two are called alike")
    few = [name for name, p in pairs.items() if len(p.patients) < LEAST_PATIENTS]
    if few:
        raise InputError(
            f"{few[0]}: an evaluation needs {LEAST_PATIENTS} patients or more, got {len(pairs[few[0]].patients)}"
        )
    return pairs


def describe_against(tables: dict[str, Table]) -> list[str]:
    """The main lines for the terminal."""
    lines = []
    for row in tables["classes"].rows:
        held, chance = row[13], row[14]
        lines.append(
            f"{row[0]}: {row[1]} {100 * row[3]:.1f} % and {100 * row[4]:.1f} %, within the two-count band in "
            f"{100 * held.value:.0f} % of {row[2]} patients (by chance {100 * chance:.0f} %)"
        )
    for row in tables["abnormal"].rows:
        lines.append(
            f"{row[0]}: abnormal by {row[1]}, overall agreement {100 * row[10].value:.0f} % "
            f"({100 * row[10].low:.0f} to {100 * row[10].high:.0f}), by chance alone {100 * row[11].value:.0f} %"
        )
    return lines


def _specimen(question: Question) -> str:
    """As asked, else as the run's record says."""
    path = question.test / "record.json" if question.test.is_dir() else question.test
    stated = read_record(path).provenance.get("specimen") if path.suffix.lower() == ".json" else None
    if question.specimen and stated and question.specimen != stated:
        raise InputError(f"{path} is a record of {stated}, and --specimen says {question.specimen}")
    if not (question.specimen or stated):
        raise InputError("the specimen is not stated: add --specimen blood or --specimen marrow")
    return question.specimen or stated


def _short(table: CountTable) -> str:
    """A file's name for people; a run's record goes by its folder."""
    path = Path(table.name)
    return path.parent.name or path.stem if path.name == "record.json" else path.stem


def _about(pair: Aligned) -> dict:
    return {
        "reference": pair.names[0], "test": pair.names[1],
        "n_patients": len(pair.patients), "classes": list(pair.classes),
        "stated_by_the_reference_alone": list(pair.only_reference), "stated_by_the_test_alone": list(pair.only_test),
        "notes": list(pair.notes),
    }  # fmt: skip


def _plain(table: Table) -> list[dict]:
    """Rows as dicts of plain types, NaN as null."""

    def plain(value):
        if isinstance(value, Estimate):
            return value.to_dict()
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return [{c.heading.strip(): plain(v) for c, v in zip(table.columns, row, strict=True)} for row in table.rows]
