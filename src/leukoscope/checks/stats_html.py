"""The numbers of a set as one page: tables, bars, and the data sheet."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from leukoscope.checks.datasheet import BLANK
from leukoscope.checks.page import table, write_page
from leukoscope.checks.stats import UNSTATED, UNTYPED, Spread, Stats, table_columns
from leukoscope.report.words import class_words, escape, percent, plural, reason_words

SHOWN_PATIENTS = 60
SHOWN_SIZES = 12


Sheet = Sequence[tuple[str, list[tuple[str, str]]]]


def write_stats_page(stats: Stats, path: str | Path, *, sheet: Sheet = ()) -> None:
    """Write the page; `sheet`: the data sheet's sections, of `datasheet.sheet_sections`."""
    meta = f"{plural(stats.n_fields, 'photograph')} · {plural(stats.n_cells, 'annotated cell')} · Made by Leukoscope"
    classes = tuple(stats.cells_by_class)
    write_page(path, title=f"Data set: {stats.name}", meta=meta, body=_body(stats, sheet), classes=classes)


def _body(stats: Stats, sheet: Sheet) -> Iterator[str]:
    yield _head(stats)
    yield _section("table2", "Photographs by split", _table_2(stats) + _leaks(stats))
    yield _section("table3", "Annotated cells by class and split", _table_3(stats))
    yield _section("figure6", "Distribution of classes", _figure_6(stats))
    yield _section("sizes", "Sizes", _sizes(stats))
    if stats.quality:
        yield _section("quality", "Stain and focus by centre", _quality(stats))
    yield _section("patients", "Class by patient", _patients(stats))
    if sheet:
        yield _section("sheet", "Data sheet", _sheet(sheet))


def _section(anchor: str, title: str, content: str) -> str:
    return f'<section aria-labelledby="{anchor}-h"><h2 id="{anchor}-h">{escape(title)}</h2>{content}</section>'


def _head(stats: Stats) -> str:
    facts = [
        ("Licence", stats.licence),
        ("To cite", stats.citation),
        ("Imported from", stats.source_format),
        ("Specimen", ", ".join(f"{s} ({n:,})" for s, n in stats.specimens.items())),
        ("Digest of the annotations", stats.fields_sha256),
    ]
    listed = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts)
    return f'<dl class="facts">{listed}</dl>'


def _table_2(stats: Stats) -> str:
    rows: list[list[object]] = []
    for title, splits in table_columns(stats):
        n = sum(stats.images_by_split.get(s, 0) for s in splits)
        rows.append([title if title != "Overall" else "Total", n, percent(n / max(stats.n_fields, 1))])
    return '<p class="hint">As Table 2 of the PCM paper.</p>' + table(
        ["Split", "Photographs", "Share"], rows[:-1], caption="Photographs by split", foot=rows[-1]
    )


def _leaks(stats: Stats) -> str:
    if not stats.splits_by_patient:
        return (
            '<p class="hint">No patient is stated: nobody can say whether one patient is on both sides of the '
            "split.</p>"
        )
    if set(stats.images_by_split) <= {"none"}:
        return f'<p class="hint">{plural(len(stats.splits_by_patient), "patient")}; no split is stated.</p>'
    split = {p: s for p, s in stats.splits_by_patient.items() if len(set(s) - {"none"}) > 1}
    if not split:
        return f'<p class="hint">{plural(len(stats.splits_by_patient), "patient")}; none is in two splits.</p>'
    listed = ", ".join(f"{p} ({', '.join(s)})" for p, s in list(split.items())[:8])
    return f'<p class="alert">{plural(len(split), "patient")} in more than one split: {escape(listed)}.</p>'


def _table_3(stats: Stats) -> str:
    columns = table_columns(stats)
    rows: list[list[object]] = []
    for name, of_split in stats.cells_by_class.items():
        rows.append([_words(name), *(sum(of_split.get(s, 0) for s in splits) for _, splits in columns)])
    total = [sum(r[n] for r in rows) for n in range(1, len(columns) + 1)]
    head = ["Cell type", *(title for title, _ in columns)]
    return '<p class="hint">As Table 3 of the PCM paper.</p>' + table(
        head, rows, caption="Annotated cells by class and split", foot=["Total", *total]
    )


def _figure_6(stats: Stats) -> str:
    names = tuple(stats.cells_by_class)
    counts = {n: sum(stats.cells_by_class[n].values()) for n in names}
    largest, total = max(counts.values(), default=1), max(sum(counts.values()), 1)
    items = []
    for number, name in enumerate(names):
        width = 100 * counts[name] / largest
        items.append(
            f'<li><span class="name">{escape(_words(name))}</span><svg class="bar" width="100%" height="14"'
            f' aria-hidden="true"><rect class="rail" width="100%" height="14" rx="3"/><rect'
            f' class="fill k{number}" width="{width:.2f}%" height="14" rx="3"/></svg><span class="value">'
            f"<b>{counts[name]:,}</b> <span>{percent(counts[name] / total)}</span></span></li>"
        )
    return (
        '<p class="hint">As Figure 6 of the PCM paper: all splits together. Each bar is a share of the largest '
        f'class.</p><ul class="bars counts-wide">{"".join(items)}</ul>'
    )


