"""The page of a laboratory's evaluation: tables, a plot a class, what was left out. One file that loads nothing."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from leukoscope.evaluate.agreement import passing_bablok
from leukoscope.evaluate.counts import Aligned
from leukoscope.experiments.page import Section, facts, figure, paragraph, plots, study_page
from leukoscope.experiments.tables import Table, table_html
from leukoscope.files import write_text
from leukoscope.report.words import class_words, escape

SIDE, MARGIN = 300, 46
MOST_PLOTS = 12
EQUAL = 'stroke="#888" stroke-dasharray="4 3"'


def write_page(path: Path, pairs: dict[str, Aligned], tables: dict[str, Table], specimen: str) -> None:
    """Write the page in one step."""
    name, pair = next(iter(pairs.items()))
    bodies = [
        ("classes", "Each class", table_html(tables["classes"]) + plots(class_plots(name, pair))),
        ("abnormal", "Abnormal or normal", _or_none(tables["abnormal"], "No limit could be applied.")
         + table_html(tables["limits"])),
        ("imprecision", "Imprecision", _or_none(
            tables["imprecision"], "No repeated counts were given: --repeats FILE names them.")),
        ("assertable", "What so many cells can say", table_html(tables["assertable"])),
        ("left-out", "What was not compared", left_out(pairs)),
    ]  # fmt: skip
    sections = [Section(anchor, title, body) for anchor, title, body in bodies]
    title = "Counts against people's counts"
    shown = facts([
        ("Specimen", specimen), ("Comparisons", "; ".join(pairs)),
        ("Patients", ", ".join(str(len(p.patients)) for p in pairs.values())),
        ("Every patient's numbers", "tables/patients.csv"),
    ])  # fmt: skip
    text = study_page(title, notices(pairs), sections, meta=f"{len(pair.patients)} patients, {specimen}", first=shown)
    write_text(path, text)


def notices(pairs: dict[str, Aligned]) -> list[str]:
    """What a reader must not miss: notes of the files, each once."""
    return list(dict.fromkeys(note for pair in pairs.values() for note in pair.notes))


def left_out(pairs: dict[str, Aligned]) -> str:
    """Classes that one side alone states."""
    lines = []
    for name, pair in pairs.items():
        for side, classes in (("the reference", pair.only_reference), ("the test", pair.only_test)):
            if classes:
                words = ", ".join(class_words(c) for c in classes)
                lines.append(f"{name}: {words}: stated by {side} alone, in its denominator, not compared.")
    return "".join(paragraph(line) for line in lines) or paragraph("Nothing: both sides state the same classes.")


def _or_none(table: Table, words: str) -> str:
    return table_html(table) if table.rows else paragraph(words, kind="hint")


def class_plots(name: str, pair: Aligned) -> list[str]:
    """Reference and test of every class that either counted, the most frequent first."""
    shares = [
        (pair.reference[:, c] / pair.n_reference, pair.test[:, c] / pair.n_test) for c in range(len(pair.classes))
    ]
    order = sorted(range(len(shares)), key=lambda c: -float(shares[c][0].mean() + shares[c][1].mean()))
    chosen = [c for c in order if shares[c][0].any() or shares[c][1].any()][:MOST_PLOTS]
    return [
        figure(scatter(*shares[c], class_words(pair.classes[c])).encode(), f"{class_words(pair.classes[c])}: {name}")
        for c in chosen
    ]


def scatter(x: Sequence[float], y: Sequence[float], title: str) -> str:
    """SVG of a class: a point a patient, the line of equality, Passing and Bablok's line; both axes in percent."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    top = max(0.05, float(np.ceil(20 * max(x.max(), y.max())) / 20))
    line = passing_bablok(x, y)

    def place(share: float) -> float:
        return MARGIN + (SIDE - 2 * MARGIN) * share / top

    def across(slope: float, intercept: float, style: str) -> str:
        low, high = 0.0, top
        return (f'<line x1="{place(low):.1f}" y1="{SIDE - place(intercept):.1f}" x2="{place(high):.1f}" '
                f'y2="{SIDE - place(intercept + slope * high):.1f}" {style}/>')  # fmt: skip

    points = "".join(
        f'<circle cx="{place(a):.1f}" cy="{SIDE - place(b):.1f}" r="3.2" fill="#3657a7" fill-opacity=".55"/>'
        for a, b in zip(x, y, strict=True)
    )
    ticks = "".join(
        f'<text x="{place(v):.1f}" y="{SIDE - MARGIN + 16}" text-anchor="middle">{100 * v:.0f}</text>'
        f'<text x="{MARGIN - 6}" y="{SIDE - place(v) + 4:.1f}" text-anchor="end">{100 * v:.0f}</text>'
        for v in np.linspace(0, top, 6)
    )
    fitted = ""
    if np.isfinite([line.slope.value, line.intercept.value]).all():
        fitted = across(line.slope.value, line.intercept.value, 'stroke="#a33" stroke-width="1.5"')
    box = f'x="{MARGIN}" y="{MARGIN}" width="{SIDE - 2 * MARGIN}" height="{SIDE - 2 * MARGIN}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIDE} {SIDE}" font-family="sans-serif" font-size="11">'
        f'<defs><clipPath id="c"><rect {box}/></clipPath></defs><rect {box} fill="none" stroke="#888"/>'
        f'<text x="{SIDE / 2}" y="{MARGIN - 14}" text-anchor="middle" font-weight="600">{escape(title)}</text>{ticks}'
        f'<g clip-path="url(#c)">{across(1, 0, EQUAL)}{fitted}{points}</g>'
        f'<text x="{SIDE / 2}" y="{SIDE - 8}" text-anchor="middle">reference, %</text>'
        f'<text x="12" y="{SIDE / 2}" text-anchor="middle" transform="rotate(-90 12 {SIDE / 2})">test, %</text></svg>'
    )
