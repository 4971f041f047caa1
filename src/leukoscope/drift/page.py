"""The page of a drift watch: a chart a measure, runs in their order against the reference, and what each site's runs
withheld."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from leukoscope.drift.judge import HIGH, LOW, MIX, Finding
from leukoscope.drift.profile import MEASURES, Profile, shares
from leukoscope.files import write_text
from leukoscope.report.shell import Shell, page_style
from leukoscope.report.words import class_words, escape, plural

_WIDTH, _HEIGHT, _LEFT, _PAD = 640, 190, 52, 12


def finding_words(finding: Finding) -> str:
    """One measure in a plain line."""
    what = next((m.words for m in MEASURES if m.name == finding.measure), finding.measure)
    if finding.measure == MIX:
        return f"{what}: {100 * finding.value:.0f} % of the cells are of other classes{_chance_words(finding)}"
    if finding.p is None:
        return (
            f"{what}: {finding.value:.3g}; the middle 98 % of the reference's photographs: {finding.low:.3g} to "
            f"{finding.high:.3g}"
        )
    away = f"{abs(finding.effect or 0):.1f} standard deviations between patients away{_chance_words(finding)}"
    return f"{what}: {finding.value:.3g}, of the reference {finding.expected:.3g}; {away}"


def _chance_words(finding: Finding) -> str:
    return "" if finding.p is None else f", p = {finding.p:.4f}"


def verdict(run: Profile, reference: Profile, findings: Sequence[Finding]) -> str:
    """The plain line of a run."""
    drifted = [f for f in findings if f.drifted]
    against = f"{run.name} against {reference.name}"
    if not drifted:
        return f"{against}: no drift seen in {plural(len(findings), 'measure')}"
    named = "; ".join(finding_words(f) for f in drifted)
    return (
        f"{against}: DRIFT in {len(drifted)} of {plural(len(findings), 'measure')}; its numbers can't be trusted as "
        f"the reference's are: {named}"
    )


def withheld_rows(runs: Sequence[Profile]) -> list[dict]:
    """A row a site of each run: patients, photographs, cells found; the share withheld (cells that count as no class)
    and the coverage (cells that do), and the share of photographs that could not be read."""
    rows = []
    for run in runs:
        for center in sorted({p.center for p in run.patients}):
            patients = [p for p in run.patients if p.center == center]
            n_cells, n_withheld = sum(p.n_cells for p in patients), sum(p.n_withheld for p in patients)
            n_fields = sum(p.n_fields for p in patients)
            rows.append({
                "run": run.name, "center": center, "n_patients": len(patients), "n_fields": n_fields,
                "n_cells": n_cells, "withheld": n_withheld / n_cells if n_cells else None,
                "coverage": 1 - n_withheld / n_cells if n_cells else None,
                "failed": sum(p.n_failed for p in patients) / n_fields if n_fields else None,
            })  # fmt: skip
    return rows


def write_drift_page(
    path: str | Path, judged: Sequence[tuple[Profile, Profile, Sequence[Finding]]], *, title: str = "Drift watch"
) -> None:
    """One page that needs nothing else; judged: (run, its reference, findings) in the order of time."""
    n = sum(any(f.drifted for f in findings) for _, _, findings in judged)
    meta = f"{plural(len(judged), 'run')} · {n} with drift · Made by Leukoscope"
    before, after = Shell(title, meta, page_style("report.css", "drift.css")).halves()
    write_text(path, before + "\n".join(_sections(judged)) + after)


def _sections(judged: Sequence[tuple[Profile, Profile, Sequence[Finding]]]) -> Iterator[str]:
    lines = "".join(f"<li>{escape(verdict(*each))}</li>" for each in judged)
    yield f"<section><h2>In a line</h2><ul>{lines}</ul></section><section><h2>Measure by measure</h2>"
    yield (
        '<p class="hint">Grey points: patients. Black line: the run (red: drifted). Blue: the reference, and where a '
        "run is expected.</p>"
    )
    for measure in MEASURES:
        known = [(run, f) for run, _, findings in judged for f in findings if f.measure == measure.name]
        if known:
            yield f"<h3>{escape(measure.words)}</h3>{_chart(measure.name, measure.words, known)}{_table(known)}"
    yield "</section>"
    yield from _mixes(judged)
    yield _withheld(judged)


def _chart(name: str, words: str, known: Sequence[tuple[Profile, Finding]]) -> str:
    points = [run.values(name) for run, _ in known]
    ends = [v for f in (f for _, f in known) for v in (f.value, f.low, f.high) if v is not None]
    values = np.concatenate([*points, ends])
    low, high = float(values.min()), float(values.max())
    span = (high - low) or abs(high) or 1.0
    low, high = low - 0.06 * span, high + 0.06 * span
    step = (_WIDTH - _LEFT - _PAD) / len(known)

    def y(value: float) -> float:
        return _PAD + (_HEIGHT - 3 * _PAD - 8) * (high - value) / (high - low)

    drawn = [f'<text x="2" y="{y(v) + 4:.0f}">{v:.3g}</text>' for v in (values.min(), values.max())]
    for place, ((run, f), dots) in enumerate(zip(known, points, strict=True)):
        left, middle = _LEFT + place * step, _LEFT + (place + 0.5) * step
        top, bottom = (y(v) if v is not None else y(f.expected) for v in (f.high, f.low))
        drawn.append(
            f'<rect class="band" x="{left:.1f}" y="{top:.1f}" width="{step:.1f}" '
            f'height="{max(1.0, bottom - top):.1f}"/>'
        )
        drawn.append(f'<path class="mid" d="M{left:.1f} {y(f.expected):.1f}h{step:.1f}"/>')
        spots = np.linspace(-0.3, 0.3, len(dots)) if len(dots) > 1 else np.zeros(len(dots))
        drawn += [
            f'<circle class="dot" cx="{middle + step * s:.1f}" cy="{y(v):.1f}" r="2.5"/>'
            for s, v in zip(spots, dots[:400], strict=False)
        ]
        kind = "mean out" if f.drifted else "mean"
        drawn.append(f'<path class="{kind}" d="M{middle - 0.35 * step:.1f} {y(f.value):.1f}h{0.7 * step:.1f}"/>')
        drawn.append(f'<text x="{middle:.0f}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(run.name[:16])}</text>')
    said = f"{words}, {len(known)} runs; the numbers are in the table below"
    return (
        f'<svg class="drift-chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(said)}">'
        f"{''.join(drawn)}</svg>"
    )


def _table(known: Sequence[tuple[Profile, Finding]]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(run.name)}</th><td class="num">{f.value:.3g}</td><td class="num">{f.expected:.3g}'
        f'</td><td class="num">{_number(f.low)} to {_number(f.high)}</td><td class="num">{_number(f.p, "<.4f")}</td>'
        f'<td class="{"drifted" if f.drifted else ""}">{"drifted" if f.drifted else "as expected"}</td></tr>'
        for run, f in known
    )
    return _framed("Runs", ("Run", "Value", "Reference", "Expected", "p", "Verdict"), rows)


def _framed(label: str, heads: Sequence[str], rows: str) -> str:
    head = "".join(f'<th scope="col">{h}</th>' for h in heads)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{label}"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _mixes(judged: Sequence[tuple[Profile, Profile, Sequence[Finding]]]) -> Iterator[str]:
    """The share of each class, of those runs whose mix was compared."""
    compared = [each for each in judged if any(f.measure == MIX for f in each[2])]
    if not compared:
        return
    columns = [(run.name, shares(run.patients)) for run, _, _ in compared]
    columns.append((f"reference ({compared[-1][1].name})", shares(compared[-1][1].patients)))
    names = sorted({name for _, of in columns for name in of}, key=lambda n: -columns[-1][1].get(n, 0.0))
    rows = "".join(
        f'<tr><th scope="row">{escape(class_words(name))}</th>'
        + "".join(f'<td class="num">{100 * of.get(name, 0.0):.1f} %</td>' for _, of in columns)
        + "</tr>"
        for name in names
    )
    table = _framed("Class mix", ["Class", *(escape(name) for name, _ in columns)], rows)
    yield f'<section><h2>Class mix</h2><p class="hint">Mean over patients.</p>{table}</section>'


def _withheld(judged: Sequence[tuple[Profile, Profile, Sequence[Finding]]]) -> str:
    def percent(value: float | None) -> str:
        return "–" if value is None else f"{100 * value:.1f} %"

    rows = "".join(
        f'<tr><th scope="row">{escape(r["run"])}</th><td>{escape(r["center"])}</td><td class="num">{r["n_patients"]:,}'
        f'</td><td class="num">{r["n_cells"]:,}</td><td class="num">{percent(r["coverage"])}</td><td class="num">'
        f'{percent(r["withheld"])}</td><td class="num">{percent(r["failed"])}</td></tr>'
        for r in withheld_rows([run for run, _, _ in judged])
    )
    heads = ("Run", "Site", "Patients", "Cells", "Coverage", "Withheld", "Photographs not read")
    n = sum(any(f.drifted for f in findings) for _, _, findings in judged)
    return (
        "<section><h2>What was withheld, by site</h2><p>Coverage: cells that count as a class. Withheld: cells that "
        "count as none because the model is too unsure. A gate that always says no is useless: look at both. "
        f"The watch itself says no to {n} of {plural(len(judged), 'run')}.</p>{_framed('Sites', heads, rows)}</section>"
    )


def _number(value: float | None, form: str = ".3g") -> str:
    return "–" if value is None else format(value, form.lstrip("<"))


__all__ = ["HIGH", "LOW", "finding_words", "verdict", "withheld_rows", "write_drift_page"]
