"""The contact sheet of suspects: the first of the list, each drawn in its photograph with what is doubted."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from leukoscope.checks.page import picture_uri, table, write_page
from leukoscope.checks.suspect import KIND_WORDS, KINDS, Suspect
from leukoscope.checks.suspects import Suspects
from leukoscope.errors import ImageError
from leukoscope.images import read_field
from leukoscope.progress import Progress, no_progress
from leukoscope.report.words import class_words, escape, name_of, plural

SHOWN = 200  # on a page: the list has all
_SIDE_PX = 200
_CONTEXT = 0.9  # of the box's longer side, on every side: enough to see what lies beside it
_LINE = (230, 20, 90)
_OTHER_LINE = (40, 110, 220)


def write_sheet(
    suspects: Suspects, path: str | Path, *, n_shown: int = SHOWN, progress: Progress = no_progress
) -> None:
    """Write the contact sheet of the `n_shown` most suspect rows; pictures are read again from the set."""
    chosen = suspects.rows[:n_shown]
    write_page(
        path,
        title=f"Suspect annotations: {suspects.dataset.name}",
        meta=_meta(suspects),
        body=_body(suspects, chosen, _thumbnails(suspects, chosen, progress)),
    )


def _meta(suspects: Suspects) -> str:
    models = ", ".join(suspects.models.values()) or "no model"
    return f"{plural(len(suspects.rows), 'row')} in the list · Models: {models} · Made by Leukoscope"


def _body(suspects: Suspects, chosen: tuple[Suspect, ...], pictures: list[str | None]) -> Iterator[str]:
    contradicting = suspects.contradicting()
    counts, of_kind = Counter(s.kind for s in contradicting), Counter(s.kind for s in suspects.rows)
    yield '<section aria-labelledby="what-h"><h2 id="what-h">What was looked for</h2>'
    yield (
        f"<p>{plural(len(contradicting), 'row')} of {len(suspects.rows):,} contradict the annotation (suspicion above "
        "0.5). A suspicion is a model's view, not a finding: look at the cell, then decide.</p>"
    )
    rows: list[list[object]] = [[KIND_WORDS[k], counts[k], of_kind[k]] for k in KINDS if of_kind[k]]
    yield table(["Kind", "Contradict", "In the list"], rows, caption="Rows of the list by kind")
    if suspects.notes:
        yield '<ul class="plain">' + "".join(f"<li>{escape(n)}</li>" for n in suspects.notes) + "</ul>"
    yield "</section>"
    yield '<section aria-labelledby="first-h"><h2 id="first-h">The most suspect first</h2>'
    yield (
        f'<p class="hint">The first {len(chosen):,} of {len(suspects.rows):,} rows. Red: what is doubted. Blue: other '
        "annotated cells beside it.</p>"
    )
    items = (_item(n, s, uri) for n, (s, uri) in enumerate(zip(chosen, pictures, strict=True), 1))
    yield f'<ol class="sheet">{"".join(items)}</ol></section>'


def _item(rank: int, suspect: Suspect, uri: str | None) -> str:
    picture = (
        f'<img src="{uri}" alt="" width="{_SIDE_PX}" height="{_SIDE_PX}" loading="lazy">'
        if uri
        else '<span class="nothumb">the picture can\'t be read any more</span>'
    )
    lines = [f"<b>{rank}. {escape(_doubt(suspect))}</b>", f"<span>suspicion {suspect.suspicion:.2f}</span>"]
    if suspect.detail:
        lines.append(f"<span>{escape(suspect.detail)}</span>")
    lines.append(f"<span>{name_of(suspect.field.file)}</span>")
    if suspect.field.key.patient_id:
        lines.append(f"<span>patient {name_of(suspect.field.key.patient_id)}</span>")
    return f"<li>{picture}{''.join(lines)}</li>"


def _doubt(suspect: Suspect) -> str:
    """What is doubted, in one line: "labelled lymphocyte, looks like monocyte"."""
    if suspect.kind != "wrong_type":
        return KIND_WORDS[suspect.kind]
    label = suspect.field.cells[suspect.row].class_name
    return f"labelled {class_words(label)}, looks like {class_words(suspect.says)} ({suspect.p_says:.2f})"


def _thumbnails(suspects: Suspects, chosen: tuple[Suspect, ...], progress: Progress) -> list[str | None]:
    """One data URI a row, each photograph read once; None where it can't be read any more."""
    by_field: dict[str, list[int]] = defaultdict(list)
    for number, suspect in enumerate(chosen):
        by_field[suspect.field.key.field_id].append(number)
    uris: list[str | None] = [None] * len(chosen)
    for done, numbers in enumerate(by_field.values(), 1):
        field = chosen[numbers[0]].field
        try:
            pixels = read_field(suspects.dataset.path(field), field.key).pixels
        except ImageError:
            continue
        for number in numbers:
            uris[number] = picture_uri(_drawn(pixels, chosen[number]))
        progress(done, len(by_field))
    return uris


def _drawn(pixels: np.ndarray, suspect: Suspect) -> np.ndarray:
    """The surroundings of the doubted box as a square picture, the boxes drawn in."""
    x0, y0, x1, y1 = suspect.box
    longer = max(x1 - x0, y1 - y0)
    side = max(longer, min(longer * (1 + 2 * _CONTEXT), max(pixels.shape[:2])))
    left, top = (x0 + x1 - side) / 2, (y0 + y1 - side) / 2
    scale = _SIDE_PX / side
    view = Image.fromarray(pixels).transform(
        (_SIDE_PX, _SIDE_PX),
        Image.Transform.AFFINE,
        (1 / scale, 0, left, 0, 1 / scale, top),
        Image.Resampling.BILINEAR,
        fillcolor=(240, 240, 240),
    )
    draw = ImageDraw.Draw(view)
    for row, cell in enumerate(suspect.field.cells):
        if row != suspect.row and cell.class_name != "red_cell":
            draw.rectangle(_placed(cell.box, left, top, scale), outline=_OTHER_LINE, width=1)
    draw.rectangle(_placed(suspect.box, left, top, scale), outline=_LINE, width=3)
    return np.asarray(view)


def _placed(box: tuple[float, ...], left: float, top: float, scale: float) -> list[float]:
    return [(v - start) * scale for v, start in zip(box, (left, top, left, top), strict=True)]
