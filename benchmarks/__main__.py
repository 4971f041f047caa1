"""`python -m benchmarks`: which measurements there are, by topic, and the first line of what each says of itself."""

from __future__ import annotations

import ast
from pathlib import Path

TOPICS = {
    "models": "what the bundled and trained models reach",
    "sites": "laboratories left out, adaptation, recipes that carry over",
    "studies": "the studies of docs/studies, small ones and their parts",
    "ratios": "blast ratios: intervals, patients, flags, drift",
    "sets": "annotations and data sets: formats, copies, wrong labels",
    "hardships": "damaged input, kills, full disks",
    "cost": "time and memory",
    "pages": "reports, exports and the reading room",
}


def listed() -> list[str]:
    """A line a topic and a line a script that can be run."""
    lines = []
    for topic, words in TOPICS.items():
        lines += ["", f"{topic}: {words}"]
        for path in sorted((Path(__file__).parent / topic).glob("*.py")):
            text = path.read_text("utf-8")
            if '__name__ == "__main__"' in text:
                about = ast.get_docstring(ast.parse(text)).splitlines()[0]
                lines.append(f"  python -m benchmarks.{topic}.{path.stem:24} {about}")
    return lines[1:]


if __name__ == "__main__":
    print(*listed(), sep="\n")
