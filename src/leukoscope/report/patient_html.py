"""The part of a report about one patient: ratios, differential, gallery, annotated fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from leukoscope.report.charts import differential_bars, field_overlay, interval_bar, straddles
from leukoscope.report.content import Content
from leukoscope.report.correction_html import corrected_ratio, further_cells
from leukoscope.report.pictures import field_picture
from leukoscope.report.words import (
    USE,
    cell_words,
    cells_words,
    class_short,
    class_words,
    counted_words,
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

PRINTED_CELLS = 24  # cells a class that are printed; report.css holds the same number
_SHOWN_PROBS = 4
_ROLES = {"counted": "", "beside": "beside", "artefact": "not counted", "not_counted": "not counted"}


def patient_section(content: Content, row: int) -> Iterator[str]:
    """HTML of one patient, piece by piece (each annotated field's picture is a piece)."""
    patient = content.record.patients[row]
    statuses = content.index.statuses[row]
    fields = plural(sum(statuses.values()), "field")
    missing = [f"{statuses[s]:,} {s}" for s in ("failed", "poor") if statuses[s]]
    smears = ", ".join(name_of(s) for s in patient["smear_ids"]) or "not stated"
    centers = ", ".join(name_of(c) for c in patient["center"] if c) or "not stated"
    yield (
        f'<section class="patient" id="p-{row}" aria-labelledby="ph-{row}"><p class="print-only use">{USE}</p>'
        f'<header><h2 id="ph-{row}">Patient {name_of(patient["patient_id"])}</h2>'
        f'<p class="meta">{escape(patient["specimen"])} · smear {smears} · centre {centers} · {fields}'
        f"{' (' + ', '.join(missing) + ')' if missing else ''} · {plural(patient['n_cells'], 'cell')} found, "
        f"{patient['n_counted']:,} {cells_words(patient['denominator'])} counted</p></header>{flag_list(patient)}"
        f"{_not_offered(content)}"
        f'<div class="cards">{_ratio_card(content, patient)}{_chart_card(content, patient)}'
        f"{_table_card(content, patient)}</div>"
    )
    yield from _gallery(content, row)
    yield from _annotated_fields(content, row)
    yield '<p class="up"><a href="#patients">Back to the patient list</a></p></section>'


def flag_list(patient: dict) -> str:
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


def _ratio_card(content: Content, patient: dict) -> str:
    parts = [_one_ratio(ratio) for ratio in patient["ratios"]] or ["<h3>Blasts</h3><p>The record holds no ratio.</p>"]
    provenance = content.record.provenance
    minimum = provenance["min_cells"]
    counted = counted_words(patient, minimum, provenance.get("usual_min_cells", minimum))
    per_100 = patient["artefacts_per_100"]
    smudges = "not known: no cells were counted" if per_100 is None else f"{per_100:.1f} per 100 counted cells"
    rows = [("Cells counted", counted)]
    if any(r["role"] == "beside" for r in patient["differential"]):
        rows.append(("Nucleated red cells", _beside_words(patient)))
    rows.append(("Smudges and artefacts", f"{smudges}; in no ratio"))
    if provenance.get("unidentified_below"):
        limit = percent(provenance["unidentified_below"], 0)
        rows.append(("Not identified", f"{plural(patient['n_unidentified'], 'cell')} below {limit}; in no ratio"))
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in rows)
    return f'<div class="card ratio">{"".join(parts)}<dl>{listed}</dl></div>'


def _beside_words(patient: dict) -> str:
    n, per_100 = patient["n_nucleated_red"], patient["nucleated_red_per_100"]
    share = "no leukocyte was counted" if per_100 is None else f"{per_100:.1f} per 100 leukocytes"
    return f"{plural(n, 'cell')}: {share}; beside the differential"


