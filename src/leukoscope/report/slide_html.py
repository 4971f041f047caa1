"""The map of a slide: its picture at low power, what was counted of it, and why the rest was not."""

from collections.abc import Iterator
from itertools import groupby

from leukoscope.entries import SlideEntry
from leukoscope.images.slides.monolayer import COUNTED, OUTSIDE, VERDICTS
from leukoscope.report.content import Content
from leukoscope.report.words import escape, name_of
from leukoscope.scale import RED_CELL_UM, scale_doubt

_PLAIN = ".O"  # letters that the map leaves as they are: glass, and what was not looked at


def slide_maps(content: Content, row: int) -> Iterator[str]:
    """HTML of every slide of a patient, each with its map; nothing where the patient has none."""
    patient_id = content.record.patients[row]["patient_id"]
    slides = [slide for slide in content.record.slides if slide["patient_id"] == patient_id]
    if slides:
        yield '<div class="slides"><h3>Where on the slide</h3>'
        for slide in slides:
            yield _figure(slide, content.slide_pictures.get(slide))
        yield "</div>"


def _figure(slide: SlideEntry, picture: str | None) -> str:
    """One slide: the map over its picture, the legend with areas, and what the file says."""
    rows, columns = len(slide["map"]), len(slide["map"][0])
    width, height = slide["width"] / slide["tile_px"], slide["height"] / slide["tile_px"]
    below = "" if picture is None else (
        f'<image href="data:image/jpeg;base64,{picture}" width="{width:.3f}" height="{height:.3f}"'
        ' preserveAspectRatio="none"/>'
    )  # fmt: skip
    boxes = "".join(
        f'<rect class="v{letter}" x="{x}" y="{y}" width="{n}" height="1"/>'
        for y, line in enumerate(slide["map"])
        for letter, x, n in _runs(line)
        if letter not in _PLAIN
    )
    words = "; ".join(f"{mm2:g} mm² {VERDICTS[v]}" for v, mm2 in _by_area(slide))
    alt = escape(f"Map of {slide['file']}, {columns} by {rows} tiles: {words}")
    legend = "".join(
        f'<li><span class="swatch v{letter}" aria-hidden="true"></span>{escape(VERDICTS[letter])}: {mm2:,.1f} mm²</li>'
        for letter, mm2 in _by_area(slide)
    )
    return (
        f'<figure class="slide"><svg viewBox="0 0 {width:.3f} {height:.3f}" role="img" aria-label="{alt}">'
        f"{below}{boxes}</svg><figcaption><b>{name_of(slide['file'])}</b> {_facts(slide)}<ul>{legend}</ul>"
        f"{_doubt(slide)}</figcaption></figure>"
    )


def _runs(line: str) -> Iterator[tuple[str, int, int]]:
    """(letter, first column, how many) of each run of equal letters."""
    start = 0
    for letter, same in groupby(line):
        n = len(list(same))
        yield letter, start, n
        start += n


def _by_area(slide: SlideEntry) -> list[tuple[str, float]]:
    """Letters and mm², what was counted first, then by area."""
    return sorted(slide["mm2"].items(), key=lambda item: (item[0] != COUNTED, -item[1]))


def _facts(slide: SlideEntry) -> str:
    scale = f"{slide['um_per_px']:g} µm/px by the file" if slide["um_per_px"] else "no scale in the file"
    planes = f", {slide['n_planes']} planes of focus" if slide["n_planes"] > 1 else ""
    how = "everything was counted (--whole)" if slide["whole"] else f"counted in {slide['n_regions']:,} regions"
    return (
        f"{slide['width']:,} × {slide['height']:,} px, {scale}{planes}, read by {escape(slide['reader'])}; {how}."
        + (" Where nothing is coloured the slide was not looked at." if OUTSIDE in slide["mm2"] else "")
    )


def _doubt(slide: SlideEntry) -> str:
    """What to know where the file's scale and the red cells differ."""
    um_per_px, red_px = slide["um_per_px"], slide["red_cell_px"]
    if um_per_px is None or scale_doubt(um_per_px, um_per_px=um_per_px, red_px=red_px) is None:
        return ""
    return (
        f'<p class="doubtful">With the file\'s scale red cells would be {um_per_px * red_px:.1f} µm wide, not about '
        f"{RED_CELL_UM:g} µm: check the scale (--um-per-px).</p>"
    )
