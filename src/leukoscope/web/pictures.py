"""Pictures that pages show: contact sheets of thumbnails, one cell as photographed, tiles of a photograph."""

import base64
import io
import json
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import Image

from leukoscope.errors import ImageError
from leukoscope.images import read_image
from leukoscope.images.read import decode
from leukoscope.images.slides import Slide, slide_of
from leukoscope.images.slides.slide import level_for
from leukoscope.images.stored import open_stored
from leukoscope.pipeline.cell_pictures import SMALL_MARGIN
from leukoscope.raster import jpeg_bytes
from leukoscope.web.cells import PatientCells
from leukoscope.web.store.opening import THUMBS
from leukoscope.web.store.photographs import Photographs

TILE_PX, ACROSS = 96, 10  # a contact sheet holds ACROSS² thumbnails
A_SHEET = ACROSS * ACROSS
FIELD_TILE_PX = 512
SHEETS_KEPT, FIELDS_KEPT = 200, 4
CELL_PX = 320  # side of a single cell's picture
AROUND = 0.6  # of a cell's longer side, shown on each side of it
GREY = 128  # of a thumbnail that there is none of


class Missing(Exception):
    """The photograph is not where it was."""


class Pictures:
    """Makes pictures and keeps the last ones; safe to use from several threads."""

    def __init__(self, photographs: Photographs) -> None:
        self._photographs = photographs
        self._sheets: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._fields: OrderedDict[int, np.ndarray] = OrderedDict()
        self._lock, self._reading = Lock(), Lock()

    def sheet(self, cells: PatientCells, number: int) -> bytes | None:
        """A JPEG of the thumbnails whose `place` is number * A_SHEET and on; None beyond the last."""
        key = (cells.patient.id, number)
        with self._lock:
            if key in self._sheets:
                self._sheets.move_to_end(key)
                return self._sheets[key]
        rows = np.flatnonzero(cells.place // A_SHEET == number)
        if not len(rows) or number < 0:
            return None
        high = int(cells.place[rows].max() - number * A_SHEET) // ACROSS + 1
        sheet = Image.new("RGB", (ACROSS * TILE_PX, high * TILE_PX), (GREY, GREY, GREY))
        thumbs = Path(cells.run.folder) / THUMBS
        file = open(thumbs, "rb") if thumbs.is_file() else None
        try:
            for row in rows:
                down, across = divmod(int(cells.place[row]) % A_SHEET, ACROSS)
                thumb = self._thumb(cells, int(row), file)
                if thumb is not None:
                    sheet.paste(thumb, (across * TILE_PX, down * TILE_PX))
        finally:
            if file is not None:
                file.close()
        jpeg = jpeg_bytes(sheet, 82)
        with self._lock:
            self._sheets[key] = jpeg
            while len(self._sheets) > SHEETS_KEPT:
                self._sheets.popitem(last=False)
        return jpeg

    def thumb(self, cells: PatientCells, row: int) -> bytes:
        """One thumbnail as JPEG, grey where there is none."""
        thumbs = Path(cells.run.folder) / THUMBS
        with open(thumbs, "rb") if thumbs.is_file() else nullcontext() as file:
            thumb = self._thumb(cells, row, file)
        return jpeg_bytes(thumb or Image.new("RGB", (TILE_PX, TILE_PX), (GREY, GREY, GREY)), 82)

    def cell(self, cells: PatientCells, field_row: int, box) -> bytes:
        """One cell as photographed, with what lies around it; Missing where the photograph is not at hand."""
        pixels = self.field(cells, field_row)
        x0, y0, x1, y1 = box
        half = max(x1 - x0, y1 - y0) * (0.5 + AROUND)
        crop = _cut(pixels, (x0 + x1) / 2, (y0 + y1) / 2, half)
        return jpeg_bytes(crop.resize((CELL_PX, CELL_PX), Image.Resampling.BICUBIC), 88)

    def field_tile(self, cells: PatientCells, field_row: int, scale: int, x: int, y: int) -> bytes | None:
        """Tile x, y of a photograph at 1/scale of its size; None outside. `scale` is a power of two."""
        pixels = self.field(cells, field_row)
        side = FIELD_TILE_PX * scale
        part = pixels[y * side : (y + 1) * side, x * side : (x + 1) * side]
        if not part.size:
            return None
        image = Image.fromarray(np.ascontiguousarray(part))
        if scale > 1:
            high, wide = part.shape[:2]
            image = image.resize((-(-wide // scale), -(-high // scale)), Image.Resampling.BOX)
        return jpeg_bytes(image, 88)

    def slide_size(self, cells: PatientCells, field_row: int) -> tuple[int, int]:
        """Width and height in px of the slide that a field is a region of; Missing where it is not at hand."""
        with self._slide(cells, field_row) as slide:
            return slide.facts.size

    def slide_tile(self, cells: PatientCells, field_row: int, scale: int, x: int, y: int) -> bytes | None:
        """Tile x, y of the whole slide at 1/scale of its size, from the level of its pyramid that is fine enough; None
        outside. Label and macro pictures can't be reached."""
        with self._slide(cells, field_row) as slide:
            level = slide.facts.levels[number := level_for(slide.facts, scale)]
            side = FIELD_TILE_PX * scale / level.downsample
            x0, y0 = round(x * side), round(y * side)
            x1, y1 = min(level.width, round((x + 1) * side)), min(level.height, round((y + 1) * side))
            if x1 <= x0 or y1 <= y0:
                return None
            part = Image.fromarray(slide.read((x0, y0, x1, y1), level=number))
        shrink = scale / level.downsample
        size = max(1, round((x1 - x0) / shrink)), max(1, round((y1 - y0) / shrink))
        return jpeg_bytes(part if size == part.size else part.resize(size, Image.Resampling.BOX), 85)

    @contextmanager
    def _slide(self, cells: PatientCells, field_row: int) -> Iterator[Slide]:
        field = cells.fields[field_row]
        place = self._photographs.find(field, cells.run.folder) if field.region else None
        if place is None:
            raise Missing(field.file)
        try:
            with slide_of(place) as slide:
                yield slide
        except ImageError as error:
            raise Missing(str(error)) from None

    def field(self, cells: PatientCells, field_row: int) -> np.ndarray:
        """(H, W, 3) uint8 of a photograph, by the reader that `analyze` uses, known by its digest."""
        field = cells.fields[field_row]
        with self._lock:
            if field.id in self._fields:
                self._fields.move_to_end(field.id)
                return self._fields[field.id]
        with self._reading:  # one photograph is decoded at a time: memory stays that of a few
            place = self._photographs.find(field, cells.run.folder)
            if place is None:
                raise Missing(field.file)
            try:
                pixels = read_pixels(place, field)
            except ImageError as error:
                raise Missing(str(error)) from None
        if pixels.shape[:2] != (field.height, field.width):
            raise Missing("the photograph has another size than when it was analysed")
        with self._lock:
            self._fields[field.id] = pixels
            while len(self._fields) > FIELDS_KEPT:
                self._fields.popitem(last=False)
        return pixels

    def _thumb(self, cells: PatientCells, row: int, file) -> Image.Image | None:
        """From the run's thumbnail file, else cut from the photograph; None where neither is at hand."""
        offset = int(cells.thumb_at[row])
        if file is not None and offset >= 0:
            file.seek(offset)
            try:
                entry = json.loads(file.readline())
                thumb = Image.open(io.BytesIO(base64.b64decode(entry["jpeg"])), formats=("JPEG",)).convert("RGB")
                shown = _around_cell(cells, row, int(entry["px"])) if entry.get("large") else None
                return thumb.resize((TILE_PX, TILE_PX), Image.Resampling.BICUBIC, box=_scaled(shown, thumb))
            except (ValueError, KeyError, TypeError, OSError, ZeroDivisionError):
                pass
        try:
            pixels = self.field(cells, int(cells.field[row]))
        except Missing:
            return None
        x0, y0, x1, y1 = cells.boxes[row]
        crop = _cut(pixels, (x0 + x1) / 2, (y0 + y1) / 2, max(x1 - x0, y1 - y0) * SMALL_MARGIN / 2)
        return crop.resize((TILE_PX, TILE_PX), Image.Resampling.BILINEAR)


def read_pixels(place: Path, field) -> np.ndarray:
    """The pixels that the field was analysed from: of the whole file, of its pages, or of a region of a slide."""
    if field.region is not None:
        region = json.loads(field.region)
        with slide_of(place) as slide:
            return slide.read(tuple(region["box"]), plane=region.get("plane", 0))
    if field.pages is None:
        return read_image(place)
    with open_stored(place) as file:
        return decode(file, json.loads(field.pages)).pixels


def _around_cell(cells: PatientCells, row: int, side: int) -> tuple[float, float, float, float]:
    """The part of a large picture that shows the cell as the small ones do, as shares of its side.

    side  px of the photograph that the picture shows, as `pipeline.cell_pictures` cut it: moved inwards at the edge
    """
    field, (x0, y0, x1, y1) = cells.fields[int(cells.field[row])], cells.boxes[row]
    half = min(side, SMALL_MARGIN * max(x1 - x0, y1 - y0)) / 2
    out = []
    for low, high, edge in ((x0, x1, field.width), (y0, y1, field.height)):
        start = min(max(round((low + high - side) / 2), 0), edge - side)
        middle = min(max((low + high) / 2 - start, half), side - half)
        out.append(((middle - half) / side, (middle + half) / side))
    return out[0][0], out[1][0], out[0][1], out[1][1]


def _scaled(shares: tuple[float, float, float, float] | None, image: Image.Image):
    """Shares of a picture's side in its pixels; None: all of it."""
    return None if shares is None else tuple(max(0.0, min(1.0, s)) * image.width for s in shares)


def _cut(pixels: np.ndarray, x: float, y: float, half: float) -> Image.Image:
    """A square around x, y; grey beyond the field's edge."""
    left, top, side = round(x - half), round(y - half), max(2, round(2 * half))
    high, wide = pixels.shape[:2]
    out = np.full((side, side, 3), GREY, np.uint8)
    x0, y0, x1, y1 = max(0, left), max(0, top), min(wide, left + side), min(high, top + side)
    if x1 > x0 and y1 > y0:
        out[y0 - top : y1 - top, x0 - left : x1 - left] = pixels[y0:y1, x0:x1]
    return Image.fromarray(out)
