"""The part of a report about one patient: flags, ratios and differential on one page, then cells and fields."""

from collections import Counter
from collections.abc import Iterator

from leukoscope.entries import PatientEntry, RatioEntry
from leukoscope.report.charts import field_overlay, interval_bar, straddles
from leukoscope.report.content import Content
from leukoscope.report.correction_html import corrected_ratio, further_cells
from leukoscope.report.differential_html import differential_card
from leukoscope.report.gallery_html import gallery, worst_cells
from leukoscope.report.slide_html import slide_maps
from leukoscope.report.words import (
    USE,
    cells_words,
    class_short,
    class_words,
    escape,
    flag_words,
    name_of,
    no_band_words,
    none_seen_words,
    of_words,
    percent,
    plural,
    ratio_words,
)


def patient_section(content: Content, row: int) -> Iterator[str]:
    """HTML of one patient, piece by piece (each annotated field's picture is a piece).

    First what fits one printed page: flags, ratio, differential, the most suspicious cells; then all the rest.
    """
    patient = content.record.patients[row]
    yield (
        f'<section class="patient" id="p-{row}" aria-labelledby="ph-{row}"><div class="sheet"><p'
        f' class="print-only use">{USE}</p><header>'
        f'<h2 id="ph-{row}">Patient {name_of(patient["patient_id"])}</h2>{_turn(content, row)}</header>'
        f'{flag_list(patient)}<p class="meta">{_meta(content, row)}</p>{_not_offered(content)}'
        f'<div class="cards">{_ratio_card(patient)}{differential_card(content, patient)}</div>'
        f"{worst_cells(content, row)}</div>"
    )
    yield f'<div class="rest"><p class="print-only appendix">Appendix: patient {name_of(patient["patient_id"])}</p>'
    yield from slide_maps(content, row)
    yield from gallery(content, row)
    yield from _annotated_fields(content, row)
    yield f'<p class="turn">{_links(content, row)}</p></div></section>'


def _meta(content: Content, row: int) -> str:
    """Specimen, smears, centre, fields and cells in a line."""
    patient, statuses = content.record.patients[row], content.index.statuses[row]
    fields = plural(sum(statuses.values()), "field")
    missing = [f"{statuses[s]:,} {s}" for s in ("failed", "poor") if statuses[s]]
    smears = ", ".join(name_of(s) for s in patient["smear_ids"]) or "not stated"
    centers = ", ".join(name_of(c) for c in patient["center"] if c) or "not stated"
    stated = patient.get("stated") or {}
    who = [f"{stated['age_years']:g} years"] if stated.get("age_years") is not None else []
    who += [escape(stated["sex"])] if stated.get("sex") else []
    parts = [
        escape(patient["specimen"]), *who, f"smear {smears}", f"centre {centers}",
        f"{fields}{' (' + ', '.join(missing) + ')' if missing else ''}",
        f"{plural(patient['n_cells'], 'cell')} found",
        f"{patient['n_counted']:,} {cells_words(patient['denominator'])} counted",
    ]  # fmt: skip
    return " · ".join(parts)


def _turn(content: Content, row: int) -> str:
    position, n = content.plan.order.index(row), len(content.plan.order)
    return f'<nav class="turn" aria-label="Patient {position + 1:,} of {n:,}">{_links(content, row)}</nav>'


def _links(content: Content, row: int) -> str:
    """To the previous patient, the list and the next one, the most urgent first."""
    order = content.plan.order
    position = order.index(row)
    before = (
        f'<a rel="prev" href="{content.place(order[position - 1], seen_from=row)}">← previous</a> ' if position else ""
    )
    after = ""
    if position + 1 < len(order):
        after = f' <a rel="next" href="{content.place(order[position + 1], seen_from=row)}">next →</a>'
    here = f"{position + 1:,} of {len(order):,}"
    listed = f'<a href="{content.place(None, seen_from=row)}">all patients</a>'
    return f"{before}{listed} <span>{here}</span>{after}"


def flag_list(patient: PatientEntry) -> str:
    """The patient's flags as a list; suspected APL is set apart as urgent."""
    items = [
        f'<li class="{"urgent" if f["code"] == "suspected_apl" else "note"}">{escape(flag_words(f))}</li>'
        for f in sorted(patient["flags"], key=lambda f: f["code"] != "suspected_apl")
    ]
    return f'<ul class="flags">{"".join(items)}</ul>' if items else ""


def _not_offered(content: Content) -> str:
    """What the model can't tell: the absence of such a flag says nothing."""
    texts = " ".join(str(e["text"]) for e in content.record.provenance.get("not_offered", ()))
    return f'<p class="hint not-offered">{escape(texts)}</p>' if texts else ""


def _ratio_card(patient: PatientEntry) -> str:
    parts = [_one_ratio(r) if number == 0 else _further_ratio(r) for number, r in enumerate(patient["ratios"])]
    parts = parts or ["<h3>Blasts</h3><p>The record holds no ratio.</p>"]
    return f'<div class="card ratio">{"".join(parts)}</div>'


