"""The parts of a report about the whole run: summary, patient list, failed and poor fields, provenance."""

import json
from collections.abc import Iterator, Sequence
from urllib.parse import quote

import numpy as np

from leukoscope.entries import CorrectedEntry, FieldEntry, PatientEntry, RatioEntry
from leukoscope.report.charts import interval_bar
from leukoscope.report.choose import banded_ratio, blast_ratio, has_flag
from leukoscope.report.content import MOST_ROWS, Content, list_name
from leukoscope.report.words import band_words, class_words, escape, name_of, percent, plural, reason_words

MOST_URGENT = 100  # patients named above the list
ROLE_WORDS = {
    "counted": "counted",
    "beside": "beside the differential",
    "artefact": "artefact, not counted",
    "not_counted": "not counted",
}
_FLAG_WORDS = {
    "blasts_of_both_lines": "blasts of both lines",
    "composite_above_blasts": "composite far above blasts",
    "erythroid_pattern": "erythroid pattern",
    "few_cells": "few cells",
    "many_left_out": "many cells in no ratio",
    "no_cells": "no cells",
    "nucleated_red_cells": "nucleated red cells",
    "review_blasts": "review blasts",
    "unlike_cells": "unlike known cells",
    "unsure_apl": "called APL, unsure",
}


def summary(content: Content) -> Iterator[str]:
    """Urgent patients, then the run in numbers."""
    patients = content.record.patients
    urgent = [row for row in content.plan.order if has_flag(patients[row], "suspected_apl")]
    if urgent:
        named = [(content.place(row), name_of(patients[row]["patient_id"])) for row in urgent]
        links = ", ".join(f'<a href="{place}">{name}</a>' for place, name in named[:MOST_URGENT])
        links += f" and {len(named) - MOST_URGENT:,} more at the head of the list" * (len(named) > MOST_URGENT)
        yield (
            f'<div class="alert" role="note"><strong>Urgent haematologist review:</strong> suspected APL in '
            f"{plural(len(urgent), 'patient')}: {links}</div>"
        )
    failed, poor = content.total("failed"), content.total("poor")
    n_cells = sum(p["n_cells"] for p in patients)
    tiles = [
        (f"{len(patients):,}", "patients" if len(patients) != 1 else "patient", ""),
        (f"{content.index.n_fields - failed:,} of {content.index.n_fields:,}", "fields read", ""),
        (f"{failed:,}", '<a href="#problems">failed</a>' if failed else "failed", "bad" if failed else ""),
        (f"{poor:,}", '<a href="#problems">of poor quality</a>' if poor else "of poor quality", "warn" if poor else ""),
        (f"{n_cells:,}", "cells found", ""),
        (f"{sum(p['n_counted'] for p in patients):,}", "cells counted", ""),
    ]
    items = "".join(f'<li class="{kind}"><b>{value}</b> <span>{label}</span></li>' for value, label, kind in tiles)
    yield f'<ul class="tiles">{items}</ul>'
    missing = len(content.plan.cells()) - len(content.thumbs)
    shown, total = len(content.plan.cells()), int(sum(content.plan.totals.values()))
    if shown < total:
        yield f"<p>The gallery shows {shown:,} of {total:,} cells; the other {total - shown:,} are in cells.csv.</p>"
    if missing:
        yield f"<p>{plural(missing, 'cell')} in the gallery {'has' if missing == 1 else 'have'} no thumbnail.</p>"


def patient_list(content: Content, number: int = 0) -> Iterator[str]:
    """One row a patient, the most urgent first: the `number`-th page of MOST_ROWS."""
    levels = {r["level"] for p in content.record.patients if (r := blast_ratio(p)) is not None}
    level = f"{percent(levels.pop(), 0)} interval" if len(levels) == 1 else "Interval"
    corrected = any(_corrected(blast_ratio(p)) for p in content.record.patients)
    head = '<th scope="col" title="With the classifier\'s errors taken out">Corrected</th>' if corrected else ""
    yield (
        '<section id="patients" aria-labelledby="patients-h"><h2 id="patients-h">Patients</h2><p'
        ' class="hint">Suspected APL first, then what a blast ratio hides, then by the lower end of the blast ratio\'s'
        ' interval.</p><div class="scroll" role="region" tabindex="0"'
        ' aria-label="List of patients"><table class="list"><thead><tr><th scope="col">Patient</th><th'
        f' scope="col">To note</th><th scope="col">Blasts</th><th scope="col">{level}</th><th scope="col" class="wide">'
        "0 – 5 – 10 – 20 – 100"
        f' %</th><th scope="col">Band</th>{head}<th scope="col">Counted</th><th scope="col">Fields</th>'
        "</tr></thead><tbody>"
    )
    for row in content.plan.order[number * MOST_ROWS : (number + 1) * MOST_ROWS]:
        yield _patient_row(content, row, with_corrected=bool(head))
    yield f"</tbody></table></div>{_list_pages(content, number)}</section>"


