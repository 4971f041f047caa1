"""A data sheet in Markdown: what the manifest tells is filled in, what only people know is left as a clear blank.

T. Gebru et al., Datasheets for datasets, Communications of the ACM 64(12), 2021: its seven sections, its questions
shortened.
"""

import json
from pathlib import Path

from leukoscope.checks.stats import UNSTATED, UNTYPED, Stats, table_columns
from leukoscope.errors import DataError, InputError
from leukoscope.files import write_text
from leukoscope.report.words import class_words, plural

BLANK = "**[to fill in]**"


def write_datasheet(stats: Stats, path: str | Path, *, import_report: dict | None = None) -> None:
    """Write a new data sheet. InputError where the file exists: its blanks may have been filled in by hand."""
    path = Path(path)
    if path.exists():
        raise InputError(f"{path} exists and may have been filled in by hand: expected a new file; name another")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, datasheet(stats, import_report=import_report))


def read_import_report(directory: str | Path) -> dict | None:
    """The import report beside a manifest; None where there is none. DataError when it is not JSON."""
    path = Path(directory) / "import-report.json"
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}): import the set again, or remove the file") from None


def datasheet(stats: Stats, *, import_report: dict | None = None) -> str:
    """The sheet's text. import_report: what `read_import_report` gave."""
    lines = [
        f"# Data sheet: {stats.name}",
        "",
        "After Gebru et al., Datasheets for datasets (CACM 64(12), 2021). What the manifest tells is filled in; "
        f"{BLANK} is for the people who made the set.",
    ]
    for title, answers in sheet_sections(stats, import_report=import_report):
        lines += ["", f"## {title}"]
        for question, answer in answers:
            lines += ["", f"**{question}**", "", answer]
    return "\n".join(lines) + "\n"


def sheet_sections(stats: Stats, *, import_report: dict | None = None) -> tuple[tuple[str, list[tuple[str, str]]], ...]:
    """The sheet as (section, [(question, answer in Markdown)]); a blank is BLANK."""
    return (
        ("Motivation", _motivation()),
        ("Composition", _composition(stats, import_report)),
        ("Collection process", _collection(stats)),
        ("Preprocessing, cleaning, labelling", _labelling(stats, import_report)),
        ("Uses", _uses()),
        ("Distribution", _distribution(stats)),
        ("Maintenance", _maintenance(stats)),
    )


def _motivation() -> list[tuple[str, str]]:
    return [
        ("For what purpose was the set created?", BLANK),
        ("Who created it, on behalf of which institution?", BLANK),
        ("Who funded it?", BLANK),
    ]


def _composition(stats: Stats, report: dict | None) -> list[tuple[str, str]]:
    specimen = " and ".join(stats.specimens) or "unstated specimen"
    n_patients = len([p for p in stats.cells_by_patient if p != UNSTATED])
    left_out = len((report or {}).get("images_without_annotation", []))
    untyped = sum(stats.cells_by_class.get(UNTYPED, {}).values())
    no_scale, no_center = stats.scales.get(UNSTATED, 0), stats.images_by_center.get(UNSTATED, 0)
    missing = [
        f"{untyped:,} cells have no type" if untyped else "",
        f"{no_scale:,} photographs state no scale (micrometres a pixel)" if no_scale else "",
        "no patient is stated" if not n_patients else "",
        f"{no_center:,} photographs state no centre" if no_center else "",
        f"{plural(left_out, 'picture')} without annotation were left out at import" if left_out else "",
    ]
    problems = [
        f"{center}: {name.replace('_', ' ')} {n} of {q.n_opened} opened"
        for center, q in stats.quality.items()
        for name, n in q.problems.items()
    ]
    return [
        (
            "What do the instances represent?",
            f"Photographs of {specimen} smears with annotated cells: a box and a class a cell"
            + (f", an outline for {stats.n_outlines:,} of them." if stats.n_outlines else "."),
        ),
        (
            "How many instances are there in total?",
            f"{plural(stats.n_fields, 'photograph')}, {plural(stats.n_cells, 'annotated cell')}, "
            f"{plural(n_patients, 'stated patient')}.\n\n{_class_table(stats)}",
        ),
        ("Does it contain all possible instances, or a sample? Of which larger set, drawn how?", BLANK),
        (
            "What data does each instance consist of?",
            f"The picture's file with its SHA-256 digest, its size in px ({_sizes(stats)}), boxes in px, classes, and "
            "the source's own code of each class (docs/format.md).",
        ),
        ("Is there a label or target?", f"The class of each cell: {', '.join(map(_words, stats.cells_by_class))}."),
        ("Is any information missing?", _listed(missing) or "Nothing that the format can hold."),
        (
            "Are there recommended splits?",
            ", ".join(f"{s}: {n:,} photographs" for s, n in stats.images_by_split.items() if s != "none")
            + (". " + _leaks(stats) if stats.images_by_split.keys() != {"none"} else "None are stated."),
        ),
        (
            "Are there errors, sources of noise, or redundancies?",
            (f"Photographs to note: {'; '.join(problems)}. " if problems else "")
            + "`leukoscope dataset audit` lists duplicates, `leukoscope dataset suspects` annotations that look wrong: "
            + BLANK,
        ),
        ("Is it self-contained?", "The manifest refers to the picture files; it does not hold them."),
        (
            "Does it contain confidential data, or could individuals be identified?",
            f"{BLANK} (patient ids, names burnt into pictures, dates and places in their metadata)",
        ),
        ("Does it identify subpopulations, for example by age or sex? How are they distributed?", BLANK),
        ("Does it contain data that might be considered sensitive?", f"Diagnoses can follow from the cells. {BLANK}"),
    ]


