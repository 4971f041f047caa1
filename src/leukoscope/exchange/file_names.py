"""Names of exported files: short, of plain characters, each once, whatever the ids and file names hold."""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath, PureWindowsPath

_OTHERS = re.compile(r"[^\w.-]+")
_LONGEST = 80  # characters: with a folder and an ending within what every file system takes
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")  # devices of Windows, whatever their ending


class FileNames:
    """Gives each photograph or patient a name that no other has, not even in other letters' case."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = {name.lower() for name in taken}

    def of(self, text: str, otherwise: str) -> str:
        """A name like `text`, without an ending; `otherwise` where no usable character is left."""
        plain = _OTHERS.sub("_", text).strip("._ ")[:_LONGEST].rstrip("._ ") or otherwise
        plain = f"{otherwise}_{plain}" if _RESERVED.fullmatch(plain) else plain
        name, n = plain, 1
        while name.lower() in self._taken:
            n += 1
            name = f"{plain}_{n}"
        self._taken.add(name.lower())
        return name

    def of_file(self, file: str, otherwise: str) -> str:
        """The same of a path's last part without its ending."""
        return self.of(PurePosixPath(PureWindowsPath(file).name).stem, otherwise)
