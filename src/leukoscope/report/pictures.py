"""Pictures in a report: cells found by their place in the thumbnail file, fields read again."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image

from leukoscope.cores import Room
from leukoscope.entries import FieldEntry, SlideEntry
from leukoscope.errors import DataError, ImageError
from leukoscope.files import write_whole
from leukoscope.images import open_stored
from leukoscope.images.container import shared_jpeg
from leukoscope.images.read import decode, opened_image
from leukoscope.images.slides.shelf import slide_digest, slide_of
from leukoscope.images.stored import Stored
from leukoscope.raster import jpeg_bytes

FIELD_WIDTH = 900  # px, at most
FIELD_QUALITY, FULL_QUALITY = 80, 90
FIELD_HEIGHT = 1400
MOST_BYTES_A_PIXEL = 0.2  # of a photograph that stands in a page as it is: what FIELD_QUALITY takes of a smear
AHEAD = 8  # fields under way at a time; they wait for the disk more than they compute
MOST_MEGAPIXELS = 100.0  # of theirs in memory at a time
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
        offset = 0
        for line in self._file:
            entry = self._line(line)
            cell = (entry["field"], entry["cell"])
            if cell in wanted:
                self._offsets[cell] = offset
            offset += len(line)

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


class SlidePictures:
    """The low-power pictures in a run's slides.jsonl, read one at a time; none where there is no such file."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._places: dict[tuple[str, str], int] = {}
        if self._path.is_file():
            with open(self._path, "rb") as lines:
                offset = 0
                for line in lines:
                    slide = json.loads(line)["slide"]
                    self._places[slide["patient_id"], slide["file"]] = offset
                    offset += len(line)

    def get(self, slide: SlideEntry) -> str | None:
        """Base64 of a JPEG; None where there is none."""
        place = self._places.get((slide["patient_id"], slide["file"]))
        if place is None:
            return None
        with open(self._path, "rb") as lines:
            lines.seek(place)
            picture = json.loads(lines.readline())["picture"]
        return picture if isinstance(picture, str) and _BASE64.fullmatch(picture) else None


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


Places = Mapping[str, tuple[str, str | None]]  # file of a record without names -> (where it lies, its digest)


def field_view(field: FieldEntry, folder: Path, name: str, places: Places = MappingProxyType({})) -> FieldView:
    """Read a field again, and write it at full resolution as `name` into `folder`.

    It is shown only if it is still the one that was analysed. A JPEG that holds nothing but pixels once its metadata
    are gone is copied; encoding it anew would cost time and quality.
    """
    path, digest = places.get(field["file"], (field["file"], field["sha256"]))
    try:
        if "region" in field:
            size, full, small = _encoded(Image.fromarray(_region_pixels(field | {"file": path, "sha256": digest})))
        else:
            with open_stored(path) as file:
                if digest and file.sha256 != digest:
                    return FieldView(None, problem="the file was changed after the analysis")
                size, full, small = _pictures(file, field.get("pages") or [0])
    except ImageError as error:
        return FieldView(None, problem=f"the file can't be read any more ({error.reason.replace('_', ' ')})")
    if size != (field["width"], field["height"]):
        return FieldView(None, problem="the file has another size than when it was analysed")
    folder.mkdir(exist_ok=True)
    with write_whole(folder / name, "wb") as out:
        out.write(full)
    return FieldView("data:image/jpeg;base64," + base64.b64encode(small).decode("ascii"), name)


def _pictures(file: Stored, pages: list[int]) -> tuple[tuple[int, int], bytes, bytes]:
    """Size (width, height) of a photograph, and JPEGs of it: at full resolution, and as a page holds it."""
    shared = shared_jpeg(file.data.read()) if file.image_format == "JPEG" and file.data is not None else None
    if shared is None:
        return _encoded(Image.fromarray(decode(file, pages).pixels))
    size = (shared.width, shared.height)
    few_bytes = len(shared.data) <= MOST_BYTES_A_PIXEL * shared.width * shared.height
    if few_bytes and shared.width <= FIELD_WIDTH and shared.height <= FIELD_HEIGHT:
        return size, shared.data, shared.data
    with opened_image(file) as (image, _upright):
        return size, shared.data, jpeg_bytes(_fitting(image), FIELD_QUALITY)


def _encoded(image: Image.Image) -> tuple[tuple[int, int], bytes, bytes]:
    """`_pictures` of pixels."""
    return image.size, jpeg_bytes(image, FULL_QUALITY), jpeg_bytes(_fitting(image), FIELD_QUALITY)


def _region_pixels(field: FieldEntry) -> np.ndarray:
    """The pixels of a slide's region, of the plane that was analysed; ImageError where the slide is another now."""
    if slide_digest(field["file"]) != field["sha256"]:
        raise ImageError("changed", f"{field['file']}: the slide was changed after the analysis")
    with slide_of(field["file"]) as slide:
        return slide.read(tuple(field["region"]["box"]), plane=field["region"]["plane"])


def _fitting(image: Image.Image) -> Image.Image:
    """`image`, made smaller in place where a page holds no such size; a JPEG is then decoded at a fraction of it."""
    image.thumbnail((FIELD_WIDTH, FIELD_HEIGHT), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return image


class FieldViews:
    """The views of a report's fields, in the order in which it shows them; the next ones are made meanwhile.

    fields  field index -> entry of the record; order: the indices
    places  where photographs lie that the record names otherwise
    folder  that the full pictures are written into
    """

    def __init__(
        self,
        fields: Mapping[int, FieldEntry],
        order: Iterable[int],
        folder: Path,
        places: Places = MappingProxyType({}),
    ) -> None:
        self._fields, self._order, self._folder, self._places = fields, iter(order), folder, places
        self._under_way: dict[int, Future[FieldView]] = {}
        self._pixels = Room(MOST_MEGAPIXELS)
        self._pool = ThreadPoolExecutor(AHEAD)

    def __enter__(self) -> FieldViews:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def view(self, index: int) -> FieldView:
        """The view of a field; asked for once, in the order given."""
        while index not in self._under_way or len(self._under_way) < AHEAD:
            coming = next(self._order, None)
            if coming is None:
                break
            self._under_way[coming] = self._pool.submit(self._make, coming)
        return self._under_way.pop(index).result()

    def _make(self, index: int) -> FieldView:
        field = self._fields[index]
        with self._pixels.hold((field["width"] or 0) * (field["height"] or 0) / 1e6):
            return field_view(field, self._folder, f"{index:05d}.jpg", self._places)
