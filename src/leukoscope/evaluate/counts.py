"""Cells counted by people or by a run: a table of patients and classes, read from a CSV file or a record.

Two tables are compared in the classes that both can say: where one knows bands and the other only neutrophils, both are
neutrophils (`align`). What only one side states is named, stays in its denominator, and is not compared.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from leukoscope.errors import InputError
from leukoscope.files import unguarded
from leukoscope.report.record import read_record
from leukoscope.taxonomy import PARENTS, VOCABULARY, Taxonomy

SPECIMENS = ("blood", "marrow")
NOT_COUNTED = ("red_cell", "platelet", "smudge_cell", "artefact", "not_identifiable", "naked_nucleus", "fat_cell")
PATIENT = ("patient_id", "patient", "id", "case", "sample", "sample_id")
CONDITION = "condition"
# Columns that describe a row and are no class; they are not read.
DESCRIBE = frozenset(
    "center centre specimen smear smear_id slide reader repeat date comment comments note notes diagnosis disease "
    "total sum n n_cells n_counted cells file".split()
)
# What laboratories write, by our names. Plurals and the words' order of spaces and hyphens are seen to by `_plain`.
ALIASES = {
    "seg": "segmented_neutrophil", "poly": "segmented_neutrophil", "segmented": "segmented_neutrophil",
    "band": "band_neutrophil", "stab": "band_neutrophil", "neutro": "neutrophil", "lymph": "lymphocyte",
    "lympho": "lymphocyte", "mono": "monocyte", "eo": "eosinophil", "eosino": "eosinophil", "baso": "basophil",
    "meta": "metamyelocyte", "myelo": "myelocyte", "promyelo": "promyelocyte", "ig": "immature_granulocyte",
    "nrbc": "erythroblast", "normoblast": "erythroblast", "nucleated_red_cell": "erythroblast",
    "reactive_lymphocyte": "atypical_lymphocyte", "variant_lymphocyte": "atypical_lymphocyte",
    "smudge": "smudge_cell", "unidentified": "not_identifiable", "artifact": "artefact",
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class CountTable:
    """counts (P, C) int64: cells of each patient and class, rows `patients`, columns `classes`; `notes` for people.

    conditions  (P,) what each row repeats, in a table of repeated counts; else ()
    """

    name: str
    patients: tuple[str, ...]
    classes: tuple[str, ...]
    counts: np.ndarray
    notes: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Aligned:
    """Two tables in the same patients and classes.

    reference, test    (P, C) int64; n_reference, n_test (P,) cells of the denominator
    only_reference, only_test   classes that one side alone states, left out of the comparison
    """

    names: tuple[str, str]
    specimen: str
    patients: tuple[str, ...]
    classes: tuple[str, ...]
    reference: np.ndarray
    test: np.ndarray
    n_reference: np.ndarray
    n_test: np.ndarray
    only_reference: tuple[str, ...]
    only_test: tuple[str, ...]
    notes: tuple[str, ...]


def read_counts(path: str | Path, *, repeats: bool = False) -> CountTable:
    """A CSV file of counts, a record.json, or the folder of a run that holds one; InputError says what is wrong.

    The CSV has a row a patient, a column `patient_id` and a column a class, whole cells, in any of UTF-8 (with or
    without mark), UTF-16 or Windows' Latin-1, with commas, semicolons or tabs. repeats: a patient may have many rows,
    and a column `condition` says what each repeats.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "record.json"
    if not path.is_file():
        raise InputError(f"no counts at {path}: expected a CSV file of patients and classes, or a run's record.json")
    if path.suffix.lower() == ".json":
        return _from_record(path)
    return _from_csv(path, repeats=repeats)


def _from_record(path: Path) -> CountTable:
    record = read_record(path)
    classes = record.taxonomy.names
    counts = [
        [next(d["count"] for d in p["differential"] if d["class"] == c) for c in classes] for p in record.patients
    ]
    empty = [p["patient_id"] for p, row in zip(record.patients, counts, strict=True) if not sum(row)]
    kept = [i for i, row in enumerate(counts) if sum(row)]
    notes = (f"{path}: no cell was called for {', '.join(empty)}: left out",) if empty else ()
    patients = tuple(record.patients[i]["patient_id"] for i in kept)
    return CountTable(str(path), patients, classes, np.array([counts[i] for i in kept], np.int64), notes)


