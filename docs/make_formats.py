"""Write the tables of formats in docs/format.md from `leukoscope.dataset.formats`: python docs/make_formats.py"""

from __future__ import annotations

import re
from pathlib import Path

from leukoscope.dataset.formats import FORMATS

PAGE = Path(__file__).resolve().parent / "format.md"


def tables() -> dict[str, str]:
    """{mark in the page: Markdown table}."""
    read = [f"| `{f.name}` | {f.reads.says} |" for f in FORMATS if f.reads]
    written = [f"| `{f.name}` | {f.writes.says} | {f.writes.beside} |" for f in FORMATS if f.writes]
    return {
        "formats read": "\n".join(["| `FORMAT` | reads |", "|---|---|", *read]),
        "formats written": "\n".join(
            ["| `FORMAT` | annotations | what it can't hold, and where that stands |", "|---|---|---|", *written]
        ),
    }


def written_into(page: str) -> str:
    """The page with both tables between their marks."""
    for mark, table in tables().items():
        pattern = rf"(<!-- {mark}: [^>]*-->\n).*?(<!-- end -->)"
        page = re.sub(pattern, lambda found, table=table: found[1] + table + "\n" + found[2], page, flags=re.DOTALL)
    return page


if __name__ == "__main__":
    PAGE.write_text(written_into(PAGE.read_text("utf-8")), "utf-8")