def _one_ratio(ratio: RatioEntry) -> str:
    """The first ratio: its value, interval and band; what the interval covers is folded away."""
    title = f"<h3>{_ratio_title(ratio)}</h3>"
    if ratio["value"] is None:
        return f'{title}<p class="big">–</p><p>No ratio: no cells were counted.</p>'
    return (
        f'{title}<p class="big">{percent(ratio["value"])}</p><p class="words">{escape(ratio_words(ratio))}.'
        f"{escape(_band_note(ratio))}</p>{_none_seen(ratio)}{interval_bar(ratio)}<p"
        f' class="cells-line">{ratio["numerator"]:,} of {ratio["denominator"]:,} counted</p>{_covered(ratio)}'
        f"{corrected_ratio(ratio)}"
    )


def _further_ratio(ratio: RatioEntry) -> str:
    """Another ratio (of one line, of a composite): a line and a bar, the rest folded away."""
    if ratio["value"] is None:
        return f"<h4>{_ratio_title(ratio)}</h4><p>No ratio: no cells were counted.</p>"
    return (
        f'<h4>{_ratio_title(ratio)}</h4><p class="words"><b>{escape(ratio_words(ratio))}</b>,'
        f" {ratio['numerator']:,} of {ratio['denominator']:,}.{escape(_band_note(ratio))}</p>"
        f"{interval_bar(ratio, small=True)}<details><summary>Interval and correction</summary>{_none_seen(ratio)}"
        f"{_covered(ratio, folded=False)}{corrected_ratio(ratio)}</details>"
    )


def _ratio_title(ratio: RatioEntry) -> str:
    name = class_words(ratio["name"])
    return f"{escape(name[:1].upper() + name[1:])} among {of_words(ratio['of'])}"


def _band_note(ratio: RatioEntry) -> str:
    note = straddles(ratio) or no_band_words(ratio)
    return f" {note}" if note else ""


def _none_seen(ratio: RatioEntry) -> str:
    text = none_seen_words(ratio)
    return f'<p class="words">{escape(text)}</p>' if text else ""


def _covered(ratio: RatioEntry, *, folded: bool = True) -> str:
    """What the interval covers and what it does not."""
    covers = str(ratio["covers"]).rstrip(".")
    facts = (
        f"<dl><dt>Interval</dt><dd>{escape(_method_words(ratio['method']))}; it covers {escape(covers)}. Cells that"
        f" were missed, or called wrongly, are not in it.</dd>{further_cells(ratio)}</dl>"
    )
    return f"<details><summary>What the interval covers</summary>{facts}</details>" if folded else facts


def _method_words(method: str) -> str:
    return "exact binomial (Clopper-Pearson)" if method == "clopper-pearson" else method


def _annotated_fields(content: Content, row: int) -> Iterator[str]:
    chosen = content.plan.pictures.get(row, [])
    with_fields = sum(content.index.statuses[row].values())
    if not chosen:
        if with_fields:
            yield (
                '<div class="fields"><h3>Annotated fields</h3><p class="empty">None of this patient\'s fields is shown'
                " as a picture.</p></div>"
            )
        return
    yield (
        '<div class="fields"><div class="bar-head"><h3>Annotated fields</h3><span class="switches"><label><input'
        ' type="checkbox" class="sw-boxes" checked> boxes</label> <label><input type="checkbox" class="sw-labels"'
        f' checked> labels</label></span></div><p class="hint">{len(chosen):,} of {plural(with_fields, "field")}, most'
        ' suspicious first.</p><div class="figures">'
    )
    for index in chosen:
        yield _figure(content, index)
    yield "</div></div>"


def _figure(content: Content, index: int) -> str:
    field = content.fields[index]
    view, full = content.field(index)
    classes = Counter(cell["class"] for cell in field["cells"])
    summary = ", ".join(f"{n} × {class_words(name)}" for name, n in classes.most_common())
    key = ", ".join(f"{escape(class_short(name))} = {escape(class_words(name))}" for name in classes)
    width, height = field["width"], field["height"]
    if view.small:
        alt = escape(f"Field {field['file']} with {plural(len(field['cells']), 'cell')}: {summary}")
        picture = f'<img src="{view.small}" alt="{alt}" width="{width}" height="{height}">'
    else:
        picture = f'<svg class="blank" viewBox="0 0 {width} {height}" role="img" aria-label="no picture"></svg>'
    gone = f" <strong>The picture is not shown: {escape(view.problem)}.</strong>" if view.problem else ""
    link = f' <a class="full" href="{full}">{width:,} × {height:,} px</a>' if full else ""
    poor = ' <span class="tag">poor quality</span>' if field["status"] == "poor" else ""
    return (
        f'<figure class="field" id="fig-{index}"><div class="frame">{picture}'
        f"{field_overlay(index, field, content.colors)}</div><figcaption>{name_of(field['file'])}{poor}{link}"
        f' — {escape(summary)}.{gone} <span class="key">{key}</span></figcaption></figure>'
    )
