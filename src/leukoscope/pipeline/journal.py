"""The journal of a run: one line a finished photograph, so that a run that was killed goes on where it was.

`journal.jsonl` begins with a line that says what run it is; each further line holds {"crc32", "thumbs_end",
"thumbs_crc32", "fields", "looks"}: the checksum of what follows it in the line; how long `thumbs.jsonl` was once this
photograph's thumbnails were in it, and their checksum; the record's entries of the photograph (a file of several pages
can have several), and a small picture of each (looks.py). `sources.jsonl` lists the photographs of the run,
`slides.jsonl` its slides; their digests stand in the first line.
"""

import base64
import hashlib
import json
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from leukoscope.entries import FieldEntry
from leukoscope.errors import UNREADABLE, InputError
from leukoscope.files import write_whole
from leukoscope.images.slides import Region
from leukoscope.pipeline.cell_pictures import CellPicture
from leukoscope.pipeline.photographs import Analysed
from leukoscope.pipeline.sources import Source, sources_sha256

JOURNAL_VERSION = 3
UNCHECKED = 2  # version whose lines have no checksum: such a run goes on as it began


class Journal:
    """Append-only. Thumbnails of a photograph are on file before its line is, so a line never promises too much."""

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        self.path = folder / "journal.jsonl"
        self.thumbs_path = folder / "thumbs.jsonl"
        self.sources_path = folder / "sources.jsonl"
        self.slides_path = folder / "slides.jsonl"
        self.n_sources = self.n_fields = 0
        self.n_of_patient: Counter[str] = Counter()  # patient id -> fields
        self._thumbs_end = 0
        self._unchecked: bool | None = None
        self._journal = self._thumbs = None

    def begin(self, head: dict, sources: Sequence[Source]) -> None:
        """Start anew."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with write_whole(self.sources_path, encoding="ascii", newline="\n") as file:
            for s in sources:
                file.write(json.dumps(s.row()) + "\n")
        # Unbuffered: when the disk is full nothing is left over that Python would try to write again at the end.
        self._journal, self._thumbs = open(self.path, "wb", buffering=0), open(self.thumbs_path, "wb", buffering=0)
        self.n_sources = self.n_fields = self._thumbs_end = 0
        self._unchecked = False
        self.n_of_patient.clear()
        first = {"journal_version": JOURNAL_VERSION} | head | _pictures(sources)
        _write(self._journal, _line(first | {"slides_sha256": self._slides_sha256()}))

    def sources(self) -> list[Source] | None:
        """The photographs that the run was begun with; None where the list is lost."""
        with suppress(OSError, *UNREADABLE):
            with open(self.sources_path, encoding="ascii") as lines:
                return [Source.of_row(json.loads(line)) for line in lines]
        return None

    def is_begun(self) -> bool:
        """Whether there is a first line that says which run it is."""
        return self._read_head() is not None

    def check_head(self, head: dict) -> None:
        """InputError when the journal is of another run than `head` says: the message names what differs."""
        have = self._read_head() or {}
        version = UNCHECKED if have.get("journal_version") == UNCHECKED else JOURNAL_VERSION
        wanted = {"journal_version": version} | head
        differs = [d for d in (_difference(k, have.get(k), v) for k, v in wanted.items()) if d]
        if differs:
            raise InputError(
                f"can't resume in {self.path.parent.parent}: it holds a run with other {', '.join(differs)}; "
                "give the same paths and options as then, or another folder"
            )

    def go_on(self, sources: Sequence[Source]) -> None:
        """Continue a journal about `sources` (`self.sources()`); `n_sources` then counts those that are done.

        A last line that was torn, or whose thumbnails did not reach the disk, and lines that are not of the next
        photograph (two runs once wrote into one folder) are dropped with all that follows.
        """
        if (self._read_head() or {}).get("pictures") != _pictures(sources)["pictures"]:
            raise InputError(
                f"can't resume in {self.path.parent.parent}: it holds a run of other pictures; "
                "give the same paths as then, or another folder"
            )
        if not self._is_unchecked() and self._read_head().get("slides_sha256") != self._slides_sha256():
            raise InputError(
                f"can't resume in {self.path.parent.parent}: {self.slides_path} was changed since the run began; "
                "put it back, or give another folder"
            )
        self.cut(sources)

    def cut(self, sources: Sequence[Source], most: int | None = None) -> None:
        """Keep what can be trusted, and no more than the first `most` photographs; then open for more."""
        self.close()
        journal_end, self._thumbs_end, self.n_sources, self.n_fields = self._sound_part(sources, most)
        os.truncate(self.path, journal_end)
        os.truncate(self.thumbs_path, self._thumbs_end)
        self._journal, self._thumbs = open(self.path, "ab", buffering=0), open(self.thumbs_path, "ab", buffering=0)

    def write(self, entries: list[FieldEntry], pictures: list[list[CellPicture]], looks: list[str | None]) -> None:
        """Add one photograph: its entries in the record, and for each the pictures of its cells and a look."""
        lines = [
            _line({"field": field, "cell": cell} | _shown(picture))
            for field, of_field in enumerate(pictures, self.n_fields)
            for cell, picture in enumerate(of_field)
        ]
        data = b"".join(lines)
        _write(self._thumbs, data)
        self._thumbs_end += len(data)
        line = {"thumbs_end": self._thumbs_end, "thumbs_crc32": zlib.crc32(data), "fields": entries, "looks": looks}
        _write(self._journal, _line(line) if self._is_unchecked() else _checked(_line(line)))
        self.n_sources += 1
        self.n_fields += len(entries)
        self.n_of_patient.update(e["patient_id"] for e in entries)

    def fields(self) -> Iterator[FieldEntry]:
        """The record's entries, one at a time, in the order they were written."""
        for entries, _looks in self.of_sources():
            yield from entries

    def with_looks(self) -> Iterator[tuple[FieldEntry, str | None]]:
        """The entries, each with its look."""
        for entries, looks in self.of_sources():
            yield from zip(entries, looks, strict=True)

    def of_sources(self) -> Iterator[tuple[list[FieldEntry], list[str | None]]]:
        """The entries and looks of each photograph that is done, in order."""
        with open(self.path, "rb") as lines:
            next(lines)
            for line in lines:
                said = json.loads(line)
                yield said["fields"], said["looks"]

    def analysed(self) -> Iterator[Analysed]:
        """Each photograph that is done as it was given to `write`, in order."""
        with open(self.path, "rb") as lines, open(self.thumbs_path, "rb") as thumbs:
            next(lines)
            offset = n_fields = 0
            for line in lines:
                said = json.loads(line)
                pictures: list[list[CellPicture]] = [[] for _ in said["fields"]]
                for shown in map(json.loads, thumbs.read(said["thumbs_end"] - offset).splitlines()):
                    pictures[shown["field"] - n_fields].append(_picture(shown))
                offset, n_fields = said["thumbs_end"], n_fields + len(said["fields"])
                yield Analysed(said["fields"], pictures, said["looks"])

    def close(self) -> None:
        """Bring everything to the disk."""
        for file in (self._thumbs, self._journal):
            if file is not None:
                with file:
                    os.fsync(file.fileno())
        self._journal = self._thumbs = None

    def _read_head(self) -> dict | None:
        if not self.path.is_file():
            return None
        with open(self.path, "rb") as lines:
            line = lines.readline()
        return _parse(line) if line.endswith(b"\n") else None

    def _is_unchecked(self) -> bool:
        """Whether the run was begun before lines had a checksum; asked of the first line once."""
        if self._unchecked is None:
            self._unchecked = (self._read_head() or {}).get("journal_version") == UNCHECKED
        return self._unchecked

    def _slides_sha256(self) -> str | None:
        """Of the list of slides; None where there are none."""
        said = self.slides_path.read_bytes() if self.slides_path.is_file() else b""
        return hashlib.sha256(said).hexdigest() if said else None

    def _sound_part(self, sources: Sequence[Source], most: int | None) -> tuple[int, int, int, int]:
        """(bytes of the journal, bytes of the thumbnails, photographs, fields) up to the last line to be trusted."""
        is_sound = _is_whole if self._is_unchecked() else _is_sound
        self.thumbs_path.touch()
        self.n_of_patient.clear()
        todo = iter(sources if most is None else sources[:most])
        with open(self.path, "rb") as lines, open(self.thumbs_path, "rb") as thumbs:
            journal_end, thumbs_end, n_sources, n_fields = len(next(lines)), 0, 0, 0
            for line in lines:
                entry = _parse(line) if is_sound(line) else None
                source = next(todo, None)
                if entry is None or source is None or not _is_of(entry["fields"], source):
                    break
                data = thumbs.read(max(0, entry["thumbs_end"] - thumbs_end))
                if thumbs_end + len(data) != entry["thumbs_end"] or zlib.crc32(data) != entry["thumbs_crc32"]:
                    break
                journal_end, thumbs_end = journal_end + len(line), entry["thumbs_end"]
                n_sources, n_fields = n_sources + 1, n_fields + len(entry["fields"])
                self.n_of_patient.update(e["patient_id"] for e in entry["fields"])
        return journal_end, thumbs_end, n_sources, n_fields