def n_lists(content: Content) -> int:
    """Pages that the list of patients takes."""
    return max(1, -(-len(content.plan.order) // MOST_ROWS))


def _list_pages(content: Content, number: int) -> str:
    """Links to the other pages of the list; nothing where there is one."""
    total, n_patients = n_lists(content), len(content.plan.order)
    if total == 1:
        return ""
    links = [
        f"<b>{first + 1:,} to {last:,}</b>" if n == number else f'<a href="{name}">{first + 1:,} to {last:,}</a>'
        for n in range(total)
        for first, last in [(n * MOST_ROWS, min((n + 1) * MOST_ROWS, n_patients))]
        for name in [quote(list_name(content.out, n))]
    ]
    return f'<p class="turn">Patients by urgency: {" · ".join(links)} of {n_patients:,}</p>'


def _band(patient: PatientEntry) -> str:
    """The band, and of which blasts it is where that is not all of them."""
    ratio = banded_ratio(patient)
    band = band_words(ratio["band"])
    return "–" if band is None else band if ratio["name"] == "blasts" else f"{band} ({class_words(ratio['name'])})"


def _corrected(ratio: RatioEntry | None) -> CorrectedEntry | None:
    """A ratio's corrected value and limits, where the record has any."""
    corrected = (ratio or {}).get("corrected")
    return corrected if corrected and corrected["value"] is not None else None


def _corrected_cell(ratio: RatioEntry | None) -> str:
    corrected = _corrected(ratio)
    if corrected is None:
        return '<td class="num">–</td>'
    limits = f"{100 * corrected['low']:.1f} to {percent(corrected['high'])}"
    return f'<td class="num">{percent(corrected["value"])}<br><small>{limits}</small></td>'


def _patient_row(content: Content, row: int, *, with_corrected: bool) -> str:
    patient, statuses = content.record.patients[row], content.index.statuses[row]
    ratio = blast_ratio(patient)
    none = ratio is None or ratio["value"] is None
    interval = "–" if none else f"{100 * ratio['low']:.1f} to {percent(ratio['high'])}"
    urgent = '<span class="tag urgent">urgent: suspected APL</span>' if has_flag(patient, "suspected_apl") else ""
    flags = "".join(
        f'<span class="tag">{escape(_FLAG_WORDS.get(f["code"], f["code"]))}</span> '
        for f in patient["flags"]
        if f["code"] not in ("suspected_apl", "failed_fields", "poor_fields")  # they stand beside the id and the fields
    )
    fields = "".join(f'<span class="{s}">{statuses[s]:,} {s}</span>' for s in ("failed", "poor") if statuses[s])
    return (
        f'<tr><th scope="row"><a href="{content.place(row)}">{name_of(patient["patient_id"])}</a>{urgent}</th>'
        f"<td>{flags}</td><td"
        f' class="num">{"–" if none else percent(ratio["value"])}</td><td class="num">{interval}</td><td'
        f' class="wide">{"" if none else interval_bar(ratio, small=True)}</td><td'
        f' class="band">{escape("–" if none else _band(patient))}</td>'
        f'{_corrected_cell(ratio) if with_corrected else ""}<td class="num">{patient["n_counted"]:,}</td><td'
        f' class="fieldcount">{sum(statuses.values()):,}{fields}</td></tr>'
    )


def problem_fields(content: Content) -> Iterator[str]:
    """Every field that failed, then every poor one, with its reason."""
    failed, poor = content.total("failed"), content.total("poor")
    yield '<section id="problems" aria-labelledby="problems-h"><h2 id="problems-h">Failed and poor fields</h2>'
    if not failed + poor:
        yield f"<p>None: all {plural(content.index.n_fields, 'field')} were read and of good quality.</p></section>"
        return
    yield (
        f'<p class="hint">{plural(failed, "field")} failed and {"is" if failed == 1 else "are"} in no count; '
        f"{plural(poor, 'field')} {'was' if poor == 1 else 'were'} read but of poor quality.</p>"
        '<div class="scroll" role="region" tabindex="0" aria-label="List of fields"><table><thead><tr><th'
        ' scope="col">Field</th>'
        '<th scope="col">Patient</th><th scope="col">Smear</th><th scope="col">Status</th><th scope="col">Reason</th>'
        '<th scope="col">Cells found</th></tr></thead><tbody>'
    )
    shown = 0
    for status in ("failed", "poor"):
        for field in content.record.fields() if shown < MOST_ROWS else ():
            if field["status"] == status and shown < MOST_ROWS:
                shown += 1
                yield (
                    f'<tr class="{status}"><th scope="row"'
                    f' class="file">{name_of(field["file"])}</th><td>{name_of(field["patient_id"])}</td>'
                    f"<td>{name_of(field['smear_id'])}</td><td>{status}</td><td>{escape(_reason(field))}</td>"
                    f'<td class="num">{len(field["cells"]):,}</td></tr>'
                )
    more = failed + poor - shown
    yield f"</tbody></table></div>{_more_rows(more)}</section>"


def _more_rows(n: int) -> str:
    return f"<p>{plural(n, 'field')} more {'is' if n == 1 else 'are'} in record.json.</p>" if n else ""


def _reason(field: FieldEntry) -> str:
    problems = (field["quality"] or {}).get("problems") or ()
    return reason_words(field["reason"] or ", ".join(problems))


def provenance(content: Content, record_sha256: str) -> Iterator[str]:
    """Models, taxonomy, options and digests; then every field with its digest."""
    p = content.record.provenance
    models = "".join(
        f'<tr><th scope="row">{escape(task)}</th><td>{escape(m.get("name"))}</td><td'
        f' class="digest">{escape(m.get("onnx_sha256") or m.get("weights_sha256"))}</td></tr>'
        for task, m in p["models"].items()
    )
    scale = "not stated: measured at red cells where they are seen (≈)"
    if p.get("um_per_px"):
        scale = f"{p['um_per_px']} µm per pixel"
    given = "".join(
        f"<dt>{escape(key)}</dt><dd>{escape(value if isinstance(value, str) else json.dumps(value))}</dd>"
        for key, value in sorted((p.get("options") or {}).items())
    )
    options = f'<dl class="facts">{given}</dl>' if given else "<p>None were given.</p>"
    yield (
        '<section id="provenance" aria-labelledby="provenance-h"><h2 id="provenance-h">Provenance</h2>'
        f'<dl class="facts"><dt>Leukoscope</dt>'
        f"<dd>{escape(p.get('leukoscope'))}</dd><dt>Specimen</dt><dd>{escape(p.get('specimen'))}</dd>"
        f"<dt>Scale</dt><dd>{escape(scale)}</dd><dt>Cells asked for</dt><dd>at least {p['min_cells']:,} a patient</dd>"
        f'<dt>This report\'s record</dt><dd>record.json, SHA-256 <span class="digest">{record_sha256}</span></dd>'
        f"<dt>Use</dt><dd>{escape(p.get('use', ''))}</dd></dl>"
        '<h3>Models</h3><div class="scroll" role="region" tabindex="0" aria-label="Models"><table><thead><tr><th'
        ' scope="col">Task</th>'
        '<th scope="col">Model</th><th scope="col">SHA-256 of the ONNX'
        f" file</th></tr></thead><tbody>{models}</tbody></table></div>"
        f"{class_list(content)}<h3>Options</h3>{options}"
    )
    yield from _all_fields(content)
    yield "</section>"


def class_list(content: Content) -> str:
    """The classes with their roles; the script reads their words here."""
    taxonomy = content.record.taxonomy
    roles, shown = content.record.roles, []
    for column, name in enumerate(taxonomy.names):
        role = "blast, counted" if name in taxonomy.blasts else ROLE_WORDS[roles[name]]
        shown.append(f'<li data-column="{column}"><b>{escape(class_words(name))}</b> <small>{role}</small></li>')
    digest = content.record.provenance.get("taxonomy_sha256", "")
    return (
        f'<h3>Classes</h3><p>Taxonomy {escape(taxonomy.name)}, SHA-256 <span class="digest">{escape(digest)}</span></p>'
        f'<ul class="classes" id="classes">{"".join(shown)}</ul>'
    )


def _all_fields(content: Content) -> Iterator[str]:
    if content.lists_apart:
        yield (
            f"<p>The {plural(content.index.n_fields, 'field')} with their SHA-256: on the patients' pages, and in "
            "record.json.</p>"
        )
        return
    yield from field_list(content, range(content.index.n_fields))
    yield (
        '<p class="print-only">The digests of all fields are in record.json and in'
        " report.html (printed only while that list is open).</p>"
    )


def fields_of_patient(content: Content, row: int) -> Iterator[str]:
    """The list of a patient's fields, for a page of its own."""
    yield from field_list(content, np.flatnonzero(content.index.field_patients == row).tolist())


def field_list(content: Content, fields: Sequence[int]) -> Iterator[str]:
    """Fields with status, reason and digest; MOST_ROWS of them."""
    yield (
        f'<details id="files"><summary>All {plural(len(fields), "field")} with their SHA-256</summary><div'
        ' class="scroll" role="region" tabindex="0" aria-label="All fields"><table class="files"><thead><tr><th'
        ' scope="col">Field</th><th scope="col">Patient</th><th scope="col">Status</th><th scope="col">Cells</th><th'
        ' scope="col">SHA-256</th></tr></thead><tbody>'
    )
    for index in fields[:MOST_ROWS]:
        field = content.fields[index]
        note = f"<br><small>{escape(field['note'])}</small>" if field.get("note") else ""
        yield (
            f'<tr id="f-{index}"><th scope="row" class="file">{name_of(field["file"])}{note}</th>'
            f"<td>{name_of(field['patient_id'])}</td><td>{field['status']}</td>"
            f'<td class="num">{len(field["cells"]):,}</td><td class="digest">{escape(field["sha256"] or "–")}</td></tr>'
        )
    yield f"</tbody></table></div>{_more_rows(max(0, len(fields) - MOST_ROWS))}</details>"
