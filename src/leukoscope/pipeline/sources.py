"""Which photographs a run reads and whose they are: folders, loose files, or a patients table."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath

from leukoscope.dataset.spreadsheet import rows_of, shown
from leukoscope.dataset.text import decoded
from leukoscope.errors import DataError, InputError
from leukoscope.images import list_images
from leukoscope.images.listing import IMAGE_SUFFIXES, without_reports
from leukoscope.images.slides import Region, one_a_slide
from leukoscope.stores import below, is_address, read
from leukoscope.types import FieldKey

UNKNOWN_CENTER = "unknown"
COLUMNS = ("file", "patient_id", "smear_id", "center")
# What a table may say of a patient beside: age in years, sex, and the analyser's leukocytes in 10^9 a litre; the most
# that makes sense of the numbers.
FACTS = {"age_years": 130.0, "sex": 0.0, "leukocytes_per_nl": 2000.0}
SEXES = {"female": "female", "f": "female", "male": "male", "m": "male"}
SPELLINGS = {"centre": "center"}


@dataclass(frozen=True, slots=True)
class Unread:
    """Why a slide has no region to read: an ImageError's reason, what to do, and the digest of its bytes if known."""

    reason: str
    detail: str | None
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Source:
    """One photograph to read, or one region of a slide.

    file  its path as given, the same text that the record holds
    part  the region of a slide, or why the slide has none (`pipeline.slides.plan_slides`); None for a photograph
    """

    file: str
    key: FieldKey
    part: Region | Unread | None = None

    def row(self) -> list:
        """Plain types for JSON; `Source.of_row` reads them."""
        key = self.key
        row = [self.file, key.patient_id, key.smear_id, key.center, key.specimen]
        if isinstance(self.part, Region):
            return [*row, self.part.to_dict()]
        return row if self.part is None else [*row, asdict(self.part)]

    @staticmethod
    def of_row(row: list) -> Source:
        """The source that `row` gave."""
        part = None
        if len(row) > 5:
            part = Region.from_dict(row[5]) if "box" in row[5] else Unread(**row[5])
        return Source(row[0], FieldKey(row[0], row[2], row[1], row[3], row[4]), part)


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of the patients table."""

    line: int
    file: str
    patient_id: str
    smear_id: str
    center: str
    facts: dict[str, float | str]


def find_sources(paths: Sequence[str | Path], *, specimen: str, patients: str | Path | None = None) -> list[Source]:
    """The photographs under `paths`, each once, in a fixed order.

    Without a table a patient is the folder that directly holds a picture, called by the folder's name (and by as
    much of its path as tells two folders of one name apart); the smear has the same id, the centre is "unknown".
    Links are what the user named them, wherever they point: a picture linked from two patients is of both.
    With `patients` (see `read_patients_table`) every picture must have a row. A row whose picture is nowhere
    becomes a source all the same, which then fails as missing: it must not vanish from its patient in silence.
    """
    stores = [str(p) for p in paths if is_address(p)]
    paths = [p for p in paths if not is_address(p)]
    files = one_a_slide(list_images(paths)) if paths or not stores else []
    stored = one_a_slide(list(dict.fromkeys(a for store in stores for a in _stored_images(store))))
    if patients is None:
        folders = {f: _named_folder(f) for f in files} | {a: _folder_in_store(a) for a in stored}
        names = _folder_names(list(folders.values()))
        every = [*_each_once(files, os.path.abspath), *stored]
        return [_source(f, names[folders[f]], names[folders[f]], UNKNOWN_CENTER, specimen) for f in every]
    files = _each_once(files, os.path.realpath)
    rows = _told_apart(read_patients_table(patients))
    beside = _beside(patients)
    folders = [Path(p) for p in (beside, *paths) if not is_address(p) and Path(p).is_dir()]
    rows_of, missing = _place_rows(rows, patients, folders)
    in_store, missing = _place_in_stores(missing, [beside, *stores], set(stored))
    without = [f for f in files if _real(f) not in rows_of and not f.is_dir()] + [
        a for a in stored if a not in in_store
    ]
    if without:
        more = f" and {len(without) - 1} more" if len(without) > 1 else ""
        raise InputError(f"{patients} has no row for {without[0]}{more}: add file and patient_id for every picture")
    closed = [_source(f, f.name, f.name, UNKNOWN_CENTER, specimen) for f in files if f.is_dir()]
    with_row = [(f, rows_of[_real(f)]) for f in files if not f.is_dir()]
    with_row += [(a, in_store[a]) for a in stored]
    with_row += [(f"{beside}/{row.file}" if is_address(beside) else Path(beside) / row.file, row) for row in missing]
    return [_source(f, row.patient_id, row.smear_id, row.center, specimen) for f, row in with_row] + closed


def _stored_images(address: str) -> list[str]:
    """The pictures below an address in a store, by their suffixes; InputError where there is none."""
    images = [
        a for a in without_reports(below(address)) if a == address or PurePosixPath(a).suffix.lower() in IMAGE_SUFFIXES
    ]
    if not images:
        raise InputError(f"no images found in {address}: expected objects such as .jpg, .png, .bmp or .tif")
    return images


def _folder_in_store(address: str) -> Path:
    """The folder that an object is in, as a path that can be compared with others."""
    return Path(address.replace("://", "/", 1)).parent


def _beside(table: str | Path) -> str:
    """The folder of a patients table, or its address."""
    return str(table).rpartition("/")[0] if is_address(table) else str(Path(table).parent)


def _place_in_stores(rows: list[_Row], bases: list[str], stored: set[str]) -> tuple[dict[str, _Row], list[_Row]]:
    """Rows by the address of their picture, and the rows whose picture is below none of the bases."""
    row_of: dict[str, _Row] = {}
    missing = []
    for row in rows:
        name = row.file.replace("\\", "/")
        places = [a for a in (name, *(f"{base.rstrip('/')}/{name}" for base in bases)) if a in stored]
        if places:
            row_of.setdefault(places[0], row)
        else:
            missing.append(row)
    return row_of, missing


def sources_sha256(sources: Sequence[Source]) -> str:
    """Digest over names and patients: tells a resumed run that it is about the same pictures. What is in the files is
    held against the journal, one by one (resume.py)."""
    digest = hashlib.sha256()
    for source in sources:
        digest.update(json.dumps(source.row()).encode() + b"\n")
    return digest.hexdigest()


def read_facts(patients: str | Path) -> dict[str, dict[str, float | str]]:
    """What a patients table says of each patient beside whose the pictures are: FACTS, where it has such columns.

    InputError where two rows of a patient differ, or a value makes no sense.
    """
    facts_of: dict[str, dict[str, float | str]] = {}
    first: dict[str, int] = {}
    for row in _told_apart(read_patients_table(patients)):
        known = facts_of.setdefault(row.patient_id, {})
        first.setdefault(row.patient_id, row.line)
        differs = [key for key, value in row.facts.items() if known.setdefault(key, value) != value]
        if differs:
            raise InputError(
                f"{patients} lines {first[row.patient_id]} and {row.line} differ about {differs[0]} of patient "
                f"{row.patient_id}: {known[differs[0]]} and {row.facts[differs[0]]}; keep one"
            )
    return {patient_id: facts for patient_id, facts in facts_of.items() if facts}


def unknown_columns(path: str | Path) -> list[str]:
    """The columns of a patients table that nothing reads."""
    header, _ = _table(path)
    return [name for name in header if name and name not in (*COLUMNS, *FACTS)]


def read_patients_table(path: str | Path) -> list[_Row]:
    """Rows of a CSV with the columns file and patient_id, and if known smear_id, center and FACTS; others are ignored.

    Comma, semicolon or tab, also as Excel's `sep=` line states it; UTF-8, with or without a byte order mark, or UTF-16;
    centre is center. InputError with the line.
    """
    header, lines = _table(path)
    absent = [name for name in ("file", "patient_id") if name not in header]
    if absent:
        raise InputError(
            f"the patients table {path} lacks the column {' and '.join(absent)}: expected a first line "
            f"file,patient_id,smear_id,center; got {shown(header) or 'nothing'}"
        )
    return [_row(dict(zip(header, values, strict=False)), path, line) for line, values in lines]


def _table(path: str | Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The column names of a patients table, and its lines with their numbers; empty lines are left out."""
    try:
        data = read(str(path)) if is_address(path) else Path(path).read_bytes()
        rows, _ = rows_of(decoded(data, path), path)
    except OSError as error:
        raise InputError(f"can't read the patients table {path}: {error.strerror}") from None
    except DataError as error:
        raise InputError(f"the patients table {error}") from None
    header = [SPELLINGS.get(name.lower(), name.lower()) for name in rows[0][1]] if rows else []
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise InputError(f"the patients table {path} has the column {shown(twice)} twice: keep one")
    for line, values in rows[1:]:
        if any(values[len(header) :]):
            raise InputError(
                f"{path} line {line} has {len(values)} values and the table {len(header)} columns: put a value that "
                "holds the delimiter in double quotes"
            )
    return header, rows[1:]


