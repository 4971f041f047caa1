"""The photographs in one file: a TIFF can hold several fields, planes of focus, colour planes, and small copies.

Pages are compared by coarse 32 x 32 px pictures of themselves. Pages that show the same field are one photograph, of
which the largest and sharpest page is read; the others are named, not counted.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from PIL import Image

from leukoscope.errors import ImageError
from leukoscope.images.container import header_size
from leukoscope.images.decode_errors import DECODE_ERRORS
from leukoscope.images.quality import measure_focus
from leukoscope.images.read import decode, opened_image
from leukoscope.images.stored import Stored
from leukoscope.images.tiff import tags_of
from leukoscope.raster import Pixels

_MOST_PAGES = 1000
_LOOK_PX = 32
_SAME_FIELD = 0.8  # correlation of two looks; planes of a stack blurred by up to 9 px reach 0.9, other fields 0.5
_REDUCED, _MASK = 1, 4  # bits of TIFF's NewSubfileType
ANIMATION = "an animation, of which the first picture is read: save the others as files of their own, or as a TIFF"
_COLOR_PLANES = 1.15  # optical density of the second plane over the first, from which three grey pages are R, G, B


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One photograph of a file.

    pixels   (H, W, 3) uint8 RGB, as Pillow holds them; None where it could not be read, and `error` says why
    pages    where its pixels are from, counted from 0: one page, or three for red, green and blue
    n_pages  of the file
    notes    what else to know, in words
    """

    pixels: Pixels | None
    pages: tuple[int, ...] = (0,)
    n_pages: int = 1
    notes: tuple[str, ...] = ()
    error: ImageError | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    """A page, or three that are one in colour: coarse picture (1024,) of mean 0 and length 1, pixels, focus."""

    pages: tuple[int, ...]
    coarse: np.ndarray
    n_pixels: int
    focus: float


def read_pictures(file: Stored) -> Iterator[Picture]:
    """The photographs of a file, one at a time. ImageError where the file as a whole can't be read."""
    n_pages = 1
    if file.image_format == "TIFF":
        with opened_image(file) as (image, _orientation):
            n_pages, numbers = _full_pages(image)
            colors = _stated_colors(image, n_pages)
    if n_pages == 1:
        raster, notes = decode(file)
        yield Picture(raster, notes=(*notes, ANIMATION) if _is_animation(file) else notes)
        return
    looks, unread = _looks(file, _as_triples(file, numbers, colors))
    for group in _same_fields(looks):
        best = max(group, key=lambda look: (look.n_pixels, look.focus))
        raster, notes = decode(file, best.pages)
        yield Picture(raster, best.pages, n_pages, (_page_words(best, group, n_pages), *notes))
    for page, error in unread.items():
        yield Picture(None, (page,), n_pages, error=error)


def _is_animation(file: Stored) -> bool:
    """Whether a file that is no TIFF holds several pictures, by its header; a GIF has none: by its pictures."""
    if file.data is None or file.image_format not in ("GIF", "PNG", "WebP", "AVIF"):
        return False
    if file.image_format == "GIF":
        with suppress(ImageError), opened_image(file) as (image, _orientation):
            return bool(getattr(image, "is_animated", False))
        return False
    file.data.seek(0)
    head = file.data.read(65_536)  # where a PNG says so is behind its colour profile
    if file.image_format == "PNG":
        return b"acTL" in head.partition(b"IDAT")[0]
    return head[8:12] == b"avis" or (head[12:16] == b"VP8X" and bool(head[20] & 2))


def header_megapixels(file: Stored) -> float:
    """Megapixels that the header says, before anything is decoded; 0 where nothing will be."""
    try:
        if file.image_format in ("JPEG", "PNG") and file.data is not None:
            file.data.seek(0)
            size = header_size(file.data.read(), file.image_format)
            if size is not None:
                return size[0] * size[1] / 1e6
        with opened_image(file) as (image, _orientation):
            return image.size[0] * image.size[1] / 1e6
    except ImageError:
        return 0.0


def _full_pages(image: Image.Image) -> tuple[int, list[int]]:
    """How many pages there are, and those that are neither a reduced copy nor a mask by their own word; all, where that
    would leave none. A page with a header that can't be read is one: decoding it says what is wrong."""
    kept, all_pages, n_wrong = [], [], 0
    for page in range(_MOST_PAGES + 1):
        try:
            image.seek(page)
            kind, n_wrong = tags_of(image).get(254, 0), 0
        except EOFError:
            break
        except DECODE_ERRORS:
            kind, n_wrong = 0, n_wrong + 1
        if n_wrong > 1:  # the chain of pages is broken: the second error is the first one again
            break
        all_pages.append(page)
        if not isinstance(kind, int) or not kind & (_REDUCED | _MASK):
            kept.append(page)
    else:
        raise ImageError("too_large", f"it has more than {_MOST_PAGES} pages; split it")
    image.seek(0)
    return len(all_pages), kept or all_pages


