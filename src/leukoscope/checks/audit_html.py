"""The contact sheet of an audit: the pairs that show the same, those across splits first, and what else leaks."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from leukoscope.checks.page import picture_uri, table, write_page
from leukoscope.dataset.audit.check import Audit, describe
from leukoscope.dataset.audit.duplicates import Pair
from leukoscope.dataset.audit.leaks import Side
from leukoscope.dataset.audit.turns import turn_pixels
from leukoscope.errors import ImageError
from leukoscope.images import read_image
from leukoscope.progress import Progress, no_progress
from leukoscope.report.words import class_words, escape, name_of, plural

SHOWN = 200  # pairs on a page: --json has all
_ROWS = 100  # of each table
_SIDE_PX = 200
_GROUND = (240, 240, 240)


def write_audit_page(audit: Audit, path: str | Path, *, n_shown: int = SHOWN, progress: Progress = no_progress) -> None:
    """Write the page; the pictures of the first `n_shown` pairs are read again from the set."""
    n_fields = plural(len(audit.fields), "photograph")
    write_page(
        path,
        title=f"Audit: {' against '.join(d.name for d in audit.datasets)}",
        meta=f"{n_fields} · Made by Leukoscope",
        body=_body(audit, n_shown, progress),
    )


def _body(audit: Audit, n_shown: int, progress: Progress) -> Iterator[str]:
    yield '<section aria-labelledby="found-h"><h2 id="found-h">What was found</h2>'
    rows: list[list[object]] = [
        ["Pairs across splits or data sets", len(audit.leaks)],
        ["Pairs inside one split", len(audit.pairs) - len(audit.leaks)],
        ["Patients on two sides", _straddling(audit, "patient", is_stated=any(f.key.patient_id for f in audit.fields))],
        ["Smears on two sides", _straddling(audit, "smear", is_stated=any(f.key.smear_id for f in audit.fields))],
        ["Cells under two labels", len(audit.two_labels)],
        ["Pictures not read, or changed since the import", len(audit.unreadable) + len(audit.changed)],
    ]
    yield table(["What", "Number"], rows, caption="What the audit found")
    verdict = "Nothing here spoils a result." if audit.is_clean else "A result on these splits is not to be trusted."
    yield f"<p>{verdict}</p>"
    yield "</section>"
    if audit.pairs:
        yield from _pairs(audit, n_shown, progress)
    if audit.straddlers:
        yield from _straddlers(audit)
    if audit.two_labels:
        yield from _two_labels(audit)
    if audit.unreadable or audit.changed:
        yield from _unread(audit)


def _straddling(audit: Audit, kind: str, *, is_stated: bool) -> int | str:
    return sum(s.kind == kind for s in audit.straddlers) if is_stated else "none stated: nobody can say"


def _pairs(audit: Audit, n_shown: int, progress: Progress) -> Iterator[str]:
    chosen = sorted(audit.pairs, key=lambda p: not audit.is_across(p))[:n_shown]
    yield '<section aria-labelledby="pairs-h"><h2 id="pairs-h">Pictures that show the same</h2>'
    yield (
        f'<p class="hint">The first {len(chosen):,} of {len(audit.pairs):,} pairs, those across splits or data sets '
        "first. Above: the first picture, turned and cut as the second shows it. Below: the second as it is.</p>"
    )
    items = []
    for number, pair in enumerate(chosen, 1):
        items.append(_item(audit, number, pair))
        progress(number, len(chosen))
    yield f'<ol class="sheet">{"".join(items)}</ol></section>'


def _item(audit: Audit, number: int, pair: Pair) -> str:
    tag = '<span class="tag urgent">across</span>' if audit.is_across(pair) else '<span class="tag">one split</span>'
    words = describe(pair, audit.fields[pair.first], audit.fields[pair.second])
    same = "" if pair.is_same_file else f"<span>agreement {pair.agreement:.2f}</span>"
    names = "".join(f"<span>{name_of(audit.place(row))}</span>" for row in (pair.first, pair.second))
    pictures = _picture(audit, pair, is_first=True) + _picture(audit, pair, is_first=False)
    return f"<li>{pictures}<b>{number}. {escape(words)}</b>{tag}{same}{names}</li>"


def _picture(audit: Audit, pair: Pair, *, is_first: bool) -> str:
    try:
        pixels = read_image(audit.path(pair.first if is_first else pair.second))
    except ImageError:
        return '<span class="nothumb">the picture can\'t be read any more</span>'
    if is_first:
        pixels = _as_second(pixels, pair)
    square = ImageOps.pad(Image.fromarray(pixels), (_SIDE_PX, _SIDE_PX), Image.Resampling.BILINEAR, _GROUND)
    uri = picture_uri(np.asarray(square))
    return f'<img src="{uri}" alt="" width="{_SIDE_PX}" height="{_SIDE_PX}" loading="lazy">'


def _as_second(pixels: np.ndarray, pair: Pair) -> np.ndarray:
    """The first picture (H, W, 3) turned, and its window: grey where the second shows more than it."""
    turned = np.ascontiguousarray(np.moveaxis(turn_pixels(np.moveaxis(pixels, 2, 0), pair.turn), 0, 2))
    height, width = turned.shape[:2]
    x, y, w, h = pair.window
    corners = (round(x * width), round(y * height), round((x + w) * width), round((y + h) * height))
    out = Image.new("RGB", (max(corners[2] - corners[0], 1), max(corners[3] - corners[1], 1)), _GROUND)
    out.paste(Image.fromarray(turned), (-corners[0], -corners[1]))
    return np.asarray(out)


def _straddlers(audit: Audit) -> Iterator[str]:
    yield '<section aria-labelledby="sides-h"><h2 id="sides-h">Patients and smears on two sides</h2>'
    rows: list[list[object]] = []
    for straddler in audit.straddlers[:_ROWS]:
        who = " ".join(w for w in (straddler.center, straddler.patient_id, straddler.smear_id) if w)
        rows.append([f"{straddler.kind} {who}", ", ".join(f"{side_words(audit, s)} {n}" for s, n in straddler.sides)])
    yield table(["Who", "Photographs on each side"], rows, caption="Patients and smears on two sides")
    yield _more(len(audit.straddlers)) + "</section>"


def _two_labels(audit: Audit) -> Iterator[str]:
    yield '<section aria-labelledby="labels-h"><h2 id="labels-h">One cell under two labels</h2>'
    rows: list[list[object]] = []
    for copies in audit.two_labels[:_ROWS]:
        place = audit.place(copies.first)
        other = "the same photograph" if copies.first == copies.second else audit.place(copies.second)
        rows.append([place, class_words(copies.first_class), other, class_words(copies.second_class)])
    yield table(["Photograph", "Label", "Photograph", "Label"], rows, caption="Cells under two labels")
    yield _more(len(audit.two_labels)) + "</section>"


def _unread(audit: Audit) -> Iterator[str]:
    yield '<section aria-labelledby="unread-h"><h2 id="unread-h">Pictures not read, or changed</h2>'
    rows: list[list[object]] = [[audit.place(row), why] for row, why in sorted(audit.unreadable.items())]
    rows += [[audit.place(row), "not the file that was imported"] for row in audit.changed]
    yield table(["Photograph", "Why"], rows[:_ROWS], caption="Pictures not read, or changed since the import")
    yield _more(len(rows)) + "</section>"


def side_words(audit: Audit, side: Side) -> str:
    """ "train", or "bccd train" where two data sets are audited."""
    name = f"{audit.datasets[side.dataset].name} " if len(audit.datasets) > 1 else ""
    return name + (side.split or "no split")


def _more(n: int) -> str:
    return f'<p class="hint">{n - _ROWS:,} more are in the JSON output.</p>' if n > _ROWS else ""