def _row(values: dict[str, str], path: str | Path, line: int) -> _Row:
    file, patient_id = values.get("file", ""), values.get("patient_id", "")
    if not file or not patient_id:
        raise InputError(f"{path} line {line}: expected file and patient_id, got {file!r} and {patient_id!r}")
    facts = {key: _fact(key, values[key], f"{path} line {line}") for key in FACTS if values.get(key)}
    smear_id, center = values.get("smear_id") or patient_id, values.get("center") or UNKNOWN_CENTER
    return _Row(line, file, patient_id, smear_id, center, facts)


def _fact(key: str, text: str, where: str) -> float | str:
    """One of FACTS; InputError where it makes no sense. A decimal comma is a decimal point."""
    if key == "sex":
        sex = SEXES.get(text.lower())
        if sex is None:
            raise InputError(f"{where}: sex must be female or male (or f, m), or empty, got {text[:60]!r}")
        return sex
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        value = -1.0
    most = FACTS[key]
    if not 0 <= value <= most:
        raise InputError(f"{where}: {key} must be a number from 0 to {most:g}, or empty, got {text[:60]!r}")
    return value


def _place_rows(rows: list[_Row], table: str | Path, folders: list[Path]) -> tuple[dict[Path, _Row], list[_Row]]:
    """Rows by the real path of their picture, and the rows whose picture is in none of the folders."""
    row_of: dict[Path, _Row] = {}
    missing = []
    for row in rows:
        # Tables written on Windows have backslashes.
        spellings = {row.file, row.file.replace("\\", "/")}
        places = sorted({_real(folder / s) for folder in folders for s in spellings if os.path.isfile(folder / s)})
        if len(places) > 1:
            raise InputError(f"{table} line {row.line}: {row.file} is in several folders; write more of its path")
        if not places:
            missing.append(row)
            continue
        earlier = row_of.setdefault(places[0], row)
        if (earlier.patient_id, earlier.smear_id, earlier.center) != (row.patient_id, row.smear_id, row.center):
            raise InputError(f"{table} lines {earlier.line} and {row.line} differ about {row.file}: keep one")
    return row_of, missing