def _one_ratio(ratio: dict) -> str:
    name = class_words(ratio["name"])
    title = f"<h3>{escape(name[:1].upper() + name[1:])} among {of_words(ratio['of'])}</h3>"
    if ratio["value"] is None:
        return f'{title}<p class="big">–</p><p>No ratio: no cells were counted.</p>'
    beyond = straddles(ratio) or no_band_words(ratio)
    band_note = f" {beyond}" if beyond else ""
    none_seen = none_seen_words(ratio)
    missed = f'<p class="words">{escape(none_seen)}</p>' if none_seen else ""
    covers = str(ratio["covers"]).rstrip(".")
    return (
        f'{title}<p class="big">{percent(ratio["value"])}</p><p'
        f' class="words">{escape(ratio_words(ratio))}.{escape(band_note)}</p>'
        f"{missed}{interval_bar(ratio)}<dl><dt>Cells</dt><dd>{ratio['numerator']:,} of {ratio['denominator']:,} counted"
        f"</dd><dt>Interval</dt><dd>{escape(_method_words(ratio['method']))}; it covers {escape(covers)}. Cells that"
        f" were missed, or called wrongly, are not in it.</dd>{further_cells(ratio)}</dl>{corrected_ratio(ratio)}"
    )


def _method_words(method: str) -> str:
    return "exact binomial (Clopper-Pearson)" if method == "clopper-pearson" else method


def _chart_card(content: Content, patient: dict) -> str:
    taxonomy = content.record.taxonomy
    counted = [r for r in patient["differential"] if r["role"] == "counted"]
    return (
        '<div class="card'
        f' chart"><h3>Differential</h3>{differential_bars(counted, taxonomy.names, taxonomy.blasts)}</div>'
    )


def _table_card(content: Content, patient: dict) -> str:
    rows = []
    for r in sorted(patient["differential"], key=lambda r: list(_ROLES).index(r["role"])):
        inside = r["role"] == "counted"
        share = percent(r["share"]) if inside else "–"
        blast = ' <span class="tag">blast</span>' if r["class"] in content.record.taxonomy.blasts else ""
        blast = blast if inside else f" <small>({_ROLES[r['role']]})</small>"
        rows.append(
            f"<tr{'' if inside else ' class=apart'}><th"
            f' scope="row">{escape(class_words(r["class"]))}{blast}</th>'
            f"<td>{r['count']:,}</td><td>{share}</td><td>{r['expected']:,.1f}</td></tr>"
        )
    return (
        '<div class="card table"><h3>Counts</h3><div class="scroll" role="region" tabindex="0" aria-label="Counts by'
        ' class"><table class="counts"><thead><tr><th scope="col">Class</th><th scope="col">Cells</th><th'
        ' scope="col">Share</th><th scope="col" title="The sum of the cells\' probabilities of this'
        f' class">Expected</th></tr></thead><tbody>{"".join(rows)}</tbody><tfoot><tr><th'
        f' scope="row">Counted</th><td>{patient["n_counted"]:,}</td><td></td><td></td></tr></tfoot></table></div></div>'
    )


def _gallery(content: Content, row: int) -> Iterator[str]:
    """The cells by class, blasts first, most suspicious first within a class."""
    names, blasts = content.record.taxonomy.names, content.record.taxonomy.blasts
    columns = [c for c in range(len(names)) if content.plan.totals.get((row, c))]
    columns.sort(key=lambda c: (names[c] not in blasts, c))
    total = sum(content.plan.totals[row, c] for c in columns)
    shown = sum(len(content.plan.gallery.get((row, c), ())) for c in columns)
    if not total:
        yield (
            '<div class="gallery"><h3>Cells</h3><p class="empty">No cells were found in this patient\'s'
            " fields.</p></div>"
        )
        return
    more = f" {shown:,} of {total:,} are shown; the other {total - shown:,} are in cells.csv." if shown < total else ""
    yield (
        f'<div class="gallery" id="g-{row}"><div class="bar-head"><h3>Cells by class</h3>{_words_switch(content)}<label'
        ' class="script-only">Order <select class="order"><option value="class">by class</option><option'
        ' value="suspicion">all, most suspicious first</option></select></label></div><p class="hint">Most suspicious'
        f" first. The number is the probability of the class. Choose a cell to see it in its field.{more}</p>"
    )
    for c in columns:
        cells = content.plan.gallery.get((row, c), [])
        total_here = content.plan.totals[row, c]
        count = (
            plural(total_here, "cell")
            if len(cells) == total_here
            else f"{len(cells):,} of {plural(total_here, 'cell')}"
        )
        printed = f'<p class="print-only">{PRINTED_CELLS} of {total_here:,} are printed; all are in cells.csv.</p>'
        yield (
            f'<div class="group"><h4 data-words="{escape(class_words(names[c]))}"><svg class="chip" width="12"'
            f' height="12" aria-hidden="true"><rect class="fill k{c}" width="12"'
            f' height="12" rx="3"/></svg> {escape(class_words(names[c]))}'
            f' <small>{count}</small></h4>{printed if len(cells) > PRINTED_CELLS else ""}<ul class="cells">'
        )
        for cell in cells:
            yield _cell_item(content, cell, names[c])
        yield "</ul></div>"
    yield "</div>"


