"""The house's prose in Markdown: one sentence a line, at most 120 characters; and how long our sentences are.

    python docs/prose.py             words a sentence and long lines of every page
    python docs/prose.py --write     breaks lines anew (`make prose`); words stay as they are

Tables, code, headings, pictures and links of their own line are left alone.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LONGEST = 120
# No end of a sentence: abbreviations, a number before its unit, initials.
_ABBREVIATIONS = ("e.g.", "i.e.", "vs.", "ca.", "No.", "Fig.", "Eq.", "al.", "approx.", "resp.", "St.", "Dr.", "cf.")
_END = re.compile(r"(?<=[.!?])(?:[\"')\]*_`]*)\s+(?=[\"'(\[*_`]*[A-Z0-9`\[])")
_BULLET = re.compile(r"^(\s*(?:[-*+]|\d+\.)\s+)(.*)$")
_APART = re.compile(r"^\s*(\||#|```|~~~|<|!\[|:::|\[[^\]]+\]:|---+\s*$|===+\s*$)")


def pages() -> list[Path]:
    """Every page of ours, but those that programs write."""
    made = ("model-cards", "results.md")
    found = [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    return sorted(p for p in found if p.name not in made and p.parent.name not in made)


def reflow(text: str) -> str:
    """The text with a line a sentence; words and their order stay."""
    out: list[str] = []
    fence, paragraph, lead = False, [], ""

    def flush() -> None:
        if paragraph:
            out.extend(_lines(" ".join(paragraph), lead))
            paragraph.clear()

    for line in text.splitlines():
        if line.lstrip().startswith(("```", "~~~")):
            flush()
            fence = not fence
            out.append(line)
        elif fence or not line.strip() or _APART.match(line) or line.endswith("  ") or _indented_code(line, paragraph):
            flush()
            out.append(line)
        elif bullet := _BULLET.match(line):
            flush()
            lead = bullet.group(1)
            paragraph.append(bullet.group(2).strip())
        else:
            if not paragraph:
                lead = re.match(r"\s*", line).group(0)
            paragraph.append(line.strip())
    flush()
    return "\n".join(out) + "\n"


def sentences(text: str) -> list[str]:
    """Where a paragraph's sentences begin and end."""
    parts, start = [], 0
    for end in _END.finditer(text):
        before = text[start : end.start()] + text[end.start() : end.end()].rstrip()
        if before.endswith(_ABBREVIATIONS) or re.search(r"(?:^|\s)[A-Z]\.$", before) or before.count("`") % 2:
            continue
        if before.count("(") > before.count(")") or before.count("[") > before.count("]"):
            continue
        parts.append(before.strip())
        start = end.end()
    return [*parts, text[start:].strip()]


def measure(text: str) -> tuple[int, int, int]:
    """(words, sentences, lines of prose longer than LONGEST)."""
    body = re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.DOTALL | re.MULTILINE)
    lines = [line for line in body.splitlines() if line.strip() and not _APART.match(line)]
    n_words = n_sentences = 0
    for paragraph in re.split(r"\n\s*\n", "\n".join(line for line in body.splitlines() if not _APART.match(line))):
        for item in re.split(r"\n(?=\s*(?:[-*+]|\d+\.)\s)", paragraph):
            found = [s for s in sentences(" ".join(item.split())) if re.search(r"\w", s)]
            n_sentences += len(found)
            n_words += sum(len(re.findall(r"\w[\w'’.%-]*", s)) for s in found)
    return n_words, n_sentences, sum(len(line) > LONGEST for line in lines)


def _indented_code(line: str, paragraph: list[str]) -> bool:
    return line.startswith("    ") and not paragraph


def _lines(paragraph: str, lead: str) -> list[str]:
    """A paragraph or a list's item; what follows the first line stands below its first word."""
    indent = " " * len(lead)
    lines = [part for sentence in sentences(paragraph) for part in _broken(sentence, LONGEST - len(lead))]
    return [lead + lines[0], *(indent + line for line in lines[1:])]


def _broken(sentence: str, longest: int) -> list[str]:
    """A sentence that is too long for a line, broken behind a comma or a semicolon where there is one."""
    lines = []
    while len(sentence) > longest:
        places = [m.end() for m in re.finditer(r"[,;:] ", sentence[: longest + 1])]
        place = max((p for p in places if p > longest // 2), default=0) or sentence.rfind(" ", 0, longest + 1) + 1
        rest = sentence[place:]
        # A line that begins so would be a list, a heading or a quotation.
        if place <= 0 or re.match(r"(?:[-+*>#]|\d+[.)])\s", rest) or rest.startswith(("|", "```")):
            cut = sentence.rfind(" ", 0, max(place - 1, 0)) + 1
            if cut <= 0:
                break
            place, rest = cut, sentence[cut:]
        lines.append(sentence[:place].rstrip())
        sentence = rest
    return [*lines, sentence]


if __name__ == "__main__":
    total = [0, 0, 0]
    for page in pages():
        text = page.read_text("utf-8")
        if sys.argv[1:] == ["--write"]:
            text = reflow(text)
            page.write_text(text, "utf-8")
        found = measure(text)
        total = [a + b for a, b in zip(total, found, strict=True)]
        print(f"{found[0] / max(found[1], 1):5.1f} words a sentence, {found[2]:3} long lines  {page.relative_to(ROOT)}")
    print(f"{total[0] / max(total[1], 1):5.1f} words a sentence, {total[2]:3} long lines  in all")
