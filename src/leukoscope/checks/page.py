"""The shell of the pages that checks write: one self-contained file, readable without a script."""

import base64
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from leukoscope.files import write_whole
from leukoscope.raster import jpeg_bytes
from leukoscope.report.shell import Shell, page_style
from leukoscope.report.words import escape


def write_page(path: str | Path, *, title: str, meta: str, body: Iterable[str], classes: tuple[str, ...] = ()) -> None:
    """Write one page; `title` and `meta` are plain text, `body` is HTML.

    classes  get the colours k0, k1, … (`page_style`). The file appears whole or not at all.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    before, after = Shell(title, meta, page_style("report.css", "checks.css", classes=classes)).halves()
    with write_whole(path, encoding="utf-8", newline="\n") as file:
        file.write(before)
        for piece in body:
            file.write(piece + "\n")
        file.write(after)


def picture_uri(pixels: np.ndarray, *, quality: int = 82) -> str:
    """Pixels (H, W, 3) uint8 as a JPEG data URI."""
    jpeg = jpeg_bytes(Image.fromarray(np.ascontiguousarray(pixels)), quality)
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def table(head: list[str], rows: list[list[object]], *, caption: str = "", foot: list[object] | None = None) -> str:
    """A table that scrolls sideways where it is too wide; the first column heads its row, the others are numbers."""
    title = f'<caption class="hidden">{escape(caption)}</caption>' if caption else ""
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
