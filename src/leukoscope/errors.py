"""Every error Leukoscope raises on purpose.

LeukoscopeError
├── InputError      a path, option or table the user gave is wrong
├── ImageError      one picture can't be read (the run goes on; the report lists it)
├── DataError       a data set, manifest or annotation file is wrong
├── TaxonomyError   a class name or source code that no table knows
├── ModelError      a bundle is missing, damaged, or does not fit
├── ConfigError     a training or study configuration is wrong
└── TrainingError   a training can't go on (its loss is no finite number any more)

Each message says what, what was expected, what was got, and what to do. The command line prints it on
one line and leaves with exit code 2.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

LONGEST_MESSAGE = 2000  # characters
# What a user's value looks like in a message: quoted, or without a blank (a path). Longer ones lose their middle.
_VALUE = re.compile(r"(?<!\w)(?:'[^']*'|\"[^\"]*\")|\S{400,}")


def without_long_values(message: str) -> str:
    """A message in which no quoted value is over 200 characters, no word over 400, and all of it not over 2,000.

    Values that a user gave (cells of a table, keys, names of files and columns) stand in messages wherever they are
    built; how long they may be is decided here alone. The beginning and the end stay: the end says what to do.
    """
    message = _VALUE.sub(lambda found: _ends(found[0], 120, 40) if len(found[0]) > 200 else found[0], message)
    return message if len(message) <= LONGEST_MESSAGE else _ends(message, LONGEST_MESSAGE - 600, 500)


def _ends(text: str, first: int, last: int) -> str:
    return f"{text[:first]} … ({len(text) - first - last:,} characters) … {text[-last:]}"


class LeukoscopeError(Exception):
    """The root: catch this to catch all of them. Its message never quotes a value at length."""

    def __init__(self, message: str = "") -> None:
        super().__init__(without_long_values(str(message)))


class InputError(LeukoscopeError):
    """A path, option or table the user gave is wrong."""


class ImageError(LeukoscopeError):
    """One picture can't be read.

    reason      a short, stable word for tables (for example "truncated")
    by_decoder  whether the message has the words of a decoder, which differ from run to run and are not for records
    """

    def __init__(self, reason: str, message: str, *, by_decoder: bool = False) -> None:
        super().__init__(message)
        self.reason, self.by_decoder = reason, by_decoder


class DataError(LeukoscopeError):
    """A data set, manifest or annotation file is wrong."""


class TaxonomyError(LeukoscopeError):
    """A class name or source code that no table knows."""


class ModelError(LeukoscopeError):
    """A bundle is missing, damaged, or does not fit."""


class ConfigError(LeukoscopeError):
    """A training or study configuration is wrong."""


class TrainingError(LeukoscopeError):
    """A training can't go on (its loss is no finite number any more)."""


UNREADABLE = (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, RecursionError)
"""What reading JSON, TOML or a table of an unknown writer raises: no text, no such format, nested without end, other
keys, values of other types, numbers without end."""


def in_short(error: Exception, most: int = 200) -> str:
    """An error of a library in a message of ours: on one line, and never with the file's bytes in it."""
    words = " ".join((str(error) if isinstance(error, UnicodeError) else repr(error)).split())
    return words if len(words) <= most else f"{words[: most - 1]}…"


@contextmanager
def said_damaged(path: object, what: str) -> Iterator[None]:
    """Reading a file of ours whose head was sound: what its values can't mean becomes a DataError that names it, with
    the library's error as its cause. what: "is no signed record"."""
    try:
        yield
    except UNREADABLE as error:
        raise DataError(f"{path} {what}, or was damaged or edited ({in_short(error)}): take it anew") from error
