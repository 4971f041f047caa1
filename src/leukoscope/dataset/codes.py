"""From a source's codes to our classes: where the code stands, what it means, and what to say where nobody knows."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from difflib import get_close_matches
from pathlib import PurePosixPath

from leukoscope.dataset.names import class_key
from leukoscope.dataset.raw import UNTYPED, Issue, RawCell, RawField, RawSet
from leukoscope.dataset.sources import Source
from leukoscope.errors import TaxonomyError

_SHOWN = 30


def place_codes(raw: RawSet, source: Source, *, names_state_codes: bool = True) -> None:
    """Each cell's code, and each field's patient, from where the source says that they stand."""
    if source.code_attribute:
        raw.fields = [_code_from_attribute(f, source.code_attribute, raw) for f in raw.fields]
    if source.code_pattern and names_state_codes:
        raw.fields = [_code_from_name(f, source.code_pattern, raw.issues) for f in raw.fields]
    if source.subject_pattern:
        raw.fields = [_subject_from_name(f, source.subject_pattern) for f in raw.fields]


def _code_from_attribute(field: RawField, name: str, raw: RawSet) -> RawField:
    """The class stands in an attribute of each cell; a cell without it keeps its label, and is listed."""
    cells = []
    for cell in field.cells:
        value = dict(cell.attributes).get(name, "").strip()
        if not value:
            raw.note(field.file, f"no attribute {name}: the label is the class", cell.code, 1)
            cells.append(cell)
            continue
        rest = tuple((k, v) for k, v in cell.attributes if k != name)
        cells.append(replace(cell, code=value, attributes=rest))
    return replace(field, cells=tuple(cells))


def _code_from_name(field: RawField, pattern: str, issues: list[Issue]) -> RawField:
    """The file's name states a finer class than the annotation: each cell takes that code."""
    match = re.search(pattern, PurePosixPath(field.file).name)
    if not match:
        issues.append(Issue(field.file, "noted", "no class in the file's name", f"expected {pattern}"))
        return field
    return replace(field, cells=tuple(replace(c, code=match.group(1)) for c in field.cells))


def _subject_from_name(field: RawField, pattern: str) -> RawField:
    match = re.search(pattern, PurePosixPath(field.file).name)
    return replace(field, patient_id=match.group(1) if match else field.patient_id)


def count_codes(raw: RawSet) -> tuple[Counter[str], dict[str, str]]:
    """How many objects carry each code, and the first picture with one."""
    seen: Counter[str] = Counter()
    first: dict[str, str] = {}
    for field in raw.fields:
        for cell in field.cells:
            seen[cell.code] += 1
            first.setdefault(cell.code, field.file)
    return seen, first


def translate(raw: RawSet, source: Source, names: Iterable[str]) -> dict[str, str | None]:
    """{code: our class, None for "untyped"} of every code in `raw`; spellings that differ in case only are noted.

    names  the class names that may be meant. TaxonomyError names each code without a meaning, how often it occurs,
    where first, and what it may have meant.
    """
    allowed = list(dict.fromkeys(names))
    seen, first = count_codes(raw)
    invented = sorted(c for c in seen if c in source.codes and source.codes[c][0] not in allowed)
    if invented:
        listed = ", ".join(f"{c!r} to {source.codes[c][0]!r}" for c in invented)
        raise TaxonomyError(
            f"source {source.name!r} translates {listed}, which is no class of ours: expected names of "
            f"leukoscope.taxonomy.VOCABULARY; correct the table, or state a taxonomy that has the class"
        )
    known = list(source.codes) if source.name else allowed
    spelling = {code: spelled(code, known) for code in seen if code != UNTYPED or source.name}
    unmapped = sorted(code for code, known in spelling.items() if known is None)
    if unmapped:
        raise TaxonomyError(_unknown(unmapped, seen, first, source, known))
    for code, meaning in spelling.items():
        if code != meaning:
            raw.note("", "class name spelled otherwise", f"{code[:60]!r} taken as {meaning!r}", seen[code])
    _note_class_attributes(raw, allowed)
    meant = {code: source.codes[known][0] if source.name else known for code, known in spelling.items()}
    return meant | {UNTYPED: None}


