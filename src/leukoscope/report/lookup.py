"""Fields of a record by their number, read from the file when they are asked for: a report shows a few of very many."""

import json
import threading
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Mapping

from leukoscope.entries import FieldEntry
from leukoscope.report.json_stream import JsonStream
from leukoscope.report.record import Record

_KEPT_CELLS = 4_000  # in memory at a time, with their fields: some 8 MB; one larger field is held alone


class Fields(Mapping[int, FieldEntry]):
    """The fields of a record; safe to use from several threads. Eight bytes a field, and a few fields.

    A record that is not plain ASCII (this project writes no other) is held whole.
    """

    def __init__(self, record: Record) -> None:
        self._record, self._lock = record, threading.Lock()
        self._starts = array("q")
        self._kept: OrderedDict[int, FieldEntry] = OrderedDict()
        self._n_cells, self._most = 0, _KEPT_CELLS
        with open(record.path, "rb") as file:
            is_ascii = all(chunk.isascii() for chunk in iter(lambda: file.read(1 << 20), b""))
        if not is_ascii:
            self._kept.update(enumerate(record.fields()))
            self._starts = array("q", [0]) * len(self._kept)
            return
        with open(record.path, encoding="ascii") as file:
            stream = JsonStream(file)
            for key in stream.members():
                if key == "fields":
                    for _ in stream.places():
                        self._starts.append(stream.position())
                        stream.skip()

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self)))

    def __getitem__(self, index: int) -> FieldEntry:
        with self._lock:
            if index in self._kept:
                self._kept.move_to_end(index)
                return self._kept[index]
            if not 0 <= index < len(self):
                raise KeyError(index)
            self._kept[index] = field = self._read(index)
            self._n_cells += 1 + len(field["cells"])
            while self._n_cells > self._most and len(self._kept) > 1:
                self._n_cells -= 1 + len(self._kept.popitem(last=False)[1]["cells"])
            return field

    def _read(self, index: int) -> FieldEntry:
        last = index + 1 == len(self._starts)
        with open(self._record.path, "rb") as file:
            file.seek(self._starts[index])
            text = file.read() if last else file.read(self._starts[index + 1] - self._starts[index])
        field, _ = json.JSONDecoder().raw_decode(text.decode("ascii").lstrip())
        return self._record.as_read(field)
