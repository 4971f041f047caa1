"""Pictures in a report: thumbnails found by their place in the thumbnail file, fields read again and shrunk."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from pathlib import Path

from PIL import Image

from leukoscope.errors import DataError, ImageError
from leukoscope.images import read_image

FIELD_WIDTH = 900  # px, at most
FIELD_HEIGHT = 1400
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")


class Thumbs:
    """The thumbnails of chosen cells in a JSON-lines file of {"field": i, "cell": j, "jpeg": base64}.

    Only byte offsets are held; a picture is read when it is asked for. A cell without a line gives None.
    """

    def __init__(self, path: str | Path, wanted: set[tuple[int, int]]) -> None:
        self._path = Path(path)
        self._offsets: dict[tuple[int, int], int] = {}
        self._file = None
        if self._path.is_file():
            self._file = open(self._path, "rb")
            self._find(wanted)

    def __enter__(self) -> Thumbs:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def __len__(self) -> int:
        return len(self._offsets)

    def data_uri(self, cell: tuple[int, int]) -> str | None:
        """The thumbnail of cell (field index, cell number) as a data URI; DataError where its line holds no picture."""
        if cell not in self._offsets:
            return None
        self._file.seek(self._offsets[cell])
        jpeg = self._line(self._file.readline())["jpeg"]
        # It goes into an attribute as it is, so it must be base64 and nothing else.
        if not isinstance(jpeg, str) or not _BASE64.fullmatch(jpeg):
            raise DataError(f"{self._path}: the thumbnail of field {cell[0]} cell {cell[1]} is not base64")
        return f"data:image/jpeg;base64,{jpeg}"

    def _find(self, wanted: set[tuple[int, int]]) -> None:
        at = 0
        for line in self._file:
            entry = self._line(line)
            cell = (entry["field"], entry["cell"])
            if cell in wanted:
                self._offsets[cell] = at
            at += len(line)

    def _line(self, line: bytes) -> dict:
        try:
            entry = json.loads(line)
            if {"field", "cell", "jpeg"} <= set(entry):
                return entry
        except (ValueError, TypeError):
            pass
        raise DataError(
            f"{self._path} is not a thumbnail file: each line needs field, cell and jpeg; got {line[:60]!r}"
        )


def field_picture(field: dict) -> tuple[str | None, str | None]:
    """(data URI, None), or (None, why not). The picture is shown only if it is still the one that was analysed."""
    path = Path(field["file"])
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if field["sha256"] and digest != field["sha256"]:
            return None, "the file was changed after the analysis"
        pixels = read_image(path)
    except ImageError as error:
        return None, f"the file can't be read any more ({error.reason.replace('_', ' ')})"
    except OSError as error:
        return None, f"the file can't be read any more ({(error.strerror or 'unknown error').lower()})"
    except ValueError:  # a name that no file can have, such as one with a zero byte
        return None, "its name can't be that of a file"
    if pixels.shape[:2] != (field["height"], field["width"]):
        return None, "the file has another size than when it was analysed"
    image = Image.fromarray(pixels)
    image.thumbnail((FIELD_WIDTH, FIELD_HEIGHT), Image.Resampling.LANCZOS, reducing_gap=2.0)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii"), None
