"""Text for formats that can't hold every character: nothing is lost silently, and no two texts become one."""

import hashlib
import re

# Control characters but tab and line feed, surrogates (bytes of a file name that is no UTF-8) and what XML forbids.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")


def printable(value: object) -> str:
    """Text whose control characters are written out as `\\x07` or `\\udc80`; without blanks at its ends."""
    return _UNPRINTABLE.sub(_written_out, str(value)).strip()


def one_line(value: object) -> str:
    """The same, line ends and tabs written out too."""
    return printable(value).replace("\n", "\\n").replace("\t", "\\t")


def shortened(value: str, most: int) -> str:
    """Text of at most `most` characters: of a longer one the beginning and a digest of the whole, so that two differ.

    most  16 or more
    """
    return value if len(value) <= most else with_digest(value, most)


def with_digest(value: str, most: int, *, of: str | None = None) -> str:
    """The beginning of a text, `~` and ten digits of the digest of `of` (None: of itself)."""
    digest = hashlib.sha256((value if of is None else of).encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"{value[: most - 11].rstrip()}~{digest}"


def _written_out(match: re.Match[str]) -> str:
    number = ord(match.group())
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"