def _collection(stats: Stats) -> list[tuple[str, str]]:
    centers = ", ".join(f"{c} ({n:,})" for c, n in stats.images_by_center.items())
    scales = ", ".join(f"{s} ({n:,})" for s, n in list(stats.scales.items())[:6])
    return [
        ("Where was the data acquired?", f"Centres (photographs): {centers}."),
        (
            "What mechanisms were used: microscope, objective, camera, stain?",
            f"Micrometres a pixel (photographs): {scales}. Microscope, objective, camera, stain: {BLANK}",
        ),
        ("If it is a sample, what was the sampling strategy (which patients, which fields of a smear)?", BLANK),
        ("Who was involved in the collection, and how were they compensated?", BLANK),
        ("Over what time was it collected?", BLANK),
        ("Were ethical reviews conducted (committee, reference number)?", BLANK),
        ("Did the individuals consent, or was consent waived? Can it be revoked?", BLANK),
    ]


def _labelling(stats: Stats, report: dict | None) -> list[tuple[str, str]]:
    done = f"Imported from {stats.source_format} by `leukoscope dataset import`. "
    if report is None:
        done += "No import report lies beside the manifest."
    else:
        actions: dict[str, int] = {}
        for issue in report.get("issues", []):
            actions[issue.get("action", "noted")] = actions.get(issue.get("action", "noted"), 0) + 1
        said = ", ".join(f"{n} {action}" for action, n in sorted(actions.items())) or "nothing dropped or repaired"
        done += f"Boxes and pictures to note: {said} (import-report.json lists each)."
    return [
        ("Was any preprocessing, cleaning or labelling done?", done),
        ("Who labelled the cells, with what training, how many to a cell, and how were disagreements settled?", BLANK),
        ("Was the raw data kept?", BLANK),
        ("Is the software for it available?", f"Leukoscope for the import. For annotating: {BLANK}"),
    ]


def _uses() -> list[tuple[str, str]]:
    return [
        ("Has the set been used for any tasks already? Where are they listed?", BLANK),
        ("What other tasks could it be used for?", BLANK),
        (
            "Is there anything about it that might affect future uses?",
            f"How its classes are distributed is that of the set, not that of a hospital's patients. {BLANK}",
        ),
        ("Are there tasks for which it should not be used?", f"Diagnosis without a morphologist's review. {BLANK}"),
    ]


def _distribution(stats: Stats) -> list[tuple[str, str]]:
    return [
        ("Under which licence or terms is it distributed?", stats.licence),
        ("How is it to be cited?", stats.citation),
        ("To whom, how and when is it distributed?", BLANK),
        ("Do third parties hold rights, or do export controls apply?", BLANK),
    ]


def _maintenance(stats: Stats) -> list[tuple[str, str]]:
    return [
        ("Who maintains it, and how can they be reached?", BLANK),
        ("Is there an erratum? Will it be updated?", BLANK),
        (
            "How can a version be told from another?",
            f"By the digest of its annotations and pictures: `{stats.fields_sha256}`.",
        ),
        ("Can others extend it or contribute to it?", BLANK),
    ]


def _class_table(stats: Stats) -> str:
    columns = table_columns(stats)
    lines = ["| Class | " + " | ".join(title for title, _ in columns) + " |", "|---|" + "---:|" * len(columns)]
    for name, of_split in stats.cells_by_class.items():
        counts = " | ".join(f"{sum(of_split.get(s, 0) for s in splits):,}" for _, splits in columns)
        lines.append(f"| {_words(name)} | {counts} |")
    return "\n".join(lines)


def _leaks(stats: Stats) -> str:
    if not stats.splits_by_patient:
        return "No patient is stated, so nobody can say whether the splits share one."
    both = [p for p, splits in stats.splits_by_patient.items() if len(set(splits) - {"none"}) > 1]
    return f"{plural(len(both), 'patient')} in more than one split." if both else "No patient is in two splits."


def _sizes(stats: Stats) -> str:
    shown = [f"{size}: {n:,}" for size, n in list(stats.image_sizes.items())[:4]]
    return ", ".join(shown) + (", and others" if len(stats.image_sizes) > 4 else "")


def _listed(words: list[str]) -> str:
    return "; ".join(w for w in words if w)


def _words(name: str) -> str:
    return name if name == UNTYPED else class_words(name)
