"""What YOLO's class numbers mean: the names file that is nearest to a label, in the ways that tools write it."""

from __future__ import annotations

import re
from pathlib import Path

from leukoscope.dataset.files import files_under, read_text
from leukoscope.dataset.raw import RawSet
from leukoscope.errors import DataError

_YAMLS = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
NAME_FILES = ("classes.txt", "obj.names", "_darknet.labels")
_SCALAR = re.compile(
    r"""\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^']|'')*)'|((?!["'])[^,\]}#\n]*?(?:\S#[^,\]}#\n]*?)*))\s*(?=[,\]}\n]|\s#|$)"""
)


class ClassNames:
    """Class names by number: of the folder's own names file, else of the nearest one above it; the numbers if none.

    Tools that write one file a split may order the classes differently in each; the nearest file then decides.
    """

    def __init__(self, root: Path) -> None:
        """Reads every names file under `root`; DataError for one without names."""
        self._by_folder: dict[str, dict[int, str]] = {}
        self._files: dict[str, str] = {}
        for file in files_under(root, (".yaml", ".yml", *NAME_FILES)):
            folder, _, name = file.rpartition("/")
            rank = (*_YAMLS, *NAME_FILES).index(name.lower()) if name.lower() in (*_YAMLS, *NAME_FILES) else None
            if rank is None or (folder in self._files and not self._better(rank, folder)):
                continue
            self._by_folder[folder] = _read_names(root / file)
            self._files[folder] = file
        self._nearest: dict[str, dict[int, str]] = {}

    def _better(self, rank: int, folder: str) -> bool:
        return rank < (*_YAMLS, *NAME_FILES).index(self._files[folder].rpartition("/")[2].lower())

    def of(self, label: str, class_id: int) -> str:
        """The name of a class number in a label file, the number as text where no file names it."""
        folder = label.rpartition("/")[0]
        if folder not in self._nearest:
            self._nearest[folder] = self._look_up(folder)
        return self._nearest[folder].get(class_id, str(class_id))

    def _look_up(self, folder: str) -> dict[int, str]:
        while True:
            if folder in self._by_folder:
                return self._by_folder[folder]
            if not folder:
                return {}
            # `train/labels` may have its file beside it, in `train/`, and `labels/train` in the set's own folder.
            folder = folder.rpartition("/")[0]

    def note_differences(self, raw: RawSet) -> None:
        """List names files that disagree."""
        folders = list(self._files)
        for folder in folders[1:]:
            if self._by_folder[folder] != self._by_folder[folders[0]]:
                raw.note(
                    self._files[folder], "class order differs",
                    f"from {self._files[folders[0]]}: each is used for its own folder",
                )  # fmt: skip


def _read_names(path: Path) -> dict[int, str]:
    if path.name.lower() in NAME_FILES:
        return {i: line.strip() for i, line in enumerate(read_text(path).splitlines()) if line.strip()}
    return _names_from_yaml(path)


def _names_from_yaml(path: Path) -> dict[int, str]:
    """`names:` of a YOLO data.yaml, in the three ways it is written: [A, B], a dash list, or number: name lines.

    Only this key is needed, so no YAML library is.
    """
    text = read_text(path).replace("\r\n", "\n")
    found = re.search(r"""(?m)^["']?names["']?[ \t]*:""", text)
    rest = text[found.end() :].lstrip(" \t") if found else ""
    if rest[:1] in ("[", "{"):
        entries = _flow_entries(rest)
        if not entries:
            return {}  # names: {} is said, not forgotten: a set in which no cell was found
    else:
        # Indented or dashed lines, up to the next key.
        block = re.match(r"(?:#[^\n]*)?\n((?:[ \t-][^\n]*\n?|#[^\n]*\n?|\n)*)", rest)
        lines = block.group(1).splitlines() if block else []
        entries = [_entry(re.sub(r"^\s*-\s+", "", line)) for line in lines if line.strip() and line.strip()[0] != "#"]
    if not entries or None in entries:
        raise DataError(
            f"{path} has no names: expected a line `names: [first, second]`, in the order of the class numbers; "
            f"got none that can be read; add it"
        )
    names: dict[int, str] = {}
    for key, value in entries:
        position = len(names) if key is None else key
        if position in names:
            raise DataError(f"{path} names class {position} twice: expected one name a number; correct it")
        names[position] = value
    return names


def _flow_entries(text: str) -> list[tuple[int | None, str] | None]:
    """The entries between brackets, commas in quotes left alone; [None] where the brackets never close."""
    entries, position = [], 1
    while position < len(text):
        rest = re.sub(r"\A(?:\s|#[^\n]*\n)*", "", text[position:])
        position = len(text) - len(rest)
        if not rest:
            break
        if rest[0] in "]}":
            return entries
        if rest[0] == ",":
            position += 1
            continue
        numbered = re.match(r"""["']?(\d{1,9})["']?\s*:\s+""", rest)
        body = rest[numbered.end() :] if numbered else rest
        scalar = _SCALAR.match(body)
        if scalar is None or not scalar.group(0).strip():
            return [None]
        entries.append((int(numbered[1]) if numbered else None, _unquoted(scalar)))
        position = len(text) - len(body) + scalar.end()
    return [None]


def _entry(line: str) -> tuple[int | None, str] | None:
    """One line of a block: `name` or `3: name`."""
    numbered = re.match(r"""\s*["']?(\d{1,9})["']?\s*:\s+""", line)
    body = line[numbered.end() :] if numbered else line
    quoted = re.match(r"""\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^']|'')*)'|((?!["']).*?))\s*(?:\s#.*)?$""", body)
    if quoted is None or not _unquoted(quoted):
        return None
    return int(numbered[1]) if numbered else None, _unquoted(quoted)


def _unquoted(found: re.Match) -> str:
    double, single, plain = found.groups()
    if double is not None:
        return re.sub(r'\\(["\\/])', r"\1", double)
    return single.replace("''", "'") if single is not None else plain.strip()
