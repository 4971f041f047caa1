"""Text files of a source, whatever wrote them: UTF-8, UTF-16, an encoding that XML declares; JSON and XML parsed."""

import codecs
import gzip
import json
import re
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Iterator
from pathlib import Path
from xml.parsers import expat

from leukoscope.dataset.files import files_under
from leukoscope.errors import DataError, InputError

_DECLARED = re.compile(rb"""^\s*<\?xml[^>]*?encoding\s*=\s*["']([^"']{1,60})["']""")
# A Chinese encoding's superset: tools declare the small one and write characters of the large one.
_WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "cp936": "gb18030", "ascii": "utf-8"}
OUR_FILES = (
    "import-report.json", "export-report.json", "split-report.json", "dataset.json", "labels.json", "leukoscope.json"
)  # fmt: skip
_MOST_UNZIPPED = 1 << 31  # bytes of a zipped file: some seven million cells, and what still fits a memory
_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")


def read_bytes(path: Path | str) -> bytes:
    """A file's bytes, those of a `.gz` unzipped; InputError where it can't be read, DataError for a damaged .gz."""
    try:
        with open(path, "rb") as file:
            if not str(path).lower().endswith(".gz"):
                return file.read()
            data = gzip.GzipFile(fileobj=file).read(_MOST_UNZIPPED + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is damaged ({error}): export it again") from None
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}") from None
    if len(data) > _MOST_UNZIPPED:
        raise DataError(f"{path} unzips to more than {_MOST_UNZIPPED >> 30} GiB: unzip it yourself if it is to be read")
    return data


def read_text(path: Path | str) -> str:
    """A text file as UTF-8 with or without a byte order mark, or UTF-16 with one; DataError otherwise."""
    return decoded(read_bytes(path), path)


def decoded(data: bytes, path: Path | str) -> str:
    """What `read_text` gives of these bytes. path: the file, for the message."""
    try:
        return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}): save it as UTF-8") from None


def read_json(path: Path | str) -> object:
    """A JSON file; DataError with the line and column of the fault."""
    return parse_json(read_text(path), path)


def parse_json(text: str, path: Path | str) -> object:
    """A text as JSON; DataError with the line and column of the fault. path: the file, for the message."""
    try:
        value = json.loads(text)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path} is not JSON ({error.msg} at line {error.lineno}, column {error.colno}): export it again"
        ) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON ({str(error)[:80]}): export it again") from None
    return value


def read_json_files(root: Path, *, suffixes: tuple[str, ...] = (".json",)) -> Iterator[tuple[str, object]]:
    """(file, content) of every JSON file under a folder, those left out that an import or an export of ours wrote."""
    for file in files_under(root, suffixes):
        if Path(file).name not in OUR_FILES:
            yield file, read_json(root / file)


def parse_xml(path: Path | str) -> ElementTree.Element:
    """Parse an XML file that may be hostile: a declared entity is refused, nothing outside the file is opened.

    Any encoding that Python knows is read, under any of its names. DataError with the line of the fault.
    """
    data = read_bytes(path)
    text = _declared_text(data, path)
    builder = ElementTree.TreeBuilder()
    # A text that was decoded here is UTF-8 now, whatever it declares.
    parser = expat.ParserCreate(None if text is None else "utf-8")
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data

    def refuse(name: str, *_: object) -> None:
        raise DataError(f"{path} declares the XML entity {name!r}: expected plain annotations; remove the declaration")

    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(data if text is None else text.encode(), True)
        return builder.close()
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise DataError(f"{path} is not well-formed XML ({error}): export it again or remove it") from None


def _declared_text(data: bytes, path: Path | str) -> str | None:
    """The text by the encoding that it declares; None where the parser reads that itself (UTF-8, UTF-16, none)."""
    declared = None if data[:3].startswith(_MARKS[:2]) or data[:3] == _MARKS[2] else _DECLARED.match(data[:300])
    if declared is None:
        return None
    name = declared.group(1).decode("ascii", "replace").strip()
    try:
        known = codecs.lookup(name).name
    except (LookupError, ValueError):
        known = ""  # a name nobody knows: nearly always UTF-8 all the same
    if known in ("utf-8", "utf-16") and name.lower() in ("utf-8", "utf-16"):
        return None
    try:
        return data.decode(_WIDER.get(known, known) or "utf-8")
    except (UnicodeError, LookupError) as error:
        said = f"declares the encoding {name!r}" + ("" if known else ", which nobody knows,")
        raise DataError(f"{path} {said} and can't be read so ({str(error)[:80]}): save it as UTF-8") from None
