"""Records into the formats of other systems: one folder a format, an index of what each file is of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from leukoscope.errors import InputError, said_damaged
from leukoscope.exchange.deidentify import deidentified_source
from leukoscope.exchange.file_names import FileNames
from leukoscope.exchange.formats import Wishes, Written, format_named
from leukoscope.exchange.source import Source, open_source
from leukoscope.files import write_table
from leukoscope.progress import Progress, no_progress
from leukoscope.pseudonyms import open_key

INDEX = "index.csv"
RESERVED = ("index", "CodeSystem-leukoscope")  # names without endings that no patient's file gets
INDEX_COLUMNS = ("file", "record", "patient_id", "photograph", "cells", "note")


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written in one format."""

    format: str
    folder: Path
    n_files: int
    n_patients: int
    n_cells: int
    notes: tuple[str, ...]


def export_records(
    records: Sequence[str | Path],
    formats: Sequence[str],
    out: str | Path,
    *,
    wishes: Wishes | None = None,
    progress: Progress = no_progress,
) -> list[Exported]:
    """Write each record (a run's folder, a record.json, a signed record's JSON) in each format into OUT/FORMAT.

    progress  called with (files written, about how many there will be)
    OUT/FORMAT/index.csv says which file is of which patient and photograph. Raises InputError where a folder of a
    format is there and not empty, DataError for a record that is none; what was written until then stays.
    """
    out, wishes = Path(out), wishes or Wishes()
    if wishes.key is not None and not wishes.deidentify:
        raise InputError("--key is the key of pseudonyms: it needs --deidentify")
    writers = {name: format_named(name).write() for name in dict.fromkeys(formats)}
    if not writers or not records:
        raise InputError("nothing to export: expected one record and one format, or more")
    sources = [open_source(path) for path in records]
    for name in writers:
        _check_empty(out / name)
    if not wishes.deidentify:
        return _export_all(writers, sources, out, wishes, progress)
    names = open_key(wishes.key, out=out)
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".leukoscope-", dir=out) as folder:
        hidden = [Path(folder) / str(number) for number in range(len(sources))]
        for place in hidden:
            place.mkdir()
        sources = [deidentified_source(s, place, names) for s, place in zip(sources, hidden, strict=True)]
        if wishes.key is not None:
            names.save(wishes.key)  # first: files whose key is lost can't be matched again
        return _export_all(writers, sources, out, wishes, progress)


def _export_all(
    writers: dict[str, Callable], sources: list[Source], out: Path, wishes: Wishes, progress: Progress
) -> list[Exported]:
    total = sum(_n_files(source, format_named(name).per) for name in writers for source in sources)
    done, n = [], 0
    for name, write in writers.items():
        done.append(_export(name, write, sources, out / name, wishes, lambda k, n=n: progress(n + k, total)))
        n += done[-1].n_files
    return done


def _export(
    name: str, write: Callable, sources: list[Source], folder: Path, wishes: Wishes, progress: Callable[[int], None]
) -> Exported:
    folder.mkdir(parents=True, exist_ok=True)
    names, n_files, n_cells, patients, notes = FileNames(RESERVED), 0, 0, set(), {}
    with write_table(folder / INDEX) as index:
        index.writerow(INDEX_COLUMNS)
        for number, source in enumerate(sources, 1):
            with said_damaged(source.origin or source.path, "is no whole record"):
                for written in write(source, folder, wishes, names):
                    index.writerow(_index_row(written, number))
                    n_files, n_cells = n_files + bool(written.file), n_cells + (written.n_cells or 0)
                    patients |= {(number, patient_id) for patient_id in written.patients}
                    notes |= {written.note: None} if written.note else {}
                    progress(n_files)
    return Exported(name, folder, n_files, len(patients), n_cells, tuple(notes))


def _n_files(source: Source, per: str) -> int:
    if per == "record" or source.record is None:
        return 1
    return len(source.record.patients) if per == "patient" else sum(p["n_fields"] for p in source.record.patients)


def _index_row(written: Written, number: int) -> list:
    cells = "" if written.n_cells is None else written.n_cells
    whose = written.patients[0] if len(written.patients) == 1 else ""
    return [written.file, number, whose, written.photograph, cells, written.note]


def _check_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there already: expected an empty folder or a new one; name another with --out")