def _source(file: Path | str, patient_id: str, smear_id: str, center: str, specimen: str) -> Source:
    name = file if isinstance(file, str) else file.as_posix()
    return Source(name, FieldKey(name, smear_id, patient_id, center, specimen))


def _each_once(files: Sequence[Path], same: Callable[[Path], str]) -> list[Path]:
    """A picture given twice (by its folder and by name) is read once; `same` says what makes two of them one."""
    return list({same(f): f for f in reversed(files)}.values())[::-1]


def _named_folder(file: Path) -> Path:
    """The folder that a picture is in as the user named it, links as they are; of a folder that could not be looked
    into, itself."""
    here = Path(os.path.abspath(file))
    return here if here.is_dir() else here.parent


def _told_apart(rows: list[_Row]) -> list[_Row]:
    """Two centres may both have a patient 1: those are two patients, called by their centres too."""
    centers: dict[str, set[str]] = {}
    for row in rows:
        if row.center != UNKNOWN_CENTER:
            centers.setdefault(row.patient_id, set()).add(row.center)
    shared = {patient_id for patient_id, of in centers.items() if len(of) > 1}
    return [
        replace(row, patient_id=f"{row.center}/{row.patient_id}")
        if row.patient_id in shared and row.center != UNKNOWN_CENTER
        else row
        for row in rows
    ]


def _real(file: Path) -> Path:
    return Path(os.path.realpath(file))


def _folder_names(folders: list[Path]) -> dict[Path, str]:
    """A name for each folder: its own, with as many of its parents as make it unlike every other's."""
    names = {folder: folder.name or str(folder) for folder in folders}
    for depth in range(2, max((len(f.parts) for f in names), default=0) + 1):
        taken = Counter(names.values())
        alike = [folder for folder, name in names.items() if taken[name] > 1]
        if not alike:
            break
        names |= {folder: "/".join(folder.parts[-depth:]) for folder in alike}
    return names
