"""The cells of one patient: the most suspicious first, then the others by class, each as it was photographed."""

from collections.abc import Iterator

from leukoscope.entries import CellEntry, FieldEntry
from leukoscope.report.charts import SCALE_BAR_UM
from leukoscope.report.content import Content
from leukoscope.report.pictures import CellView
from leukoscope.report.words import cell_words, class_short, class_words, escape, percent, plural

SUSPICIOUS = 0.1  # from which on the probability of a blast is written on a cell that is called something else
_SHOWN_PROBS = 4


def worst_cells(content: Content, row: int) -> str:
    """The most suspicious cells of any class: on the screen, and on the printed page."""
    keys = content.plan.worst.get(row, [])
    if not keys:
        return '<div class="worst"><h3>Cells</h3><p class="empty">No cells were found.</p></div>'
    items = "".join(_tile(content, key) for key in keys)
    return (
        f'<div class="worst"><h3>The {plural(len(keys), "most suspicious cell")}</h3><p class="hint">By the summed'
        f" probability of the blast classes, whatever each is called. Choose a cell to see it in its field.</p><ul"
        f' class="cells" data-group="worst">{items}</ul></div>'
    )


def gallery(content: Content, row: int) -> Iterator[str]:
    """The other cells by class, blasts first, most suspicious first within a class."""
    names, blasts = content.record.taxonomy.names, content.record.taxonomy.blasts
    columns = [c for c in range(len(names)) if content.plan.totals.get((row, c))]
    columns.sort(key=lambda c: (names[c] not in blasts, c))
    total = sum(content.plan.totals[row, c] for c in columns)
    shown = content.plan.shown(row, columns)
    if not total:
        return
    more = f" {shown:,} of {total:,} are shown; the other {total - shown:,} are in cells.csv." if shown < total else ""
    yield (
        f'<div class="gallery" id="g-{row}"><div class="bar-head"><h3>Cells by class</h3>{_switches(content)}<label'
        ' class="script-only">Order <select class="order"><option value="worst">most suspicious, then by class</option>'
        '<option value="class">all by class</option><option value="suspicion">all, most suspicious first</option>'
        f'</select></label></div><p class="hint">Most suspicious first within a class.{more}</p>'
    )
    for c in columns:
        yield _group(content, row, c)
    yield "</div>"


def _group(content: Content, row: int, column: int) -> str:
    name, keys = content.record.taxonomy.names[column], content.plan.gallery.get((row, column), [])
    total = content.plan.totals[row, column]
    above = sum(content.cell(key)["class"] == name for key in content.plan.worst[row])
    count = plural(total, "cell") + (f", {above:,} of them above" if above else "")
    if len(keys) + above < total:
        count += f"; {len(keys) + above:,} are shown"
    items = "".join(_tile(content, key) for key in keys)
    return (
        f'<div class="group" data-column="{column}"><h4 data-words="{escape(class_words(name))}"><svg class="chip"'
        f' width="12" height="12" aria-hidden="true"><rect class="fill k{column}" width="12" height="12" rx="3"/></svg>'
        f' {escape(class_words(name))} <small>{count}</small></h4><ul class="cells"'
        f' data-group="{column}">{items}</ul></div>'
    )


def _switches(content: Content) -> str:
    words = '<label><input type="checkbox" class="sw-words"> words</label> ' if content.record.attributes else ""
    model = '<label><input type="checkbox" class="sw-model"> as the model sees it</label>'
    return f'<span class="switches">{words}{model}</span>'


def _tile(content: Content, key: tuple[int, int]) -> str:
    field, number = key
    cell, view = content.cell(key), content.thumbs.view(key)
    name, names = cell["class"], content.record.taxonomy.names
    column, blast = names.index(name), name in content.record.taxonomy.blasts
    prob, suspicion = cell["probs"].get(name, 0.0), cell["suspicion"]
    words = f"{class_words(name)}, probability {percent(prob, 0)}, suspicion {percent(suspicion, 0)}"
    large = view is not None and view.large
    called = class_words(name) if large else class_short(name)
    doubt = f'<span class="doubt">blast {percent(suspicion, 0)}</span>' if suspicion >= SUSPICIOUS and not blast else ""
    said = "".join(
        f"<span><b>{escape(part)}</b> {escape(text)}</span> "
        for part, text in cell_words(cell.get("attributes", {}), content.record.attributes)
    )
    said = f'<span class="said">{said}</span>' if said else ""
    unsure = "" if cell.get("identified", True) else '<span class="doubt">not identified</span>'
    target = f"c-{field}-{number}" if field in content.pictured else f"t-{field}-{number}"
    facts = f' data-p="{_top_probs(cell, names)}" data-file="{escape(content.fields[field]["file"])}"'
    return (
        f'<li data-s="{suspicion:.4f}" data-c="{column}"{" class=large" if large else ""}><a class="cell"'
        f' id="t-{field}-{number}" href="#{target}"{facts}>{_pictures(content, field, view, words)}'
        f'<span class="called"><svg class="chip" width="9" height="9" aria-hidden="true"><rect class="fill k{column}"'
        f' width="9" height="9" rx="2"/></svg> {escape(called)} {percent(prob, 0)}</span>{doubt}{unsure}{said}</a></li>'
    )


def _top_probs(cell: CellEntry, names: tuple[str, ...]) -> str:
    """ "column:percent" of the classes that are most probable."""
    columns = {name: c for c, name in enumerate(names)}
    top = sorted(cell["probs"].items(), key=lambda item: -item[1])[:_SHOWN_PROBS]
    return " ".join(f"{columns[name]}:{100 * p:.0f}" for name, p in top if name in columns and p >= 0.005)


def _pictures(content: Content, field: int, view: CellView | None, words: str) -> str:
    """The photograph and, below a switch, the classifier's crop; a scale bar where the scale is known."""
    if view is None:
        return f'<span class="nothumb">no picture<span class="hidden">: {escape(words)}</span></span>'
    side = 224 if view.large else 96
    shape = f'width="{side}" height="{side}" decoding="async"'
    photo = f'<img class="photo" src="{view.photo}" alt="{escape(words)}" {shape}>'
    model = ""
    if view.model is not None:
        alt = escape(f"as the model sees it: {words}")
        model = f'<img class="model" src="{view.model}" alt="{alt}" {shape}>'
    return f'<span class="shot">{photo}{model}{_ruler(content.fields[field], view)}</span>'


def _ruler(field: FieldEntry, view: CellView) -> str:
    """A bar of SCALE_BAR_UM on a large picture."""
    if not view.large or not view.side_px or not field["um_per_px"]:
        return ""
    share = 100 * SCALE_BAR_UM / field["um_per_px"] / view.side_px
    if not 4 < share < 90:
        return ""
    about = "≈ " if field.get("scale_from") == "red_cells" else ""
    lines = "".join(
        f'<line class="{kind}" x1="{94 - share:.1f}%" x2="94%" y1="95%" y2="95%"/>' for kind in ("scale-halo", "scale")
    )
    return (
        f'<svg class="ruler" aria-hidden="true">{lines}<text class="scale-text" x="94%" y="95%" dy="-5"'
        f' text-anchor="end">{about}{SCALE_BAR_UM} µm</text></svg>'
    )