def _shown(picture: CellPicture) -> dict:
    """A cell's picture in a line of thumbs.jsonl: "jpeg" as photographed, "px" a side there, "model" as classified."""
    line = {"jpeg": base64.b64encode(picture.photo).decode("ascii"), "px": picture.side_px, "large": picture.large}
    more = {"model": picture.model, "features": picture.features}
    return line | {k: base64.b64encode(v).decode("ascii") for k, v in more.items() if v is not None}


def _picture(line: dict) -> CellPicture:
    """The inverse of `_shown`."""
    photo, model, features = (base64.b64decode(line[k]) if k in line else None for k in ("jpeg", "model", "features"))
    return CellPicture(photo, line["px"], line["large"], model, features)


def _pictures(sources: Sequence[Source]) -> dict:
    return {"pictures": {"n": len(sources), "sha256": sources_sha256(sources)}}


def _difference(name: str, then: object, now: object) -> str:
    """What differs, with the options that do; "" where nothing does."""
    if then == now:
        return ""
    if name != "options" or not isinstance(then, dict) or not isinstance(now, dict):
        return name
    keys = [k for k in {**then, **now} if then.get(k) != now.get(k)]
    return f"options ({', '.join(f'{k} was {then.get(k)}, is {now.get(k)}' for k in keys)})"


