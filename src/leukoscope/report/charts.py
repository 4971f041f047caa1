"""Inline SVG: a ratio's interval against the bands, the boxes over a field.

Positions are percentages and there is no viewBox, so text and lines keep their size at every width.
"""

from dataclasses import dataclass

from leukoscope.entries import CellEntry, FieldEntry, RatioEntry
from leukoscope.report.words import BAND_EDGES, bands_covered, class_short, class_words, escape, percent, ratio_words

_TICKS = (0.0, *BAND_EDGES, 0.5, 1.0)
SCALE_BAR_UM = 10
DRAWN_WIDTH = 560  # CSS px of a field beside another one on a wide screen
LETTER_WIDTH = 7.4  # CSS px, at the size of the labels in report.css
LINE_HEIGHT = 14


def _x(share: float) -> float:
    """Place of a share on the ratio axis, percent of its width; a square-root axis sets 5, 10 and 20 % apart."""
    return 100 * max(0.0, min(1.0, share)) ** 0.5


def interval_bar(ratio: RatioEntry, *, small: bool = False, banded: bool | None = None) -> str:
    """A ratio's interval (line) and value (diamond) on a square-root axis.

    banded  whether the lines at 5, 10 and 20 % are drawn; None: where the ratio may be read against them
    The bands between them are named only where the ratio has one: else the lines are for orientation.
    """
    if ratio["value"] is None:
        return ""
    top, height = (0, 20) if small else (18, 62)
    body = 20 if small else 26
    banded = bool(ratio.get("lines")) if banded is None else banded
    parts = [
        (
            _bands(top, body, labels=not small and ratio["band"] is not None)
            if banded
            else f'<rect class="zone z0" x="0" y="{top}" width="100%" height="{body}"/>'
        )
    ]
    if not small:
        parts.append(_ticks(top + body))
    low, value, high = _x(ratio["low"]), _x(ratio["value"]), _x(ratio["high"])
    middle = top + body / 2
    parts.append(
        f'<line class="whisker" x1="{low:.2f}%" x2="{high:.2f}%" y1="{middle}" y2="{middle}"/>'
        f'<line class="cap" x1="{low:.2f}%" x2="{low:.2f}%" y1="{middle - 5}" y2="{middle + 5}"/>'
        f'<line class="cap" x1="{high:.2f}%" x2="{high:.2f}%" y1="{middle - 5}" y2="{middle + 5}"/>'
        f'<svg class="over" x="{value:.2f}%" y="{middle}"><path class="point" d="M0-7 6 0 0 7-6 0Z"/></svg>'
    )
    words = escape(f"{class_words(ratio['name'])}: {ratio_words(ratio)}")
    size = "small" if small else "large"
    return (
        f'<svg class="interval {size}" width="100%" height="{height}" role="img"'
        f' aria-label="{words}">{"".join(parts)}</svg>'
    )


def _bands(top: float, height: float, *, labels: bool) -> str:
    edges = (0.0, *BAND_EDGES, 1.0)
    names = ("&lt; 5", "5–9", "10–19", "≥ 20 %")
    parts = []
    for number, name in enumerate(names):
        left, right = _x(edges[number]), _x(edges[number + 1])
        parts.append(
            f'<rect class="zone z{number}" x="{left:.2f}%" y="{top}" width="{right - left:.2f}%" height="{height}"/>'
        )
        if labels:
            parts.append(f'<text class="band" x="{(left + right) / 2:.2f}%" y="12" text-anchor="middle">{name}</text>')
    for edge in BAND_EDGES:
        parts.append(f'<line class="edge" x1="{_x(edge):.2f}%" x2="{_x(edge):.2f}%" y1="{top}" y2="{top + height}"/>')
    return "".join(parts)


def _ticks(y: float) -> str:
    parts = []
    for tick in _TICKS:
        anchor = {0.0: "start", 1.0: "end"}.get(tick, "middle")
        text = f"{100 * tick:.0f}" + ("\u00a0%" if tick == 1 else "")
        parts.append(f'<text class="tick" x="{_x(tick):.2f}%" y="{y + 14}" text-anchor="{anchor}">{text}</text>')
    return "".join(parts)