def _from_csv(path: Path, *, repeats: bool) -> CountTable:
    rows, delimiter = _rows(path)
    heads = [_plain(h) for h in rows[0][1]] if rows else []
    who = next((heads.index(h) for h in PATIENT if h in heads), None)
    if who is None:
        raise InputError(f"{path}: no column patient_id among {', '.join(rows[0][1]) if rows else 'nothing'}")
    if repeats and CONDITION not in heads:
        raise InputError(
            f"{path}: repeated counts need a column condition (same photographs, other slide, other reader)"
        )
    skipped = {who} | {i for i, h in enumerate(heads) if h in DESCRIBE or not h or h == CONDITION}
    columns = {i: _class_of(rows[0][1][i], path) for i in range(len(heads)) if i not in skipped}
    if not columns:
        raise InputError(f"{path}: no column is a class of cells; expected, for example, neutrophil, lymphocyte, blast")
    classes = tuple(dict.fromkeys(columns.values()))
    patients, conditions, counts, blanks = [], [], [], 0
    center = next((heads.index(h) for h in ("center", "centre") if h in heads), None)
    for line, row in rows[1:]:
        row = row + [""] * (len(heads) - len(row))
        if len(row) > len(heads) and any(c.strip() for c in row[len(heads) :]):
            raise InputError(f"{path} line {line}: {len(row)} cells under {len(heads)} headings")
        if not row[who].strip():
            raise InputError(f"{path} line {line}: no patient is named")
        of_row = dict.fromkeys(classes, 0)
        for place, name in columns.items():
            blanks += not row[place].strip()
            of_row[name] += _cells(row[place], f"{path} line {line}, {rows[0][1][place]}", delimiter)
        if not sum(of_row.values()):
            raise InputError(f"{path} line {line}: patient {row[who].strip()} has no cell counted")
        patients.append((row[center].strip() if center is not None else "", row[who].strip(), line))
        conditions.append(row[heads.index(CONDITION)].strip() if repeats else "")
        counts.append(list(of_row.values()))
    if not patients:
        raise InputError(f"{path}: no row below the headings")
    notes: tuple[str, ...] = (f"{path}: {blanks} blank cells were read as 0",) if blanks else ()
    ignored = [
        rows[0][1][i].strip()
        for i in sorted(skipped - {who})
        if heads[i] and heads[i] not in ("center", "centre", CONDITION)
    ]
    notes += (f"{path}: columns not read: {', '.join(ignored)}",) if ignored else ()
    keys = _keys(path, patients, repeats)
    return CountTable(str(path), keys, classes, np.array(counts, np.int64), notes, tuple(conditions) if repeats else ())


def _keys(path: Path, patients: Sequence[tuple[str, str, int]], repeats: bool) -> tuple[str, ...]:
    """Patient ids, CENTER/ID where ids repeat between centres; InputError for a patient that stands twice."""
    by_id: dict[str, set[str]] = {}
    for center, patient, _ in patients:
        by_id.setdefault(patient, set()).add(center)
    keys = [f"{c}/{p}" if len(by_id[p]) > 1 else p for c, p, _ in patients]
    first: dict[str, int] = {}
    for key, (_, _, line) in zip(keys, patients, strict=True):
        if first.setdefault(key, line) != line and not repeats:
            raise InputError(
                f"{path}: patient {key} stands in lines {first[key]} and {line}; one row a patient (repeated counts go "
                f"into a file of their own: --repeats)"
            )
    return tuple(keys)


def _rows(path: Path) -> tuple[list[tuple[int, list[str]]], str]:
    """(line, cells) of the rows that are not blank, headings first, and the delimiter."""
    raw = path.read_bytes()
    text = None
    for encoding in ("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", "cp1252"):
        try:
            text = raw.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    if text is None or "\0" in text:
        raise InputError(f"{path} is no text: expected a CSV file, UTF-8 for choice")
    lines = text.splitlines()
    stated = lines[0].strip().lower() if lines else ""
    skip = stated.startswith("sep=")  # what Excel writes on top
    first = next((x for x in lines[skip:] if x.strip()), "")
    delimiter = stated[4:5] if skip and stated[4:5] else max(",;\t", key=first.count)
    read = csv.reader(io.StringIO("\n".join(lines[skip:])), delimiter=delimiter)
    rows = [(read.line_num + skip, [unguarded(cell) for cell in row]) for row in read]
    return [(line, row) for line, row in rows if any(cell.strip() for cell in row)], delimiter


def _plain(text: str) -> str:
    """A heading as a name: lower case, words joined by underscores."""
    return "_".join(text.strip().lower().replace("-", " ").replace("_", " ").split())


def _class_of(heading: str, path: Path) -> str:
    """The class that a heading means; InputError with what may have been meant."""
    plain = _plain(heading.replace("%", ""))
    for name in (plain, plain.removesuffix("s"), plain.removesuffix("_count")):
        if name in VOCABULARY:
            return name
        if name in ALIASES:
            return ALIASES[name]
    near = get_close_matches(plain, [*VOCABULARY, *ALIASES], n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(near)}?" if near else "see docs/format.md for the classes"
    raise InputError(f"{path}: column {heading.strip()!r} is no class of cells known here; {hint}")


