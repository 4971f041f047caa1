"""Reading one large JSON object piece by piece: the members of the outer object, and arrays item by item."""

import contextlib
import json
from collections.abc import Iterator
from typing import TextIO

_CHUNK = 1 << 18  # characters
_SPACE = " \t\n\r"


class JsonStream:
    """A cursor over one JSON object. Memory: one chunk plus the largest single value that is asked for.

    members()  yields the keys of the outer object; after each, call value(), items() or leave it (it is skipped)
    Raises ValueError (json.JSONDecodeError is one) where the text is not JSON, with the character's position.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._buffer = ""
        self._at = 0
        self._dropped = 0
        self._decoder = json.JSONDecoder()
        self._pending = False

    def members(self) -> Iterator[str]:
        self._expect("{")
        if self._peek() == "}":
            return
        while True:
            key = self.value()
            if not isinstance(key, str):
                raise ValueError(f"expected a key in quotes before character {self.position()}")
            self._expect(":")
            self._pending = True
            yield key
            if self._pending:
                self.skip()
            if self._next_of(",}") == "}":
                return

    def items(self) -> Iterator[object]:
        """The items of the array that comes next, one at a time."""
        for _ in self.places():
            yield self.value()

    def places(self) -> Iterator[None]:
        """The places of the items of the array that comes next; at each, take the item by value(), items() or, of an
        object that is too large to hold, members()."""
        self._pending = False
        self._expect("[")
        if self._peek() == "]":
            self._at += 1
            return
        while True:
            yield
            if self._next_of(",]") == "]":
                return

    def skip(self) -> None:
        """Step over the next value; an array is stepped over item by item."""
        if self._peek() == "[":
            for _ in self.items():
                pass
        else:
            self.value()

    def value(self) -> object:
        """The next value, whole."""
        self._pending = False
        self._peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                if not self._fill():
                    raise ValueError(f"{error.msg} at character {self._dropped + error.pos}") from None
                continue
            # A number that ends where the buffer ends may go on in the next chunk.
            if end == len(self._buffer) and self._fill():
                continue
            self._at = end
            return value

    def whole(self) -> object | None:
        """The next value where it ends within a chunk or two; None, and nothing is taken, where it does not."""
        self._peek()
        for _ in range(2):
            with contextlib.suppress(json.JSONDecodeError):
                value, end = self._decoder.raw_decode(self._buffer, self._at)
                if end < len(self._buffer):  # else a number might go on
                    self._at, self._pending = end, False
                    return value
            if len(self._buffer) - self._at > _CHUNK or not self._fill():
                break
        return None

    def position(self) -> int:
        """Characters of the file that are behind the cursor."""
        return self._dropped + self._at

    def _fill(self) -> bool:
        """Read on; the chunk grows with a value that does not fit, so a long value is decoded few times."""
        more = self._file.read(max(_CHUNK, len(self._buffer) - self._at))
        self._dropped += self._at
        self._buffer = self._buffer[self._at :] + more
        self._at = 0
        return bool(more)

    def _peek(self) -> str:
        while True:
            while self._at < len(self._buffer):
                if self._buffer[self._at] not in _SPACE:
                    return self._buffer[self._at]
                self._at += 1
            if not self._fill():
                raise ValueError(f"the text ends at character {self.position()}, in the middle of a value")

    def _next_of(self, characters: str) -> str:
        got = self._peek()
        if got not in characters:
            raise ValueError(f"expected one of {characters!r} at character {self.position()}, got {got!r}")
        self._at += 1
        return got

    def _expect(self, character: str) -> None:
        self._next_of(character)
