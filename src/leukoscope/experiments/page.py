"""The shell of a study's page: one self-contained file, readable without a script, on paper and on a telephone."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from leukoscope.checks.page import picture_uri
from leukoscope.report.shell import Shell, page_style
from leukoscope.report.words import escape

USE = "Research use only — not a diagnosis, and not for making one; a morphologist must review"

_STYLE = """
.notices { list-style: none; padding: 0; margin: 0 0 1rem; display: grid; gap: .6rem; }
.notices .alert { margin: 0; }
.contents { columns: 2 16rem; padding-left: 1.2rem; margin: .75rem 0 0; font-size: .95rem; }
.contents li { margin: .15rem 0; break-inside: avoid; }
main h3 { margin: 1.6rem 0 .5rem; }
.plots { display: grid; gap: 1.1rem; margin: 1rem 0; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); align-items: start; }
.plots figure { margin: 0; min-width: 0; background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .6rem; }
.plots figure.wide { grid-column: 1 / -1; }
.plots img { display: block; width: 100%; max-width: 560px; height: auto; margin: 0 auto; background: #fff; border-radius: 4px; }
.plots .wide img { max-width: 1000px; }
.gallery-grid { list-style: none; padding: 0; margin: 1rem 0; display: grid; gap: .7rem; grid-template-columns: repeat(auto-fill, minmax(112px, 1fr)); }
.gallery-grid li { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .4rem; font-size: .8rem; line-height: 1.35; min-width: 0; }
.gallery-grid img { display: block; width: 100%; height: auto; aspect-ratio: 1; border-radius: 4px; background: var(--rail); margin-bottom: .3rem; }
.gallery-grid b, .gallery-grid span { display: block; }
.gallery-grid span { color: var(--quiet); overflow-wrap: anywhere; }
.results { font-size: .88rem; }
.results th, .results td { padding: .32rem .55rem; vertical-align: top; }
.results thead th { white-space: normal; vertical-align: bottom; min-width: 4.2rem; }
.results tbody th { font-weight: 600; min-width: 8rem; }
.results .number { text-align: right; white-space: nowrap; }
.results thead .number { white-space: normal; }
.results .number small { display: block; font-size: .8em; }
.results td.text { min-width: 5.5rem; }
.results td.remark { min-width: 13rem; max-width: 26rem; }
"""  # noqa: E501


@dataclass(frozen=True, slots=True)
class Section:
    """One part of a study's page: `anchor` is its id, `title` plain text, `body` HTML."""

    anchor: str
    title: str
    body: str


def study_page(
    title: str,
    notices: Sequence[str],
    sections: Sequence[Section],
    *,
    meta: str = "",
    first: str = "",
) -> str:
    """The page as one HTML text that loads nothing from anywhere.

    title, meta  plain text; notices: plain text that a reader must not miss (a leaking split), shown before all else
    first        HTML of the first page, before the contents: data, split, audit, machine, commit
    """
    warned = "".join(f'<li class="alert">{escape(n)}</li>' for n in notices)
    contents = "".join(f'<li><a href="#{s.anchor}">{escape(s.title)}</a></li>' for s in sections)
    body = "".join(
        f'<section id="{s.anchor}" aria-labelledby="{s.anchor}-h"><h2 id="{s.anchor}-h">{escape(s.title)}</h2>\n'
        f"{s.body}\n</section>\n"
        for s in sections
    )
    before, after = Shell(title, meta, page_style("report.css", more=_STYLE), use=USE).halves()
    listed = f'<ul class="notices">{warned}</ul>\n' if warned else ""
    nav = f'<nav aria-label="Contents"><ol class="contents">{contents}</ol></nav>'
    return f"{before}{listed}{first}\n{nav}\n{body}{after}"


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """A list of facts: name and value, plain text."""
    return '<dl class="facts">' + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in pairs) + "</dl>"


def paragraph(text: str, *, kind: str = "") -> str:
    """Plain text as a paragraph; kind "hint" is quieter, "alert" is not to be missed."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def image_uri(image: bytes) -> str:
    """A data URI of a PNG, JPEG or SVG, told by its first bytes."""
    kinds = ((b"\x89PNG", "image/png"), (b"\xff\xd8", "image/jpeg"))
    kind = next((k for magic, k in kinds if image.startswith(magic)), "image/svg+xml")
    return f"data:{kind};base64,{base64.b64encode(image).decode('ascii')}"


def figure(image: bytes, caption: str, *, wide: bool = False) -> str:
    """One picture with its caption (plain text, also what a screen reader says)."""
    return (
        f'<figure{" class=wide" if wide else ""}><img src="{image_uri(image)}" alt="{escape(caption)}" loading="lazy">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def plots(figures: Sequence[str]) -> str:
    """Figures (HTML of `figure`) side by side where the screen is wide enough."""
    return f'<div class="plots">{"".join(figures)}</div>' if figures else ""


def gallery(items: Sequence[tuple[np.ndarray, str, str]]) -> str:
    """Cells as a grid: (crop (S, S, 3) uint8, a line in bold, quieter lines)."""
    listed = "".join(
        f'<li><img src="{picture_uri(crop)}" alt="" loading="lazy"><b>{escape(line)}</b>'
        f"<span>{escape(rest)}</span></li>"
        for crop, line, rest in items
    )
    return f'<ol class="gallery-grid">{listed}</ol>' if items else ""