def _cells(text: str, where: str, delimiter: str) -> int:
    """A number of cells; blank is 0."""
    text = text.strip()
    if not text:
        return 0
    try:
        value = float(text.rstrip("%").strip().replace(",", ".") if delimiter != "," else text.rstrip("%"))
    except ValueError:
        raise InputError(f"{where}: expected a number of cells, got {text!r}") from None
    if value < 0:
        raise InputError(f"{where}: a number of cells can't be negative, got {text}")
    if value != int(value) or text.endswith("%") or value in (float("inf"),):
        raise InputError(
            f"{where}: expected whole cells, got {text}; percent can't be used, for an interval needs the cells counted"
        )
    return int(value)


def align(reference: CountTable, test: CountTable, specimen: str, *, shared_only: bool = False) -> Aligned:
    """Both tables over the same patients and classes; InputError for a patient that only one has.

    shared_only  compare the patients that both have, and name the others in the notes
    """
    if specimen not in SPECIMENS:
        raise InputError(f"specimen must be {' or '.join(SPECIMENS)}, got {specimen!r}")
    shared = [p for p in reference.patients if p in set(test.patients)]
    apart = {t.name: [p for p in t.patients if p not in set(shared)] for t in (reference, test)}
    words = "; ".join(f"{name} alone has {_some(p)}" for name, p in apart.items() if p)
    if not shared:
        raise InputError(f"no patient stands in both tables ({words}): are the ids written alike?")
    if words and not shared_only:
        raise InputError(
            f"{words}: correct the ids, or compare the {len(shared)} shared patients alone with --shared-only"
        )
    tops = _tops({*reference.classes, *test.classes})
    sides = [_merged(t, shared, tops) for t in (reference, test)]
    names = [tuple(dict.fromkeys(tops[c] for c in t.classes)) for t in (reference, test)]
    classes = tuple(c for c in VOCABULARY if c in names[0] and c in names[1])
    if not classes:
        raise InputError(
            f"{reference.name} and {test.name} have no class in common: {_some(names[0])}; {_some(names[1])}"
        )
    totals = [_denominator(side, specimen) for side in sides]
    for table, total in zip((reference, test), totals, strict=True):
        none = [p for p, n in zip(shared, total, strict=True) if not n]
        if none:
            raise InputError(f"{table.name}: no cell of the {specimen} differential was counted for {_some(none)}")
    notes = (*reference.notes, *test.notes, *((f"left out: {words}",) if words else ()))
    tables = [np.array([[row.get(c, 0) for c in classes] for row in side], np.int64) for side in sides]
    alone = [
        tuple(c for c in classes if c not in other and c not in NOT_COUNTED) for classes, other in (names, names[::-1])
    ]
    return Aligned(
        (reference.name, test.name), specimen, tuple(shared), classes, tables[0], tables[1], totals[0], totals[1],
        alone[0], alone[1], notes,
    )  # fmt: skip


def pooled(tables: Sequence[CountTable]) -> CountTable:
    """Several readers' counts of the same patients as one: what two readers of 200 cells each make together."""
    patients = tuple(p for p in tables[0].patients if all(p in t.patients for t in tables))
    classes = tuple(dict.fromkeys(c for t in tables for c in t.classes))
    counts = np.zeros((len(patients), len(classes)), np.int64)
    for t in tables:
        rows = [t.patients.index(p) for p in patients]
        counts[:, [classes.index(c) for c in t.classes]] += t.counts[rows]
    name = " and ".join(t.name for t in tables)
    return replace(tables[0], name=name, patients=patients, classes=classes, counts=counts,
                   notes=tuple(n for t in tables for n in t.notes))  # fmt: skip


def ancestors(name: str) -> list[str]:
    """The class and every coarser one that it belongs to, "white_cell" left out: it says no type."""
    above: list[str] = []
    current: str | None = name
    while current is not None and (current != "white_cell" or not above):
        above.append(current)
        current = PARENTS.get(current)
    return above


def _tops(names: set[str]) -> dict[str, str]:
    """{class: the coarsest class it belongs to that either table has}."""
    return {n: next(a for a in reversed(ancestors(n)) if a in names) for n in names}


def _merged(table: CountTable, patients: Sequence[str], tops: dict[str, str]) -> list[dict[str, int]]:
    merged = []
    for patient in patients:
        of_patient: dict[str, int] = {}
        for name, n in zip(table.classes, table.counts[table.patients.index(patient)].tolist(), strict=True):
            of_patient[tops[name]] = of_patient.get(tops[name], 0) + n
        merged.append(of_patient)
    return merged


def counted_classes(names: Sequence[str], specimen: str) -> tuple[str, ...]:
    """Those of some classes that a specimen's differential is made of."""
    counted = tuple(n for n in names if n not in NOT_COUNTED)
    return Taxonomy("counts", tuple(names), counted).denominator(specimen)


def _denominator(side: Sequence[dict[str, int]], specimen: str) -> np.ndarray:
    names = counted_classes(tuple(dict.fromkeys(n for row in side for n in row)), specimen)
    return np.array([sum(row.get(n, 0) for n in names) for row in side], np.int64)


def _some(names: Sequence[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
