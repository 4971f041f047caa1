"""The shell of the pages that checks write: one self-contained file, readable without a script."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

from leukoscope.report.words import USE, escape

_STYLE = """
.sheet { list-style: none; padding: 0; margin: 1rem 0; display: grid; gap: .9rem; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); }
.sheet li { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .5rem; font-size: .84rem; min-width: 0; }
.sheet img { display: block; width: 100%; height: auto; aspect-ratio: 1; border-radius: 4px; background: var(--rail); margin-bottom: .35rem; }
.sheet b, .sheet span { display: block; }
.sheet span { color: var(--quiet); }
.counts-wide li { grid-template-columns: 9.3rem minmax(2rem, 1fr) 8rem; }
.counts-wide .value { grid-template-columns: 1fr 4rem; }
main h3 { margin: 1.5rem 0 .5rem; }
.answers dt { font-size: .92rem; color: var(--ink); margin-top: .9rem; }
.answers dd { color: var(--quiet); }
.answers .blank { color: var(--note); font-weight: 600; }
"""  # noqa: E501


def write_page(path: str | Path, *, title: str, meta: str, body: Iterable[str]) -> None:
    """Write one page; `title` and `meta` are plain text, `body` is HTML. The file appears whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    style = (files("leukoscope.report") / "report.css").read_text("utf-8") + _STYLE
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    partial = path.with_name(path.name + ".part")
    with open(partial, "w", encoding="utf-8", newline="\n") as file:
        file.write(
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            '<meta name="color-scheme" content="light dark">\n'
            f"<title>{escape(title)}</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>{style}</style>\n</head>\n"
            f'<body>\n<div class="banner" role="note">{USE}</div>\n<main id="main">\n'
            f'<header class="top"><h1>{escape(title)}</h1><p class="meta">{escape(meta)}</p></header>\n'
        )
        for piece in body:
            file.write(piece + "\n")
        file.write("</main>\n</body>\n</html>\n")
    partial.replace(path)


def picture_uri(pixels: np.ndarray, *, quality: int = 82) -> str:
    """Pixels (H, W, 3) uint8 as a JPEG data URI."""
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(out, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")


def table(head: list[str], rows: list[list[object]], *, caption: str = "", foot: list[object] | None = None) -> str:
    """A table that scrolls sideways where it is too wide; the first column heads its row, the others are numbers."""
    title = f"<caption class=\"hidden\">{escape(caption)}</caption>" if caption else ""
    heads = "".join(f'<th scope="col">{escape(h)}</th>' for h in head)
    body = "".join(_row(r) for r in rows)
    last = f"<tfoot>{_row(foot)}</tfoot>" if foot else ""
    return (
        f'<div class="scroll" tabindex="0"><table class="counts">{title}<thead><tr>{heads}</tr></thead>'
        f"<tbody>{body}</tbody>{last}</table></div>"
    )


def _row(values: list[object]) -> str:
    shown = [f"{v:,}" if isinstance(v, int) else "–" if v is None else str(v) for v in values]
    cells = "".join(f"<td>{escape(v)}</td>" for v in shown[1:])
    return f'<tr><th scope="row">{escape(shown[0])}</th>{cells}</tr>'