def _is_of(entries: list[FieldEntry], source: Source) -> bool:
    """Whether a line is about this photograph and its patient."""
    core = list(source.part.core) if isinstance(source.part, Region) else None
    return bool(entries) and all(
        e["file"] == source.file
        and e["patient_id"] == source.key.patient_id
        and (e["region"]["core"] if "region" in e else None) == core
        for e in entries
    )


def _write(file, data: bytes) -> None:
    """All of it: a file without a buffer may take a part only."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _line(entry: dict) -> bytes:
    return json.dumps(entry, separators=(",", ":")).encode("ascii") + b"\n"


def _checked(line: bytes) -> bytes:
    """A line that begins with the checksum of the rest."""
    return b'{"crc32":%d,' % zlib.crc32(line[1:]) + line[1:]


def _is_whole(line: bytes) -> bool:
    """Whether a line without a checksum was written to its end."""
    return line.endswith(b"\n")


def _is_sound(line: bytes) -> bool:
    """Whether it is what `_checked` gave, whole."""
    crc32, _, rest = line.partition(b",")
    return line.endswith(b"\n") and crc32 == b'{"crc32":%d' % zlib.crc32(rest)


def _parse(line: bytes) -> dict | None:
    try:
        said = json.loads(line)
    except UNREADABLE:
        return None
    return said if isinstance(said, dict) else None