def _stated_colors(image: Image.Image, n_pages: int) -> list[tuple[int, ...]]:
    """The triples of pages that ImageJ's or OME's words make red, green and blue; [] where they say nothing of it."""
    text = str(tags_of(image).get(270, ""))[:100_000]
    if text.startswith("ImageJ="):
        match = re.search(r"^channels=3$", text, re.M)
        return [tuple(range(p, p + 3)) for p in range(0, n_pages - 2, 3)] if match else []
    match = re.search(r'SizeC="3"', text)
    order = re.search(r'DimensionOrder="XY([CZT]{3})"', text)
    if not match or not order:
        return []
    step = 1
    for axis in order[1]:
        if axis == "C":
            break
        size = re.search(rf'Size{axis}="(\d+)"', text)
        step *= int(size[1]) if size else 1
    starts = [p for p in range(n_pages) if p // step % 3 == 0]
    return [(p, p + step, p + 2 * step) for p in starts if p + 2 * step < n_pages]


def _as_triples(file: Stored, pages: list[int], stated: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Pages alone, or three grey ones together where they are the colours of one picture: as stated, or, of just
    three, where the second is the darkest, as green is in a stained smear and as planes of focus are not."""
    if stated and {p for t in stated for p in t} <= set(pages) and all(_are_grey(file, t) for t in stated):
        return stated
    if not stated and len(pages) == 3 and _are_grey(file, pages):
        try:
            density = [_density(np.asarray(decode(file, [p]).raster.green())) for p in pages]
        except ImageError:
            density = [0.0, 0.0, 0.0]
        if density[1] > _COLOR_PLANES * density[0] > 0 and density[1] > density[2]:
            return [tuple(pages)]
    return [(p,) for p in pages]


def _are_grey(file: Stored, pages: tuple[int, ...] | list[int]) -> bool:
    sizes = set()
    for page in pages:
        try:
            with opened_image(file, page) as (image, _orientation):
                if image.mode != "L" and not image.mode.startswith("I;16"):
                    return False
                sizes.add(image.size)
        except ImageError:
            return False
    return len(sizes) == 1


def _density(plane: np.ndarray) -> float:
    """Mean optical density against the plane's own bright background."""
    white = max(float(np.percentile(plane[::4, ::4], 95)), 1.0)
    return float((-np.log(np.maximum(plane[::4, ::4], 1) / white)).clip(0).mean())


def _looks(file: Stored, all_pages: list[tuple[int, ...]]) -> tuple[list[_Look], dict[int, ImageError]]:
    """A look at each page (or triple), one in memory at a time, and those that can't be read."""
    looks, unread = [], {}
    for pages in all_pages:
        try:
            raster = decode(file, pages).raster
        except ImageError as error:
            unread[pages[0]] = error
            continue
        small = np.asarray(raster.green().resize((_LOOK_PX, _LOOK_PX), Image.Resampling.BOX), np.float32).ravel()
        small -= small.mean()
        length = float(np.linalg.norm(small))
        coarse = small / length if length > _LOOK_PX else np.zeros_like(small)  # a blank page is like no other
        looks.append(_Look(pages, coarse, raster.size[0] * raster.size[1], measure_focus(raster) or 0.0))
    return looks, unread


def _same_fields(looks: list[_Look]) -> list[list[_Look]]:
    """Groups of pages that show one field, in the order of their first pages."""
    groups: list[list[_Look]] = []
    for look in looks:
        alike = [g for g in groups if max(float(look.coarse @ other.coarse) for other in g) >= _SAME_FIELD]
        if alike:
            alike[0].append(look)
        else:
            groups.append([look])
    return groups


def _page_words(best: _Look, group: list[_Look], n_pages: int) -> str:
    first = best.pages[0] + 1
    if len(best.pages) == 3:
        what = f"pages {', '.join(str(p + 1) for p in best.pages)} of {n_pages} as red, green and blue"
    else:
        what = f"page {first} of {n_pages}"
    same_size = len({look.n_pixels for look in group}) == 1
    more = "the sharpest" if same_size else "the largest"
    return f"{what}, {more} of {len(group)} that show this field" if len(group) > 1 else what
