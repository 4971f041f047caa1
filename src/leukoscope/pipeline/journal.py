"""The journal of a run: one line a finished photograph, so that a run that was killed goes on where it was.

`journal.jsonl` begins with a line that says what run it is; each further line holds {"thumbs_end", "field"}: the
record's entry of one photograph, and how long `thumbs.jsonl` was once this photograph's thumbnails were in it.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path

from leukoscope.errors import InputError

JOURNAL_VERSION = 1


class Journal:
    """Append-only. Thumbnails of a photograph are on file before its line is, so a line never promises too much."""

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        self.path = folder / "journal.jsonl"
        self.thumbs_path = folder / "thumbs.jsonl"
        self.n_fields = 0
        self._journal = None
        self._thumbs = None

    def begin(self, head: dict) -> None:
        """Start anew."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._journal, self._thumbs = open(self.path, "wb"), open(self.thumbs_path, "wb")
        self.n_fields = 0
        self._journal.write(_line({"journal_version": JOURNAL_VERSION} | head))
        self._journal.flush()

    def go_on(self, head: dict) -> None:
        """Continue a journal that says `head`; `n_fields` then counts the photographs that are done.

        A last line that was torn, or whose thumbnails did not reach the disk, is dropped. InputError when the
        journal is of another run: the message names what differs.
        """
        have = self._read_head()
        if have is None:  # killed before the first line was whole
            return self.begin(head)
        differs = [k for k, v in ({"journal_version": JOURNAL_VERSION} | head).items() if have.get(k) != v]
        if differs:
            raise InputError(
                f"can't resume in {self.path.parent.parent}: it holds a run with other {', '.join(differs)}; "
                f"give the same paths and options as then, or another folder"
            )
        journal_end, thumbs_end, self.n_fields = self._sound_part()
        os.truncate(self.path, journal_end)
        os.truncate(self.thumbs_path, thumbs_end)
        self._journal, self._thumbs = open(self.path, "ab"), open(self.thumbs_path, "ab")

    def write(self, entry: dict, thumbs: list[bytes]) -> None:
        """Add one photograph: its entry in the record and the JPEG of each of its cells."""
        for cell, jpeg in enumerate(thumbs):
            text = base64.b64encode(jpeg).decode("ascii")
            self._thumbs.write(_line({"field": self.n_fields, "cell": cell, "jpeg": text}))
        self._thumbs.flush()
        self._journal.write(_line({"thumbs_end": self._thumbs.tell(), "field": entry}))
        self._journal.flush()
        self.n_fields += 1

    def fields(self) -> Iterator[dict]:
        """The record's entries, one at a time, in the order they were written."""
        with open(self.path, "rb") as lines:
            next(lines)
            for line in lines:
                yield json.loads(line)["field"]

    def close(self) -> None:
        for file in (self._journal, self._thumbs):
            if file is not None:
                file.close()

    def _read_head(self) -> dict | None:
        if not self.path.is_file():
            return None
        with open(self.path, "rb") as lines:
            line = lines.readline()
        return _parse(line) if line.endswith(b"\n") else None

    def _sound_part(self) -> tuple[int, int, int]:
        """Length of the journal and of the thumbnails up to the last line that can be trusted, and its number."""
        thumbs_size = self.thumbs_path.stat().st_size if self.thumbs_path.is_file() else 0
        self.thumbs_path.touch()
        with open(self.path, "rb") as lines:
            journal_end, thumbs_end, n_fields = len(next(lines)), 0, 0
            for line in lines:
                entry = _parse(line) if line.endswith(b"\n") else None
                if entry is None or entry["thumbs_end"] > thumbs_size:
                    break
                journal_end, thumbs_end, n_fields = journal_end + len(line), entry["thumbs_end"], n_fields + 1
        return journal_end, thumbs_end, n_fields


def _line(entry: dict) -> bytes:
    return json.dumps(entry, separators=(",", ":")).encode("ascii") + b"\n"


def _parse(line: bytes) -> dict | None:
    try:
        return json.loads(line)
    except ValueError:
        return None
