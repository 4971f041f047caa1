"""The shell of a study's page: one self-contained file, readable without a script, on paper and on a telephone."""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from leukoscope.checks.page import picture_uri
from leukoscope.report.shell import Shell, page_style
from leukoscope.report.words import escape

USE = "Research use only — not a diagnosis, and not for making one; a morphologist must review"


@dataclass(frozen=True, slots=True)
class Section:
    """One part of a study's page: `anchor` is its id, `title` plain text, `body` HTML."""

    anchor: str
    title: str
    body: str


def study_page(
    title: str, notices: Sequence[str], sections: Sequence[Section], *, meta: str = "", first: str = ""
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
    before, after = Shell(title, meta, page_style("report.css", "studies.css"), use=USE).halves()
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
