"""Small pictures of each cell for the report: as photographed, and as the classifier saw it."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from leukoscope.raster import Pixels, Raster

LARGE_PX = 224  # a blast or a suspicious cell: at least so many of the photograph's own pixels a side
SMALL_PX = 96  # any other cell
MODEL_PX = 96
MOST_PX = 448  # a side: larger windows (very large cells, very fine scales) are made smaller
LARGE_MARGIN, SMALL_MARGIN = 1.4, 1.6  # of the box's longer side: the cell and a little around it
SUSPICIOUS = 0.1  # summed probability of the blast classes from which on a cell is shown large
QUALITY, MODEL_QUALITY = 88, 78


@dataclass(frozen=True, slots=True)
class CellPicture:
    """JPEGs that hold pixels and nothing else.

    photo    the cell as photographed: a square of `side_px` of the photograph's pixels
    large    shown at its own resolution
    model    the classifier's crop; None of a detector, which makes none
    features what tells like cells, float16 as bytes; None where the classifier gives nothing
    """

    photo: bytes
    side_px: int
    large: bool
    model: bytes | None = None
    features: bytes | None = None


class ModelView(NamedTuple):
    """How the classifier saw a cell: `CellPicture.model` and `CellPicture.features`."""

    model: bytes | None = None
    features: bytes | None = None


def cell_pictures(
    pixels: Pixels, entries: Sequence[dict], blasts: Sequence[str], models: Sequence[ModelView] | None
) -> list[CellPicture]:
    """A picture of each cell of a field.

    pixels   (H, W, 3) uint8 RGB as photographed; entries: the record's cells; blasts: the blast classes
    models   `model_views` of the cells, or None
    """
    raster, pictures = Raster.of(pixels), []
    for number, entry in enumerate(entries):
        large = entry["class"] in blasts or entry["suspicion"] >= SUSPICIOUS
        window = raster.window(_around(raster.size, entry["box"], large=large))
        shown = min(window.size[0], MOST_PX) if large else SMALL_PX
        photo = _jpeg(window, shown, QUALITY)
        pictures.append(CellPicture(photo, window.size[0], large, *(models[number] if models else ())))
    return pictures


def model_views(crops: np.ndarray, features: np.ndarray | None) -> list[ModelView]:
    """Of a classifier's crops (N, S, S, 3) uint8 and, where it gives any, features (N, F)."""
    rows = [None] * len(crops) if features is None else [row.tobytes() for row in features.astype(np.float16)]
    pictures = (_jpeg(Image.fromarray(crop), MODEL_PX, MODEL_QUALITY) for crop in crops)
    return [ModelView(picture, row) for picture, row in zip(pictures, rows, strict=True)]


def _around(size: tuple[int, int], box: Sequence[float], *, large: bool) -> tuple[int, int, int, int]:
    """The square of a photograph (width, height) around a box, moved inwards at the edge; smaller only where the
    photograph is."""
    x0, y0, x1, y1 = box
    longer = max(x1 - x0, y1 - y0)
    side = max(LARGE_PX, LARGE_MARGIN * longer) if large else SMALL_MARGIN * longer
    side = max(1, min(round(side), *size))
    left, top = (
        int(np.clip(round((low + high - side) / 2), 0, edge - side))
        for low, high, edge in ((x0, x1, size[0]), (y0, y1, size[1]))
    )
    return left, top, left + side, top + side


def _jpeg(picture: Image.Image, side: int, quality: int) -> bytes:
    if picture.size != (side, side):
        picture = picture.resize((side, side), Image.Resampling.BICUBIC, reducing_gap=3.0)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()