def _words_switch(content: Content) -> str:
    if not content.record.attributes:
        return ""
    return '<span class="switches"><label><input type="checkbox" class="sw-words"> words</label></span>'


def _cell_item(content: Content, key: tuple[int, int], class_name: str) -> str:
    field, number = key
    cell = content.cells[key]
    prob = cell["probs"].get(class_name, 0.0)
    columns = {name: c for c, name in enumerate(content.record.taxonomy.names)}
    top = sorted(cell["probs"].items(), key=lambda item: -item[1])[:_SHOWN_PROBS]
    probs = " ".join(f"{columns[name]}:{100 * p:.0f}" for name, p in top if name in columns and p >= 0.005)
    suspicion = cell["suspicion"]
    blast = class_name in content.record.taxonomy.blasts
    words = f"{class_words(class_name)}, probability {percent(prob, 0)}, suspicion {percent(suspicion, 0)}"
    uri = content.thumbs.data_uri(key)
    picture = (
        f'<img src="{uri}" alt="{escape(words)}" width="96" height="96" decoding="async">'
        if uri
        else f'<span class="nothumb">no picture<span class="hidden">: {escape(words)}</span></span>'
    )
    doubt = f'<span class="doubt">blast {percent(suspicion, 0)}</span>' if suspicion >= 0.1 and not blast else ""
    doubt += "" if cell.get("identified", True) else '<span class="doubt">not identified</span>'
    said = "".join(
        f"<span><b>{escape(part)}</b> {escape(text)}</span> "
        for part, text in cell_words(cell.get("attributes", {}), content.record.attributes)
    )
    said = f'<span class="said">{said}</span>' if said else ""
    target = f"c-{field}-{number}" if field in content.picture_fields else f"f-{field}"
    return (
        f'<li data-s="{suspicion:.4f}"><a class="cell" id="t-{field}-{number}" href="#{target}"'
        f' data-p="{probs}">{picture}<span aria-hidden="true">{percent(prob, 0)}</span>{doubt}{said}</a></li>'
    )


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
    field = content.picture_fields[index]
    uri, problem = field_picture(field)
    classes = Counter(cell["class"] for cell in field["cells"])
    summary = ", ".join(f"{n} × {class_words(name)}" for name, n in classes.most_common())
    key = ", ".join(f"{escape(class_short(name))} = {escape(class_words(name))}" for name in classes)
    width, height = field["width"], field["height"]
    if uri:
        alt = escape(f"Field {field['file']} with {plural(len(field['cells']), 'cell')}: {summary}")
        picture = f'<img src="{uri}" alt="{alt}" width="{width}" height="{height}">'
    else:
        picture = f'<svg class="blank" viewBox="0 0 {width} {height}" role="img" aria-label="no picture"></svg>'
    gone = f" <strong>The picture is not shown: {escape(problem)}.</strong>" if problem else ""
    poor = ' <span class="tag">poor quality</span>' if field["status"] == "poor" else ""
    return (
        f'<figure class="field" id="fig-{index}"><div class="frame">{picture}'
        f"{field_overlay(index, field, content.colors)}</div><figcaption>{name_of(field['file'])}{poor}"
        f' — {escape(summary)}.{gone} <span class="key">{key}</span></figcaption></figure>'
    )
