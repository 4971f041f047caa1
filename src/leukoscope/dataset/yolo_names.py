"""What YOLO's class numbers mean: the names file that is nearest to a label, in the ways that tools write it."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from leukoscope.dataset.files import files_under
from leukoscope.dataset.raw import RawSet
from leukoscope.dataset.text import read_text
from leukoscope.errors import DataError

_YAMLS = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
NAME_FILES = ("classes.txt", "obj.names", "_darknet.labels")
_USUAL = (*_YAMLS, *NAME_FILES)
_NAMES = r"""(?m)^["']?names["']?[ \t]*:"""
_SCALAR = re.compile(
    r"""\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^']|'')*)'|((?!["'])[^,\]}#\n]*?(?:\S#[^,\]}#\n]*?)*))\s*(?=[,\]}\n]|\s#|$)"""
)


@dataclass(frozen=True, slots=True)
class DataFile:
    """What a names file says: class names by number, numbers of each key point, {split: the paths it names}."""

    names: dict[int, str]
    key_points: tuple[int, int] = (0, 0)
    splits: dict[str, tuple[str, ...]] = field(default_factory=dict)


class ClassNames:
    """Class names by number: of the folder's own names file, else of the nearest one above it; the numbers if none.

    Tools that write one file a split may order the classes differently in each; the nearest file then decides.
    """

    def __init__(self, root: Path) -> None:
        """Reads every names file under `root`; DataError for one without names, or two of unusual names that differ."""
        self._by_folder: dict[str, DataFile] = {}
        self._files: dict[str, str] = {}
        for file in files_under(root, (".yaml", ".yml", *NAME_FILES)):
            folder, _, name = file.rpartition("/")
            usual = name.lower() in _USUAL
            if folder in self._files and not (usual and self._better(name, folder)):
                if not usual:
                    self._refuse_other(root, file, folder)
                continue
            if not usual and not has_names(root / file):
                continue
            self._by_folder[folder] = _read_names(root / file)
            self._files[folder] = file
        self._nearest: dict[str, DataFile] = {}

    def _better(self, name: str, folder: str) -> bool:
        """Whether a usual name comes before the one that was read; an unusual one comes last."""
        before = self._files[folder].rpartition("/")[2].lower()
        return before not in _USUAL or _USUAL.index(name.lower()) < _USUAL.index(before)

    def _refuse_other(self, root: Path, file: str, folder: str) -> None:
        before = self._files[folder]
        if before.rpartition("/")[2].lower() in _USUAL or not has_names(root / file):
            return
        if _read_names(root / file).names != self._by_folder[folder].names:
            raise DataError(
                f"{before} and {file} name the classes differently: expected one file of names; call it data.yaml"
            )

    def of(self, label: str, class_id: int) -> str:
        """The name of a class number in a label file, the number as text where no file names it."""
        return self.file_of(label).names.get(class_id, str(class_id))

    def file_of(self, label: str) -> DataFile:
        """What the nearest names file of a label file says."""
        folder = label.rpartition("/")[0]
        if folder not in self._nearest:
            self._nearest[folder] = self._look_up(folder)
        return self._nearest[folder]

    def _look_up(self, folder: str) -> DataFile:
        while True:
            if folder in self._by_folder:
                return self._by_folder[folder]
            if not folder:
                return DataFile({})
            # `train/labels` may have its file beside it, in `train/`, and `labels/train` in the set's own folder.
            folder = folder.rpartition("/")[0]

    def stated_splits(self) -> list[tuple[str, str, str]]:
        """(names file's folder, split, path) of every path that a data.yaml names for a split."""
        return [
            (folder, split, path)
            for folder, content in self._by_folder.items()
            for split, paths in content.splits.items()
            for path in paths
        ]

    def note_differences(self, raw: RawSet) -> None:
        """List names files that disagree."""
        folders = list(self._files)
        for folder in folders[1:]:
            if self._by_folder[folder].names != self._by_folder[folders[0]].names:
                raw.note(
                    self._files[folder], "class order differs",
                    f"from {self._files[folders[0]]}: each is used for its own folder",
                )  # fmt: skip


def has_names(path: Path) -> bool:
    """Whether a YAML file has the key `names`."""
    return re.search(_NAMES, read_text(path)) is not None


def _read_names(path: Path) -> DataFile:
    text = read_text(path)
    if path.name.lower() in NAME_FILES:
        return DataFile({i: line.strip() for i, line in enumerate(text.splitlines()) if line.strip()})
    text = text.replace("\r\n", "\n")
    # [17, 3], or the two numbers on lines of their own.
    shape = re.search(r"""(?m)^["']?kpt_shape["']?[ \t]*:\s*[\[-]\s*(\d+)\s*(?:,|\n\s*-)\s*([23])\b""", text)
    if shape is None and re.search(r"""(?m)^["']?kpt_shape["']?[ \t]*:[ \t]*[^\s#]""", text):
        raise DataError(f"{path}: kpt_shape can't be read: expected [number of points, 2 or 3]; correct it")
    splits = {split: _paths(text, key) for key, split in (("train", "train"), ("val", "val"), ("test", "test"))}
    place = _paths(text, "path")[:1] or ("",)
    stated = {s: tuple(f"{place[0]}/{p}" for p in paths) for s, paths in splits.items() if paths}
    return DataFile(_names_from_yaml(path), (int(shape[1]), int(shape[2])) if shape else (0, 0), stated)


def _paths(text: str, key: str) -> tuple[str, ...]:
    """The path or the list of paths under a key of a data.yaml."""
    match = re.search(rf"""(?m)^["']?{key}["']?[ \t]*:[ \t]*([^\n]*)\n((?:[ \t]*-[^\n]*\n?)*)""", text + "\n")
    if not match:
        return ()
    value = re.sub(r"\s#.*$", "", match[1]).strip()
    if value.startswith("["):
        listed = value.strip("[]").split(",")
    else:
        listed = [value] if value and value[0] != "#" else re.findall(r"(?m)^[ \t]*-\s*(.*?)\s*$", match[2])
    return tuple(
        p for p in (re.sub(r"\s#.*$", "", v).strip().strip("\"'") for v in listed) if p and p != "null" and p != "~"
    )


def _names_from_yaml(path: Path) -> dict[int, str]:
    """`names:` of a YOLO data.yaml, in the three ways it is written: [A, B], a dash list, or number: name lines.

    Only this key is needed, so no YAML library is.
    """
    text = read_text(path).replace("\r\n", "\n")
    match = re.search(_NAMES, text)
    rest = text[match.end() :].lstrip(" \t") if match else ""
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


def _unquoted(match: re.Match) -> str:
    double, single, plain = match.groups()
    if double is not None:
        return re.sub(r'\\(["\\/])', r"\1", double)
    return single.replace("''", "'") if single is not None else plain.strip()
