"""Where a field's photograph is now: known by its digest. One that moved is asked for, never guessed."""

import hashlib
import os
import threading
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import Row, select, update

from leukoscope.errors import ImageError, InputError
from leukoscope.images.slides import is_slide, slide_digest
from leukoscope.web.store import tables as t
from leukoscope.web.store.engine import Store

CHECKED_AT_MOST = 20_000  # files whose digest is remembered


class Photographs:
    """Finds photographs; remembers which file had which digest, so that a file is hashed once unless it changes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, tuple[tuple[int, int], str]] = {}
        self._lock = threading.Lock()

    def find(self, field: Row, folder: str) -> Path | None:
        """The file with the field's digest: where it was put, as named in the record, or beside the run; else None.

        folder  the run's
        """
        if field.sha256 is None:
            return None
        digest = self._slide_digest if field.region else self._digest
        known = next((place for place in _places(field, folder) if digest(place) == field.sha256), None)
        if known is not None:
            return known
        with self._store.reading() as connection:  # the row at hand may be older than where the file was put since
            placed = connection.execute(select(t.field.c.place).where(t.field.c.id == field.id)).scalar()
        return Path(placed) if placed and digest(Path(placed)) == field.sha256 else None

    def missing(self, patient_id: int, *, by_name: bool = False) -> list[Row]:
        """Fields of a patient whose photograph is not where it was; those that could never be read left out.

        by_name  only look whether a file of that name is there: for a page that must not read all photographs first
        """
        with self._store.reading() as connection:
            query = select(t.field, t.run.c.folder).join_from(t.field, t.patient).join(t.run)
            rows = connection.execute(query.where(t.field.c.patient_id == patient_id, t.field.c.status != "failed"))
            fields = rows.all()
        if by_name:
            return [row for row in fields if not any(p.is_file() for p in _places(row, row.folder))]
        return [row for row in fields if self.find(row, row.folder) is None]

    def take_folder(self, folder: str | Path) -> int:
        """Look through a folder for photographs that moved; how many fields were found. By digest alone."""
        folder = Path(folder)
        if not folder.is_dir():
            raise InputError(f"no folder {folder}: expected the one that the photographs were moved to")
        with self._store.reading() as connection:
            rows = connection.execute(
                select(*(t.field.c[name] for name in ("id", "sha256", "file", "place", "region")), t.run.c.folder)
                .join_from(t.field, t.patient)
                .join(t.run)
                .where(t.field.c.sha256.is_not(None))
            ).all()
        wanted = {row.sha256 for row in rows if self.find(row, row.folder) is None}
        files = {}
        for file in _files(folder) if wanted else ():
            for digest in {self._digest(file), self._slide_digest(file) if is_slide(file) else None} & wanted:
                files[digest] = file
        return self.put(files.items())

    def put(self, files: Iterable[tuple[str, Path]]) -> int:
        """Note where photographs (digest, file) are now; how many fields they are of."""
        n = 0
        with self._store.writing() as connection:
            for digest, file in files:
                done = connection.execute(
                    update(t.field).where(t.field.c.sha256 == digest).values(place=str(file.resolve()))
                )
                n += done.rowcount
        return n

    def _slide_digest(self, file: Path) -> str | None:
        """Of all files of a slide, as its run took it; remembered by `slide_digest` itself."""
        try:
            return slide_digest(file)
        except (ImageError, OSError, ValueError):
            return None

    def _digest(self, file: Path) -> str | None:
        try:
            stat = os.stat(file)
            stamp = (stat.st_mtime_ns, stat.st_size)
            known = self._known.get(str(file))
            if known is not None and known[0] == stamp:
                return known[1]
            with open(file, "rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
        except (OSError, ValueError):
            return None
        with self._lock:
            if len(self._known) >= CHECKED_AT_MOST:
                self._known.clear()
            self._known[str(file)] = (stamp, digest)
        return digest


def _places(field: Row, folder: str) -> list[Path]:
    """Where a field's photograph may be: where it was put, as named in the record, or beside the run's folder."""
    named = Path(field.file)
    places = [Path(field.place)] if field.place else []
    return places + ([named] if named.is_absolute() else [Path(folder) / named, Path(folder).parent / named, named])


def _files(folder: Path) -> Iterable[Path]:
    for parent, _, names in os.walk(folder):
        yield from (Path(parent) / name for name in sorted(names))