def _sizes(stats: Stats) -> str:
    shown = list(stats.image_sizes.items())[:SHOWN_SIZES]
    left = len(stats.image_sizes) - len(shown)
    per = stats.cells_per_image
    rest = ""
    if left:
        widths, heights = zip(*(map(int, size.split(" x ")) for size in stats.image_sizes), strict=True)
        rest = (
            f'<p class="hint">and {plural(left, "further size")}: in all {min(widths)} to {max(widths)} px wide, '
            f"{min(heights)} to {max(heights)} px high</p>"
        )
    scales = ", ".join(f"{s} ({n:,})" for s, n in list(stats.scales.items())[:SHOWN_SIZES])
    cells: list[list[object]] = []
    for name, px in stats.cell_px.items():
        um = stats.cell_um.get(name)
        cells.append([_words(name), px.n, *_three(px, 0), *(_three(um, 1) if um else ("–", "–", "–"))])
    heads = ["Longer side of the box", "Cells", "px: 5 %", "median", "95 %", "µm: 5 %", "median", "95 %"]
    return (
        f"<p>Cells a photograph: median {per.median:g}, 5 to 95 %: {per.low:g} to {per.high:g}; "
        f"{plural(stats.n_images_without_cells, 'photograph')} without a cell; {stats.n_outlines:,} cells have an "
        f"outline.</p><p>Micrometres a pixel (photographs): {escape(scales)}.</p>"
        + table(["Photograph, px", "Photographs"], [list(s) for s in shown], caption="Sizes of photographs")
        + rest
        + "<h3>Cells</h3>"
        + table(heads, cells, caption="Sizes of cells by class")
    )


def _quality(stats: Stats) -> str:
    rows: list[list[object]] = []
    for center, q in stats.quality.items():
        row: list[object] = [center, q.n_fields, q.n_opened]
        for measure in ("focus", "stain", "exposure"):
            of = q.measures.get(measure)
            row.append(f"{of.median:.2f} ({of.low:.2f}–{of.high:.2f})" if of else None)
        problems = [f"{reason_words(p)}: {n:,}" for p, n in q.problems.items()]
        if q.n_unreadable:
            problems.append(f"can't be read: {q.n_unreadable:,}")
        rows.append([*row, "; ".join(problems) or "none"])
    head = ["Centre", "Photographs", "Opened", "Focus", "Stain", "Light", "To note"]
    return (
        '<p class="hint">Median (5 to 95 %). Focus: larger is sharper. Stain: how much darker than the background the '
        "nuclei are. Light: brightness of the background. Of a centre with many photographs some were drawn.</p>"
        + table(head, rows, caption="Stain and focus by centre")
    )


def _patients(stats: Stats) -> str:
    known = {p: c for p, c in stats.cells_by_patient.items() if p != UNSTATED}
    if not known:
        return "<p>No patient is stated.</p>"
    names = list(stats.cells_by_class)
    rows: list[list[object]] = []
    for patient, of_class in list(known.items())[:SHOWN_PATIENTS]:
        where = ", ".join(stats.splits_by_patient.get(patient, []))
        rows.append([patient, where, *(of_class.get(n, 0) for n in names), sum(of_class.values())])
    left = len(known) - len(rows)
    rest = f'<p class="hint">and {plural(left, "further patient")}: see the JSON file</p>' if left else ""
    without = sum(stats.cells_by_patient.get(UNSTATED, {}).values())
    note = f'<p class="hint">{plural(without, "cell")} of no stated patient.</p>' if without else ""
    head = ["Patient", "Split", *(_words(n) for n in names), "All"]
    return note + table(head, rows, caption="Cells by patient and class") + rest


def _sheet(sheet: Sheet) -> str:
    parts = ['<p class="hint">After Gebru et al., Datasheets for datasets (CACM 64(12), 2021).</p>']
    for title, answers in sheet:
        parts.append(f'<h3>{escape(title)}</h3><dl class="answers">')
        for question, answer in answers:
            words = escape(answer.split("\n\n|")[0]).replace(escape(BLANK), '<span class="blank">to fill in</span>')
            parts.append(f"<dt>{escape(question)}</dt><dd>{words}</dd>")
        parts.append("</dl>")
    return "".join(parts)


def _three(of: Spread, digits: int) -> tuple[str, str, str]:
    return f"{of.low:.{digits}f}", f"{of.median:.{digits}f}", f"{of.high:.{digits}f}"


def _words(name: str) -> str:
    return name if name == UNTYPED else class_words(name)
