"""Which class codes a set holds, what they mean, and a table of them that `--source` takes."""

import json
from dataclasses import dataclass
from pathlib import Path

from leukoscope.dataset.codes import count_codes, did_you_mean, place_codes, spelled
from leukoscope.dataset.formats import format_named, readable
from leukoscope.dataset.raw import UNTYPED
from leukoscope.dataset.sources import SOURCES, Source, changed_source, read_source
from leukoscope.errors import InputError
from leukoscope.files import write_text
from leukoscope.taxonomy import VOCABULARY


@dataclass(frozen=True, slots=True)
class CodeRow:
    """One code of a set.

    n, first     objects that carry it, and the first picture with one
    class_name   our class, "" where nobody knows
    perhaps      classes that it may mean, the closest first: by its spelling, then as known sources use it
    """

    code: str
    n: int
    first: str
    class_name: str
    perhaps: tuple[str, ...]


def list_codes(
    format: str,
    src: str | Path,
    *,
    source: str | Path | None = None,
    columns: dict[str, str] | None = None,
    code_attribute: str | None = None,
) -> list[CodeRow]:
    """The codes of the set in folder `src`, the commonest first; `source` says what some of them mean."""
    form, known = format_named(format, among=readable()), read_source(source)
    stated = {"code_attribute": code_attribute} if code_attribute else {}
    known = changed_source(known, columns=columns or {}, stated=stated)
    raw = form.reads.function()(Path(src), **{key: getattr(known, key) for key in form.reads.settings})
    place_codes(raw, known, names_state_codes=format != "xyc")
    counts, first = count_codes(raw)
    return [_row(code, n, first[code], known) for code, n in counts.most_common()]


def _row(code: str, n: int, first: str, source: Source) -> CodeRow:
    names = source.codes if source.name else VOCABULARY
    spelling = spelled(code, list(names))
    class_name = "" if spelling is None else source.codes[spelling][0] if source.name else spelling
    used = [s.codes[code][0] for s in SOURCES.values() if code in s.codes]
    perhaps = dict.fromkeys([*did_you_mean(code, VOCABULARY), *used])
    return CodeRow(code, n, first, class_name, () if class_name or code == UNTYPED else tuple(perhaps))


def write_source(rows: list[CodeRow], path: str | Path) -> int:
    """Write a TOML table for `--source` into a new file; codes that nobody knows stand in it as comments.

    Returns how many are open. InputError where the file is there already.
    """
    path = Path(path)
    if path.exists():
        raise InputError(f"{path} is there already: name another, or delete it first")
    lines = [
        "# Whose class codes these are: leukoscope dataset import FORMAT SRC --source this-file.toml",
        "# A line is: the source's code = our class (leukoscope dataset classes lists them).",
        "[codes]",
    ]
    open_rows = [row for row in rows if not row.class_name]
    for row in rows:
        hint = f"  # {row.n} cells" + (f"; perhaps {' or '.join(row.perhaps)}" if row.perhaps else "")
        line = f"{json.dumps(row.code, ensure_ascii=False)} = {json.dumps(row.class_name or '?')}"
        lines.append(line + (hint if row.class_name else f"{hint}; say which, then take away the first #"))
        if not row.class_name:
            lines[-1] = "# " + lines[-1]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "\n".join(lines) + "\n")
    return len(open_rows)