def _note_class_attributes(raw: RawSet, allowed: list[str]) -> None:
    """List attributes whose values are class names: with a label such as WBC, the class stands there."""
    keys = {class_key(name) for name in allowed}
    said: Counter[str] = Counter()
    n_cells = 0
    for field in raw.fields:
        n_cells += len(field.cells)
        for cell in (c for c in field.cells if c.attributes):
            said.update(k for k, v in cell.attributes if class_key(v) in keys and class_key(v) != class_key(cell.code))
    for name, n in said.items():
        if 2 * n >= n_cells:
            raw.note("", "an attribute holds class names: --code-attribute takes them", f"{name}: {n} cells", n)


def spelled(code: str, known: list[str]) -> str | None:
    """The known code that is meant: the same, or the only one that differs in case, spaces, hyphens alone."""
    if code in known:
        return code
    alike = [k for k in known if class_key(k) == class_key(code)]
    return alike[0] if len(alike) == 1 else None


def did_you_mean(code: str, known: Iterable[str]) -> list[str]:
    """Up to three known names close to a code, the closest first."""
    by_key = {class_key(k): k for k in known}
    close = get_close_matches(class_key(code), by_key, n=3, cutoff=0.75)
    # "lymphocytes", "neutrophil segmented": the name within, or the words in another order.
    words = set(class_key(code).split("_"))
    close += [k for k in by_key if class_key(code).startswith(k) or (len(words) > 1 and words == set(k.split("_")))]
    return [by_key[k] for k in dict.fromkeys(close)][:3]


def _unknown(unmapped: list[str], seen: Counter, first: dict[str, str], source: Source, known: list[str]) -> str:
    listed = []
    for code in unmapped[:_SHOWN]:
        close = did_you_mean(code, known)
        hint = f", did you mean {' or '.join(close)}?" if close else ""
        listed.append(f"{code[:60]!r} ({seen[code]} cells, first in {first[code]}){hint}")
    listed += [f"and {len(unmapped) - _SHOWN} more"] if len(unmapped) > _SHOWN else []
    if source.name:
        return (
            f"source {source.name!r} has no class for {'; '.join(listed)}; it knows "
            f"{', '.join(source.codes) or 'none'}; add the code to a table of your own (TOML)"
        )
    return (
        f"no class for {'; '.join(listed)}: without a source the codes must be class names of ours "
        f"(neutrophil, lymphoblast, …: leukoscope.taxonomy.VOCABULARY); state whose codes these are with --source NAME "
        f"or a TOML table; `leukoscope dataset classes` lists them and writes such a table"
    )


def drop_predictions(raw: RawSet, *, keep: bool) -> None:
    """A model's objects are no truth: left out and listed, or kept with the attribute `predicted`."""
    raw.fields = [_without_predictions(f, raw, keep) if any(c.predicted for c in f.cells) else f for f in raw.fields]


def _without_predictions(field: RawField, raw: RawSet, keep: bool) -> RawField:
    if keep:
        said = tuple(_marked(c) for c in field.cells)
        raw.note(field.file, "a model's prediction kept as truth", "", sum(bool(c.predicted) for c in field.cells))
        return replace(field, cells=said)
    for cell in field.cells:
        if cell.predicted:
            raw.drop(
                field.file, "a model's prediction, not truth (--keep-predictions)", f"{cell.code}: {cell.predicted}"
            )
    return replace(field, cells=tuple(c for c in field.cells if not c.predicted))


def _marked(cell: RawCell) -> RawCell:
    return replace(cell, attributes=(*cell.attributes, ("predicted", cell.predicted))) if cell.predicted else cell