def field_overlay(index: int, field: FieldEntry, colors: dict[str, str]) -> str:
    """Boxes and labels of one field as an SVG that lies over its picture; each box has the anchor c-FIELD-CELL.

    Labels are the class in words where they have room at DRAWN_WIDTH, else its short form; the page's style takes the
    short form on small screens.
    """
    labels = [_label(field, cell) for cell in field["cells"]]
    dense = " dense" if _collide(labels, field) else ""
    boxes = "".join(
        _box(f"c-{index}-{n}", label, colors[cell["class"]])
        for n, (label, cell) in enumerate(zip(labels, field["cells"], strict=True))
    )
    return f'<svg class="overlay{dense}" width="100%" height="100%" aria-hidden="true">{_scale_bar(field)}{boxes}</svg>'


@dataclass(frozen=True, slots=True)
class _Label:
    """A cell's box (percent of the field) and its label: which side it starts from, and whether below the box."""

    box: tuple[float, float, float, float]
    words: str
    short: str
    right: bool
    below: bool


def _label(field: FieldEntry, cell: CellEntry) -> _Label:
    sides = (field["width"], field["height"]) * 2
    x0, y0, x1, y1 = (100 * value / side for value, side in zip(cell["box"], sides, strict=True))
    prob = percent(cell["probs"].get(cell["class"], 0.0), 0)
    words, short = class_words(cell["class"]), class_short(cell["class"])
    return _Label((x0, y0, x1, y1), f"{words} {prob}", f"{short} {prob}", right=(x0 + x1) / 2 > 55, below=y0 < 6)


def _collide(labels: list[_Label], field: FieldEntry) -> bool:
    """Whether two labels in words overlap where the field is drawn DRAWN_WIDTH px wide."""
    height = DRAWN_WIDTH * field["height"] / field["width"]
    places = []
    for label in labels:
        x0, y0, x1, y1 = label.box
        wide = LETTER_WIDTH * len(label.words)
        left = x1 * DRAWN_WIDTH / 100 - wide if label.right else x0 * DRAWN_WIDTH / 100
        base = y1 * height / 100 + 15 if label.below else y0 * height / 100 - 5
        places.append((left, base, left + wide))
    places.sort(key=lambda place: place[1])
    for number, (left, base, right) in enumerate(places):
        for other_left, other_base, other_right in places[number + 1 :]:
            if other_base - base > LINE_HEIGHT:
                break
            if left < other_right and other_left < right:
                return True
    return False


def _box(anchor_id: str, label: _Label, color: str) -> str:
    x0, y0, x1, y1 = label.box
    place = f'x="{x0:.2f}%" y="{y0:.2f}%" width="{x1 - x0:.2f}%" height="{y1 - y0:.2f}%"'
    position = (
        f'x="{x1 if label.right else x0:.2f}%" y="{y1 if label.below else y0:.2f}%" dy="{15 if label.below else -5}"'
    )
    if label.right:
        position += ' text-anchor="end"'
    words = escape(label.words)
    return (
        f'<g class="box" id="{anchor_id}"><title>{words}</title>'
        f'<rect class="halo" {place}/><rect class="line" {place} stroke="{color}"/>'
        f'<text class="long" {position}>{words}</text><text class="short" {position}>{escape(label.short)}</text></g>'
    )


def _scale_bar(field: FieldEntry) -> str:
    if not field["um_per_px"]:
        return ""
    length = 100 * SCALE_BAR_UM / field["um_per_px"] / field["width"]
    if length > 60:
        return ""
    lines = "".join(
        f'<line class="{kind}" x1="2%" x2="{2 + length:.2f}%" y1="97%" y2="97%"/>' for kind in ("scale-halo", "scale")
    )
    about = "≈ " if field.get("scale_from") == "red_cells" else ""
    return f'{lines}<text class="scale-text" x="2%" y="97%" dy="-6">{about}{SCALE_BAR_UM} µm</text>'


def straddles(ratio: RatioEntry) -> str | None:
    """ "the interval reaches from 5–9 % to 20 % or more", or None where it lies within one band."""
    if ratio["value"] is None or ratio["band"] is None:
        return None
    names = bands_covered(ratio["low"], ratio["high"])
    return f"The interval reaches from band {names[0]} to band {names[-1]}." if len(names) > 1 else None
