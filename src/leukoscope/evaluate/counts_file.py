"""Counts read from a file: a record, or a CSV of one patient a row as laboratories write them."""

import csv
import io
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from leukoscope.errors import InputError
from leukoscope.evaluate.counts import CountTable
from leukoscope.files import unguarded
from leukoscope.report.record import read_record
from leukoscope.taxonomy import VOCABULARY

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
