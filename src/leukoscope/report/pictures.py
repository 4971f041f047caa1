"""Pictures in a report: cells found by their place in the thumbnail file, fields read again."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from leukoscope.entries import FieldEntry
from leukoscope.errors import DataError, ImageError
from leukoscope.files import write_whole
from leukoscope.images import read_image

FIELD_WIDTH = 900  # px, at most
FIELD_QUALITY, FULL_QUALITY = 80, 90
FIELD_HEIGHT = 1400
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")


@dataclass(frozen=True, slots=True)
class CellView:
    """How a report shows one cell: data URIs of JPEGs.

    photo    as photographed (of runs of before there was one: the classifier's crop)
    side_px  the photograph's pixels that it shows a side; None: not known
    large    shown at its own resolution
    model    as the classifier saw it; None: not kept
    """

    photo: str
    side_px: int | None
    large: bool
    model: str | None


class Thumbs:
    """The pictures of chosen cells in a JSON-lines file of {"field": i, "cell": j, "jpeg": base64}, and of newer runs
    "px", "large" and "model" (`pipeline.cell_pictures`).

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

    def view(self, cell: tuple[int, int]) -> CellView | None:
        """The pictures of cell (field index, cell number); DataError where its line holds none."""
        if cell not in self._offsets:
            return None
        self._file.seek(self._offsets[cell])
        line = self._line(self._file.readline())
        side, model = line.get("px"), line.get("model")
        side = side if isinstance(side, int) and side > 0 else None
        shown = None if model is None else self._uri(model, cell)
        return CellView(self._uri(line["jpeg"], cell), side, bool(line.get("large")), shown)

    def _uri(self, jpeg: object, cell: tuple[int, int]) -> str:
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


@dataclass(frozen=True, slots=True)
class FieldView:
    """How a report shows one field.

    small    data URI of the photograph, made smaller; None where it is not shown
    full     name of the JPEG at full resolution beside the page; None where there is none
    problem  why it is not shown
    """

    small: str | None
    full: str | None = None
    problem: str | None = None


def field_view(field: FieldEntry, folder: Path, name: str) -> FieldView:
    """Read a field again, and write it at full resolution as `name` into `folder`.

    It is shown only if it is still the one that was analysed.
    """
    path = Path(field["file"])
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if field["sha256"] and digest != field["sha256"]:
            return FieldView(None, problem="the file was changed after the analysis")
        pixels = read_image(path, page=field.get("pages") or 0)
    except ImageError as error:
        return FieldView(None, problem=f"the file can't be read any more ({error.reason.replace('_', ' ')})")
    except OSError as error:
        return FieldView(None, problem=f"the file can't be read any more ({(error.strerror or 'unknown').lower()})")
    except ValueError:  # a name that no file can have, such as one with a zero byte
        return FieldView(None, problem="its name can't be that of a file")
    if pixels.shape[:2] != (field["height"], field["width"]):
        return FieldView(None, problem="the file has another size than when it was analysed")
    image = Image.fromarray(pixels)
    folder.mkdir(exist_ok=True)
    with write_whole(folder / name, "wb") as file:
        image.save(file, "JPEG", quality=FULL_QUALITY)
    image.thumbnail((FIELD_WIDTH, FIELD_HEIGHT), Image.Resampling.LANCZOS, reducing_gap=2.0)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=FIELD_QUALITY)
    return FieldView("data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii"), name)
