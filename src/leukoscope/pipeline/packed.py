"""A run's photographs in little memory: the bytes of their names and twelve more each, whatever their number."""

from array import array
from collections.abc import Iterable, Sequence
from typing import overload

from leukoscope.images.slides import Region
from leukoscope.pipeline.sources import Source, Unread
from leukoscope.types import FieldKey


class PackedSources(Sequence[Source]):
    """The sources that it was made from, in their order, each made again when it is asked for."""

    __slots__ = ("_ends", "_names", "_number", "_parts", "_whose")

    def __init__(self, sources: Iterable[Source]) -> None:
        self._names, self._ends, self._number = bytearray(), array("Q", [0]), array("I")
        self._parts: dict[int, Region | Unread] = {}
        numbers: dict[tuple[str, str, str, str], int] = {}
        for row, source in enumerate(sources):
            key = source.key
            self._names += source.file.encode("utf-8", "surrogatepass")  # a name may be bytes that are no text
            self._ends.append(len(self._names))
            whose = (key.smear_id, key.patient_id, key.center, key.specimen)
            self._number.append(numbers.setdefault(whose, len(numbers)))
            if source.part is not None:
                self._parts[row] = source.part
        self._whose = list(numbers)

    def __len__(self) -> int:
        return len(self._number)

    @overload
    def __getitem__(self, row: int) -> Source: ...
    @overload
    def __getitem__(self, row: slice) -> list[Source]: ...
    def __getitem__(self, row):
        if isinstance(row, slice):
            return [self[r] for r in range(*row.indices(len(self)))]
        row = range(len(self))[row]
        file = self._names[self._ends[row] : self._ends[row + 1]].decode("utf-8", "surrogatepass")
        return Source(file, FieldKey(file, *self._whose[self._number[row]]), self._parts.get(row))
