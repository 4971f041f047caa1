"""Names compared as people mean them: one Unicode form, no case; ids that differ in spelling only."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable


def nfc(text: str) -> str:
    """The text in Unicode's composed form: macOS writes é as two characters, everybody else as one."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def folded(text: str) -> str:
    """The text for comparing without case, in one Unicode form."""
    return (
        text.lower() if text.isascii() else unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    )


def class_key(text: str) -> str:
    """A class name for comparing: no case, and a space, a hyphen and an underscore are one."""
    return re.sub(r"[\s_-]+", "_", folded(text).strip())


def is_id(value: object) -> bool:
    """Whether a value of JSON can be an id: a whole number or a text."""
    if type(value) is int:
        return True
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, str)


def id_text(value: int | float | str) -> str:
    """An id as a key: 7, 7.0 and "7" are one, since tools write the same id in different types."""
    if type(value) is int:
        return str(value)
    text = str(int(value)) if isinstance(value, float) else str(value).strip()
    whole, dot, rest = text.partition(".")
    return whole if dot and whole.isdigit() and not rest.strip("0") else text


def id_key(text: str) -> str:
    """An id for comparing: no case, no spaces, no zeros before a number, no `.0` that a spreadsheet adds."""
    plain = re.sub(r"\s+", "", folded(text))
    plain = re.sub(r"^(\d+)\.0+$", r"\1", plain)
    return re.sub(r"(?<![\d.])0+(?=\d)", "", plain)


def spelled_alike(ids: Iterable[str]) -> list[tuple[str, ...]]:
    """Groups of different ids that `id_key` makes one: perhaps one patient, spelled twice."""
    groups: dict[str, set[str]] = defaultdict(set)
    for text in ids:
        if text:
            groups[id_key(text)].add(text)
    return [tuple(sorted(spellings)) for _, spellings in sorted(groups.items()) if len(spellings) > 1]
